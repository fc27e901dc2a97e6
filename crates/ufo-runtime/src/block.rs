//! The transformer block, some rows at a time.
//!
//! But for the heads, which look at all tokens of an image, every step of a block works on each row
//! alone: the output projection with its residual, the FFN with its own, and the next block's norm
//! and projection to queries, keys and values. So a few rows pass through all of these while they stay
//! in the cache, and threads meet twice a block.

use crate::dense::{Dense, Then};
use std::sync::Arc;
use ufo_kernels::layer_norm::{self, LayerNorm, RowStats};
use ufo_kernels::{Level, Mat, Scratch};

/// Rows that pass through all layers at a time.
const CHUNK_ROWS: usize = 96;

/// A layer norm, epsilon 1e-6.
#[derive(Debug)]
pub(crate) struct Norm {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl Norm {
    /// Normalizes rows of `x` into `y`.
    pub(crate) fn run(&self, level: Level, x: &[f32], y: &mut [f32]) {
        let norm = LayerNorm { weight: &self.weight, bias: &self.bias, eps: 1e-6 };
        let rows = x.len() / self.weight.len();
        let mut few = [RowStats::default(); CHUNK_ROWS];
        let mut many = Vec::new();
        let stats = if rows <= CHUNK_ROWS {
            &mut few[..rows]
        } else {
            many.resize(rows, RowStats::default());
            &mut many[..]
        };
        layer_norm::forward(level, &norm, x, y, stats);
    }
}

/// Attention with its norm.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) norm: Norm,
    /// `[d, 3 E]`
    pub(crate) qkv: Dense,
    /// `[E, d]`
    pub(crate) proj: Dense,
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
}

/// FFN with its norm.
#[derive(Debug)]
pub(crate) struct Ffn {
    pub(crate) norm: Norm,
    /// `[d, f]`
    pub(crate) fc1: Dense,
    /// `[f, d]`
    pub(crate) fc2: Dense,
}

/// One block; tasks of a folder share the parts on which their paths agree.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) attention: Arc<Attention>,
    pub(crate) ffn: Arc<Ffn>,
}

impl Block {
    /// Weights of its linear layers.
    pub(crate) fn weights(&self) -> usize {
        let Attention { qkv, proj, .. } = &*self.attention;
        let Ffn { fc1, fc2, .. } = &*self.ffn;
        [qkv, proj, fc1, fc2].map(|layer| layer.sizes().into_iter().product::<usize>()).iter().sum()
    }
}

/// What is done to rows between the heads of one block and those of the next.
#[derive(Clone, Copy)]
pub(crate) struct Between<'a> {
    pub(crate) level: Level,
    /// Width of a row of x.
    pub(crate) d: usize,
    /// The block whose heads have answered, if one has.
    pub(crate) after: Option<&'a Block>,
    /// The attention that comes next, if one does.
    pub(crate) before: Option<&'a Attention>,
}

/// Rows that pass.
pub(crate) struct Rows<'a> {
    /// `[rows, d]`, changed in place.
    pub(crate) x: &'a mut [f32],
    /// The answers of the heads, `[rows, E]` of the block before; else empty.
    pub(crate) o: &'a [f32],
    /// Queries, keys and values for the next block, `[rows, 3 E]` of it; else empty.
    pub(crate) qkv: &'a mut [f32],
}

impl Between<'_> {
    /// Columns of `o` and `qkv`.
    fn widths(&self) -> [usize; 2] {
        let o = self.after.map_or(0, |block| block.attention.proj.sizes()[0]);
        let qkv = self.before.map_or(0, |attention| attention.qkv.sizes()[1]);
        [o, qkv]
    }

    /// Passes the rows in as many parts as there are scratches, in the current pool.
    pub(crate) fn run(&self, rows: Rows<'_>, scratches: &mut [Scratch]) {
        if let [scratch] = scratches {
            return self.alone(rows, scratch);
        }
        let (left, right) = scratches.split_at_mut(scratches.len() / 2);
        let count = rows.x.len() / self.d;
        let middle = (count * left.len()).div_ceil(left.len() + right.len());
        let (first, second) = self.split(rows, middle);
        rayon::join(|| self.run(first, left), || self.run(second, right));
    }

    fn split<'a>(&self, rows: Rows<'a>, at: usize) -> (Rows<'a>, Rows<'a>) {
        let [o, qkv] = self.widths();
        let (o_1, o_2) = rows.o.split_at(at * o);
        let Rows { x, qkv: to, .. } = rows;
        let (x_1, x_2) = x.split_at_mut(at * self.d);
        let (qkv_1, qkv_2) = to.split_at_mut(at * qkv);
        (Rows { x: x_1, o: o_1, qkv: qkv_1 }, Rows { x: x_2, o: o_2, qkv: qkv_2 })
    }

    /// Passes the rows in this thread.
    fn alone(&self, mut rows: Rows<'_>, scratch: &mut Scratch) {
        let hidden = self.after.map_or(0, |block| block.ffn.fc1.sizes()[1]);
        let lens = [self.d, self.d, hidden].map(|width| CHUNK_ROWS * width);
        let ([y, normed, hidden], children) = scratch.lend(lens, 1);
        while !rows.x.is_empty() {
            let count = (rows.x.len() / self.d).min(CHUNK_ROWS);
            let (chunk, rest) = self.split(rows, count);
            self.chunk(chunk, [&mut *y, &mut *normed, &mut *hidden], &mut children[0]);
            rows = rest;
        }
    }

    fn chunk(&self, rows: Rows<'_>, buffers: [&mut [f32]; 3], scratch: &mut Scratch) {
        let Rows { x, o, qkv } = rows;
        let (level, d, count) = (self.level, self.d, x.len() / self.d);
        let [y, normed, hidden] = buffers;
        let (y, normed) = (&mut y[..count * d], &mut normed[..count * d]);
        if let Some(Block { attention, ffn }) = self.after {
            attention.proj.run(o, y, Then::Add(Mat::row_major(x, count, d)), scratch);
            ffn.norm.run(level, y, normed);
            let hidden = &mut hidden[..count * ffn.fc1.sizes()[1]];
            ffn.fc1.run(normed, hidden, Then::Gelu, scratch);
            ffn.fc2.run(hidden, x, Then::Add(Mat::row_major(y, count, d)), scratch);
        }
        if let Some(attention) = self.before {
            attention.norm.run(level, x, normed);
            attention.qkv.run(normed, qkv, Then::Nothing, scratch);
        }
    }
}
