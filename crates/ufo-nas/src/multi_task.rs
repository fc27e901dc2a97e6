//! Gaussian processes of several tasks that learn from each other, each with mean and variance.
//!
//! Task t has a covariance of its own, `N_t` with noise, and effects u that all tasks share
//! ([`crate::coregionalization`]): with design `P` of all rows, `C = blockdiag(N_t) + P P^T`. What is needed of the
//! inverse of C follows from the factors of each `N_t` and of `S = I + sum_t P_t^T N_t^-1 P_t`, as large as
//! the number of effects (matrix inversion lemma: Rasmussen and Williams, 2006, appendix A.3), so that
//! tasks cost as much as apart: `C^-1 P = N^-1 P S^-1` and, with `u = S^-1 P^T N^-1 y`,
//! `C^-1 y = N^-1 (y - P u)`.

use crate::coregionalization::{Coregionalization, TaskSlope};
use crate::parallel::map;
use crate::{Cholesky, Error, Kernel, Matrix, Prediction, lbfgs};
use std::f64::consts::PI;

/// Steps of the optimizer, and the gain in log likelihood below which it ends.
const STEPS: usize = 60;
const GAIN: f64 = 0.05;

/// Inputs and centered targets of a task.
#[derive(Debug, Clone)]
pub(crate) struct TaskData {
    pub(crate) inputs: Matrix,
    pub(crate) targets: Vec<f64>,
}

/// The covariance of all tasks.
#[derive(Debug, Clone)]
pub(crate) struct MultiTaskKernel {
    pub(crate) own: Kernel,
    pub(crate) shared: Coregionalization,
}

impl MultiTaskKernel {
    pub(crate) fn start(&self, tasks: usize) -> Vec<f64> {
        let own = (0..tasks).flat_map(|_| self.own.start());
        own.chain(self.shared.start()).collect()
    }

    fn split<'a>(&self, hyper: &'a [f64], task: usize, tasks: usize) -> [&'a [f64]; 2] {
        let own = self.own.len();
        [&hyper[task * own..][..own], &hyper[tasks * own..]]
    }
}

/// Processes that have seen data.
#[derive(Debug, Clone)]
pub(crate) struct MultiTask {
    kernel: MultiTaskKernel,
    hyper: Vec<f64>,
    tasks: Vec<Conditioned>,
    /// Factor of S.
    shared: Cholesky,
    /// Posterior means u of the shared effects.
    effects: Vec<f64>,
}

/// One task's data and what follows from them.
#[derive(Debug, Clone)]
struct Conditioned {
    inputs: Matrix,
    own: Cholesky,
    bell: Matrix,
    /// `P_t`.
    design: Matrix,
    /// `L^-1 P_t` as rows of the transpose, where `L L^T = N_t`.
    half_design: Matrix,
    /// `L^-1 y`.
    half_targets: Vec<f64>,
    /// `C^-1 y` of these rows.
    weights: Vec<f64>,
}

impl MultiTask {
    /// Learns the hyperparameters and conditions on the data.
    pub(crate) fn fit(kernel: MultiTaskKernel, data: &[TaskData]) -> Result<Self, Error> {
        let start = kernel.start(data.len());
        let loss = |hyper: &[f64]| match Self::new(kernel.clone(), hyper.to_vec(), data) {
            Ok(model) => {
                let gradient = model.gradient().iter().map(|slope| -slope).collect();
                (-model.log_likelihood(), gradient)
            }
            Err(_) => (f64::INFINITY, vec![0.0; hyper.len()]),
        };
        let found = lbfgs::minimize(loss, start, STEPS, GAIN);
        Self::new(kernel, found, data)
    }

    /// Conditions on the data with hyperparameters as they are: every task's own, then the shared.
    pub(crate) fn new(
        kernel: MultiTaskKernel,
        hyper: Vec<f64>,
        data: &[TaskData],
    ) -> Result<Self, Error> {
        let expected = data.len() * kernel.own.len() + kernel.shared.len();
        if hyper.len() != expected || hyper.iter().any(|value| !value.is_finite()) {
            let allowed = format!("must be {expected} finite numbers");
            return Err(Error::value("hyper", format!("{} numbers", hyper.len()), allowed));
        }
        let condition = |task: usize| {
            let [own, shared] = kernel.split(&hyper, task, data.len());
            let TaskData { inputs, targets } = &data[task];
            let (covariance, bell) = kernel.own.covariance(own, inputs);
            let design = kernel.shared.design(shared, task, inputs);
            let own = Cholesky::new(covariance)?;
            let half_design = own.half_solve_rows(design.transposed());
            let targets = Matrix::from_rows(targets.len(), &[targets]);
            let half_targets = own.half_solve_rows(targets).row(0).to_vec();
            let (inputs, weights) = (inputs.clone(), Vec::new());
            Ok(Conditioned { inputs, own, bell, design, half_design, half_targets, weights })
        };
        let mut tasks = map(data.len(), condition)?;
        let effects = kernel.shared.effects();
        let mut information = Matrix::from_fn(effects, effects, |i, j| f64::from(u8::from(i == j)));
        let mut told = vec![0.0; effects];
        for task in &tasks {
            let square = task.half_design.times_transposed(&task.half_design);
            let by_targets = task.half_design.times(&task.half_targets);
            for (i, by_targets) in by_targets.into_iter().enumerate() {
                told[i] += by_targets;
                let entries = information.row_mut(i).iter_mut().zip(square.row(i));
                entries.for_each(|(entry, square)| *entry += square);
            }
        }
        let shared = Cholesky::new(information)?;
        let effects = shared.solve_vector(&told);
        for (task, TaskData { targets, .. }) in tasks.iter_mut().zip(data) {
            let mean = task.design.times(&effects);
            let rest: Vec<f64> = targets.iter().zip(mean).map(|(y, mean)| y - mean).collect();
            task.weights = task.own.solve_vector(&rest);
        }
        Ok(Self { kernel, hyper, tasks, shared, effects })
    }

    /// Logarithms of every task's own hyperparameters, then the shared ones.
    pub(crate) fn hyper(&self) -> &[f64] {
        &self.hyper
    }

    /// Variance of the noise of a task.
    pub(crate) fn noise(&self, task: usize) -> f64 {
        let [own, _] = self.kernel.split(&self.hyper, task, self.tasks.len());
        self.kernel.own.noise(own)
    }

    /// Means, of centered targets, and variances of a task at every row of `inputs`.
    pub(crate) fn predict(&self, task: usize, inputs: &Matrix) -> Prediction {
        let [own, shared] = self.kernel.split(&self.hyper, task, self.tasks.len());
        let seen = &self.tasks[task];
        let covariance = self.kernel.own.matrix(own, inputs, &seen.inputs);
        let mut design = self.kernel.shared.design(shared, task, inputs);
        let near = covariance.times(&seen.weights);
        let mean = design.times(&self.effects).iter().zip(near).map(|(a, b)| a + b).collect();
        let explained = seen.own.half_solve_rows(covariance);
        // What the data near leave of the shared effects' design.
        let told = explained.times_transposed(&seen.half_design);
        for i in 0..inputs.rows() {
            design.row_mut(i).iter_mut().zip(told.row(i)).for_each(|(x, told)| *x -= told);
        }
        let open = self.shared.half_solve_rows(design);
        let square = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>();
        let prior = self.kernel.own.diagonal(own, inputs).into_iter().enumerate();
        let variance = prior
            .map(|(i, prior)| (prior - square(explained.row(i)) + square(open.row(i))).max(0.0));
        Prediction { mean, variance: variance.collect() }
    }

    /// Logarithm of the marginal likelihood.
    pub(crate) fn log_likelihood(&self) -> f64 {
        let task = |task: &Conditioned| {
            let fit: f64 = task.half_targets.iter().map(|y| y * y).sum();
            let told = task.half_design.times(&task.half_targets);
            let explained: f64 = told.iter().zip(&self.effects).map(|(a, b)| a * b).sum();
            let constant = task.weights.len() as f64 * (2.0 * PI).ln();
            fit - explained + task.own.log_determinant() + constant
        };
        -0.5 * (self.tasks.iter().map(task).sum::<f64>() + self.shared.log_determinant())
    }

    /// Its derivatives by the hyperparameters. With `a = C^-1 y` they follow from those by `N_t`,
    /// `1/2 (a a^T - C^-1)`, and by `P_t`, `a u^T - N_t^-1 P_t S^-1`.
    fn gradient(&self) -> Vec<f64> {
        let count = self.tasks.len();
        let task = |index: usize| {
            let [own, shared] = self.kernel.split(&self.hyper, index, count);
            let task = &self.tasks[index];
            let n = task.weights.len();
            // Rows of N^-1 P, and with S^-1 behind.
            let solved = task.own.solve_rows(task.design.transposed()).transposed();
            let spread = self.shared.solve_rows(solved.clone());
            let mut slope = task.own.inverse();
            let known = spread.times_transposed(&solved);
            for (i, a) in task.weights.iter().enumerate() {
                let row = slope.row_mut(i).iter_mut().zip(known.row(i)).zip(&task.weights);
                row.for_each(|((entry, known), b)| *entry = 0.5 * (a * b - *entry + known));
            }
            let own = self.kernel.own.gradient(own, &task.inputs, task.bell.clone(), &slope);
            let slope = Matrix::from_fn(n, self.effects.len(), |i, j| {
                task.weights[i] * self.effects[j] - spread.row(i)[j]
            });
            let mut gradient = vec![0.0; self.kernel.shared.len()];
            let of = TaskSlope { task: index, inputs: &task.inputs, slope: &slope };
            self.kernel.shared.add_gradient(&mut gradient, shared, &of);
            Ok::<_, Error>((own, gradient))
        };
        let parts = map(count, task).expect("derivatives of a factored covariance do not fail");
        let mut shared = vec![0.0; self.kernel.shared.len()];
        for (_, part) in &parts {
            shared.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        parts.into_iter().flat_map(|(own, _)| own).chain(shared).collect()
    }
}

#[cfg(test)]
mod tests;
