#!/usr/bin/env bash
# Compares `ufo bench serve` with PyTorch, torchvision and onnxruntime on this CPU, 2 threads a side.
#
#   scripts/bench-vs-pytorch.sh [--json FILE] [--rounds N] [--limit-s S] [name...]
#
# Names are those of benches/peer/peer.py, all by default; compare.py tells what is measured. The
# environment variables UFO_THREADS, for other thread counts, and UFO_BENCH_DATA, for a folder that
# keeps the JPEG files of loader-jpeg, are passed on. On an idle machine set OMP_WAIT_POLICY=ACTIVE, too:
# the peers may be faster with it (benches/peer/peer.py).
set -euo pipefail

options=() names=()
while (($#)); do
  case $1 in
    --json) options+=(--json "$(realpath -m "${2:?--json needs a file}")"); shift 2 ;;
    --rounds | --limit-s) options+=("$1" "${2:?$1 needs a number}"); shift 2 ;;
    -*) echo "unknown option $1; known: --json, --rounds, --limit-s" >&2; exit 2 ;;
    *) names+=("$1"); shift ;;
  esac
done
if ((${#names[@]})); then
  options+=(--names "$(IFS=,; echo "${names[*]}")")
fi

cd "$(dirname "$0")/.."
scripts/python-env.sh torch
cargo build --release --quiet --locked

export UFO_THREADS=${UFO_THREADS:-2}
export RAYON_NUM_THREADS=$UFO_THREADS
.venv/bin/python benches/peer/compare.py target/release/ufo "${options[@]}"
