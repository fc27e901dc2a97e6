#!/usr/bin/env bash
# Compares `ufo predictor fit` with scikit-learn's Gaussian process on the public benchmark's 400 networks.
#
#   scripts/bench-predictor.sh [--tasks N] [--rounds N] [--kernel grouped|features]
#
# With the kernel of both sides equal (grouped) a round of all tasks takes scikit-learn a minute, with a length scale a
# feature minutes a task; benches/peer/gaussian_process.py tells what is measured. OMP_NUM_THREADS (1) is scikit-learn's
# number of threads.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/python-env.sh
ufo=${UFO:-target/release/ufo}
[ -n "${UFO:-}" ] || cargo build --release --quiet --locked
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
.venv/bin/python benches/peer/gaussian_process.py "$ufo" \
  crates/ufo-nas/tests/fixtures/nasbench/ufo_vitb_400.json "$@"
