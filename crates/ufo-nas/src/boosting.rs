//! Boosted trees of two splits, the other half of a predictor where samples abound.
//!
//! Each tree asks the same second question on both sides of its first (oblivious trees: Prokhorenkova et al.,
//! arXiv 1706.09516) and adds a share of the mean residual of each of its four leaves (Friedman, 2001). A question is
//! whether one of a slice's steps is set ([`crate::Encoding::steps`]), so that a tree is
//! `a + b x_s + c x_t + d x_s x_t` and the sum of all of them one number, one a step and one a pair of steps: that
//! sum is what is kept. A Gaussian process with a bell sees all pairs alike, trees pick the few that matter.

use crate::matrix::dot;
use crate::parallel::map;
use crate::{Error, Matrix};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};

/// Sequences of trees, each of other samples and questions, whose mean is taken.
const SEQUENCES: usize = 4;
/// Trees of a sequence.
const TREES: usize = 1000;
/// Share of a leaf's mean residual that a tree adds.
const RATE: f64 = 0.05;
/// Samples of residual 0 that each leaf is given.
const CALM: f64 = 1.0;
/// Share of the samples that a tree sees.
const SAMPLED: f64 = 0.8;
/// Share of the steps that a question is chosen among.
const ASKED: f64 = 0.5;

/// What trees add up to: a constant, effects of steps and of pairs of steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Boosted {
    steps: usize,
    /// Of 1 and every step, the upper triangle of their products, by rows.
    effects: Vec<f64>,
}

impl Boosted {
    /// Learns each task's targets, of mean 0 and variance 1.
    ///
    /// # Shapes
    /// Each `(steps (n, s), targets (n))`, steps 0 or 1.
    pub(crate) fn fit(tasks: &[(Matrix, &[f64])]) -> Result<Vec<Self>, Error> {
        // The sequences of all tasks at once, so that cores share them evenly.
        let sequences = map(tasks.len() * SEQUENCES, |index| {
            let (steps, targets) = &tasks[index / SEQUENCES];
            Ok(sequence(&steps.transposed(), targets, (index % SEQUENCES) as u64).0)
        })?;
        let mean = |(task, sequences): (usize, &[Vec<f64>])| {
            let of = |at| sequences.iter().map(|effects| effects[at]).sum::<f64>();
            let effects = (0..sequences[0].len()).map(|at| of(at) / SEQUENCES as f64).collect();
            Self { steps: tasks[task].0.columns(), effects }
        };
        Ok(sequences.chunks(SEQUENCES).enumerate().map(mean).collect())
    }

    /// What was fitted before.
    ///
    /// # Errors
    /// Effects of another number of steps, or not finite.
    pub(crate) fn open(steps: usize, effects: Vec<f64>) -> Result<Self, Error> {
        let expected = size(steps);
        if effects.len() != expected {
            let allowed = format!("must be {expected}, as of {steps} steps");
            return Err(Error::value("hyper.boosted", effects.len(), allowed));
        }
        if let Some(effect) = effects.iter().find(|effect| !effect.is_finite()) {
            return Err(Error::value("hyper.boosted", effect, "must be finite"));
        }
        Ok(Self { steps, effects })
    }

    /// What [`Boosted::open`] takes.
    pub(crate) fn effects(&self) -> &[f64] {
        &self.effects
    }

    /// Means.
    ///
    /// # Shapes
    /// `(n, s)` -> n.
    pub(crate) fn mean(&self, steps: &Matrix) -> Vec<f64> {
        let of = |row: &[f64]| {
            let set: Vec<usize> = (0..self.steps).filter(|&step| row[step] > 0.5).collect();
            let at = |i, j| self.effects[place(self.steps, i, j)];
            let pairs = set
                .iter()
                .enumerate()
                .flat_map(|(k, &i)| set[k..].iter().map(move |&j| at(i + 1, j + 1)));
            let single = set.iter().map(|&i| at(0, i + 1));
            at(0, 0) + single.sum::<f64>() + pairs.sum::<f64>()
        };
        (0..steps.rows()).map(|i| of(steps.row(i))).collect()
    }
}

/// Entries of the triangle.
fn size(steps: usize) -> usize {
    (steps + 1) * (steps + 2) / 2
}

/// Place of entry `(i, j)`, `i <= j`, of the triangle with `steps + 1` rows.
fn place(steps: usize, i: usize, j: usize) -> usize {
    i * (steps + 1) - i * i.saturating_sub(1) / 2 + j - i
}

/// Effects of one sequence of trees, and what they leave of the targets.
///
/// # Shapes
/// `steps (s, n)`, `targets (n)`.
fn sequence(steps: &Matrix, targets: &[f64], seed: u64) -> (Vec<f64>, Vec<f64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut effects = vec![0.0; size(steps.rows())];
    let mut residuals = targets.to_vec();
    for _ in 0..TREES {
        let weights: Vec<f64> =
            residuals.iter().map(|_| f64::from(u8::from(rng.random_bool(SAMPLED)))).collect();
        let weighted = times(&residuals, &weights);
        let whole = Part { residuals: weighted, weights };
        let Some(first) = best(steps, std::slice::from_ref(&whole), &mut rng) else { continue };
        let halves = whole.halves(steps.row(first));
        let Some(second) = best(steps, &halves, &mut rng) else { continue };
        // Leaves with neither step, the second, the first, both.
        let quarters = halves.map(|half| half.halves(steps.row(second)).map(|leaf| leaf.mean()));
        let [[none, right], [left, both]] = quarters.map(|pair| pair.map(|mean| RATE * mean));
        let mut add = |i, j, effect| effects[place(steps.rows(), i, j)] += effect;
        add(0, 0, none);
        add(0, first + 1, left - none);
        add(0, second + 1, right - none);
        add(first.min(second) + 1, first.max(second) + 1, both - left - right + none);
        let asked = steps.row(first).iter().zip(steps.row(second));
        for (residual, (a, b)) in residuals.iter_mut().zip(asked) {
            *residual -= match (*a > 0.5, *b > 0.5) {
                (false, false) => none,
                (false, true) => right,
                (true, false) => left,
                (true, true) => both,
            };
        }
    }
    (effects, residuals)
}

/// The samples of a node: residuals times weights, and weights, 0 outside it.
struct Part {
    residuals: Vec<f64>,
    weights: Vec<f64>,
}

impl Part {
    /// Those without and those with a step.
    fn halves(&self, step: &[f64]) -> [Self; 2] {
        let with =
            Self { residuals: times(&self.residuals, step), weights: times(&self.weights, step) };
        let without = Self {
            residuals: minus(&self.residuals, &with.residuals),
            weights: minus(&self.weights, &with.weights),
        };
        [without, with]
    }

    /// Sums of residuals and of weights.
    fn sums(&self) -> (f64, f64) {
        (self.residuals.iter().sum(), self.weights.iter().sum())
    }

    /// What a leaf of these samples adds, but for the rate.
    fn mean(&self) -> f64 {
        let (residuals, weights) = self.sums();
        residuals / (weights + CALM)
    }
}

/// Of a random part of the steps, the one that explains most when every node is split by it; none where none
/// was drawn.
fn best(steps: &Matrix, nodes: &[Part], rng: &mut impl Rng) -> Option<usize> {
    let sums: Vec<_> = nodes.iter().map(Part::sums).collect();
    let explained = |residuals: f64, weights: f64| residuals * residuals / (weights + CALM);
    let mut best = None;
    for step in 0..steps.rows() {
        if !rng.random_bool(ASKED) {
            continue;
        }
        let row = steps.row(step);
        let gain = nodes.iter().zip(&sums).map(|(node, (residuals, weights))| {
            let (r, w) = (dot(row, &node.residuals), dot(row, &node.weights));
            explained(r, w) + explained(residuals - r, weights - w)
        });
        let gain: f64 = gain.sum();
        if best.is_none_or(|(_, most)| gain > most) {
            best = Some((step, gain));
        }
    }
    best.map(|(step, _)| step)
}

fn times(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(rows: usize, columns: usize) -> Matrix {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let bits: Vec<Vec<f64>> = (0..rows)
            .map(|_| (0..columns).map(|_| f64::from(u8::from(rng.random_bool(0.5)))).collect())
            .collect();
        Matrix::from_rows(columns, &bits)
    }

    #[test]
    fn finds_the_pair_that_matters_and_predicts_new_rows() {
        let of = |row: &[f64]| 0.5 * row[3] - row[1] + 2.0 * row[0] * row[5] - 0.25;
        let (seen, unseen) = (steps(200, 8), steps(260, 8));
        let targets: Vec<f64> = (0..200).map(|i| of(seen.row(i))).collect();
        let fitted = Boosted::fit(&[(seen, &targets)]).unwrap().remove(0);
        for (i, mean) in fitted.mean(&unseen).into_iter().enumerate().skip(200) {
            assert!((mean - of(unseen.row(i))).abs() < 0.1, "{mean} {}", of(unseen.row(i)));
        }
        let pair = fitted.effects[place(8, 1, 6)];
        assert!((pair - 2.0).abs() < 0.1, "{pair}");
    }

    #[test]
    fn the_sum_of_effects_is_the_sum_of_trees() {
        let seen = steps(50, 5);
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let targets: Vec<f64> = (0..50).map(|_| rng.random_range(-1.0..1.0)).collect();
        let (effects, residuals) = sequence(&seen.transposed(), &targets, 0);
        let means = Boosted::open(5, effects).unwrap().mean(&seen);
        for ((target, residual), mean) in targets.iter().zip(&residuals).zip(&means) {
            assert!((target - residual - mean).abs() < 1e-9, "{target} {residual} {mean}");
        }
        let square = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>();
        assert!(square(&residuals) < square(&targets));
    }

    #[test]
    fn places_fill_the_triangle_in_order() {
        let all = (0..5).flat_map(|i| (i..5).map(move |j| place(4, i, j)));
        assert_eq!(all.collect::<Vec<_>>(), (0..size(4)).collect::<Vec<_>>());
    }

    #[test]
    fn effects_that_do_not_fit_are_named() {
        let error = |effects| Boosted::open(1, effects).unwrap_err().to_string();
        assert_eq!(error(vec![0.0; 2]), "hyper.boosted = 2: must be 3, as of 1 steps");
        assert_eq!(error(vec![0.0, 0.0, f64::NAN]), "hyper.boosted = NaN: must be finite");
    }
}
