//! Multinomial logistic regression: what single pixels tell, the baseline of segmentation.
//!
//! Newton's method on `sum of cross entropies + |weights|² / 2`, intercepts not penalized: scikit-learn's
//! `LogisticRegression` with its defaults.

use crate::Error;

/// Most steps of Newton's method.
const STEPS: usize = 100;
/// Largest change of a parameter at which it has arrived.
const ARRIVED: f64 = 1e-10;
/// Added to the diagonal: adding a constant to all intercepts changes nothing, so that they have no curvature
/// in that direction.
const FLAT: f64 = 1e-6;

/// A fitted classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    /// A row of weights and an intercept for each class, `[classes, inputs + 1]`.
    weights: Vec<f64>,
    inputs: usize,
}

impl Logistic {
    /// Fits rows of `inputs` values, `[n, inputs]`, to their `labels`, `[n]`, each below `classes`.
    ///
    /// # Errors
    /// No rows, lengths that do not fit, a value that is not finite, a label that is no class.
    pub fn fit(
        rows: &[f32],
        inputs: usize,
        (labels, classes): (&[u8], usize),
    ) -> Result<Self, Error> {
        if labels.is_empty() || rows.len() != labels.len() * inputs {
            let (expected, got) = ((labels.len() * inputs).max(inputs), rows.len());
            return Err(Error::Length { what: "rows", expected, got });
        }
        if let Some(value) = rows.iter().find(|value| !value.is_finite()) {
            return Err(Error::value("rows", value, "must be finite"));
        }
        let wrong = labels.iter().enumerate().find(|(_, label)| usize::from(**label) >= classes);
        if let Some((row, label)) = wrong {
            return Err(Error::Label { row, label: u32::from(*label), classes });
        }
        let mut model = Self { weights: vec![0.0; classes * (inputs + 1)], inputs };
        let mut loss = model.loss(rows, labels);
        for _ in 0..STEPS {
            let (gradient, curvature) = model.derivatives(rows, labels);
            let step = solve(curvature, gradient);
            let mut length = 1.0;
            loop {
                let moved = model.weights.iter().zip(&step).map(|(w, s)| w - length * s).collect();
                let moved = Self { weights: moved, inputs };
                let new = moved.loss(rows, labels);
                if new <= loss || length < 1e-6 {
                    (model, loss) = (moved, new);
                    break;
                }
                length /= 2.0;
            }
            if step.iter().all(|change| change.abs() < ARRIVED) {
                break;
            }
        }
        Ok(model)
    }

    /// The likeliest class of each row.
    pub fn predict(&self, rows: &[f32]) -> Vec<u8> {
        let best = |row: &[f32]| {
            let scores = self.scores(row);
            (1..scores.len())
                .fold(0, |best, class| if scores[class] > scores[best] { class } else { best })
                as u8
        };
        rows.chunks_exact(self.inputs).map(best).collect()
    }

    /// The probability of each class of each row, `[n, classes]`.
    pub fn probabilities(&self, rows: &[f32]) -> Vec<f64> {
        rows.chunks_exact(self.inputs).flat_map(|row| softmax(&self.scores(row))).collect()
    }

    fn scores(&self, row: &[f32]) -> Vec<f64> {
        let of_class = |weights: &[f64]| {
            let sum: f64 = weights.iter().zip(row).map(|(w, x)| w * f64::from(*x)).sum();
            sum + weights[self.inputs]
        };
        self.weights.chunks_exact(self.inputs + 1).map(of_class).collect()
    }

    fn penalized(&self) -> impl Iterator<Item = (usize, f64)> {
        let last = self.inputs;
        self.weights.iter().copied().enumerate().filter(move |(at, _)| at % (last + 1) != last)
    }

    fn loss(&self, rows: &[f32], labels: &[u8]) -> f64 {
        let each = rows.chunks_exact(self.inputs).zip(labels).map(|(row, label)| {
            let scores = self.scores(row);
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - most).exp()).sum();
            sum.ln() + most - scores[usize::from(*label)]
        });
        each.sum::<f64>() + self.penalized().map(|(_, w)| w * w).sum::<f64>() / 2.0
    }

    /// Gradient and matrix of second derivatives.
    fn derivatives(&self, rows: &[f32], labels: &[u8]) -> (Vec<f64>, Vec<f64>) {
        let (width, count) = (self.inputs + 1, self.weights.len());
        let (mut gradient, mut curvature) = (vec![0.0; count], vec![0.0; count * count]);
        let mut x = vec![1.0; width];
        for (row, label) in rows.chunks_exact(self.inputs).zip(labels) {
            x.iter_mut().zip(row).for_each(|(x, value)| *x = f64::from(*value));
            let probabilities = softmax(&self.scores(row));
            for (a, pa) in probabilities.iter().enumerate() {
                let off = pa - f64::from(u8::from(a == usize::from(*label)));
                gradient[a * width..][..width].iter_mut().zip(&x).for_each(|(g, x)| *g += off * x);
                for (b, pb) in probabilities.iter().enumerate().take(a + 1) {
                    let weight = if a == b { pa * (1.0 - pa) } else { -pa * pb };
                    for (i, xi) in x.iter().enumerate() {
                        let to = &mut curvature[(a * width + i) * count + b * width..][..width];
                        to.iter_mut().zip(&x).for_each(|(c, xj)| *c += weight * xi * xj);
                    }
                }
            }
        }
        for (at, weight) in self.penalized() {
            gradient[at] += weight;
            curvature[at * (count + 1)] += 1.0;
        }
        (0..count).for_each(|at| curvature[at * (count + 1)] += FLAT);
        (gradient, curvature)
    }
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|exp| exp / sum).collect()
}

/// Solves `a x = b` for a positive definite `a`, of which the lower triangle is read (Cholesky).
fn solve(mut a: Vec<f64>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let rest = a[i * n + j] - dot;
            a[i * n + j] = if i == j { rest.max(FLAT * FLAT).sqrt() } else { rest / a[j * n + j] };
        }
        let dot: f64 = (0..i).map(|k| a[i * n + k] * b[k]).sum();
        b[i] = (b[i] - dot) / a[i * n + i];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| a[k * n + i] * b[k]).sum();
        b[i] = (b[i] - dot) / a[i * n + i];
    }
    b
}
