"""The tables of `scripts/experiment-expand.sh FOLDER`: means and 95 % intervals (Student's t) of three seeds."""

import glob
import json
import math
import pathlib
import statistics
import sys

OUT = pathlib.Path(sys.argv[1])
UPDATES = ["head", "last-1", "last-2", "norms", "expert", "expert+router", "all"]
T = 4.303  # two-sided 95 % of Student's t with 2 degrees of freedom


def reports(pattern):
    found = [json.loads(pathlib.Path(file).read_text()) for file in sorted(glob.glob(str(OUT / pattern)))]
    if len(found) != 3:
        raise SystemExit(f"{OUT / pattern}: {len(found)} runs, expected 3")
    return found


def interval(values):
    return f"{statistics.mean(values):.1f} ± {T * statistics.stdev(values) / math.sqrt(len(values)):.1f}"


def percent(pattern, of):
    return interval([100 * of(report) for report in reports(pattern)])


def expanded(update, labels):
    return f"{update}-{labels}-?/expand.json"


print("| update | parameters | time | memory | 1 % | 10 % | 100 % |\n|---|---|---|---|---|---|---|")
whole = [report["seconds"] for labels in ["1%", "10%", "100%"] for report in reports(expanded("all", labels))]
for update in UPDATES:
    rows = [report for labels in ["1%", "10%", "100%"] for report in reports(expanded(update, labels))]
    time = statistics.median(report["seconds"] for report in rows) / statistics.median(whole)
    memory = rows[0]["training_mb"] / rows[0]["training_mb_of_all"]
    cells = [percent(expanded(update, labels), lambda r: r["value"]) for labels in ["1%", "10%", "100%"]]
    print(f"| `{update}` | {rows[0]['parameters']['trained']:,} | {time:.0%} | {memory:.0%} | {' | '.join(cells)} |")
for steps in [200, 1000]:
    row = lambda labels: percent(f"scratch{steps}-{labels}-?/eval.json", lambda r: r[0]["result"]["value"])
    print(f"| from scratch, {steps} steps | | | | {' | '.join(map(row, ['1%', '10%', '100%']))} |")
row = lambda labels: percent(f"scratch200-{labels}-?/eval.json", lambda r: r[0]["baseline_1nn"])
print(f"| nearest raw pixels | | | | {' | '.join(map(row, ['1%', '10%', '100%']))} |\n")

print("| student | task | taught | alone | difference, seed by seed |\n|---|---|---|---|---|")
for student in ["mobilenet_v3_small", "resnet18"]:
    for task in ["animals", "orl"]:
        taught, alone = (
            [100 * report["value"] for report in reports(f"{student}-{task}-?{how}/distill.json")]
            for how in ["", "--alone"]
        )
        gains = [a - b for a, b in zip(taught, alone)]
        print(f"| {student} | {task} | {interval(taught)} | {interval(alone)} | {interval(gains)} |")
