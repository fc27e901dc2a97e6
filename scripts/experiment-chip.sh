#!/usr/bin/env bash
# The figures of docs/experiments.md on chip supernets, from the fetched packages on; about 1 hour on 2 cores.
#
#   scripts/experiment-chip.sh [FOLDER]     default runs/experiment-chip
#
# Fashion-MNIST (60,000 + 10,000) and Animal-MNIST (7,775 + 1,941) in one supernet; a chip supernet of each; a
# search of each with 100 samples, judged on 200 random slices that it never saw, with the slices of its front beside
# the same slices of the supernet that was not trained to be cut; the smallest slice's network trained alone
# with as many steps. What is there already is not done again.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/experiment-chip}
ufo=target/release/ufo
steps=3000

cargo build --release --quiet --locked
scripts/fetch-data.sh fashion-mnist animal
for data in fashion-mnist animal; do
  [ -e "datasets/$data" ] || "$ufo" data import "$data" --out "datasets/$data"
done
mkdir -p "$out"

task() { # NAME DATASET BATCH
  cat <<TOML
[[task]]
name = "$1"
head = { kind = "linear" }
batch = $3
data = { format = "idx", train = "datasets/$2/train", test = "datasets/$2/test", validation = 0.08 }
augment = { flip = 0.5, pad_crop = 2 }
TOML
}

{
  printf 'preset = "demo"\n[train]\nsteps = %d\n[router]\nother_fraction = 0.25\n' "$steps"
  task fashion fashion-mnist 64
  task animals animal 32
} >"$out/both.toml"
[ -e "$out/both.json" ] || {
  "$ufo" train --config "$out/both.toml" --out "$out/both"
  "$ufo" eval --run "$out/both" --json >"$out/both.json.new"
  mv "$out/both.json.new" "$out/both.json"
}

# Smallest slice: 2 blocks of 1 head and 48 hidden units.
space=(--set "chip.space.depths=[2,3,4,5,6]")
for name in fashion animals; do
  case $name in
    fashion) data=fashion-mnist batch=64 chip_steps=3000 ;;
    animals) data=animal batch=32 chip_steps=1500 ;;
  esac
  chip=$out/chip-$name
  "$ufo" chip --run "$out/both" --task "$name" --out "$chip" "${space[@]}" --set "train.steps=$chip_steps"
  "$ufo" search --run "$chip" --samples 100 --held-out 200
  "$ufo" search --run "$chip" --samples 100 --max-latency-ms "${MAX_MS:-0.4}"
  alone=$out/alone-$name
  {
    printf 'preset = "demo"\narch = { depth = 2, heads = 1, ffn = 48 }\n[train]\nsteps = %d\n' \
      "$((steps + chip_steps))"
    task "$name" "$data" "$batch"
  } >"$alone.toml"
  [ -e "$alone.json" ] || {
    "$ufo" train --config "$alone.toml" --out "$alone"
    "$ufo" eval --run "$alone" --json >"$alone.json.new"
    mv "$alone.json.new" "$alone.json"
  }
done
