//! Optimizer steps over a slice of parameters in one pass, and the norm that clipping needs.
//!
//! `AdamW` (arXiv 1711.05101) as PyTorch computes it, with `g` the scaled gradient and `t` the step:
//! ```text
//! p <- p (1 - lr decay)
//! m <- m + (1 - b1) (g - m)        v <- b2 v + (1 - b2) g^2
//! p <- p - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
//! ```
//! SGD with momentum (no dampening), whose buffer starts at zero:
//! ```text
//! g <- g + decay p        buffer <- momentum buffer + g        p <- p - lr buffer
//! ```
//! Every gradient is first multiplied by a factor, so that clipping by the global norm costs no
//! pass of its own: `factor = min(1, max_norm / sqrt(sum of sum_of_squares))`.
//!
//! The loops are plain: inside a level's entry function the compiler makes vectors of them, and
//! without fused operations they give the same bits at every level.

#![allow(unsafe_code, reason = "pieces of the parameters are written from several threads")]

use crate::level::{Kernel, Level};
use crate::simd::Simd;
use crate::split::{self, Shared};

/// Parameters a piece of work.
const PIECE: usize = 1 << 14;

/// Settings of [`adamw`]; double precision because `1 - 0.999` is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the running mean of gradients, in `[0, 1)`.
    pub beta1: f64,
    /// Decay of the running mean of squared gradients, in `[0, 1)`.
    pub beta2: f64,
    /// Added to the root of the mean square, outside the root.
    pub eps: f64,
    /// Decoupled weight decay: every step multiplies the parameter by `1 - lr * weight_decay`.
    pub weight_decay: f64,
}

/// What a step of [`adamw`] reads and changes; all slices have one length.
#[derive(Debug)]
pub struct AdamWState<'a> {
    /// Parameters.
    pub param: &'a mut [f32],
    /// Their gradients, before the factor.
    pub grad: &'a [f32],
    /// Running mean of gradients, zero before the first step.
    pub mean: &'a mut [f32],
    /// Running mean of squared gradients, zero before the first step.
    pub square: &'a mut [f32],
}

/// Settings of [`sgd`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the running sum of gradients, in `[0, 1)`.
    pub momentum: f64,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f64,
}

/// What a step of [`sgd`] reads and changes; all slices have one length.
#[derive(Debug)]
pub struct SgdState<'a> {
    /// Parameters.
    pub param: &'a mut [f32],
    /// Their gradients, before the factor.
    pub grad: &'a [f32],
    /// Running sum of gradients, zero before the first step (which then takes the gradient alone,
    /// as PyTorch's does).
    pub buffer: &'a mut [f32],
}

/// One step of `AdamW`, the `step`-th from 1 on, with gradients times `factor`.
pub fn adamw(level: Level, settings: &AdamW, step: u64, factor: f32, state: AdamWState) {
    let AdamWState { param, grad, mean, square } = state;
    let len = param.len();
    assert!(step >= 1, "step: counted from 1");
    assert_eq!(grad.len(), len, "grad: not of the length of param");
    assert_eq!(mean.len(), len, "mean: not of the length of param");
    assert_eq!(square.len(), len, "square: not of the length of param");
    let rates = AdamWRates::new(settings, step, factor);
    let shared = [param, mean, square].map(Shared::new);
    split::for_each(len.div_ceil(PIECE), 4 * len, |piece| {
        let range = piece * PIECE..len.min((piece + 1) * PIECE);
        // SAFETY: pieces are disjoint.
        let [param, mean, square] =
            shared.each_ref().map(|all| unsafe { all.part(range.start, range.len()) });
        level.run(AdamWPiece { rates, param, grad: &grad[range], mean, square });
    });
}

/// One step of SGD with gradients times `factor`.
pub fn sgd(level: Level, settings: &Sgd, factor: f32, state: SgdState) {
    let SgdState { param, grad, buffer } = state;
    let len = param.len();
    assert_eq!(grad.len(), len, "grad: not of the length of param");
    assert_eq!(buffer.len(), len, "buffer: not of the length of param");
    let shared = [param, buffer].map(Shared::new);
    split::for_each(len.div_ceil(PIECE), 2 * len, |piece| {
        let range = piece * PIECE..len.min((piece + 1) * PIECE);
        // SAFETY: pieces are disjoint.
        let [param, buffer] =
            shared.each_ref().map(|all| unsafe { all.part(range.start, range.len()) });
        level.run(SgdPiece { settings, factor, param, grad: &grad[range], buffer });
    });
}

/// The sum of squares in double precision, in an order fixed by the length alone.
pub fn sum_of_squares(level: Level, values: &[f32]) -> f64 {
    let mut sums = vec![0.0; values.len().div_ceil(PIECE)];
    let shared = Shared::new(&mut sums);
    split::for_each(values.len().div_ceil(PIECE), values.len(), |piece| {
        let range = piece * PIECE..values.len().min((piece + 1) * PIECE);
        // SAFETY: every piece has its own sum.
        let sum = unsafe { shared.part(piece, 1) };
        sum[0] = level.run(Squares(&values[range]));
    });
    // Not `sum`, which is -0 of nothing.
    sums.iter().fold(0.0, |sum, piece| sum + piece)
}

/// Constants of one step, computed in double precision and then rounded.
#[derive(Clone, Copy)]
struct AdamWRates {
    factor: f32,
    keep: f32,
    one_less_beta1: f32,
    beta2: f32,
    one_less_beta2: f32,
    step_size: f32,
    root_correction: f32,
    eps: f32,
}

impl AdamWRates {
    fn new(settings: &AdamW, step: u64, factor: f32) -> Self {
        let AdamW { lr, beta1, beta2, eps, weight_decay } = *settings;
        // Past a million steps the corrections are 1 for any beta below 0.99999.
        let power = step.min(1 << 30) as i32;
        Self {
            factor,
            keep: (1.0 - lr * weight_decay) as f32,
            one_less_beta1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            one_less_beta2: (1.0 - beta2) as f32,
            step_size: (lr / (1.0 - beta1.powi(power))) as f32,
            root_correction: (1.0 - beta2.powi(power)).sqrt() as f32,
            eps: eps as f32,
        }
    }
}

struct AdamWPiece<'a> {
    rates: AdamWRates,
    param: &'a mut [f32],
    grad: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
}

impl Kernel for AdamWPiece<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let rates = self.rates;
        let state = self.param.iter_mut().zip(self.mean).zip(self.square);
        for (((param, mean), square), grad) in state.zip(self.grad) {
            let g = grad * rates.factor;
            *mean += rates.one_less_beta1 * (g - *mean);
            *square = rates.beta2 * *square + rates.one_less_beta2 * (g * g);
            let root = square.sqrt() / rates.root_correction + rates.eps;
            *param = rates.keep * *param - rates.step_size * (*mean / root);
        }
    }
}

struct SgdPiece<'a> {
    settings: &'a Sgd,
    factor: f32,
    param: &'a mut [f32],
    grad: &'a [f32],
    buffer: &'a mut [f32],
}

impl Kernel for SgdPiece<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Sgd { lr, momentum, weight_decay } = *self.settings;
        let (lr, momentum, weight_decay) = (lr as f32, momentum as f32, weight_decay as f32);
        for ((param, buffer), grad) in self.param.iter_mut().zip(self.buffer).zip(self.grad) {
            *buffer = momentum * *buffer + (grad * self.factor + weight_decay * *param);
            *param -= lr * *buffer;
        }
    }
}

struct Squares<'a>(&'a [f32]);

impl Kernel for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0_f64; 16];
        let chunks = self.0.chunks_exact(sums.len());
        let rest = chunks.remainder();
        for chunk in chunks {
            for (sum, &value) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(value) * f64::from(value);
            }
        }
        let rest: f64 = rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        sums.iter().sum::<f64>() + rest
    }
}

#[cfg(test)]
mod tests;
