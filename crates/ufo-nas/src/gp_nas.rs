//! The public estimator of GP-NAS (`paddleslim/nas/gp_nas.py`), formula by formula.
//!
//! With design matrix `A = [X 1]`, jitter `h = 1e-7`, prior covariance `S = 0.01 I`:
//!
//! - initial mean from data `(X0, y0)`: `w = (A0^T A0 + h I)^-1 A0^T y0`;
//! - update by `(X, y)`, `K = k(X, X)`, [`Update::Information`]: `w <- (A^T (K + h I)^-1 A + (S + h I)^-1 + h I)^-1
//!   (A^T (K + h I)^-1 y + (S + h I)^-1 w)`, or [`Update::Gain`]:
//!   `w <- w + S A^T ((K + h I)^-1 + A S A^T + h I)^-1 (y - A w)`;
//! - prediction: fast `A w`, joint `A w + k(., X) (K + h I)^-1 (y - A w)`.
//!
//! S stays the prior in later updates, and the gain form has the inverse of K where Bayes' rule has K: both
//! as in the original, kept to reproduce its figures. It gives no variance and learns no hyperparameter;
//! [`crate::GaussianProcess`] does. The posterior covariance, which the original stores and never
//! reads, is left out. Source: spec 6.2; Li et al., GP-NAS, CVPR 2020.

use crate::matrix::dot;
use crate::{Cholesky, Error, Matrix};

/// Added to diagonals before inversion.
const JITTER: f64 = 1e-7;
/// Prior variance of every weight.
const PRIOR: f64 = 0.01;

/// Covariance of two feature vectors, flag `c_flag` of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpNasKernel {
    /// `0.5 exp(-|x - y|^2 / 16)`, flag 1.
    Square,
    /// `exp(-|x - y| / 12)`, flag 2 and the default.
    Distance,
}

/// Form of the update of the mean, flag `m_flag` of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// With a gain matrix, flag 1.
    Gain,
    /// With information matrices, flag 2 and the default.
    Information,
}

/// The estimator: a linear mean.
#[derive(Debug, Clone)]
pub struct GpNas {
    kernel: GpNasKernel,
    update: Update,
    weights: Vec<f64>,
}

impl GpNas {
    /// The initial mean, by ridge regression.
    ///
    /// # Shapes
    /// `inputs (n, features)`, `targets (n)`.
    ///
    /// # Errors
    /// Targets that are not one a row, or not finite.
    pub fn new(
        kernel: GpNasKernel,
        update: Update,
        inputs: &Matrix,
        targets: &[f64],
    ) -> Result<Self, Error> {
        checked(inputs, targets)?;
        let columns = design(inputs).transposed();
        let gram = Cholesky::new(with_diagonal(columns.times_transposed(&columns), JITTER))?;
        Ok(Self { kernel, update, weights: gram.solve_vector(&columns.times(targets)) })
    }

    /// Updates the mean by further data.
    ///
    /// # Errors
    /// As [`GpNas::new`], or equal rows, whose covariance has no factor.
    pub fn observe(&mut self, inputs: &Matrix, targets: &[f64]) -> Result<(), Error> {
        checked(inputs, targets)?;
        let design = design(inputs);
        let covariance = Cholesky::new(with_diagonal(self.covariance(inputs, inputs), JITTER))?;
        let columns = design.transposed();
        match self.update {
            Update::Gain => {
                let spread = design.times_transposed(&design);
                let inverse = covariance.inverse();
                let n = inputs.rows();
                let inner =
                    Matrix::from_fn(n, n, |i, j| inverse.row(i)[j] + PRIOR * spread.row(i)[j]);
                let inner = Cholesky::new(with_diagonal(inner, JITTER))?;
                let gain = columns.times(&inner.solve_vector(&self.residuals(&design, targets)));
                self.weights.iter_mut().zip(gain).for_each(|(w, gain)| *w += PRIOR * gain);
            }
            Update::Information => {
                let half = covariance.half_solve_rows(columns.clone());
                let prior = 1.0 / (PRIOR + JITTER);
                let information = with_diagonal(half.times_transposed(&half), prior + JITTER);
                let told = columns.times(&covariance.solve_vector(targets));
                let sum: Vec<f64> =
                    told.iter().zip(&self.weights).map(|(t, w)| t + prior * w).collect();
                self.weights = Cholesky::new(information)?.solve_vector(&sum);
            }
        }
        Ok(())
    }

    /// The linear mean.
    ///
    /// # Shapes
    /// `inputs (m, features)` -> m.
    pub fn predict(&self, inputs: &Matrix) -> Vec<f64> {
        design(inputs).times(&self.weights)
    }

    /// The linear mean and what the residuals of the data around it tell, by the kernel.
    ///
    /// # Shapes
    /// `inputs (m, features)`, `data (n, features)`, `targets (n)` -> m.
    ///
    /// # Errors
    /// As [`GpNas::observe`].
    pub fn predict_joint(
        &self,
        inputs: &Matrix,
        data: &Matrix,
        targets: &[f64],
    ) -> Result<Vec<f64>, Error> {
        checked(data, targets)?;
        let covariance = Cholesky::new(with_diagonal(self.covariance(data, data), JITTER))?;
        let weights = covariance.solve_vector(&self.residuals(&design(data), targets));
        let near = self.covariance(inputs, data).times(&weights);
        Ok(self.predict(inputs).iter().zip(near).map(|(mean, near)| mean + near).collect())
    }

    fn residuals(&self, design: &Matrix, targets: &[f64]) -> Vec<f64> {
        targets
            .iter()
            .zip(design.times(&self.weights))
            .map(|(target, mean)| target - mean)
            .collect()
    }

    fn covariance(&self, a: &Matrix, b: &Matrix) -> Matrix {
        Matrix::from_fn(a.rows(), b.rows(), |i, j| {
            let (a, b) = (a.row(i), b.row(j));
            let square = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
            match self.kernel {
                GpNasKernel::Square => 0.5 * (-square / 16.0).exp(),
                GpNasKernel::Distance => (-square.sqrt() / 12.0).exp(),
            }
        })
    }
}

fn design(inputs: &Matrix) -> Matrix {
    let columns = inputs.columns();
    let entry = |i: usize, j| inputs.row(i).get(j).copied().unwrap_or(1.0);
    Matrix::from_fn(inputs.rows(), columns + 1, entry)
}

fn with_diagonal(mut matrix: Matrix, added: f64) -> Matrix {
    (0..matrix.rows()).for_each(|i| matrix.row_mut(i)[i] += added);
    matrix
}

fn checked(inputs: &Matrix, targets: &[f64]) -> Result<(), Error> {
    if targets.is_empty() || targets.len() != inputs.rows() {
        let allowed = format!("must be {}, at least 1", inputs.rows());
        return Err(Error::value("targets", targets.len(), allowed));
    }
    if !dot(targets, targets).is_finite() {
        let bad = targets.iter().find(|target| !target.is_finite());
        return Err(Error::value("targets", bad.unwrap_or(&f64::INFINITY), "must be finite"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
