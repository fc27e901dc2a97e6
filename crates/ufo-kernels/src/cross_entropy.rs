//! Softmax cross entropy of rows of logits, its mean and its gradient in one pass.
//!
//! For a row `x` of `C` logits with target weights `t`, largest logit `m` and `s = sum exp(x - m)`:
//! ```text
//! loss = sum t (ln s + m - x)          dx = (exp(x - m) / s sum t - t) / rows
//! ```
//! Label smoothing `e` (arXiv 1512.00567) turns `t` into `(1 - e) t + e / C`. All agrees with
//! PyTorch's `cross_entropy` with mean reduction.
#![allow(unsafe_code, reason = "pieces of rows are written from several threads")]

use crate::level::{Kernel, Level};
use crate::simd::{Simd, exp};
use crate::split::{self, Shared};

/// Logits a piece of work, at least; a piece is whole rows.
const PIECE: usize = 1 << 13;

/// What the rows should be.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// The class of each row, `[m]`.
    Classes(&'a [u32]),
    /// The weight of each class in each row, `[m, classes]`; rows usually sum to 1.
    Weights(&'a [f32]),
}

/// What [`forward_backward`] reads.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a> {
    /// Rows of logits, `[m, classes]`.
    pub logits: &'a [f32],
    /// Length of a row.
    pub classes: usize,
    /// The targets.
    pub targets: Targets<'a>,
    /// Weight in `[0, 1]` of the uniform distribution that is mixed into the targets.
    pub smoothing: f32,
}

/// The mean loss of the rows; overwrites `grad`, `[m, classes]`, with its gradient.
///
/// # Panics
/// If there is no row, a class does not exist or a length is wrong.
pub fn forward_backward(level: Level, given: &CrossEntropy, grad: &mut [f32]) -> f64 {
    let rows = check(given, grad.len());
    let classes = given.classes;
    let piece_rows = PIECE.div_ceil(classes);
    let pieces = rows.div_ceil(piece_rows);
    let mut losses = vec![0.0; pieces];
    let (shared_losses, shared_grad) = (Shared::new(&mut losses), Shared::new(grad));
    split::for_each(pieces, 8 * given.logits.len(), |piece| {
        let range = piece * piece_rows..rows.min((piece + 1) * piece_rows);
        // SAFETY: pieces are disjoint runs of rows.
        let (loss, grad) = unsafe {
            let grad = shared_grad.part(range.start * classes, range.len() * classes);
            (shared_losses.part(piece, 1), grad)
        };
        let targets = match given.targets {
            Targets::Classes(all) => Targets::Classes(&all[range.clone()]),
            Targets::Weights(all) => {
                Targets::Weights(&all[range.start * classes..range.end * classes])
            }
        };
        let logits = &given.logits[range.start * classes..range.end * classes];
        let given = CrossEntropy { logits, targets, ..*given };
        loss[0] = level.run(Rows { given, scale: 1.0 / rows as f32, grad });
    });
    losses.iter().sum::<f64>() / rows as f64
}

/// The number of rows, after checking that all fit.
fn check(given: &CrossEntropy, grad: usize) -> usize {
    let (len, classes) = (given.logits.len(), given.classes);
    assert!(classes > 0, "classes: none");
    assert!(len.is_multiple_of(classes) && len > 0, "logits: {len} are no rows of {classes}");
    assert!((0.0..=1.0).contains(&given.smoothing), "smoothing: {} not in 0-1", given.smoothing);
    assert_eq!(grad, len, "grad: not of the length of logits");
    match given.targets {
        Targets::Classes(all) => {
            assert_eq!(all.len(), len / classes, "targets: not one a row");
            let top = all.iter().max().map_or(0, |&class| class as usize);
            assert!(top < classes, "targets: class {top} of {classes}");
        }
        Targets::Weights(all) => {
            assert_eq!(all.len(), len, "targets: not of the length of logits");
        }
    }
    len / classes
}

/// The summed loss of some rows and their gradient times `scale`.
struct Rows<'a> {
    given: CrossEntropy<'a>,
    scale: f32,
    grad: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let CrossEntropy { logits, classes, targets, smoothing } = self.given;
        let rows = logits.chunks_exact(classes).zip(self.grad.chunks_exact_mut(classes));
        let mut loss = 0.0;
        for (row, (x, grad)) in rows.enumerate() {
            let top = largest(s, x);
            let sum = exponentials(s, x, top, grad);
            loss += match targets {
                Targets::Classes(all) => {
                    let class = all[row] as usize;
                    let fit = Fit { total: 1.0, sum, smoothing, scale: self.scale };
                    fit.gradient(s, grad, None);
                    grad[class] -= (1.0 - smoothing) * self.scale;
                    fit.loss(s, x, top, f64::from(top) - f64::from(x[class]))
                }
                Targets::Weights(all) => {
                    let t = &all[row * classes..][..classes];
                    let (total, off) = weighted(s, t, x, top);
                    let total = (1.0 - smoothing) * total + smoothing;
                    let fit = Fit { total, sum, smoothing, scale: self.scale };
                    fit.gradient(s, grad, Some(t));
                    fit.loss(s, x, top, f64::from(off))
                }
            };
        }
        loss
    }
}

/// A row's numbers, after smoothing.
struct Fit {
    /// Sum of the target weights.
    total: f32,
    /// Sum of the exponentials.
    sum: f32,
    smoothing: f32,
    scale: f32,
}

impl Fit {
    /// The loss, `off` being the sum of the unsmoothed `t (top - x)`.
    #[inline(always)]
    fn loss<S: Simd>(&self, s: S, x: &[f32], top: f32, off: f64) -> f64 {
        let loss = f64::from(self.total) * f64::from(self.sum).ln();
        if self.smoothing == 0.0 {
            return loss + off;
        }
        let smoothing = f64::from(self.smoothing);
        loss + (1.0 - smoothing) * off + smoothing * f64::from(below(s, x, top)) / x.len() as f64
    }

    /// Turns exponentials into the gradient; without `t` the targets are still to be subtracted.
    #[inline(always)]
    fn gradient<S: Simd>(&self, s: S, grad: &mut [f32], t: Option<&[f32]>) {
        let probability = s.splat(self.total / self.sum * self.scale);
        let uniform = s.splat(-self.smoothing / grad.len() as f32 * self.scale);
        let weight = s.splat((self.smoothing - 1.0) * self.scale);
        for i in (0..grad.len()).step_by(S::LANES) {
            let mut value = s.fma(s.read(&grad[i..]), probability, uniform);
            if let Some(t) = t {
                value = s.fma(s.read(&t[i..]), weight, value);
            }
            s.write(&mut grad[i..], value);
        }
    }
}

/// The largest logit.
#[inline(always)]
fn largest<S: Simd>(s: S, x: &[f32]) -> f32 {
    let chunks = x.chunks_exact(S::LANES);
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut top = s.splat(f32::NEG_INFINITY);
    for chunk in chunks {
        top = s.max(top, s.read(chunk));
    }
    s.reduce_max(top).max(rest)
}

/// Writes `exp(x - top)` and sums it.
#[inline(always)]
fn exponentials<S: Simd>(s: S, x: &[f32], top: f32, out: &mut [f32]) -> f32 {
    let mut sum = s.splat(0.0);
    for i in (0..x.len()).step_by(S::LANES) {
        s.write(&mut out[i..], exp(s, s.sub(s.read(&x[i..]), s.splat(top))));
        // Read back, since lanes beyond the row must count as zero.
        sum = s.add(sum, s.read(&out[i..]));
    }
    s.reduce_sum(sum)
}

/// The sums of `t` and of `t (top - x)`.
#[inline(always)]
fn weighted<S: Simd>(s: S, t: &[f32], x: &[f32], top: f32) -> (f32, f32) {
    let (mut total, mut off) = (s.splat(0.0), s.splat(0.0));
    for i in (0..x.len()).step_by(S::LANES) {
        let t = s.read(&t[i..]);
        total = s.add(total, t);
        off = s.fma(t, s.sub(s.splat(top), s.read(&x[i..])), off);
    }
    (s.reduce_sum(total), s.reduce_sum(off))
}

/// The sum of `top - x`.
#[inline(always)]
fn below<S: Simd>(s: S, x: &[f32], top: f32) -> f32 {
    let chunks = x.chunks_exact(S::LANES);
    let rest: f32 = chunks.remainder().iter().map(|x| top - x).sum();
    let mut sum = s.splat(0.0);
    for chunk in chunks {
        sum = s.add(sum, s.sub(s.splat(top), s.read(chunk)));
    }
    s.reduce_sum(sum) + rest
}

#[cfg(test)]
mod tests;
