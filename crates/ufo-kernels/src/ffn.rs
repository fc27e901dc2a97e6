//! The pre-norm feed-forward of a transformer block with its residual,
//! `y = x + fc2(gelu(fc1(layer_norm(x))))`.
//!
//! Rows pass through the whole of it a few at a time, so that what is between the layers stays in the
//! cache. The forward pass keeps each row's statistics and the pre-activation `p = fc1(..)`; the
//! backward pass computes the rest again:
//! ```text
//! dp = (dy W2^T) gelu'(p)     dn = dp W1^T            dx = dy + layer_norm'(dn)
//! dW2 = gelu(p)^T dy          dW1 = layer_norm(x)^T dp
//! ```

use crate::{
    gemm::{self, Epilogue, Panels, Product, panels_len},
    layer_norm::{self, LayerNorm, RowStats},
    level::Level,
    linear::{self, LinearWeights},
    mat::{Mat, MatMut},
    scratch::Scratch,
    split::FORK_WORK,
};

/// Added to the variance.
const EPS: f32 = 1e-6;
/// Rows that pass through all layers at a time.
const BLOCK_ROWS: usize = 96;
/// About the rows after which the backward pass adds to the weight gradients.
const GROUP_ROWS: usize = 256;

/// The parameters, of widths `d` (in and out) and `f` (between the layers).
#[derive(Clone, Copy, Debug)]
pub struct FfnWeights<'a> {
    /// `[d]`
    pub norm_weight: &'a [f32],
    /// `[d]`
    pub norm_bias: &'a [f32],
    /// `[d, f]`
    pub fc1: LinearWeights<'a>,
    /// `[f, d]`
    pub fc2: LinearWeights<'a>,
}

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    stats: Vec<RowStats>,
    pre: Vec<f32>,
}

/// What [`backward`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// What the forward pass kept.
    pub saved: &'a Saved,
    /// The input of the forward pass, `[m, d]`.
    pub x: &'a [f32],
    /// The gradient of what the layers add to x, `[m, d]`.
    pub dy: &'a [f32],
    /// The gradient that reaches x past the layers, `[m, d]`: `dy` again, unless what they add was scaled.
    pub past: &'a [f32],
}

/// What [`backward`] overwrites, all contiguous: the gradients of the input and of the parameters.
#[derive(Debug)]
pub struct FfnGrads<'a> {
    /// `[m, d]`
    pub dx: &'a mut [f32],
    /// `[d]`
    pub norm_weight: &'a mut [f32],
    /// `[d]`
    pub norm_bias: &'a mut [f32],
    /// `[d, f]`, where it is needed.
    pub fc1_weight: Option<&'a mut [f32]>,
    /// `[f]`, where there is such a bias.
    pub fc1_bias: Option<&'a mut [f32]>,
    /// `[f, d]`, where it is needed.
    pub fc2_weight: Option<&'a mut [f32]>,
    /// `[d]`, where there is such a bias.
    pub fc2_bias: Option<&'a mut [f32]>,
}

/// Computes `y` from `x`, both `[m, d]`.
///
/// # Panics
/// If lengths do not fit.
pub fn forward(
    level: Level,
    weights: &FfnWeights<'_>,
    x: &[f32],
    y: &mut [f32],
    scratch: &mut Scratch,
) {
    let rows = check(weights, x, y);
    let mut stats = vec![RowStats::default(); rows];
    through(level, weights, Rows { x, y, stats: &mut stats, pre: None }, scratch);
}

/// [`forward`] that keeps what the backward pass needs in `saved`, whose memory is reused.
///
/// # Panics
/// If lengths do not fit.
pub fn forward_saving(
    level: Level,
    weights: &FfnWeights<'_>,
    (x, y): (&[f32], &mut [f32]),
    saved: &mut Saved,
    scratch: &mut Scratch,
) {
    let rows = check(weights, x, y);
    saved.stats.resize(rows, RowStats::default());
    saved.pre.resize(rows * weights.fc1.weight.cols(), 0.0);
    let Saved { stats, pre } = saved;
    through(level, weights, Rows { x, y, stats, pre: Some(pre) }, scratch);
}

/// What [`forward_saving`] keeps of `x` `[m, d]`, bit for bit, without the output.
///
/// # Panics
/// If lengths do not fit.
pub fn save(
    level: Level,
    weights: &FfnWeights<'_>,
    x: &[f32],
    saved: &mut Saved,
    scratch: &mut Scratch,
) {
    let rows = check(weights, x, x);
    let (d, f) = (weights.norm_weight.len(), weights.fc1.weight.cols());
    saved.stats.resize(rows, RowStats::default());
    saved.pre.resize(rows * f, 0.0);
    let FfnWeights { norm_weight, norm_bias, fc1, .. } = *weights;
    let norm = LayerNorm { weight: norm_weight, bias: norm_bias, eps: EPS };
    let ([normed], inner) = scratch.lend([rows * d], 1);
    layer_norm::forward(level, &norm, x, normed, &mut saved.stats);
    let (normed, pre) =
        (Mat::row_major(normed, rows, d), MatMut::row_major(&mut saved.pre, rows, f));
    linear::forward(level, &fc1, normed, pre, &mut inner[0]);
}

/// Number of rows; panics unless all lengths fit.
fn check(weights: &FfnWeights<'_>, x: &[f32], y: &[f32]) -> usize {
    let FfnWeights { norm_weight, norm_bias, fc1, fc2 } = weights;
    let (d, f) = (norm_weight.len(), fc1.weight.cols());
    assert!(d > 0, "norm_weight: empty");
    assert!(norm_bias.len() == d, "norm_bias: {} values, expected {d}", norm_bias.len());
    for (name, linear, [inputs, outputs]) in [("fc1", fc1, [d, f]), ("fc2", fc2, [f, d])] {
        let shape = [linear.weight.rows(), linear.weight.cols()];
        assert!(shape == [inputs, outputs], "{name}: {shape:?}, expected [{inputs}, {outputs}]");
    }
    assert!(x.len().is_multiple_of(d), "x: {} values are no rows of {d}", x.len());
    assert!(y.len() == x.len(), "y: {} values, but x has {}", y.len(), x.len());
    x.len() / d
}

/// Some rows on their way forward.
struct Rows<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    stats: &'a mut [RowStats],
    pre: Option<&'a mut [f32]>,
}

impl Rows<'_> {
    /// The first `rows` rows and the others, of widths `[d, f]`.
    fn split(self, rows: usize, [d, f]: [usize; 2]) -> (Self, Self) {
        let (x_1, x_2) = self.x.split_at(rows * d);
        let (y_1, y_2) = self.y.split_at_mut(rows * d);
        let (stats_1, stats_2) = self.stats.split_at_mut(rows);
        let (pre_1, pre_2) = self.pre.map(|pre| pre.split_at_mut(rows * f)).unzip();
        (
            Rows { x: x_1, y: y_1, stats: stats_1, pre: pre_1 },
            Rows { x: x_2, y: y_2, stats: stats_2, pre: pre_2 },
        )
    }
}

/// A packed layer.
#[derive(Clone, Copy)]
struct Layer<'a> {
    weight: Panels<'a>,
    bias: Option<&'a [f32]>,
}

/// The forward pass with packed weights.
#[derive(Clone, Copy)]
struct Forward<'a> {
    level: Level,
    norm: LayerNorm<'a>,
    fc1: Layer<'a>,
    fc2: Layer<'a>,
    /// `[d, f]`
    widths: [usize; 2],
}

fn through(level: Level, weights: &FfnWeights<'_>, rows: Rows<'_>, scratch: &mut Scratch) {
    let [w1, w2] = [weights.fc1.weight, weights.fc2.weight];
    let parts = threads(rows.stats.len() * w1.rows() * w1.cols());
    let lens = [panels_len(level, w1), panels_len(level, w2)];
    let ([panels_1, panels_2], scratches) = scratch.lend(lens, parts);
    let (w1, w2) = (Panels::pack(level, w1, panels_1), Panels::pack(level, w2, panels_2));
    let FfnWeights { norm_weight, norm_bias, fc1, fc2 } = *weights;
    let pass = Forward {
        level,
        norm: LayerNorm { weight: norm_weight, bias: norm_bias, eps: EPS },
        fc1: Layer { weight: w1, bias: fc1.bias },
        fc2: Layer { weight: w2, bias: fc2.bias },
        widths: [norm_weight.len(), fc1.weight.cols()],
    };
    pass.split(rows, scratches);
}

/// Parts to work in at the same time, for so many multiply-adds.
fn threads(work: usize) -> usize {
    if work < FORK_WORK { 1 } else { rayon::current_num_threads() }
}

impl Forward<'_> {
    /// Splits the rows over as many parts as there are scratches.
    fn split(&self, rows: Rows<'_>, scratches: &mut [Scratch]) {
        if let [scratch] = scratches {
            return self.blocks(rows, scratch);
        }
        let (left, right) = scratches.split_at_mut(scratches.len() / 2);
        let middle = rows.stats.len() * left.len() / (left.len() + right.len());
        let (first, second) = rows.split(middle, self.widths);
        rayon::join(|| self.split(first, left), || self.split(second, right));
    }

    /// The rows in this thread, a block at a time.
    fn blocks(&self, mut rows: Rows<'_>, scratch: &mut Scratch) {
        let [d, f] = self.widths;
        let ([normed, hidden], children) = scratch.lend([BLOCK_ROWS * d, BLOCK_ROWS * f], 1);
        while !rows.stats.is_empty() {
            let count = rows.stats.len().min(BLOCK_ROWS);
            let (block, rest) = rows.split(count, self.widths);
            let (normed, hidden) = (&mut normed[..count * d], &mut hidden[..count * f]);
            self.block(block, (normed, hidden), &mut children[0]);
            rows = rest;
        }
    }

    fn block(&self, rows: Rows<'_>, buffers: (&mut [f32], &mut [f32]), scratch: &mut Scratch) {
        let (level, [d, f], count) = (self.level, self.widths, rows.stats.len());
        let residual = Some(Mat::row_major(rows.x, count, d));
        let (normed, hidden) = buffers;
        layer_norm::forward(level, &self.norm, rows.x, normed, rows.stats);
        let pre = rows.pre.map(|pre| MatMut::row_major(pre, count, f));
        let ab = (Mat::row_major(normed, count, d), self.fc1.weight.into());
        let c = MatMut::row_major(hidden, count, f);
        let product = Product::new(level, ab, c, Epilogue::Gelu { bias: self.fc1.bias, pre });
        gemm::compute(level, product, scratch);
        let ab = (Mat::row_major(hidden, count, f), self.fc2.weight.into());
        let c = MatMut::row_major(rows.y, count, d);
        let epilogue = Epilogue::Bias { bias: self.fc2.bias, residual };
        gemm::compute(level, Product::new(level, ab, c, epilogue), scratch);
    }
}

mod gradients;
pub use gradients::backward;

#[cfg(test)]
mod tests;
