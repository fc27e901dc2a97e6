#!/usr/bin/env bash
# What the parts of a chip supernet's training bring, on the bundled animals; the tables of docs/chip.md. About 25 minutes
# on 2 cores for three seeds; what is there already is not done again.
#
#   scripts/ablate-chip.sh [FOLDER [SEED...]]      default runs/ablate-chip 0 1 2
#
# Each seed trains one network (STEPS, 250) and three chip supernets of it (CHIP_STEPS, 350) with slices of 1 to 6
# blocks: `first` keeps the first blocks, `even` evenly spaced ones, `project` is `first` with what is against the smaller
# slices taken out of the largest's gradient. Each judges seven slices of the same sizes on the test images, and the
# same slices of the network before. `alone` is the network of the smallest slice, trained with as many steps as
# both together. UFO names another binary, which is not built.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/ablate-chip}
seeds=("${@:2}")
[ ${#seeds[@]} -gt 0 ] || seeds=(0 1 2)
steps=${STEPS:-250} chip_steps=${CHIP_STEPS:-350}
ufo=${UFO:-target/release/ufo}
[ -n "${UFO:-}" ] || cargo build --release --quiet --locked
mkdir -p "$out"

config() { # STEPS ARCH
  cat <<TOML
preset = "demo"
arch = { $2 }
[train]
steps = $1
evaluations = 0
[router]
other_fraction = 0.25
[[task]]
name = "animals"
head = { kind = "linear" }
batch = 48
data = { format = "idx", train = "data/animals/train", test = "data/animals/test" }
augment = { flip = 0.5, pad_crop = 2 }
TOML
}

train() { # NAME SEED STEPS ARCH
  config "$3" "$4" >"$out/$1.toml"
  [ -e "$out/$1.json" ] || {
    "$ufo" train --config "$out/$1.toml" --out "$out/$1" --set "seed=$2"
    "$ufo" eval --run "$out/$1" --json >"$out/$1.json.new"
    mv "$out/$1.json.new" "$out/$1.json"
  }
}

for seed in "${seeds[@]}"; do
  train "whole-$seed" "$seed" "$steps" ''
  for kind in first even project; do
    sets=()
    [ $kind != even ] || sets=(--set 'chip.space.depth_rule="even"')
    [ $kind != project ] || sets=(--set chip.project=true)
    chip=$out/$kind-$seed
    [ -e "$chip/slices.json" ] || "$ufo" chip --run "$out/whole-$seed" --task animals --out "$chip" \
      --set 'chip.space.depths=[1,2,3,4,5,6]' --set "train.steps=$chip_steps" --set train.log_every=5 "${sets[@]}"
  done
  train "alone-$seed" "$seed" "$((steps + chip_steps))" 'depth = 1, heads = 1, ffn = 48'
done
python3 benches/peer/chip_tables.py "$out" "${seeds[@]}"
