"""Times `ufo predictor fit` and scikit-learn's Gaussian process on the tasks of the public benchmark.

    gaussian_process.py UFO_BINARY TRAIN_JSON [--tasks 8] [--rounds 5] [--kernel grouped|features]

A round is one fit of all tasks by each side, the order swapped every other round. Ours is the whole command:
reading, encoding, learning, trees included, writing. The peer is GaussianProcessRegressor with its own optimizer at its
defaults (L-BFGS-B, no restarts), on the same features and normal scores, which it gets for nothing. Its kernel:

    grouped   ours, with our 16 hyperparameters and their start, analytic gradients in numpy (products of
              matrices, none of them a loop over networks) and white noise
    features  a constant times RBF with a length scale a feature, and white noise: what scikit-learn offers

It has no prior but bounds of exp(-12) to exp(5). Prints JSON: seconds of every round, their ratios peer/ours with
median, least and most, and the logarithm of the marginal likelihood that the peer reached by task. Threads are those of the
environment (ours: all cores; OMP_NUM_THREADS for the peer).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    Hyperparameter,
    Kernel,
    WhiteKernel,
)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/reference"))
from gp_reference import bits  # noqa: E402

BOUNDS = (np.exp(-12), np.exp(5))
BLOCKS, BITS = 12, 5


def groups():
    """Group and level of every bit, as crates/ufo-nas/src/encoding.rs has them."""
    pairs = []
    for block in range(BLOCKS):
        kept = BITS if block >= 10 else BITS - 1
        pairs += [(group, BITS * group + level) for group in (0, 1) for level in range(kept)]
    return np.array(pairs).T


class Grouped(Kernel):
    """1 + sum_f v_f x_f y_f + s exp(-1/2 sum_f w_f (x_f - y_f)^2): v by group and level, w by group."""

    def __init__(self, bell=1.0, linear=(1.0, 1.0), levels=(1.0,) * 10, widths=(1.0, 1.0)):
        self.bell, self.linear, self.levels, self.widths = bell, linear, levels, widths

    hyperparameter_bell = property(lambda self: Hyperparameter("bell", "numeric", BOUNDS))
    hyperparameter_linear = property(lambda self: Hyperparameter("linear", "numeric", BOUNDS, 2))
    hyperparameter_levels = property(lambda self: Hyperparameter("levels", "numeric", BOUNDS, 10))
    hyperparameter_widths = property(lambda self: Hyperparameter("widths", "numeric", BOUNDS, 2))

    def __call__(self, x, y=None, eval_gradient=False):
        group, level = groups()
        other = x if y is None else y
        linear = []
        for one in range(10):
            at = level == one
            weight = self.linear[one // BITS] * self.levels[one]
            linear.append(weight * x[:, at] @ other[:, at].T)
        squares = []
        for one in (0, 1):
            a, b = x[:, group == one], other[:, group == one]
            square = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
            squares.append(self.widths[one] * square)
        bell = self.bell * np.exp(-0.5 * sum(squares))
        covariance = 1 + sum(linear) + bell
        if not eval_gradient:
            return covariance
        # Parts in the alphabetical order of their names, as scikit-learn keeps hyperparameters.
        parts = [bell, *linear, sum(linear[:BITS]), sum(linear[BITS:])]
        parts += [-0.5 * bell * square for square in squares]
        return covariance, np.dstack(parts)

    def diag(self, x):
        return np.diag(self(x))

    def is_stationary(self):
        return False


def kernel(kind, features):
    if kind == "features":
        return ConstantKernel() * RBF(np.ones(features)) + WhiteKernel(0.1)
    low = np.exp(-3.0)
    # The means of our prior, where our optimizer starts, too.
    grouped = Grouped(np.exp(-2.0), (low, low), (1.0,) * 10, (np.exp(0.6) / features,) * 2)
    return grouped + WhiteKernel(low, BOUNDS)


def ours(binary, train, out):
    start = time.perf_counter()
    command = [binary, "predictor", "fit", "--train", str(train), "--out", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def peer(kind, x, scores):
    start = time.perf_counter()
    fits = [GaussianProcessRegressor(kernel(kind, x.shape[1])).fit(x, y) for y in scores]
    seconds = time.perf_counter() - start
    return seconds, [fit.log_marginal_likelihood_value_ for fit in fits]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("train", type=pathlib.Path)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kernel", choices=["grouped", "features"], default="grouped")
    args = parser.parse_args()
    # Hyperparameters at their bounds are what no prior gives.
    warnings.simplefilter("ignore", ConvergenceWarning)
    networks = json.loads(args.train.read_text())
    names = [key for key in next(iter(networks.values())) if key != "arch"][: args.tasks]
    kept = {key: {name: net[name] for name in ["arch", *names]} for key, net in networks.items()}
    x = np.array([bits(net["arch"]) for net in kept.values()], float)
    ranks = [rankdata([net[name] for net in kept.values()]) for name in names]
    scores = [norm.ppf((rank - 0.5) / len(rank)) for rank in ranks]
    scores = [(score - score.mean()) / score.std() for score in scores]
    times = {"ours": [], "peer": []}
    likelihood = []
    with tempfile.TemporaryDirectory() as folder:
        train, out = pathlib.Path(folder, "train.json"), pathlib.Path(folder, "predictor.json")
        train.write_text(json.dumps(kept))
        for turn in range(args.rounds):
            for side in ["ours", "peer"][:: 1 if turn % 2 == 0 else -1]:
                if side == "ours":
                    times[side].append(ours(args.binary, train, out))
                else:
                    seconds, likelihood = peer(args.kernel, x, scores)
                    times[side].append(seconds)
    ratios = [b / a for a, b in zip(times["ours"], times["peer"], strict=True)]
    report = {
        "networks": len(x),
        "tasks": names,
        "kernel": args.kernel,
        "seconds": times,
        "ratios": ratios,
        "ratio": {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)},
        "peer_log_likelihood": likelihood,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
