"""Predictors that were tried on the public benchmark, in one cross-validation.

    predictor_variants.py TRAIN_JSON [--seeds 5] [--only NAME...]

Needs catboost 1.2 and lightgbm 4 beside tests/reference/requirements.txt. For every variant: Kendall's tau of
unseen networks in five folds, mean of the seeds and deviation of their means, then by task, and seconds a
fit of all tasks. Mixtures are of predictions over their deviation.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np
from catboost import CatBoostRegressor
from lightgbm import LGBMRegressor
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize
from scipy.stats import kendalltau, norm, rankdata
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import Ridge
from sklearn.svm import SVR

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/reference"))
import gp_reference as reference  # noqa: E402

FOLDS = 5


def normal(ranks):
    return norm.ppf((rankdata(ranks) - 0.5) / len(ranks))


def logit(ranks):
    share = (rankdata(ranks) - 0.5) / len(ranks)
    return np.log(share / (1 - share))


class Data:
    """Codes as overlapping bits, as ordinal digits (0 = cut) and as kernels of centered choices."""

    def __init__(self, networks):
        codes = [network["arch"] for network in networks.values()]
        self.tasks = [key for key in next(iter(networks.values())) if key != "arch"]
        self.ranks = np.array([[net[task] for task in self.tasks] for net in networks.values()])
        self.bits = np.array([reference.bits(code) for code in codes], float)
        digits = np.array([[int(digit) for digit in code[1:]] for code in codes]).reshape(-1, 12, 3)
        self.choices = digits[:, :, :2]
        ordinal = np.where(self.choices == 0, 0, 4 - self.choices).reshape(len(codes), -1)
        self.ordinal = np.c_[ordinal, (ordinal > 0).sum(1) // 2].astype(float)
        self.kernels = self.components()

    def components(self):
        """Single effects, effects alike in neighboring blocks, pairs of choices, and a bell."""
        level = {(part, which): (self.choices[:, :, part] == which).astype(float)
                 for part in (0, 1) for which in (2, 3)}
        level = {key: value - value.mean(0) for key, value in level.items()}
        depth = (self.ordinal[:, -1:] > np.array([10, 11])).astype(float)
        depth -= depth.mean(0)
        block = np.arange(12)
        near = np.exp(-0.5 * ((block[:, None] - block) / 1.5) ** 2)
        single = {f"single{key}": value @ value.T / 12 for key, value in level.items()}
        all_choices = sum(single.values())
        square = np.diag(all_choices)
        distance = square[:, None] + square - 2 * all_choices
        by_block = sum(value[:, None] * value[None] for value in level.values())
        return {
            "single": [*single.values(), depth @ depth.T],
            "smooth": [value @ near @ value.T / 12 for value in level.values()],
            "bell": [np.exp(-distance / np.median(distance))],
            "pairs": [all_choices**2, depth @ depth.T * all_choices,
                      np.einsum("abi,ij,abj->ab", by_block, near - np.eye(12), by_block) / 12],
        }


def likeliest(kernels, y):
    """Logarithms of variances of the kernels and of the noise, by marginal likelihood and a wide prior."""
    flat, count = np.array([k.ravel() for k in kernels]), len(y)
    start = np.full(len(kernels) + 1, np.log(0.1))

    def loss(hyper):
        scale = np.exp(hyper)
        matrix = (scale[:-1] @ flat).reshape(count, count) + 1 + np.eye(count) * (scale[-1] + 1e-6)
        factor = cholesky(matrix, lower=True)
        inverse = cho_solve((factor, True), np.eye(count))
        weights = inverse @ y
        slope = 0.5 * (np.outer(weights, weights) - inverse)
        gradient = np.r_[flat @ slope.ravel(), np.trace(slope)] * scale
        value = 0.5 * y @ weights + np.log(np.diag(factor)).sum()
        return value + ((hyper - start) ** 2).sum() / 8, (hyper - start) / 4 - gradient

    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 60}).x


def process(*parts):
    def fit(data, train, test):
        kernels = [kernel for part in parts for kernel in data.kernels[part]]
        seen = [kernel[np.ix_(train, train)] for kernel in kernels]
        columns = []
        for ranks in data.ranks[train].T:
            y = normal(ranks)
            y = (y - y.mean()) / y.std()
            scale = np.exp(likeliest(seen, y))
            whole = sum(s * k for s, k in zip(scale, seen)) + 1
            weights = np.linalg.solve(whole + np.eye(len(y)) * (scale[-1] + 1e-6), y)
            cross = sum(s * k[np.ix_(test, train)] for s, k in zip(scale, kernels)) + 1
            columns.append(cross @ weights)
        return np.array(columns).T

    return fit


def each(model, features, scores=normal):
    def fit(data, train, test):
        x = getattr(data, features)
        fitted = [model().fit(x[train], scores(ranks)) for ranks in data.ranks[train].T]
        return np.array([one.predict(x[test]) for one in fitted]).T

    return fit


def estimator(data, train, test):
    columns = []
    half = len(train) // 2
    x, unseen = data.bits[train], data.bits[test]
    for ranks in data.ranks[train].T:
        y = normal(ranks)
        w = reference.updated(reference.initial(x[:half], y[:half]), 2, 2, x[half:], y[half:])
        left = np.linalg.solve(reference.jittered(reference.covariance(2, x, x)),
                               y - reference.design(x) @ w)
        columns.append(reference.design(unseen) @ w + reference.covariance(2, unseen, x) @ left)
    return np.array(columns).T


def boosted(depth, trees, rate, **more):
    return lambda: CatBoostRegressor(iterations=trees, learning_rate=rate, depth=depth, l2_leaf_reg=1,
                                     thread_count=1, verbose=0, allow_writing_files=False, **more)


def together(depth, trees):
    """Trees shared by all tasks, with a leaf value a task."""
    def fit(data, train, test):
        scores = np.array([normal(ranks) for ranks in data.ranks[train].T]).T
        model = boosted(depth, trees, 0.05, loss_function="MultiRMSE")()
        return model.fit(data.ordinal[train], scores).predict(data.ordinal[test])

    return fit


def leaf_wise():
    return LGBMRegressor(n_estimators=600, learning_rate=0.04, num_leaves=4, min_child_samples=8,
                         subsample=0.7, subsample_freq=1, colsample_bytree=0.4, n_jobs=1, verbose=-1)


VARIANTS = {
    "ridge": each(lambda: Ridge(5), "bits"),
    "ridge of logits": each(lambda: Ridge(5), "bits", logit),
    "ridge of ranks": each(lambda: Ridge(5e-3), "bits", lambda ranks: rankdata(ranks) / len(ranks)),
    "support vectors": each(lambda: SVR(C=3, gamma=0.01, epsilon=0.05), "bits"),
    "public estimator": estimator,
    "process: single effects": process("single"),
    "process: single, smooth": process("single", "smooth"),
    "process: single, bell": process("single", "bell"),
    "process: single, pairs": process("single", "pairs"),
    "process: all": process("single", "smooth", "pairs", "bell"),
    "extra trees": each(lambda: ExtraTreesRegressor(100, min_samples_leaf=2), "ordinal"),
    "lightgbm, 4 leaves": each(leaf_wise, "ordinal"),
    "catboost, depth 1": each(boosted(1, 3000, 0.1), "ordinal"),
    "catboost, depth 2": each(boosted(2, 3000, 0.05), "ordinal"),
    "catboost, depth 3": each(boosted(3, 1500, 0.04), "ordinal"),
    "catboost, all tasks": together(2, 3000),
}
BASE = "process: single, bell"
MIXTURES = {
    f"{1 - share:.1f} process + {share} {name}": {BASE: 1 - share, name: share}
    for name in ("catboost, depth 1", "catboost, depth 2", "catboost, depth 3", "catboost, all tasks")
    for share in (0.3, 0.5)
}


def splits(count, seeds):
    for seed in range(seeds):
        order = np.random.RandomState(seed).permutation(count)
        for fold in range(FOLDS):
            test = np.sort(order[fold::FOLDS])
            yield np.setdiff1d(order, test), test


def told(name, data, cuts, predictions, seconds):
    tau = np.array([[kendalltau(p, r)[0] for p, r in zip(got.T, data.ranks[test].T)]
                    for (_, test), got in zip(cuts, predictions)])
    seeds = tau.reshape(-1, FOLDS, tau.shape[1]).mean(1)
    deviation = seeds.mean(1).std(ddof=1) if len(seeds) > 1 else float("nan")
    by_task = " ".join(f"{value:.3f}" for value in seeds.mean(0))
    print(f"{name:36} {seeds.mean():.4f} ± {deviation:.4f} | {by_task} | {seconds:.2f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], choices=list(VARIANTS), metavar="NAME")
    args = parser.parse_args()
    data = Data(json.loads(args.train.read_text()))
    cuts = list(splits(len(data.ranks), args.seeds))
    print(" ".join(task.removesuffix("_rank") for task in data.tasks))
    known = {}
    for name in args.only or VARIANTS:
        start = time.process_time()
        known[name] = [VARIANTS[name](data, train, test) for train, test in cuts]
        told(name, data, cuts, known[name], (time.process_time() - start) / len(cuts))
    for name, shares in MIXTURES.items():
        if shares.keys() <= known.keys():
            mixed = [sum(share * known[part][row] / known[part][row].std(0)
                         for part, share in shares.items()) for row in range(len(cuts))]
            told(name, data, cuts, mixed, float("nan"))


if __name__ == "__main__":
    main()
