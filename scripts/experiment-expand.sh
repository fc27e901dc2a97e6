#!/usr/bin/env bash
# Adding a task and students, on the bundled images: prints a table of means and 95 % intervals; about half an hour on
# 2 cores.
#
#   scripts/experiment-expand.sh [FOLDER]     default runs/experiment-expand
#
# A supernet of fashion, animals and emoji, which never saw a digit; then digits with 1 and 10 % of their labels, three
# seeds, by every update and by the same network from scratch. MobileNetV3-Small of two of the tasks with
# and without the supernet as a teacher, three seeds. What is there already is not done again.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/experiment-expand}
ufo=target/release/ufo
cargo build --release --quiet --locked
mkdir -p "$out"

task() { # NAME HEAD BATCH AUGMENT DATA REST
  cat <<TOML
[[task]]
name = "$1"
head = $2
batch = $3
augment = { $4 }
data = { format = "idx", train = "data/$1/train", test = "data/$1/test", validation = 0.08$5 }
$6
TOML
}
linear='{ kind = "linear" }'
digits() { task digits "$linear" 24 'pad_crop = 2' "$1" ''; }

{
  printf 'preset = "demo"\n[train]\nsteps = 1500\nevaluations = 0\n[router]\nother_fraction = 0.25\n'
  task fashion "$linear" 48 'flip = 0.5, pad_crop = 2' '' ''
  task animals "$linear" 48 'flip = 0.5, pad_crop = 2' '' ''
  task emoji '{ kind = "embedding", scale = 20.0 }' 32 'flip = 0.5, pad_crop = 2' '' \
    $'sampler = { kind = "identity", per_identity = 2 }\ntriplet = {}'
} >"$out/three.toml"
digits '' >"$out/digits.toml"
"$ufo" train --config "$out/three.toml" --out "$out/three"

for labels in 1% 10%; do
  {
    printf 'preset = "demo"\n[train]\nsteps = 200\nevaluations = 0\n[router]\nother_fraction = 0.25\n'
    digits ", labels = \"$labels\""
  } >"$out/scratch-$labels.toml"
  for seed in 0 1 2; do
    for update in head last-1 last-2 norms expert expert+router all; do
      [ -e "$out/$update-$labels-$seed/expand.json" ] || "$ufo" expand --run "$out/three" \
        --task "$out/digits.toml" --labels "$labels" --update "$update" --seed "$seed" \
        --out "$out/$update-$labels-$seed" --set train.steps=200 --set train.evaluations=0
    done
    scratch=$out/scratch-$labels-$seed
    [ -e "$scratch/eval.json" ] || {
      "$ufo" train --config "$out/scratch-$labels.toml" --out "$scratch" --seed "$seed"
      "$ufo" eval --run "$scratch" --json >"$scratch/eval.json"
    }
  done
done

for seed in 0 1 2; do
  for task in animals fashion; do
    for how in "" --alone; do
      [ -e "$out/student-$task-$seed$how/distill.json" ] || "$ufo" distill --teacher "$out/three" \
        --task "$task" --student mobilenet_v3_small $how --seed "$seed" \
        --out "$out/student-$task-$seed$how" --set train.steps=500 --set train.lr=2e-3
    done
  done
done

python3 - "$out" <<'PY'
import glob, json, math, statistics, sys
out = sys.argv[1]
def row(name, pattern, value):
    found = [100 * value(json.load(open(f))) for f in sorted(glob.glob(f"{out}/{pattern}"))]
    half = 4.303 * statistics.stdev(found) / math.sqrt(len(found))
    print(f"{name:28} {statistics.mean(found):5.1f} ± {half:4.1f}  {[round(v, 1) for v in found]}")
for labels in ["1%", "10%"]:
    for update in ["head", "last-1", "last-2", "norms", "expert", "expert+router", "all"]:
        row(f"{labels} {update}", f"{update}-{labels}-?/expand.json", lambda r: r["value"])
    row(f"{labels} from scratch", f"scratch-{labels}-?/eval.json", lambda r: r[0]["result"]["value"])
    row(f"{labels} raw pixels", f"scratch-{labels}-?/eval.json", lambda r: r[0]["baseline_1nn"])
for task in ["animals", "fashion"]:
    row(f"student {task}", f"student-{task}-?/distill.json", lambda r: r["value"])
    row(f"student {task} alone", f"student-{task}-?--alone/distill.json", lambda r: r["value"])
PY
