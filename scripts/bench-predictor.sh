#!/usr/bin/env bash
# Compares `ufo predictor fit` with scikit-learn's Gaussian process on the public benchmark's 400 networks.
#
#   scripts/bench-predictor.sh [--tasks N] [--rounds N]
#
# scikit-learn takes minutes a task; benches/peer/gaussian_process.py tells what is measured.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/python-env.sh
cargo build --release --quiet --locked
.venv/bin/python benches/peer/gaussian_process.py target/release/ufo \
  crates/ufo-nas/tests/fixtures/nasbench/ufo_vitb_400.json "$@"
