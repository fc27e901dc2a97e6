//! Effects that tasks share: the linear model of coregionalization on features.
//!
//! The effect of feature f on task t is `sum_q a[t, k, q] sqrt(p_f) u[q, f]` with standard normal u, where k
//! is the feature's kind: so tasks whose rows of `a` agree learn the effects of heads from each other,
//! and those of FFN widths as far as their rows for these do, whose sign may differ. `p_f` is what the
//! feature's group and level weigh, for all tasks. Source: Alvarez, Rosasco and Lawrence, Kernels for
//! vector-valued functions, 2012, section 4.2.

use crate::{Groups, Matrix};

/// Shared functions of each kind of feature.
pub(crate) const RANK: usize = 2;

/// Which features are shared how.
#[derive(Debug, Clone)]
pub(crate) struct Coregionalization {
    tasks: usize,
    /// Kind of each feature, for `a`.
    kind: Vec<usize>,
    kinds: usize,
    /// Group and level of each feature, for `p`.
    groups: Groups,
    counts: [usize; 2],
}

impl Coregionalization {
    pub(crate) fn new(tasks: usize, kinds: &Groups, groups: Groups) -> Self {
        let kind = kinds.group.clone();
        let counts = groups.counts();
        Self { tasks, kinds: kinds.counts()[0], kind, counts, groups }
    }

    /// Number of hyperparameters: `a` by task, kind and shared function, then logarithms of the weights of
    /// groups and of levels.
    pub(crate) fn len(&self) -> usize {
        self.tasks * self.kinds * RANK + self.counts[0] + self.counts[1]
    }

    /// Hyperparameters to start from: all tasks alike in the first shared function, in waves in the others.
    pub(crate) fn start(&self) -> Vec<f64> {
        let wave = |task: usize, q: usize| {
            let phase = std::f64::consts::PI * q as f64 * (task as f64 + 0.5) / self.tasks as f64;
            0.2 * phase.cos() / (1.0 + q as f64)
        };
        let mixing = (0..self.tasks)
            .flat_map(|task| (0..self.kinds * RANK).map(move |kq| wave(task, kq % RANK)));
        mixing.chain(vec![0.0; self.counts[0] + self.counts[1]]).collect()
    }

    /// Number of shared effects.
    pub(crate) fn effects(&self) -> usize {
        RANK * self.kind.len()
    }

    /// What each shared effect adds to each row of a task.
    ///
    /// # Shapes
    /// `inputs (n, features)` -> `(n, effects)`.
    pub(crate) fn design(&self, hyper: &[f64], task: usize, inputs: &Matrix) -> Matrix {
        let scales = self.scales(hyper, task);
        let features = self.kind.len();
        Matrix::from_fn(inputs.rows(), self.effects(), |i, effect| {
            scales[effect] * inputs.row(i)[effect % features]
        })
    }

    /// Adds to `gradient` the derivatives by the hyperparameters of a function whose derivative by the
    /// design of a task is `slope (n, effects)`.
    pub(crate) fn add_gradient(&self, gradient: &mut [f64], hyper: &[f64], of: &TaskSlope) {
        let TaskSlope { task, inputs, slope } = *of;
        let features = self.kind.len();
        let mut by_scale = vec![0.0; self.effects()];
        for i in 0..inputs.rows() {
            for (effect, sum) in by_scale.iter_mut().enumerate() {
                *sum += slope.row(i)[effect] * inputs.row(i)[effect % features];
            }
        }
        for (effect, by_scale) in by_scale.into_iter().enumerate() {
            let (q, f) = (effect / features, effect % features);
            let (mixing, root) = (self.mixing(task, f, q), self.root(hyper, f));
            gradient[mixing] += by_scale * root;
            // The weight is the square of its root.
            let by_weight = 0.5 * by_scale * root * hyper[mixing];
            self.weights(f).into_iter().for_each(|at| gradient[at] += by_weight);
        }
    }

    /// `a[t, k, q] sqrt(p_f)` for each effect.
    fn scales(&self, hyper: &[f64], task: usize) -> Vec<f64> {
        let features = self.kind.len();
        let scale = |effect: usize| {
            let (q, f) = (effect / features, effect % features);
            hyper[self.mixing(task, f, q)] * self.root(hyper, f)
        };
        (0..self.effects()).map(scale).collect()
    }

    fn mixing(&self, task: usize, feature: usize, q: usize) -> usize {
        (task * self.kinds + self.kind[feature]) * RANK + q
    }

    fn root(&self, hyper: &[f64], feature: usize) -> f64 {
        (0.5 * self.weights(feature).iter().map(|&at| hyper[at]).sum::<f64>()).exp()
    }

    /// Places of the two hyperparameters whose sum is the logarithm of `p_f`.
    fn weights(&self, feature: usize) -> [usize; 2] {
        let first = self.tasks * self.kinds * RANK;
        let (group, level) = (self.groups.group[feature], self.groups.level[feature]);
        [first + group, first + self.counts[0] + level]
    }
}

/// Derivative of a function by a task's design.
pub(crate) struct TaskSlope<'a> {
    pub(crate) task: usize,
    pub(crate) inputs: &'a Matrix,
    pub(crate) slope: &'a Matrix,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::testing::random;

    #[test]
    fn derivatives_equal_differences() {
        let groups = Groups { group: vec![0, 0, 1, 1, 2], level: vec![0, 1, 0, 1, 2] };
        let kinds = Groups { group: vec![0, 0, 0, 0, 1], level: vec![0; 5] };
        let shared = Coregionalization::new(3, &kinds, groups);
        assert_eq!((shared.len(), shared.effects()), (3 * 2 * RANK + 6, 5 * RANK));
        let (x, slope) = (random(4, 5, 1), random(4, shared.effects(), 2));
        let hyper: Vec<f64> = random(1, shared.len(), 3).row(0).to_vec();
        let value = |hyper: &[f64]| {
            let design = shared.design(hyper, 1, &x);
            let row = |i| design.row(i).iter().zip(slope.row(i)).map(|(a, b)| a * b).sum::<f64>();
            (0..4).map(row).sum::<f64>()
        };
        let mut gradient = vec![0.0; shared.len()];
        let of = TaskSlope { task: 1, inputs: &x, slope: &slope };
        shared.add_gradient(&mut gradient, &hyper, &of);
        for i in 0..hyper.len() {
            let at = |step: f64| {
                let mut hyper = hyper.clone();
                hyper[i] += step;
                value(&hyper)
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((difference - gradient[i]).abs() < 1e-8, "{i}");
        }
    }
}
