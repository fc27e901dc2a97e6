"""Reference values of the Gaussian process of crates/ufo-nas, computed by scikit-learn.

Usage: python gp_process.py ../../crates/ufo-nas/tests/fixtures

Writes gp_process.json in that folder: for hyperparameters that are fixed here, means, standard deviations and
the logarithm of the marginal likelihood of GaussianProcessRegressor, with
1 + sum_f v_f x_f y_f + s exp(-1/2 sum_f w_f (x_f - y_f)^2) + noise as its kernel, whose linear part is
DotProduct of features that are scaled by the root of v.
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Kernel, WhiteKernel

# Added by Kernel::noise, so that a covariance stays positive definite.
NOISE_FLOOR = 1e-6


class Scaled(Kernel):
    """A kernel of features that are scaled."""

    def __init__(self, kernel, scale):
        self.kernel, self.scale = kernel, scale

    def __call__(self, x, y=None, eval_gradient=False):
        return self.kernel(x * self.scale, None if y is None else y * self.scale)

    def diag(self, x):
        return self.kernel.diag(x * self.scale)

    def is_stationary(self):
        return False


def case(rng, features, n, m):
    x, unseen = rng.integers(0, 2, (n, features)).astype(float), rng.normal(size=(m, features))
    y = x @ rng.normal(size=features) + np.sin(3 * x[:, 0] * x[:, 1]) + 0.1 * rng.normal(size=n)
    hyper = rng.normal(-1, 0.7, 2 + 2 * features + 1)
    noise, bell = np.exp(hyper[0]) + NOISE_FLOOR, np.exp(hyper[1])
    v = np.exp(hyper[2 : 2 + features] + hyper[2 + features])
    w = np.exp(hyper[3 + features :])
    kernel = (
        ConstantKernel(1.0)
        + Scaled(DotProduct(0.0), np.sqrt(v))
        + ConstantKernel(bell) * RBF(1 / np.sqrt(w))
        + WhiteKernel(noise)
    )
    center = y.mean()
    model = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(x, y - center)
    mean, deviation = model.predict(unseen, return_std=True)
    return {
        "inputs": x.tolist(),
        "targets": y.tolist(),
        "unseen": unseen.tolist(),
        "hyper": hyper.tolist(),
        "mean": (mean + center).tolist(),
        # scikit-learn's deviation is that of a measurement, with its noise.
        "deviation": np.sqrt(deviation**2 - noise).tolist(),
        "log_likelihood": float(model.log_marginal_likelihood_value_),
    }


def main():
    rng = np.random.default_rng(7)
    cases = [case(rng, features, n, 6) for features, n in [(2, 5), (4, 20), (10, 60)]]
    with open(Path(sys.argv[1]) / "gp_process.json", "w", encoding="utf-8") as file:
        json.dump(cases, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
