#!/usr/bin/env bash
# Detection of trees from the air: prints average precision of each seed beside the sliding window of colors.
#
#   scripts/experiment-detection.sh [FOLDER] [STEPS] [SEED...]     default runs/experiment-detection 300 0
#
# A network of the demo's size from scratch, 96x96 windows, on the training parts of four aerial images of deepforest.
# What is there already is not done again.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/experiment-detection}
steps=${2:-300}
seeds=("${@:3}")
((${#seeds[@]})) || seeds=(0)
ufo=${UFO:-target/release/ufo}
[ -n "${UFO:-}" ] || cargo build --release --quiet --locked
mkdir -p "$out"

scripts/fetch-data.sh trees >/dev/null
[ -e datasets/trees ] || "$ufo" data import trees --out datasets/trees >/dev/null

cat >"$out/trees.toml" <<TOML
preset = "demo"
image_size = 96

[train]
steps = $steps
lr = 2e-3
evaluations = 0

[router]
other_fraction = 0.25

[[task]]
name = "trees"
head = { kind = "detection", channels = 64 }
batch = 8
augment = { flip = 0.5 }
data = { format = "coco", train = "datasets/trees/train/boxes.json", test = "datasets/trees/test/boxes.json" }
TOML

for seed in "${seeds[@]}"; do
  run=$out/seed-$seed
  [ -e "$run/eval.json" ] && continue
  "$ufo" train --config "$out/trees.toml" --out "$run" --seed "$seed"
  "$ufo" eval --run "$run" --json >"$run/eval.json.part"
  mv "$run/eval.json.part" "$run/eval.json"
done

python3 - "$out" <<'PY'
import glob, json, sys
for file in sorted(glob.glob(f"{sys.argv[1]}/seed-*/eval.json")):
    row = json.load(open(file))[0]
    said = "  ".join(f"{name} {100 * value:.1f} %" for name, value in row["result"]["metrics"])
    print(f"{file}: {said}  (baseline ap {100 * row['baseline_1nn']:.1f} %)")
PY
