#!/usr/bin/env bash
# Two `ufo serve` behind nginx on loopback, one of them killed and one ended under load, and started again: every
# request is answered, and with the bits of a server alone (tests/reference/check_replicas.py).
#
#   scripts/check-replicas.sh MODEL IMAGE [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -ge 2 ]] || { sed -n '2,5p' "$0" >&2; exit 2; }

command -v nginx >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends nginx-light; }
cargo build --release --quiet --locked
exec python3 tests/reference/check_replicas.py target/release/ufo "$1" "$2" "${3:-12}"
