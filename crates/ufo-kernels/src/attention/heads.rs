//! The heads of all images, shared out over threads.
#![allow(unsafe_code, reason = "heads write their columns of one matrix from several threads")]

use super::{
    Saved, Shape,
    core::{self, Given, Head, Rows, Sums},
};
use crate::{
    Level, Mat, Scratch,
    split::{self, Shared},
};

/// Shares of the heads that each thread takes, one after the other.
const TURNS: usize = 4;

/// The sizes of [`attend`].
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Number of heads.
    pub heads: usize,
    /// Columns of a head; all of them are `E`.
    pub head_dim: usize,
    /// Rows that attend to each other.
    pub tokens: usize,
    /// How many of them, the first ones, ask: the others' outputs are not computed.
    pub queries: usize,
}

/// The heads alone: `softmax(q k^T / sqrt(head_dim)) v` of `qkv` `[batch * tokens, 3 E]` into `o`
/// `[batch * queries, E]`.
///
/// # Panics
/// If lengths do not fit the sizes.
pub fn attend(level: Level, sizes: &Heads, qkv: &[f32], o: &mut [f32], scratch: &mut Scratch) {
    let Heads { heads, head_dim, tokens, queries } = *sizes;
    let e = heads * head_dim;
    assert!(e > 0 && (1..=tokens).contains(&queries), "sizes: {sizes:?}");
    let batch = o.len() / (queries * e);
    assert_eq!(o.len(), batch * queries * e, "o: not of [.., {queries}, {e}]");
    assert_eq!(qkv.len(), batch * tokens * 3 * e, "qkv: not [{batch} * {tokens}, 3 * {e}]");
    let shape = Shape { batch, tokens, queries, rows: batch * tokens, d: e, heads, head_dim, e };
    let asked = batch * heads * queries;
    let ([largest, inverse], inner) = scratch.lend([asked, asked], 1);
    mix(level, shape, qkv, Mixed { o, largest, inverse }, &mut inner[0]);
}

/// What the heads' forward pass writes.
pub(super) struct Mixed<'a> {
    pub(super) o: &'a mut [f32],
    pub(super) largest: &'a mut [f32],
    pub(super) inverse: &'a mut [f32],
}

/// The output of all heads of all images.
pub(super) fn mix(level: Level, shape: Shape, qkv: &[f32], mixed: Mixed, scratch: &mut Scratch) {
    let [o, largest, inverse] = [mixed.o, mixed.largest, mixed.inverse].map(Shared::new);
    let queries = shape.queries;
    shape.for_each_head(scratch, |index, scratch| {
        // SAFETY: each head of each image has its own numbers.
        let [largest, inverse] =
            unsafe { [&largest, &inverse].map(|all| all.part(index * queries, queries)) };
        let start = shape.start(index, [queries, shape.e]);
        let out = Rows { all: &o, start, stride: shape.e, len: shape.head_dim };
        let sums = &mut Sums { largest, inverse };
        core::forward(level, &shape.head(index, qkv), sums, out, scratch);
    });
}

impl Shape {
    /// Calls `work` for every head of every image, with its number and scratch of the thread.
    fn for_each_head(
        &self,
        scratch: &mut Scratch,
        work: impl Fn(usize, &mut Scratch) + Sync + Send,
    ) {
        let items = self.batch * self.heads;
        let threads = rayon::current_num_threads();
        let shares = if threads == 1 { 1 } else { items.min(threads * TURNS) };
        let (_, scratches) = scratch.lend([], shares);
        let scratches = Shared::new(scratches);
        let cost = items * self.queries * self.tokens * self.head_dim;
        split::for_each(shares, cost, |share| {
            // SAFETY: each share has its own scratch.
            let scratch = unsafe { &mut scratches.part(share, 1)[0] };
            for index in items * share / shares..items * (share + 1) / shares {
                work(index, scratch);
            }
        });
    }

    /// The first element of a head where images have so many rows of `stride`.
    fn start(&self, index: usize, [rows, stride]: [usize; 2]) -> usize {
        index / self.heads * rows * stride + index % self.heads * self.head_dim
    }

    fn view<'a>(&self, index: usize, all: &'a [f32], stride: usize, from: usize) -> Mat<'a> {
        let data = &all[self.start(index, [self.tokens, stride]) + from..];
        Mat::new(data, [self.tokens, self.head_dim], [stride, 1])
    }

    fn head<'a>(&self, index: usize, qkv: &'a [f32]) -> Head<'a> {
        let [q, k, v] = [0, 1, 2].map(|part| self.view(index, qkv, 3 * self.e, part * self.e));
        Head { q: q.block([0, 0], [self.queries, self.head_dim]), k, v }
    }

    fn place<'a>(
        &self,
        index: usize,
        all: &'a Shared<'a, f32>,
        stride: usize,
        from: usize,
    ) -> Rows<'a> {
        Rows {
            all,
            start: self.start(index, [self.tokens, stride]) + from,
            stride,
            len: self.head_dim,
        }
    }
}

/// The gradients of all queries, keys and values from that of the heads' output.
pub(super) fn unmix(
    level: Level,
    shape: Shape,
    saved: &Saved,
    [d_o, d_qkv]: [&mut [f32]; 2],
    scratch: &mut Scratch,
) {
    let (tokens, e) = (shape.tokens, shape.e);
    let (d_o, d_qkv) = (&*d_o, Shared::new(d_qkv));
    shape.for_each_head(scratch, |index, scratch| {
        let queries = index * tokens..(index + 1) * tokens;
        let given = Given {
            o: shape.view(index, &saved.o, e, 0),
            d_o: shape.view(index, d_o, e, 0),
            largest: &saved.largest[queries.clone()],
            inverse: &saved.inverse[queries],
        };
        let to = [0, 1, 2].map(|part| shape.place(index, &d_qkv, 3 * e, part * e));
        core::backward(level, &shape.head(index, &saved.qkv), &given, to, scratch);
    });
}
