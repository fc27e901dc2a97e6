#!/usr/bin/env bash
# Adding a task, and students: prints tables of means and 95 % intervals of three seeds; about half an hour on 2 cores.
#
#   scripts/experiment-expand.sh [FOLDER]     default runs/experiment-expand
#
# A supernet of fashion, animals and emoji (bundled), which never saw a digit; then digits with 1, 10 and 100 % of
# their labels by every update, 200 steps, and by the same network from scratch with as many steps and with five times
# as many. Then students of two of the tasks, bundled animals and ORL faces (25 people train, verification of pairs
# of the 15 others; a task that was added, too), with and without the teacher, 500 steps. UFO names another binary, which
# is not built. What is there already is not done again.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/experiment-expand}
ufo=${UFO:-target/release/ufo}
[ -n "${UFO:-}" ] || cargo build --release --quiet --locked
scripts/fetch-data.sh orl >/dev/null
[ -e datasets/orl ] || "$ufo" data import orl --out datasets/orl >/dev/null
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
cat >"$out/orl.toml" <<'TOML'
[[task]]
name = "orl"
head = { kind = "embedding", scale = 20.0 }
batch = 32
augment = { flip = 0.5, pad_crop = 2 }
data = { format = "image-folder", train = "datasets/orl/train", test = "datasets/orl/test" }
sampler = { kind = "identity", per_identity = 4 }
triplet = {}
eval = { kind = "verification", fars = [0.01] }
TOML
[ -e "$out/orl/expand.json" ] || "$ufo" expand --run "$out/three" --task "$out/orl.toml" \
  --update expert --out "$out/orl" --set train.steps=400 --set train.evaluations=0

for labels in 1% 10% 100%; do
  for seed in 0 1 2; do
    for update in head last-1 last-2 norms expert expert+router all; do
      [ -e "$out/$update-$labels-$seed/expand.json" ] || "$ufo" expand --run "$out/three" \
        --task "$out/digits.toml" --labels "$labels" --update "$update" --seed "$seed" \
        --out "$out/$update-$labels-$seed" --set train.steps=200 --set train.evaluations=0
    done
    for steps in 200 1000; do
      scratch=$out/scratch$steps-$labels-$seed
      {
        printf 'preset = "demo"\n[train]\nsteps = %d\nevaluations = 0\n[router]\nother_fraction = 0.25\n' $steps
        digits ", labels = \"$labels\""
      } >"$out/scratch.toml"
      [ -e "$scratch/eval.json" ] || {
        "$ufo" train --config "$out/scratch.toml" --out "$scratch" --seed "$seed"
        "$ufo" eval --run "$scratch" --json >"$scratch/eval.json.part"
        mv "$scratch/eval.json.part" "$scratch/eval.json"
      }
    done
  done
done

for seed in 0 1 2; do
  for task in animals orl; do
    [ $task = orl ] && teacher=$out/orl || teacher=$out/three
    for student in mobilenet_v3_small resnet18; do
      for how in "" --alone; do
        run=$out/$student-$task-$seed$how
        [ -e "$run/distill.json" ] || "$ufo" distill --teacher "$teacher" --task $task \
          --student $student $how --seed "$seed" --out "$run" \
          --set train.steps=500 --set train.lr=2e-3 --set train.evaluations=0
      done
    done
  done
done
python3 benches/peer/expand_tables.py "$out"
