#!/usr/bin/env bash
# Makes .venv with the pinned reference programs that check what this workspace writes.
#
#   scripts/python-env.sh          tests/reference/requirements.txt        (about 490 MB)
#   scripts/python-env.sh torch    also requirements-torch.txt, CPU only   (about 2 GB; fixtures only)
#
# A run that finds the environment up to date does nothing. PYTHON names the interpreter (3.11 or
# newer, default python3.11, then python3).
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
[[ -n $python ]] || { echo 'no python3.11 or python3 found; set PYTHON' >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "$python is older than 3.11; set PYTHON" >&2; exit 1; }

reference=tests/reference
stamp() { { "$python" --version; cat "$@"; } | sha256sum; }

if [[ ! -x .venv/bin/pip ]]; then
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    # Debian keeps venv in a package of its own.
    apt-get update -q
    apt-get install -qy "$(basename "$(readlink -f "$python")")-venv"
  fi
  "$python" -m venv .venv
fi

install() { # stamp file, requirement file, pip options
  local mark=.venv/$1 wanted
  wanted=$(stamp "$2")
  [[ -f $mark && $(cat "$mark") == "$wanted" ]] && return 0
  .venv/bin/pip install --quiet --disable-pip-version-check "${@:3}" --requirement "$2"
  echo "$wanted" >"$mark"
}

install base.stamp "$reference/requirements.txt"
if [[ ${1:-} == torch ]]; then
  # The wheels name gigabytes of CUDA packages that a CPU never calls: leave them out, then give the
  # loader empty libraries of their names.
  install torch.stamp "$reference/requirements-torch.txt" --no-deps
  .venv/bin/python scripts/torch-stubs.py
fi
