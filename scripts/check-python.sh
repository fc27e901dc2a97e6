#!/usr/bin/env bash
# Runs the independent programs on files that this workspace writes. A check is a function
# `check_NAME`; all of them run, or those named. Each gets a fresh folder in $work.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/python-env.sh

python=$PWD/.venv/bin/python
reference=$PWD/tests/reference
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# Every graph helper, inline and with external data: onnx.checker, onnxruntime, equal values.
check_onnx() {
  cargo run --quiet --locked --package ufo-onnx --example write_sample -- "$work"
  "$python" "$reference/check_onnx.py" "$work"/*.onnx
}

all=(onnx)
for name in "${@:-${all[@]}}"; do
  work=$root/$name
  mkdir -p "$work"
  echo "-- $name"
  "check_$name"
done
