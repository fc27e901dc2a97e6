//! A Gaussian process with learned covariance and noise: posterior mean and variance.
//!
//! With `C = K + noise I` and centered targets y: the mean at x is `k(x)^T C^-1 y`, the variance
//! `k(x, x) - k(x)^T C^-1 k(x)`, and the logarithm of the marginal likelihood that hyperparameters
//! maximize `-1/2 y^T C^-1 y - 1/2 ln |C| - n/2 ln 2 pi`, with derivative
//! `1/2 tr((a a^T - C^-1) dC)`, `a = C^-1 y` (Rasmussen and Williams, 2006, algorithm 2.1, equation 5.9).

use crate::{Cholesky, Error, Kernel, Matrix, Prior, lbfgs};
use std::f64::consts::PI;

/// Most inputs that a process is fitted to: the covariance of more takes gigabytes.
pub const MOST_INPUTS: usize = 8192;

/// Steps of the optimizer, and the gain in log density below which it ends.
const STEPS: usize = 100;
const GAIN: f64 = 0.02;

/// A process that has seen data.
#[derive(Debug, Clone)]
pub struct GaussianProcess {
    kernel: Kernel,
    hyper: Vec<f64>,
    inputs: Matrix,
    center: f64,
    cholesky: Cholesky,
    weights: Vec<f64>,
}

/// A normal distribution for each input.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Means.
    pub mean: Vec<f64>,
    /// Variances of the function itself, noise excluded.
    pub variance: Vec<f64>,
}

impl GaussianProcess {
    /// Learns the hyperparameters, the most likely ones a posteriori, and conditions on the data.
    ///
    /// # Shapes
    /// `inputs (n, features)`, `targets (n)`.
    ///
    /// # Errors
    /// As [`GaussianProcess::new`].
    pub fn fit(
        kernel: Kernel,
        prior: &Prior,
        inputs: Matrix,
        targets: &[f64],
    ) -> Result<Self, Error> {
        checked(&kernel, &prior.mean, &inputs, targets)?;
        let (_, centered) = centered(targets);
        let loss = |hyper: &[f64]| match likelihood(&kernel, hyper, &inputs, &centered) {
            Ok((value, gradient)) => {
                let (penalty, slope) = prior.penalty(hyper);
                let slope = slope.iter().zip(gradient).map(|(slope, g)| slope - g).collect();
                (penalty - value, slope)
            }
            Err(_) => (f64::INFINITY, vec![0.0; hyper.len()]),
        };
        let found = lbfgs::minimize(loss, prior.mean.clone(), STEPS, GAIN);
        Self::new(kernel, found, inputs, targets)
    }

    /// Conditions on the data with hyperparameters as they are.
    ///
    /// # Errors
    /// Shapes that do not fit, a number that is not finite, more than [`MOST_INPUTS`], or a
    /// covariance that is not positive definite.
    pub fn new(
        kernel: Kernel,
        hyper: Vec<f64>,
        inputs: Matrix,
        targets: &[f64],
    ) -> Result<Self, Error> {
        checked(&kernel, &hyper, &inputs, targets)?;
        let (center, centered) = centered(targets);
        let cholesky = Cholesky::new(kernel.covariance(&hyper, &inputs).0)?;
        let weights = cholesky.solve_vector(&centered);
        Ok(Self { kernel, hyper, inputs, center, cholesky, weights })
    }

    /// Logarithms of the hyperparameters, as [`Kernel`] orders them.
    pub fn hyper(&self) -> &[f64] {
        &self.hyper
    }

    /// Variance of the noise of a target.
    pub fn noise(&self) -> f64 {
        self.kernel.noise(&self.hyper)
    }

    /// Means and variances at every row of `inputs`.
    ///
    /// # Shapes
    /// `inputs (m, features)` -> m of both.
    pub fn predict(&self, inputs: &Matrix) -> Prediction {
        let covariance = self.kernel.matrix(&self.hyper, inputs, &self.inputs);
        let mean = covariance.times(&self.weights).iter().map(|m| m + self.center).collect();
        let explained = self.cholesky.half_solve_rows(covariance);
        let prior = self.kernel.diagonal(&self.hyper, inputs);
        let left = |(i, prior): (usize, f64)| {
            (prior - explained.row(i).iter().map(|x| x * x).sum::<f64>()).max(0.0)
        };
        Prediction { mean, variance: prior.into_iter().enumerate().map(left).collect() }
    }

    /// Means alone.
    ///
    /// # Shapes
    /// `inputs (m, features)` -> m.
    pub fn mean(&self, inputs: &Matrix) -> Vec<f64> {
        let covariance = self.kernel.matrix(&self.hyper, inputs, &self.inputs);
        covariance.times(&self.weights).iter().map(|m| m + self.center).collect()
    }

    /// Mean at every training input of the process that has not seen this one (Rasmussen and
    /// Williams, 2006, equation 5.12).
    pub fn leave_one_out(&self, targets: &[f64]) -> Vec<f64> {
        let inverse = self.cholesky.inverse();
        let rows = targets.iter().zip(&self.weights).enumerate();
        rows.map(|(i, (target, weight))| target - weight / inverse.row(i)[i]).collect()
    }
}

/// Logarithm of the marginal likelihood of targets of mean 0 and its derivatives by the hyperparameters.
///
/// # Errors
/// A covariance that is not positive definite.
pub fn likelihood(
    kernel: &Kernel,
    hyper: &[f64],
    inputs: &Matrix,
    targets: &[f64],
) -> Result<(f64, Vec<f64>), Error> {
    let (covariance, bell) = kernel.covariance(hyper, inputs);
    let cholesky = Cholesky::new(covariance)?;
    let weights = cholesky.solve_vector(targets);
    let fit: f64 = weights.iter().zip(targets).map(|(a, y)| a * y).sum();
    let constant = targets.len() as f64 * (2.0 * PI).ln();
    let value = -0.5 * (fit + cholesky.log_determinant() + constant);
    let mut slope = cholesky.inverse();
    for (i, a) in weights.iter().enumerate() {
        let row = slope.row_mut(i).iter_mut().zip(&weights);
        row.for_each(|(entry, b)| *entry = 0.5 * (a * b - *entry));
    }
    Ok((value, kernel.gradient(hyper, inputs, bell, &slope)))
}

fn centered(targets: &[f64]) -> (f64, Vec<f64>) {
    let center = targets.iter().sum::<f64>() / targets.len() as f64;
    (center, targets.iter().map(|target| target - center).collect())
}

fn checked(kernel: &Kernel, hyper: &[f64], inputs: &Matrix, targets: &[f64]) -> Result<(), Error> {
    for (key, got, expected) in [
        ("features", inputs.columns(), kernel.features()),
        ("hyperparameters", hyper.len(), kernel.len()),
        ("targets", targets.len(), inputs.rows()),
    ] {
        if got != expected {
            return Err(Error::value(key, got, format!("must be {expected}")));
        }
    }
    if !(1..=MOST_INPUTS).contains(&targets.len()) {
        return Err(Error::value("targets", targets.len(), format!("must be 1 to {MOST_INPUTS}")));
    }
    let rows = (0..inputs.rows()).flat_map(|i| inputs.row(i));
    for (key, mut values) in [
        ("features", Box::new(rows) as Box<dyn Iterator<Item = &f64>>),
        ("hyperparameters", Box::new(hyper.iter())),
        ("targets", Box::new(targets.iter())),
    ] {
        if let Some(value) = values.find(|value| !value.is_finite()) {
            return Err(Error::value(key, value, "must be finite"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
