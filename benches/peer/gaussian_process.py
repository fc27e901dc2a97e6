"""Times `ufo predictor fit` and scikit-learn's Gaussian process on the tasks of the public benchmark.

    gaussian_process.py UFO_BINARY TRAIN_JSON [--tasks 8] [--rounds 1]

A round is one fit of all tasks by each side, the order swapped every other round. Ours is the whole command:
reading, encoding, learning, writing. The peer is GaussianProcessRegressor with a length scale a feature
and white noise, its default optimizer without restarts, on the original's encoding and normal scores,
which it gets for nothing. Prints JSON: seconds of every round and the median ratio peer/ours. Threads are
those of the environment (UFO side: all cores; OMP_NUM_THREADS for the peer).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/reference"))
from gp_reference import bits  # noqa: E402


def ours(binary, train, out):
    start = time.perf_counter()
    command = [binary, "predictor", "fit", "--train", str(train), "--out", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def peer(x, scores):
    start = time.perf_counter()
    for y in scores:
        kernel = ConstantKernel() * RBF(np.ones(x.shape[1])) + WhiteKernel(0.1)
        GaussianProcessRegressor(kernel).fit(x, (y - y.mean()) / y.std())
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("train", type=pathlib.Path)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    networks = json.loads(args.train.read_text())
    names = [key for key in next(iter(networks.values())) if key != "arch"][: args.tasks]
    kept = {key: {name: net[name] for name in ["arch", *names]} for key, net in networks.items()}
    x = np.array([bits(net["arch"]) for net in kept.values()], float)
    ranks = [rankdata([net[name] for net in kept.values()]) for name in names]
    scores = [norm.ppf((rank - 0.5) / len(rank)) for rank in ranks]
    times = {"ours": [], "peer": []}
    with tempfile.TemporaryDirectory() as folder:
        train, out = pathlib.Path(folder, "train.json"), pathlib.Path(folder, "predictor.json")
        train.write_text(json.dumps(kept))
        sides = [
            ("ours", lambda: ours(args.binary, train, out)),
            ("peer", lambda: peer(x, scores)),
        ]
        for _ in range(args.rounds):
            for side, run in sides:
                times[side].append(run())
            sides.reverse()
    ratio = statistics.median(b / a for a, b in zip(times["ours"], times["peer"], strict=True))
    print(json.dumps({"networks": len(x), "tasks": names, "seconds": times, "ratio": ratio}))


if __name__ == "__main__":
    main()
