#!/usr/bin/env bash
# The figures of docs/experiments.md on chip supernets, from the fetched packages on; half an hour to an hour on 2 cores.
#
#   scripts/experiment-chip.sh [FOLDER [narrow|wide|spread [TASK...]]]   default runs/experiment-chip narrow fashion animals
#
# Fashion-MNIST (60,000 + 10,000) and Animal-MNIST (7,775 + 1,941) in one supernet; a chip supernet of each; a
# search of each with 100 samples, judged on 200 random slices that it never saw, with the slices of its front beside
# the same slices of the supernet that was not trained to be cut; the smallest slice's network trained alone
# with as many steps. `wide` has slices of one block, too, judges on a quarter of the training images and multiplies
# in bf16. `spread` is one task, fashion unless digits (MNIST, 50,000 + 10,000) or animals are named, a network of 5
# blocks and slices from 1 block with 12 hidden units on, so that accuracies differ by more than the noise of
# the fifth of the training images that judges them (half of the digits), and a chip supernet that trains for long at the run's rate; `plain`
# is the same network trained as long with the same rate and data, but never cut, whose slices.json has the same
# slices as the chip supernet's. SEED is another seed than 0. UFO names another binary, which is not built. What is there already is not done
# again.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/experiment-chip}
case ${2:-narrow} in
  narrow) steps=3000 held_out=0.08 precision=f32 depths=2,3,4,5,6 smallest=2 fashion_steps=3000 animal_steps=1500 ;;
  wide) steps=2500 held_out=0.25 precision=bf16 depths=1,2,3,4,5,6 smallest=1 fashion_steps=3000 animal_steps=2500 ;;
  spread) steps=600 held_out=0.2 precision=auto depths=1,2,3,4,5 smallest=1 fashion_steps=9000 animal_steps=9000 ;;
  *) echo "experiment-chip: $2: must be narrow, wide or spread" >&2 && exit 2 ;;
esac
tasks=("${@:3}")
arch='' ffn=48,96,144,192 narrowest=48 rate=()
if [ "${2:-}" = spread ]; then
  arch='arch = { depth = 5 }' ffn=12,48,192 narrowest=12 rate=(--set train.lr=1e-3)
  [ ${#tasks[@]} -gt 0 ] || tasks=(fashion)
  # Digits are nearly all right: more of them judge, fewer train.
  [ "${tasks[*]}" != digits ] || held_out=0.5 fashion_steps=6000
  [ ${#tasks[@]} -eq 1 ] || { echo "experiment-chip: spread takes one task" >&2 && exit 2; }
fi
[ ${#tasks[@]} -gt 0 ] || tasks=(fashion animals)
ufo=${UFO:-target/release/ufo} seed=${SEED:-0}

[ -n "${UFO:-}" ] || cargo build --release --quiet --locked
packages=(fashion-mnist animal)
[[ " ${tasks[*]} " != *" digits "* ]] || packages=(mnist)
scripts/fetch-data.sh "${packages[@]}"
for data in "${packages[@]}"; do
  [ -e "datasets/$data" ] || "$ufo" data import "$data" --out "datasets/$data"
done
mkdir -p "$out"

task() { # NAME DATASET BATCH AUGMENT
  cat <<TOML
[[task]]
name = "$1"
head = { kind = "linear" }
batch = $3
data = { format = "idx", train = "datasets/$2/train", test = "datasets/$2/test", validation = $held_out }
augment = { ${4:-flip = 0.5, pad_crop = 2} }
TOML
}

{
  printf 'preset = "demo"\n%s\n[train]\nsteps = %d\nprecision = "%s"\n[router]\nother_fraction = 0.25\n' \
    "$arch" "$steps" "$precision"
  case "${2:-narrow} ${tasks[*]}" in
    *" digits") task digits mnist 64 'pad_crop = 2' ;;
    spread*animals) task animals animal 32 ;;
    spread*) task fashion fashion-mnist 64 ;;
    *) task fashion fashion-mnist 64 && task animals animal 32 ;;
  esac
} >"$out/both.toml"
[ -e "$out/both.json" ] || {
  "$ufo" train --config "$out/both.toml" --out "$out/both" --seed "$seed"
  "$ufo" eval --run "$out/both" --json >"$out/both.json.new"
  mv "$out/both.json.new" "$out/both.json"
}

space=(--set "chip.space.depths=[$depths]" --set "chip.space.ffn=[$ffn]")
for name in "${tasks[@]}"; do
  case $name in
    fashion) data=fashion-mnist batch=64 chip_steps=$fashion_steps ;;
    animals) data=animal batch=32 chip_steps=$animal_steps ;;
    digits) data=mnist batch=64 chip_steps=$fashion_steps ;;
    *) echo "experiment-chip: $name: must be fashion, animals or digits" >&2 && exit 2 ;;
  esac
  crop='flip = 0.5, pad_crop = 2'
  [ "$name" != digits ] || crop='pad_crop = 2'
  chip=$out/chip-$name
  "$ufo" chip --run "$out/both" --task "$name" --out "$chip" "${space[@]}" --set "train.steps=$chip_steps" \
    ${rate[@]+"${rate[@]}"}
  "$ufo" search --run "$chip" --samples 100 --held-out 200
  "$ufo" search --run "$chip" --samples 100 --max-latency-ms "${MAX_MS:-0.4}"
  alone=$out/alone-$name
  {
    printf 'preset = "demo"\narch = { depth = %d, heads = 1, ffn = %d }\n[train]\nsteps = %d\nprecision = "%s"\n' \
      "$smallest" "$narrowest" "$((steps + chip_steps))" "$precision"
    task "$name" "$data" "$batch" "$crop"
  } >"$alone.toml"
  [ -e "$alone.json" ] || {
    "$ufo" train --config "$alone.toml" --out "$alone" --seed "$seed"
    "$ufo" eval --run "$alone" --json >"$alone.json.new"
    mv "$alone.json.new" "$alone.json"
  }
  [ "${2:-}" = spread ] || continue
  plain=$out/plain-$name
  "$ufo" chip --run "$out/both" --task "$name" --out "$plain" "${space[@]}" --set "train.steps=$chip_steps" \
    "${rate[@]}" --set chip.random=0 --set chip.smallest=false
done
