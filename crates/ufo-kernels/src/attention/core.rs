//! `softmax(q k^T / sqrt(head_dim)) v` of one head of one image, and its gradients.
//!
//! Scores are kept transposed, a row a key and a column a query: the softmax then works on whole
//! vectors of queries, and no lane needs a mask. Queries come in blocks, so that scores take memory
//! linear in the number of tokens. With `p` the probabilities of a query and `o` its output:
//! ```text
//! dv = p do          dp = v do          dk = ds q          dq = ds k
//! ds = p (dp - sum(do o)) / sqrt(head_dim)
//! ```
//! (arXiv 2205.14135 for the sum, which is that of `p dp`.) The backward pass repeats the
//! probabilities from each query's largest score and sum of exponentials.
#![allow(unsafe_code, reason = "heads write their columns of one matrix from several threads")]

use std::ops::Range;

use super::product::{Right, multiply, padded};
use crate::{
    Scratch,
    level::{Kernel, Level},
    mat::Mat,
    simd::{Simd, exp},
    split::Shared,
};

/// Scores that are kept at a time, at most, unless a vector of queries needs more.
const BLOCK_SCORES: usize = 1 << 15;

/// What one head reads: `[tokens, head_dim]` each; forward, the queries may be fewer.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) q: Mat<'a>,
    pub(super) k: Mat<'a>,
    pub(super) v: Mat<'a>,
}

/// What the forward pass notes of each query.
pub(super) struct Sums<'a> {
    /// The largest score, before its division by the root.
    pub(super) largest: &'a mut [f32],
    /// One over the sum of exponentials.
    pub(super) inverse: &'a mut [f32],
}

/// What only the backward pass reads of a head.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    /// The output, `[tokens, head_dim]`.
    pub(super) o: Mat<'a>,
    /// Its gradient, `[tokens, head_dim]`.
    pub(super) d_o: Mat<'a>,
    /// As the forward pass noted them.
    pub(super) largest: &'a [f32],
    pub(super) inverse: &'a [f32],
}

/// Rows of one head in a matrix that heads share.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) all: &'a Shared<'a, f32>,
    pub(super) start: usize,
    pub(super) stride: usize,
    pub(super) len: usize,
}

/// Sizes that follow from the shape of a head.
struct Plan {
    queries: usize,
    /// Keys and values.
    tokens: usize,
    head_dim: usize,
    /// `head_dim` in whole vectors.
    width: usize,
    /// Queries a block.
    block: usize,
    scale: f32,
}

impl Plan {
    fn new(level: Level, head: &Head) -> Self {
        let (queries, tokens, head_dim) = (head.q.rows(), head.k.rows(), head.q.cols());
        let blocks = (tokens * padded(level, queries)).div_ceil(BLOCK_SCORES).max(1);
        let block = padded(level, queries.div_ceil(blocks));
        let scale = 1.0 / (head_dim as f32).sqrt();
        Self { queries, tokens, head_dim, width: padded(level, head_dim), block, scale }
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let (block, queries) = (self.block, self.queries);
        (0..queries).step_by(block).map(move |start| start..queries.min(start + block))
    }

    /// The queries of a block.
    fn rows<'a>(&self, mat: Mat<'a>, block: &Range<usize>) -> Mat<'a> {
        mat.block([block.start, 0], [block.len(), self.head_dim])
    }
}

/// Computes the output of a head.
pub(super) fn forward(
    level: Level,
    head: &Head,
    sums: &mut Sums,
    out: Rows,
    scratch: &mut Scratch,
) {
    let plan = Plan::new(level, head);
    let (tokens, width) = (plan.tokens, plan.width);
    let lens =
        [tokens * width, plan.head_dim * plan.block, tokens * plan.block, plan.block * width];
    let ([values, queries, scores, mixed], inner) = scratch.lend(lens, 1);
    let inner = &mut inner[0];
    let values = Right::new(level, head.v, values);
    for block in plan.blocks() {
        let (count, columns) = (block.len(), padded(level, block.len()));
        let queries = Right::new(level, plan.rows(head.q, &block).transposed(), queries);
        let scores = &mut scores[..tokens * columns];
        multiply(level, (head.k, &queries), (scores, columns), false, inner);
        let inverse = &mut sums.inverse[block.clone()];
        let largest = &mut sums.largest[block.clone()];
        level.run(Softmax { scores, columns, scale: plan.scale, largest, inverse });
        let probabilities = Mat::new(scores, [count, tokens], [1, columns]);
        let rows = &mut mixed[..count * width];
        multiply(level, (probabilities, &values), (rows, width), false, inner);
        level.run(Write { rows, to: out, first: block.start, factors: Some(inverse) });
    }
}

/// Computes the gradients of a head's queries, keys and values, which go to `[dq, dk, dv]`.
pub(super) fn backward(
    level: Level,
    head: &Head,
    given: &Given,
    [dq, dk, dv]: [Rows; 3],
    scratch: &mut Scratch,
) {
    let plan = Plan::new(level, head);
    let (tokens, width) = (plan.tokens, plan.width);
    let (wide, tall) = (tokens * width, tokens * plan.block);
    let square = plan.head_dim.max(width) * plan.block;
    let lens = [wide, wide, wide, tall, tall, square, square, square, square, square, plan.block];
    let ([keys, d_k, d_v, p, ds, q_t, d_o_t, q, d_o, d_q, dots], inner) = scratch.lend(lens, 1);
    let inner = &mut inner[0];
    let keys = Right::new(level, head.k, keys);
    for block in plan.blocks() {
        let (count, columns) = (block.len(), padded(level, block.len()));
        let rows = [head.q, given.d_o, given.o].map(|mat| plan.rows(mat, &block));
        let q_t = Right::new(level, rows[0].transposed(), q_t);
        let d_o_t = Right::new(level, rows[1].transposed(), d_o_t);
        let [q, d_o] = [(rows[0], &mut *q), (rows[1], &mut *d_o)]
            .map(|(mat, panels)| Right::new(level, mat, panels));
        let (p, ds, scale) = (&mut p[..tokens * columns], &mut ds[..tokens * columns], plan.scale);
        multiply(level, (head.k, &q_t), (p, columns), false, inner);
        multiply(level, (head.v, &d_o_t), (ds, columns), false, inner);
        let dots = &mut dots[..count];
        level.run(Dots { a: rows[1], b: rows[2], out: dots });
        let (largest, inverse) = (&given.largest[block.clone()], &given.inverse[block.clone()]);
        level.run(ScoreGrads { p, ds, columns, scale, queries: [largest, inverse, dots] });
        let again = block.start > 0;
        let [p, d_scores] = [&*p, &*ds].map(|rows| Mat::new(rows, [tokens, count], [columns, 1]));
        multiply(level, (p, &d_o), (d_v, width), again, inner);
        multiply(level, (d_scores, &q), (d_k, width), again, inner);
        let rows = &mut d_q[..count * width];
        multiply(level, (d_scores.transposed(), &keys), (rows, width), false, inner);
        level.run(Write { rows, to: dq, first: block.start, factors: None });
    }
    level.run(Write { rows: d_k, to: dk, first: 0, factors: None });
    level.run(Write { rows: d_v, to: dv, first: 0, factors: None });
}

/// Probabilities times their queries' sums, in place of scores.
struct Softmax<'a> {
    scores: &'a mut [f32],
    columns: usize,
    scale: f32,
    largest: &'a mut [f32],
    inverse: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let scale = s.splat(self.scale);
        for col in (0..self.columns).step_by(S::LANES) {
            let mut largest = s.splat(f32::NEG_INFINITY);
            for row in self.scores.chunks_exact(self.columns) {
                largest = s.max(largest, s.read(&row[col..]));
            }
            let mut sum = s.splat(0.0);
            for row in self.scores.chunks_exact_mut(self.columns) {
                let off = s.sub(s.read(&row[col..]), largest);
                let value = exp(s, s.mul(off, scale));
                sum = s.add(sum, value);
                s.write(&mut row[col..], value);
            }
            s.write(&mut self.largest[col..], largest);
            s.write(&mut self.inverse[col..], s.div(s.splat(1.0), sum));
        }
    }
}

/// Turns scores `p` into probabilities and their gradients `ds` into those of the scores.
struct ScoreGrads<'a> {
    p: &'a mut [f32],
    ds: &'a mut [f32],
    columns: usize,
    scale: f32,
    /// Largest score, inverse sum, and product of output and gradient of each query.
    queries: [&'a [f32]; 3],
}

impl Kernel for ScoreGrads<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let scale = s.splat(self.scale);
        for col in (0..self.columns).step_by(S::LANES) {
            // What becomes of queries that only fill up the vector is not read: products take the block's alone.
            let [largest, inverse, dot] = self.queries.map(|query| s.read(&query[col..]));
            let rows = self.p.chunks_exact_mut(self.columns);
            for (p, ds) in rows.zip(self.ds.chunks_exact_mut(self.columns)) {
                let off = s.sub(s.read(&p[col..]), largest);
                let value = s.mul(exp(s, s.mul(off, scale)), inverse);
                s.write(&mut p[col..], value);
                let slope = s.mul(s.sub(s.read(&ds[col..]), dot), scale);
                s.write(&mut ds[col..], s.mul(value, slope));
            }
        }
    }
}

/// The products of the rows of two matrices of contiguous rows.
struct Dots<'a> {
    a: Mat<'a>,
    b: Mat<'a>,
    out: &'a mut [f32],
}

impl Kernel for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.a.cols();
        assert!(self.a.col_stride() == 1 && self.b.col_stride() == 1 && self.b.cols() == len);
        for (row, dot) in self.out.iter_mut().enumerate() {
            let a = &self.a.data()[row * self.a.row_stride()..][..len];
            let b = &self.b.data()[row * self.b.row_stride()..][..len];
            let mut sum = s.splat(0.0);
            for i in (0..len).step_by(S::LANES) {
                sum = s.fma(s.read(&a[i..]), s.read(&b[i..]), sum);
            }
            *dot = s.reduce_sum(sum);
        }
    }
}

/// Copies padded rows to a head's place, each times its factor.
struct Write<'a> {
    rows: &'a [f32],
    to: Rows<'a>,
    /// The row that the first one goes to.
    first: usize,
    factors: Option<&'a [f32]>,
}

impl Kernel for Write<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Rows { all, start, stride, len } = self.to;
        let width = len.next_multiple_of(S::LANES);
        for (i, row) in self.rows.chunks_exact(width).enumerate() {
            let factor = s.splat(self.factors.map_or(1.0, |factors| factors[i]));
            // SAFETY: a head's columns overlap no other head's, and one thread computes a head.
            let to = unsafe { all.part(start + (self.first + i) * stride, len) };
            for col in (0..len).step_by(S::LANES) {
                s.write(&mut to[col..], s.mul(s.read(&row[col..]), factor));
            }
        }
    }
}
