//! Pre-norm multi-head self-attention (arXiv 1706.03762, 2010.11929) with its residual.
//!
//! ```text
//! n = layer_norm(x)          q, k, v = n Wq + bq, n Wk + bk, n Wv + bv
//! o = heads of softmax(q k^T / sqrt(head_dim)) v          y = x + o Wp + bp
//! ```
//! The weights are views; those of q, k and v are column blocks of one matrix, so that a product makes all three.
//! For the backward pass the forward one keeps q, k, v, o and two numbers a row, a query and a head; no matrix
//! of tokens by tokens is ever kept. At a level of bf16 all products are in bf16, the softmax in f32.
mod core;
mod heads;
mod product;

pub use heads::{Heads, attend};

use crate::{
    Level, Mat, MatMut, Scratch,
    gemm::{Epilogue, gemm},
    layer_norm::{self, LayerNorm, RowStats},
    linear::{self, LinearWeights},
};
use heads::{Mixed, mix, unmix};

/// The parameters and the two sizes that they do not tell. With `d` the length of a row of x and `E`
/// that of all heads:
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// `[d]`
    pub norm: LayerNorm<'a>,
    /// Queries, keys and values: `[d, 3 E]`.
    pub qkv: LinearWeights<'a>,
    /// `[E, d]`
    pub proj: LinearWeights<'a>,
    /// Number of heads; `head_dim` is `E / heads`.
    pub heads: usize,
    /// Rows of x that attend to each other.
    pub tokens: usize,
}

/// What [`backward`] needs of the forward pass; its memory is reused by the next one.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    stats: Vec<RowStats>,
    qkv: Vec<f32>,
    o: Vec<f32>,
    largest: Vec<f32>,
    inverse: Vec<f32>,
}

/// What [`backward`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// What [`forward_saving`] kept.
    pub saved: &'a Saved,
    /// The input of the forward pass, `[batch * tokens, d]`.
    pub x: &'a [f32],
    /// The gradient of what the layers add to x, `[batch * tokens, d]`.
    pub dy: &'a [f32],
    /// The gradient that reaches x past the layers, `[batch * tokens, d]`: `dy` again, unless what they
    /// add was scaled.
    pub past: &'a [f32],
}

/// A linear layer's gradients.
#[derive(Debug)]
pub struct LinearGrads<'a> {
    /// `[inputs, outputs]`, where it is needed.
    pub weight: Option<MatMut<'a>>,
    /// `[outputs]`, where it is needed, whether or not the layer has a bias.
    pub bias: Option<&'a mut [f32]>,
}

/// What [`backward`] overwrites.
#[derive(Debug)]
pub struct Grads<'a> {
    /// The gradient of the input, `[batch * tokens, d]`.
    pub dx: &'a mut [f32],
    /// `[d]`
    pub norm_weight: &'a mut [f32],
    /// `[d]`
    pub norm_bias: &'a mut [f32],
    /// Queries, keys and values: `[d, 3 E]`.
    pub qkv: LinearGrads<'a>,
    /// `[E, d]`
    pub proj: LinearGrads<'a>,
}

#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    tokens: usize,
    /// Tokens that ask; all of them but in [`attend`].
    queries: usize,
    rows: usize,
    d: usize,
    heads: usize,
    head_dim: usize,
    e: usize,
}

/// Buffers of the forward pass.
struct Buffers<'a> {
    stats: &'a mut [RowStats],
    qkv: &'a mut [f32],
    o: &'a mut [f32],
    largest: &'a mut [f32],
    inverse: &'a mut [f32],
}

impl Attention<'_> {
    /// The sizes, after checking that all parameters fit them.
    fn shape(&self, x: usize, y: usize) -> Shape {
        let (d, e) = (self.norm.weight.len(), self.proj.weight.rows());
        let (heads, tokens) = (self.heads, self.tokens);
        assert!(heads > 0 && e.is_multiple_of(heads), "heads: {heads} of {e} columns");
        assert!(tokens > 0, "tokens: none");
        assert!(d > 0 && x.is_multiple_of(d * tokens), "x: {x} values, not of [.., {tokens}, {d}]");
        assert_eq!(y, x, "y, dy, dx: not of the length of x");
        check("qkv", &self.qkv, [d, 3 * e]);
        check("proj", &self.proj, [e, d]);
        let rows = x / d;
        Shape {
            batch: rows / tokens,
            tokens,
            queries: tokens,
            rows,
            d,
            heads,
            head_dim: e / heads,
            e,
        }
    }
}

fn check(name: &str, weights: &LinearWeights, [inputs, outputs]: [usize; 2]) {
    let shape = [weights.weight.rows(), weights.weight.cols()];
    assert!(shape == [inputs, outputs], "{name}: {shape:?}, not [{inputs}, {outputs}]");
    let bias = weights.bias.map_or(outputs, <[f32]>::len);
    assert_eq!(bias, outputs, "{name}: a bias of {bias}, not {outputs}");
}

/// Computes y of x, both `[batch * tokens, d]`.
pub fn forward(
    level: Level,
    attention: &Attention,
    x: &[f32],
    y: &mut [f32],
    scratch: &mut Scratch,
) {
    let shape = attention.shape(x.len(), y.len());
    let queries = shape.rows * shape.heads;
    let lens = [shape.rows * 3 * shape.e, shape.rows * shape.e, queries, queries];
    let ([qkv, o, largest, inverse], inner) = scratch.lend(lens, 1);
    let stats = &mut vec![RowStats::default(); shape.rows];
    let buffers = Buffers { stats, qkv, o, largest, inverse };
    run(level, attention, (x, Some(y)), buffers, &mut inner[0]);
}

/// Computes y of x, both `[batch * tokens, d]`, and keeps in `saved` what [`backward`] needs.
pub fn forward_saving(
    level: Level,
    attention: &Attention,
    (x, y): (&[f32], &mut [f32]),
    saved: &mut Saved,
    scratch: &mut Scratch,
) {
    let shape = attention.shape(x.len(), y.len());
    run(level, attention, (x, Some(y)), saved.buffers(shape), scratch);
}

impl Saved {
    /// Its memory, made to fit.
    fn buffers(&mut self, shape: Shape) -> Buffers<'_> {
        let queries = shape.rows * shape.heads;
        let Saved { stats, qkv, o, largest, inverse } = self;
        stats.resize(shape.rows, RowStats::default());
        qkv.resize(shape.rows * 3 * shape.e, 0.0);
        o.resize(shape.rows * shape.e, 0.0);
        largest.resize(queries, 0.0);
        inverse.resize(queries, 0.0);
        Buffers { stats, qkv, o, largest, inverse }
    }
}

/// What [`forward_saving`] keeps of `x` `[batch * tokens, d]`, bit for bit, without the output.
pub fn save(
    level: Level,
    attention: &Attention,
    x: &[f32],
    saved: &mut Saved,
    scratch: &mut Scratch,
) {
    let shape = attention.shape(x.len(), x.len());
    run(level, attention, (x, None), saved.buffers(shape), scratch);
}

fn run(
    level: Level,
    attention: &Attention,
    (x, y): (&[f32], Option<&mut [f32]>),
    buffers: Buffers,
    scratch: &mut Scratch,
) {
    let shape = attention.shape(x.len(), y.as_ref().map_or(x.len(), |y| y.len()));
    let Shape { rows, d, e, .. } = shape;
    let Buffers { stats, qkv, o, largest, inverse } = buffers;
    let ([norm], inner) = scratch.lend([rows * d], 1);
    let inner = &mut inner[0];
    layer_norm::forward(level, &attention.norm, x, norm, stats);
    let norm = Mat::row_major(norm, rows, d);
    linear::forward(level, &attention.qkv, norm, MatMut::row_major(qkv, rows, 3 * e), inner);
    mix(level, shape, qkv, Mixed { o, largest, inverse }, inner);
    if let Some(y) = y {
        let (o, y) = (Mat::row_major(o, rows, e), MatMut::row_major(y, rows, d));
        let LinearWeights { weight, bias } = attention.proj;
        let epilogue = Epilogue::Bias { bias, residual: Some(Mat::row_major(x, rows, d)) };
        gemm(level, (o, weight), y, epilogue, inner);
    }
}

/// Computes all gradients.
///
/// # Panics
/// If a length is wrong, or `saved` is of another shape.
pub fn backward(
    level: Level,
    attention: &Attention,
    given: &Backward,
    grads: Grads,
    scratch: &mut Scratch,
) {
    let Backward { saved, x, dy, past } = *given;
    let shape = attention.shape(x.len(), dy.len());
    let Shape { rows, d, e, .. } = shape;
    assert!(
        saved.stats.len() == rows
            && saved.o.len() == rows * e
            && saved.largest.len() == rows * shape.heads,
        "saved: of another shape"
    );
    let lens = [rows * e, rows * 3 * e, rows * d, rows * d];
    let ([d_o, d_qkv, norm, d_norm], inner) = scratch.lend(lens, 1);
    let inner = &mut inner[0];

    let (o, dy) = (Mat::row_major(&saved.o, rows, e), Mat::row_major(dy, rows, d));
    let to = linear::Grads {
        dx: Some(MatMut::row_major(d_o, rows, e)),
        dweight: grads.proj.weight,
        dbias: grads.proj.bias,
    };
    linear::backward(level, attention.proj.weight, (o, dy), to, inner);
    unmix(level, shape, saved, [d_o, d_qkv], inner);

    layer_norm::apply(level, &attention.norm, x, &saved.stats, norm);
    let norm = Mat::row_major(norm, rows, d);
    let d_qkv = Mat::row_major(d_qkv, rows, 3 * e);
    let to = linear::Grads {
        dx: Some(MatMut::row_major(d_norm, rows, d)),
        dweight: grads.qkv.weight,
        dbias: grads.qkv.bias,
    };
    linear::backward(level, attention.qkv.weight, (norm, d_qkv), to, inner);
    let weight = attention.norm.weight;
    let past = Some(past);
    let given = layer_norm::Backward { weight, x, stats: &saved.stats, dy: d_norm, past };
    let Grads { dx, norm_weight: dweight, norm_bias: dbias, .. } = grads;
    layer_norm::backward(level, &given, layer_norm::Grads { dx, dweight, dbias }, inner);
}

#[cfg(test)]
mod tests;
