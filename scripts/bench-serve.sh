#!/usr/bin/env bash
# Throughput of `ufo serve` beside its engine alone, by wrk (apt install wrk), in alternating turns of a
# few seconds, so that a noisy machine disturbs both; the median of the ratios is told, and of the latencies.
#
#   scripts/bench-serve.sh FOLDER IMAGE [PAIRS]     a model folder and a JPEG, PNG or WebP; 7 pairs
#
# Then memory over 100,000 requests of the image (REQUESTS), and 600 connections at once on a queue of 256, of which
# most are refused with 429; then a request is answered as the first was.
#
# `tensors N` sends batches of N float images to /v2/models/m/infer from two connections; `image` sends the
# file to /v1/predict from 64 connections, which the server decodes and puts into batches of up to 32.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1 image=$2 pairs=${3:-7} seconds=4 threads=${THREADS:-2}
cargo build --release --quiet --locked --package ufo --package ufo-serve --bins --examples
work=$(mktemp -d)
target/release/ufo serve "m=$folder" --set listen=127.0.0.1:0 --set "threads=$threads" --log warn >"$work/out" &
server=$!
trap 'kill $server; rm -rf "$work"' EXIT
until grep -q listening "$work/out"; do sleep 0.1; done
address=$(sed 's/.*http/http/' "$work/out")

python3 - "$address" "$work" <<'PY'
import json, struct, sys, urllib.request
address, work = sys.argv[1:]
model = json.load(urllib.request.urlopen(f"{address}/v1/models"))["models"][0]
print(model["tasks"][0]["name"], file=open(f"{work}/task", "w"))
for batch in [1, 8, 32]:
    shape = [batch, *model["input"]["shape"]]
    count = shape[0] * shape[1] * shape[2] * shape[3]
    head = json.dumps({"inputs": [{"name": "image", "shape": shape, "datatype": "FP32",
        "parameters": {"binary_data_size": 4 * count}}], "parameters": {"binary_data_output": True}})
    open(f"{work}/{batch}.body", "wb").write(head.encode() + struct.pack("<f", 0.5) * count)
    open(f"{work}/{batch}.lua", "w").write(f'''
local f = io.open("{work}/{batch}.body", "rb"); wrk.body = f:read("*a"); f:close(); wrk.method = "POST"
wrk.headers["Inference-Header-Content-Length"] = "{len(head)}"
''')
PY
cat >"$work/image.lua" <<LUA
local f = io.open("$image", "rb"); wrk.body = f:read("*a"); f:close(); wrk.method = "POST"
LUA

load() { # connections, script, path: requests a second and latencies
  wrk -t1 -c"$1" -d"${seconds}s" --timeout 20s --latency -s "$work/$2.lua" "$address$3" >"$work/wrk"
  ! grep -E 'Non-2xx|Socket errors' "$work/wrk" >&2 || return 1
  awk '/Requests\/sec/ {rate=$2} $1 == "50%" {p50=$2} $1 == "99%" {p99=$2} END {print rate, p50, p99}' "$work/wrk"
}
ms() { awk -v t="$1" 'BEGIN {print t ~ /us$/ ? t / 1000 : t ~ /ms$/ ? t + 0 : t * 1000}'; }
median() { sort -g | awk '{v[NR]=$1} END {print v[int((NR + 1) / 2)]}'; }
rss() { awk '/VmRSS/ {printf "%.0f", $2 / 1024}' "/proc/$server/status"; }

compare() { # name, batch of the bare engine, images a request, connections, script, path
  : >"$work/ratios"; : >"$work/bare"; : >"$work/rates"; : >"$work/p50"; : >"$work/p99"
  for _ in $(seq "$pairs"); do
    bare=$(target/release/examples/bare_engine "$folder" "$threads" "$2" "$seconds")
    read -r rate p50 p99 < <(load "$4" "$5" "$6")
    rate=$(awk "BEGIN {print $rate * $3}")
    echo "$bare" >>"$work/bare"; echo "$rate" >>"$work/rates"
    ms "$p50" >>"$work/p50"; ms "$p99" >>"$work/p99"
    awk "BEGIN {print $rate / $bare}" >>"$work/ratios"
  done
  printf '%-12s bare %7.1f images/s, served %7.1f, ratio %.2f; p50 %.1f ms, p99 %.1f ms; %s MB\n' "$1" \
    "$(median <"$work/bare")" "$(median <"$work/rates")" "$(median <"$work/ratios")" "$(median <"$work/p50")" "$(median <"$work/p99")" "$(rss)"
}
for batch in 1 8 32; do
  compare "tensors $batch" "$batch" "$batch" 2 "$batch" /v2/models/m/infer
done
compare image 32 1 64 image "/v1/predict/$(cat "$work/task")"

answered() { # code: requests for the image that were
  curl -s "$address/metrics" | awk -v code="code=\"$1\"" 'index($1, code) && index($1, "/v1/predict/{task}") {sum += $2} END {print sum + 0}'
}
predict=/v1/predict/$(cat "$work/task")
first=$(curl -s --data-binary "@$image" "$address$predict")

requests=${REQUESTS:-100000}
printf 'memory: %s MB' "$(rss)"
begun=$(answered 200) told=$begun
while ((told - begun < requests)); do
  load 64 image "$predict" >/dev/null
  told=$(answered 200)
  printf ', %s MB after %d' "$(rss)" "$((told - begun))"
done
printf ' requests\n'

begun=$(answered 200) refused=$(answered 429)
wrk -t1 -c600 -d5s --timeout 20s -s "$work/image.lua" "$address$predict" >/dev/null
# What was admitted is still answered; then there is room again.
for _ in $(seq 100); do
  again=$(curl -s --data-binary "@$image" "$address$predict")
  [[ $again == *queue_full* ]] || break
  sleep 0.1
done
[[ $again == "$first" ]] || { echo "after overload: $again" >&2; exit 1; }
printf 'overload: %d of %d requests refused with 429 in 5 s; when the queue is empty, one is answered as before\n' \
  "$(($(answered 429) - refused))" "$(($(answered 200) - begun + $(answered 429) - refused))"
