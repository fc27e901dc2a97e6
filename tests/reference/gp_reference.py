"""Reference values of the predictors of crates/ufo-nas, computed by numpy, scipy and scikit-learn.

Usage: python gp_reference.py ../../crates/ufo-nas/tests/fixtures

Reads nasbench/ufo_vitb_400.json in that folder and writes gp_reference.json beside it.

estimator: GP-NAS of PaddleSlim, written from its formulas with explicit inverses (numpy), for both kernels
and both updates: the first 320 networks in two halves, predictions and Kendall's tau (scipy) of the
last 80.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

JITTER, PRIOR = 1e-7, 0.01
BITS = {"0": [0, 0, 0, 0], "1": [1, 1, 0, 0], "2": [0, 1, 1, 0], "3": [0, 0, 1, 1]}


def bits(code):
    features = []
    for block in range(12):
        for digit in code[1 + 3 * block : 3 + 3 * block]:
            features += BITS[digit]
            if block >= 10:
                features.append(int(digit == "0"))
    return features


def covariance(kernel, a, b):
    square = ((a[:, None] - b[None]) ** 2).sum(2)
    return 0.5 * np.exp(-square / 16) if kernel == 1 else np.exp(-np.sqrt(square) / 12)


def jittered(matrix):
    return matrix + JITTER * np.eye(len(matrix))


def design(x):
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def initial(x, y):
    a = design(x)
    return np.linalg.inv(jittered(a.T @ a)) @ a.T @ y


def updated(w, kernel, update, x, y):
    a = design(x)
    prior = PRIOR * np.eye(len(w))
    inverse = np.linalg.inv(jittered(covariance(kernel, x, x)))
    if update == 1:
        gain = prior @ a.T @ np.linalg.inv(jittered(inverse + a @ prior @ a.T))
        return w + gain @ (y - a @ w)
    information = np.linalg.inv(jittered(prior))
    both = np.linalg.inv(jittered(a.T @ inverse @ a + information))
    return both @ (a.T @ inverse @ y + information @ w)


def joint(w, kernel, x, data, y):
    weights = np.linalg.inv(jittered(covariance(kernel, data, data))) @ (y - design(data) @ w)
    return design(x) @ w + covariance(kernel, x, data) @ weights


def estimator(networks, tasks):
    x = np.array([bits(network["arch"]) for network in networks], float)
    figures = {}
    for kernel in (1, 2):
        for update in (1, 2):
            by_task = {}
            for task in tasks:
                y = np.array([network[f"{task}_rank"] for network in networks], float)
                w = initial(x[:160], y[:160])
                w = updated(w, kernel, update, x[160:320], y[160:320])
                modes = {
                    "fast": design(x[320:]) @ w,
                    "joint": joint(w, kernel, x[320:], x[:320], y[:320]),
                }
                taus = {f"{mode}_tau": kendalltau(p, y[320:])[0] for mode, p in modes.items()}
                by_task[task] = {mode: p.tolist() for mode, p in modes.items()} | taus
            figures[f"{kernel},{update}"] = by_task
    return figures


def main():
    folder = Path(sys.argv[1])
    networks = list(json.loads((folder / "nasbench/ufo_vitb_400.json").read_text()).values())
    tasks = [name.removesuffix("_rank") for name in networks[0] if name != "arch"]
    figures = {"estimator": estimator(networks, tasks)}
    with open(folder / "gp_reference.json", "w", encoding="utf-8") as file:
        json.dump(figures, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
