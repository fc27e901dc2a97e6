#!/usr/bin/env bash
# Runs the independent programs on files that this workspace writes. A check is a function
# `check_NAME`; all of them run, or those named. Each gets a fresh folder in $work.
#
#   onnx   every ONNX helper          onnx.checker, onnxruntime
#   run    a short demo               onnx.checker, onnxruntime, TensorBoard
#   resume a continued run            TensorBoard
#   serve  the models of a short demo  tritonclient, onnxruntime's library, Prometheus' parser, an OpenAPI validator; the examples of docs/serving.md
#   studio the studio on a short demo  headless Chromium (Playwright); SCREENSHOTS=DIR keeps pictures
#   replicas  two servers, one killed  nginx
#   timm   weights both ways          timm on PyTorch (`scripts/python-env.sh torch`)
#   torchvision  students' steps      torchvision on PyTorch
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

# A short demo: its ONNX files and its TensorBoard file.
check_run() {
  cargo build --release --quiet --locked
  target/release/ufo demo --budget 10s --out "$work/demo" >/dev/null
  "$python" "$reference/check_run.py" target/release/ufo "$work/demo"
}

# A run that lost its last checkpoint and was continued: TensorBoard reads each step once.
check_resume() {
  cargo build --release --quiet --locked
  local ufo=target/release/ufo
  "$ufo" init --task digits=data/digits --out "$work/tasks.toml"
  local train=("$ufo" train --config "$work/tasks.toml" --out "$work/run" --set train.steps=6)
  train+=(--set train.log_every=1 --set train.checkpoint_every=3 --set train.evaluations=2)
  "${train[@]}"
  rm -r "$work/run/checkpoints/step-00000006"
  "${train[@]}"
  "$python" "$reference/check_run.py" "$ufo" "$work/run" --events
}

# A demo's models served: tritonclient gets the numbers of `ufo predict`.
check_serve() {
  cargo build --release --quiet --locked
  target/release/ufo demo --budget 10s --out "$work/demo" >/dev/null
  "$python" "$reference/check_serve.py" target/release/ufo "$work/demo"
}

# A person's way through the pages, from an archive of images to answers, in a browser.
check_studio() {
  cargo build --release --quiet --locked
  debian /usr/bin/chromium chromium
  target/release/ufo demo --budget 10s --out "$work/demo" >/dev/null
  timeout -k 60 900 "$python" "$reference/check_studio.py" target/release/ufo "$work/demo" "$work" ${SCREENSHOTS:+"$SCREENSHOTS"}
}

# Two replicas behind nginx, killed and ended under load: no request is lost.
check_replicas() {
  cargo build --release --quiet --locked
  debian /usr/sbin/nginx nginx-light
  target/release/ufo demo --budget 10s --out "$work/demo" >/dev/null
  "$python" -c 'import sys; from PIL import Image; Image.new("RGB", (28, 28), (200, 90, 20)).save(sys.argv[1])' "$work/image.png"
  timeout -k 60 300 "$python" "$reference/check_replicas.py" target/release/ufo "$work/demo/models/fashion" "$work/image.png" 8
}

# A program of Debian that is installed where it is missing.
debian() { # place, package
  [[ -x $1 ]] && return
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -qy --no-install-recommends "$2"
}

# timm's weights in our supernet and our extracted folder in timm: equal features and logits.
check_timm() {
  scripts/python-env.sh torch
  cargo build --release --quiet --locked
  "$python" "$reference/timm_interop.py" target/release/ufo "$work"
}

# torchvision's weights in our convolutional networks: equal outputs, gradients and running statistics.
check_torchvision() {
  scripts/python-env.sh torch
  cargo build --release --quiet --locked --package ufo-model --example cnn_step
  "$python" "$reference/torchvision_interop.py" target/release/examples/cnn_step "$work"
}

all=(onnx run resume serve studio replicas timm torchvision)
for name in "${@:-${all[@]}}"; do
  work=$root/$name
  mkdir -p "$work"
  echo "-- $name"
  "check_$name"
done
