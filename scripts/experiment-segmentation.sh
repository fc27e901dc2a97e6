#!/usr/bin/env bash
# Segmentation of nuclei and of land and water: prints a table of means and 95 % intervals of the mean intersection over
# union; a quarter of an hour on 2 cores.
#
#   scripts/experiment-segmentation.sh [FOLDER]     default runs/experiment-segmentation
#
# A supernet of fashion, animals and emoji with 16x16 inputs in patches of 4 pixels, which never saw a mask; then each of the two tasks
# on a copy of its shared branch (`--update all`) and by the same network from scratch, as many steps (300 for nuclei, 1000
# for land), three seeds. What
# is there already is not done again.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/experiment-segmentation}
ufo=${UFO:-target/release/ufo}
[ -n "${UFO:-}" ] || cargo build --release --quiet --locked
mkdir -p "$out"

scripts/fetch-data.sh nuclei land >/dev/null
for name in nuclei land; do
  [ -e "datasets/$name" ] || "$ufo" data import "$name" --out "datasets/$name" >/dev/null
done

net() { # STEPS
  printf 'preset = "demo"\nimage_size = 16\narch = { stem = { kind = "conv", widths = [32], patch = 2 } }\n'
  printf '[train]\nsteps = %s\nevaluations = 0\nlr = 1e-3\n[router]\nother_fraction = 0.25\n' "$1"
}
known() { # NAME HEAD AUGMENT REST
  cat <<TOML
[[task]]
name = "$1"
head = $2
batch = 24
augment = { $3 }
data = { format = "idx", train = "data/$1/train", test = "data/$1/test" }
$4
TOML
}
masks() { # NAME DETAIL AUGMENT
  cat <<TOML
[[task]]
name = "$1"
head = { kind = "segmentation", channels = 32, doublings = 2, detail = $2 }
batch = 32
augment = { $3 }
data = { format = "masks", train = "datasets/$1/train", test = "datasets/$1/test" }
TOML
}
linear='{ kind = "linear" }'

{
  net 400
  known fashion "$linear" 'flip = 0.5, pad_crop = 2' ''
  known animals "$linear" 'flip = 0.5, pad_crop = 2' ''
  known emoji '{ kind = "embedding", scale = 20.0 }' 'flip = 0.5, pad_crop = 2' \
    $'sampler = { kind = "identity", per_identity = 2 }\ntriplet = {}'
} >"$out/known.toml"
"$ufo" train --config "$out/known.toml" --out "$out/known"

for seed in 0 1 2; do
  for name in nuclei land; do
    # On land the colors are what tells, and borders are finer than patches.
    case $name in
      nuclei) steps=300 how=(false 'flip = 0.5, color = 0.2') ;;
      land) steps=1000 how=(true 'flip = 0.5') ;;
    esac
    masks "$name" "${how[@]}" >"$out/$name.toml"
    shared=$out/shared-$name-$seed
    [ -e "$shared/expand.json" ] || "$ufo" expand --run "$out/known" --task "$out/$name.toml" \
      --update all --seed "$seed" --out "$shared" \
      --set train.steps="$steps" --set train.evaluations=0
    scratch=$out/scratch-$name-$seed
    { net "$steps"; masks "$name" "${how[@]}"; } >"$out/scratch-$name.toml"
    [ -e "$scratch/eval.json" ] || {
      "$ufo" train --config "$out/scratch-$name.toml" --out "$scratch" --seed "$seed"
      "$ufo" eval --run "$scratch" --json >"$scratch/eval.json.part"
      mv "$scratch/eval.json.part" "$scratch/eval.json"
    }
  done
done

python3 - "$out" <<'PY'
import glob, json, math, statistics, sys
out = sys.argv[1]
def row(name, pattern, value):
    found = [100 * value(json.load(open(f))) for f in sorted(glob.glob(f"{out}/{pattern}"))]
    half = 4.303 * statistics.stdev(found) / math.sqrt(len(found))
    print(f"{name:28} {statistics.mean(found):5.2f} ± {half:4.2f}  {[round(v, 2) for v in found]}")
for name in ["nuclei", "land"]:
    scratch = f"scratch-{name}-?/eval.json"
    row(f"{name} shared branch", f"shared-{name}-?/expand.json", lambda r: r["value"])
    row(f"{name} from scratch", scratch, lambda r: r[0]["result"]["value"])
    row(f"{name} logistic", scratch, lambda r: r[0]["baseline_1nn"])
PY
