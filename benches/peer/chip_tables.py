"""The tables of docs/chip.md out of what scripts/ablate-chip.sh left.

    chip_tables.py FOLDER SEED...
"""

import json
import pathlib
import statistics
import sys


def spread(values):
    mean = statistics.fmean(values)
    return f"{mean:.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"


def main():
    folder, seeds = pathlib.Path(sys.argv[1]), sys.argv[2:]

    def slices(kind, seed):
        return json.loads((folder / f"{kind}-{seed}" / "slices.json").read_text())["slices"]

    def cosines(kind, seed):
        lines = (folder / f"{kind}-{seed}" / "metrics.jsonl").read_text().splitlines()
        found = [json.loads(line).get("gradient_cosine") for line in lines]
        return [cosine for cosine in found if cosine is not None]

    print("| seed | slice | parameters | chip supernet | the same slice before |")
    print("|---|---|---|---|---|")
    for seed in seeds:
        for row in slices("first", seed):
            value, before = (100 * row[key] for key in ("value", "before"))
            print(f"| {seed} | `{row['slice']}` | {row['params']:,} | {value:.1f} % | {before:.1f} % |")
    results = [json.loads((folder / f"alone-{seed}.json").read_text())[0]["result"] for seed in seeds]
    alone = spread([100 * result["value"] for result in results])
    smallest = spread([100 * slices("first", seed)[-1]["value"] for seed in seeds])
    print(f"\nsmallest slice {smallest}, its network alone {alone}\n")

    print("| variant | largest | mean of the others | smallest | gradient cosine | below 0 |")
    print("|---|---|---|---|---|---|")
    for kind in ("first", "even", "project"):
        rows = [[100 * row["value"] for row in slices(kind, seed)] for seed in seeds]
        values = [cosine for seed in seeds for cosine in cosines(kind, seed)]
        below = sum(cosine < 0 for cosine in values) / len(values)
        columns = [
            spread([row[0] for row in rows]),
            spread([statistics.fmean(row[1:]) for row in rows]),
            spread([row[-1] for row in rows]),
            f"{statistics.fmean(values):.2f}",
            f"{100 * below:.0f} %",
        ]
        print(f"| {kind} | {' | '.join(columns)} |")
    first = [slices("first", seed) for seed in seeds]
    for kind in ("even", "project"):
        # Slices of one size in pairs: the differences of seeds are taken out.
        gains = []
        for seed, before in zip(seeds, first, strict=True):
            pairs = zip(slices(kind, seed)[1:], before[1:], strict=True)
            gains.append(statistics.fmean(100 * (a["value"] - b["value"]) for a, b in pairs))
        told = ", ".join(f"{gain:+.1f}" for gain in gains)
        print(f"\n{kind} over first, mean of six slices by seed: {told} points")


if __name__ == "__main__":
    main()
