//! A covariance of slices: a constant, a linear and a bell-shaped part with weights learned by feature.
//!
//! `k(x, y) = 1 + sum_f v_f x_f y_f + s exp(-1/2 sum_f w_f (x_f - y_f)^2)`: with one-hot features the
//! linear part gives every choice of every block an effect of its own, the bell the interactions
//! that are left. `v_f` and `w_f` are products of what the feature's group and its level weigh
//! (automatic relevance determination: Rasmussen and Williams, 2006, section 5.1), so a group is shut
//! where a task does not care. Hyperparameters are logarithms.

use crate::{Error, Matrix};
use serde::{Deserialize, Serialize};

/// What of the features is weighed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    /// Group of each feature, from 0; such as all choices of a block's heads.
    pub group: Vec<usize>,
    /// Level of each feature, from 0; such as 12 heads in any block.
    pub level: Vec<usize>,
}

impl Groups {
    /// Every feature a group of its own, all of one level.
    pub fn separate(features: usize) -> Self {
        Self { group: (0..features).collect(), level: vec![0; features] }
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.group.len()
    }

    /// Number of groups and of levels.
    pub(crate) fn counts(&self) -> [usize; 2] {
        [&self.group, &self.level].map(|list| list.iter().max().map_or(0, |most| most + 1))
    }
}

/// The covariance; its hyperparameters are apart, a slice of [`Kernel::len`] logarithms: of the variance
/// of the noise, of the bell's variance s, then for `v` and for `w` those of the groups and, for `v`
/// only, those of the levels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    groups: Groups,
}

/// Independent normal distributions of the hyperparameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior {
    /// Means.
    pub mean: Vec<f64>,
    /// Standard deviations, more than 0; infinite where nothing is believed.
    pub deviation: Vec<f64>,
}

impl Prior {
    /// Minus the logarithm of the density but for a constant, and its derivatives.
    pub(crate) fn penalty(&self, hyper: &[f64]) -> (f64, Vec<f64>) {
        let all = hyper.iter().zip(self.mean.iter().zip(&self.deviation));
        let z = all.map(|(h, (mean, deviation))| ((h - mean) / deviation, deviation));
        let (squares, slopes): (Vec<_>, Vec<_>) = z.map(|(z, d)| (0.5 * z * z, z / d)).unzip();
        (squares.iter().sum(), slopes)
    }
}

/// Hyperparameters that no feature owns: noise and bell variance.
const SHARED: usize = 2;

impl Kernel {
    /// A kernel of features that are weighed so.
    ///
    /// # Errors
    /// Groups and levels of different numbers of features, or of none.
    pub fn new(groups: Groups) -> Result<Self, Error> {
        if groups.group.len() != groups.level.len() || groups.group.is_empty() {
            let got = format!("{} groups and {} levels", groups.group.len(), groups.level.len());
            return Err(Error::value("groups", got, "must have one of both a feature"));
        }
        Ok(Self { groups })
    }

    /// Number of features of an input.
    pub fn features(&self) -> usize {
        self.groups.features()
    }

    /// Number of hyperparameters.
    #[allow(clippy::len_without_is_empty, reason = "a kernel has hyperparameters")]
    pub fn len(&self) -> usize {
        let [groups, levels] = self.groups.counts();
        SHARED + 2 * groups + levels
    }

    /// What is believed of the hyperparameters before data are seen, for targets of variance 1: wide enough
    /// to let a group matter not at all, against weights that levels only seem to have, and against a bell so narrow
    /// that it is noise under another name: the weights of all features add up to about 2.
    pub fn prior(&self) -> Prior {
        let [groups, levels] = self.groups.counts();
        let parts = [
            (1, -3.0, 2.0),
            (1, -2.0, 2.0),
            (groups, -3.0, 2.0),
            (levels, 0.0, 1.0),
            (groups, 0.6 - (self.features() as f64).ln(), 1.0),
        ];
        let all = parts.iter().flat_map(|&(count, mean, deviation)| vec![(mean, deviation); count]);
        let (mean, deviation) = all.unzip();
        Prior { mean, deviation }
    }

    /// Variance of the noise, with a floor that keeps the covariance positive definite.
    pub fn noise(&self, hyper: &[f64]) -> f64 {
        hyper[0].exp() + 1e-6
    }

    /// Covariance of every row of `a` with every row of `b`, without noise.
    ///
    /// # Shapes
    /// `(n, features)`, `(m, features)` -> `(n, m)`.
    pub fn matrix(&self, hyper: &[f64], a: &Matrix, b: &Matrix) -> Matrix {
        let [linear, bell] = self.parts(hyper, a, b);
        Matrix::from_fn(a.rows(), b.rows(), |i, j| 1.0 + linear.row(i)[j] + bell.row(i)[j])
    }

    /// Variance of every row, without noise.
    pub fn diagonal(&self, hyper: &[f64], a: &Matrix) -> Vec<f64> {
        let (v, bell) = (self.linear_weights(hyper), hyper[1].exp());
        let linear = |row: &[f64]| row.iter().zip(&v).map(|(x, v)| v * x * x).sum::<f64>();
        (0..a.rows()).map(|i| 1.0 + linear(a.row(i)) + bell).collect()
    }

    /// The linear and the bell's part.
    fn parts(&self, hyper: &[f64], a: &Matrix, b: &Matrix) -> [Matrix; 2] {
        let root = |weights: Vec<f64>| weights.into_iter().map(f64::sqrt).collect::<Vec<_>>();
        let v = root(self.linear_weights(hyper));
        let linear = scaled(a, &v).times_transposed(&scaled(b, &v));
        let w = root(self.bell_weights(hyper));
        let (a, b) = (scaled(a, &w), scaled(b, &w));
        let square = |matrix: &Matrix| -> Vec<f64> {
            (0..matrix.rows()).map(|i| matrix.row(i).iter().map(|x| x * x).sum()).collect()
        };
        let (aa, bb, mut bell) = (square(&a), square(&b), a.times_transposed(&b));
        let scale = hyper[1].exp();
        for (i, aa) in aa.iter().enumerate() {
            for (entry, bb) in bell.row_mut(i).iter_mut().zip(&bb) {
                *entry = scale * (-0.5 * (aa + bb - 2.0 * *entry).max(0.0)).exp();
            }
        }
        [linear, bell]
    }

    /// Covariance of the rows of `x` with noise on its diagonal, such as of a pool to choose from.
    ///
    /// # Shapes
    /// `(n, features)` -> `(n, n)`.
    pub fn with_noise(&self, hyper: &[f64], x: &Matrix) -> Matrix {
        self.covariance(hyper, x).0
    }

    /// As [`Kernel::with_noise`], and the bell's part of it for [`Kernel::gradient`].
    pub(crate) fn covariance(&self, hyper: &[f64], x: &Matrix) -> (Matrix, Matrix) {
        let [mut covariance, bell] = self.parts(hyper, x, x);
        let noise = self.noise(hyper);
        for i in 0..x.rows() {
            let entries = covariance.row_mut(i).iter_mut().zip(bell.row(i));
            entries.for_each(|(entry, bell)| *entry += 1.0 + bell);
            covariance.row_mut(i)[i] += noise;
        }
        (covariance, bell)
    }

    /// Derivatives by the hyperparameters of a function whose derivative by [`Kernel::covariance`] is the
    /// symmetric matrix `slope`.
    pub(crate) fn gradient(
        &self,
        hyper: &[f64],
        x: &Matrix,
        mut bell: Matrix,
        slope: &Matrix,
    ) -> Vec<f64> {
        let trace: f64 = (0..x.rows()).map(|i| slope.row(i)[i]).sum();
        let mut gradient = vec![0.0; self.len()];
        gradient[0] = trace * hyper[0].exp();
        let features = x.transposed();
        let linear = slope.times_transposed(&features);
        for i in 0..x.rows() {
            bell.row_mut(i).iter_mut().zip(slope.row(i)).for_each(|(k, g)| *k *= g);
        }
        let sums: Vec<f64> = (0..x.rows()).map(|i| bell.row(i).iter().sum()).collect();
        gradient[1] = sums.iter().sum();
        let bell = bell.times_transposed(&features);
        let (v, w) = (self.linear_weights(hyper), self.bell_weights(hyper));
        let [groups, levels] = self.groups.counts();
        for (f, (&group, &level)) in self.groups.group.iter().zip(&self.groups.level).enumerate() {
            let rows = || (0..x.rows()).map(|i| (i, x.row(i)[f]));
            let by_v = v[f] * rows().map(|(i, x)| x * linear.row(i)[f]).sum::<f64>();
            let by_w = w[f] * rows().map(|(i, x)| x * (bell.row(i)[f] - sums[i] * x)).sum::<f64>();
            gradient[SHARED + group] += by_v;
            gradient[SHARED + groups + level] += by_v;
            gradient[SHARED + groups + levels + group] += by_w;
        }
        gradient
    }

    fn linear_weights(&self, hyper: &[f64]) -> Vec<f64> {
        let [groups, _] = self.groups.counts();
        let pairs = self.groups.group.iter().zip(&self.groups.level);
        pairs.map(|(g, l)| (hyper[SHARED + g] + hyper[SHARED + groups + l]).exp()).collect()
    }

    fn bell_weights(&self, hyper: &[f64]) -> Vec<f64> {
        let [groups, levels] = self.groups.counts();
        self.groups.group.iter().map(|g| hyper[SHARED + groups + levels + g].exp()).collect()
    }
}

fn scaled(matrix: &Matrix, by: &[f64]) -> Matrix {
    Matrix::from_fn(matrix.rows(), matrix.columns(), |i, j| matrix.row(i)[j] * by[j])
}

#[cfg(test)]
mod tests;
