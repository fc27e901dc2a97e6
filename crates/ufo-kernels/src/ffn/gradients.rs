//! The backward pass of the feed-forward.

use super::{BLOCK_ROWS, Backward, EPS, FfnGrads, FfnWeights, GROUP_ROWS, check, threads};
use crate::{
    gemm::{self, Epilogue, Panels, Product, gemm, panels_len},
    layer_norm::{self, LayerNorm, RowStats},
    level::Level,
    linear::sum_rows,
    mat::{Mat, MatMut},
    scratch::Scratch,
};

/// Computes all gradients.
///
/// # Panics
/// If lengths do not fit, or `given.saved` is of another number of rows or width.
pub fn backward(
    level: Level,
    weights: &FfnWeights<'_>,
    given: Backward<'_>,
    grads: FfnGrads<'_>,
    scratch: &mut Scratch,
) {
    let m = check_given(weights, &given, &grads);
    let [w1, w2] = [weights.fc1.weight.transposed(), weights.fc2.weight.transposed()];
    let [d, f] = [w1.cols(), w1.rows()];
    let parts = threads(m * d * f);
    let group = group_rows(m);
    let lens = [panels_len(level, w1), panels_len(level, w2), m * d];
    let ([panels_1, panels_2, dnormed], children) = scratch.lend(lens, 2);
    let (w1, w2) = (Panels::pack(level, w1, panels_1), Panels::pack(level, w2, panels_2));
    let norm = LayerNorm { weight: weights.norm_weight, bias: weights.norm_bias, eps: EPS };
    let pass = Rowwise { level, norm, w1, w2, widths: [d, f] };
    let mut sums = Sums {
        level,
        widths: [d, f],
        dw1: grads.fc1_weight.map(|grad| MatMut::row_major(grad, d, f)),
        dw2: grads.fc2_weight.map(|grad| MatMut::row_major(grad, f, d)),
        db1: grads.fc1_bias,
        db2: grads.fc2_bias,
    };
    let (buffers, others) = children.split_at_mut(1);
    let (workers, others) = (&mut buffers[0], &mut others[0]);
    for start in (0..m).step_by(group) {
        let rows = start..m.min(start + group);
        let count = rows.len();
        let lens = [count * d, count * f, count * f];
        let ([normed, activated, dpre], scratches) = workers.lend(lens, parts);
        let range = rows.start * d..rows.end * d;
        let part = Rows {
            x: &given.x[range.clone()],
            dy: &given.dy[range.clone()],
            stats: &given.saved.stats[rows.clone()],
            pre: &given.saved.pre[rows.start * f..rows.end * f],
            normed,
            activated,
            dpre,
            dnormed: &mut dnormed[range.clone()],
        };
        pass.split(part, scratches);
        let rows = Group { normed, activated, dpre, dy: &given.dy[range], first: start == 0 };
        sums.add(&rows, others);
    }
    if m == 0 {
        sums.add(&Group { normed: &[], activated: &[], dpre: &[], dy: &[], first: true }, others);
    }
    let given = layer_norm::Backward {
        weight: weights.norm_weight,
        x: given.x,
        stats: &given.saved.stats,
        dy: dnormed,
        past: Some(given.past),
    };
    let FfnGrads { dx, norm_weight, norm_bias, .. } = grads;
    let grads = layer_norm::Grads { dx, dweight: norm_weight, dbias: norm_bias };
    layer_norm::backward(level, &given, grads, others);
}

/// Rows of each but the last group of `m`, all of about the same size: a small one would pass over the weight
/// gradients for little.
fn group_rows(m: usize) -> usize {
    let groups = ((m + GROUP_ROWS / 2) / GROUP_ROWS).max(1);
    m.div_ceil(groups).max(1)
}

/// Number of rows; panics unless all lengths fit.
fn check_given(weights: &FfnWeights<'_>, given: &Backward<'_>, grads: &FfnGrads<'_>) -> usize {
    let m = check(weights, given.x, given.dy);
    let (d, f) = (weights.norm_weight.len(), weights.fc1.weight.cols());
    let bias = |grad: &Option<&mut [f32]>, has: Option<&[f32]>| {
        (grad.as_ref().map(|grad| grad.len()), has.map(<[f32]>::len))
    };
    let fc1_bias = bias(&grads.fc1_bias, weights.fc1.bias);
    let fc2_bias = bias(&grads.fc2_bias, weights.fc2.bias);
    assert!(
        fc1_bias.0 == fc1_bias.1,
        "fc1_bias: {:?} values, expected {:?}",
        fc1_bias.0,
        fc1_bias.1
    );
    assert!(
        fc2_bias.0 == fc2_bias.1,
        "fc2_bias: {:?} values, expected {:?}",
        fc2_bias.0,
        fc2_bias.1
    );
    for (name, got, expected) in [
        ("saved", given.saved.stats.len(), m),
        ("saved", given.saved.pre.len(), m * f),
        ("past", given.past.len(), m * d),
        ("dx", grads.dx.len(), m * d),
        ("norm_weight", grads.norm_weight.len(), d),
        ("norm_bias", grads.norm_bias.len(), d),
        ("fc1_weight", grads.fc1_weight.as_ref().map_or(d * f, |grad| grad.len()), d * f),
        ("fc2_weight", grads.fc2_weight.as_ref().map_or(d * f, |grad| grad.len()), d * f),
    ] {
        assert!(got == expected, "{name}: {got} values, expected {expected}");
    }
    m
}

/// Some rows on their way back.
struct Rows<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    stats: &'a [RowStats],
    pre: &'a [f32],
    normed: &'a mut [f32],
    activated: &'a mut [f32],
    dpre: &'a mut [f32],
    dnormed: &'a mut [f32],
}

impl Rows<'_> {
    /// The first `rows` rows and the others, of widths `[d, f]`.
    fn split(self, rows: usize, [d, f]: [usize; 2]) -> (Self, Self) {
        let (x_1, x_2) = self.x.split_at(rows * d);
        let (dy_1, dy_2) = self.dy.split_at(rows * d);
        let (stats_1, stats_2) = self.stats.split_at(rows);
        let (pre_1, pre_2) = self.pre.split_at(rows * f);
        let (normed_1, normed_2) = self.normed.split_at_mut(rows * d);
        let (activated_1, activated_2) = self.activated.split_at_mut(rows * f);
        let (dpre_1, dpre_2) = self.dpre.split_at_mut(rows * f);
        let (dnormed_1, dnormed_2) = self.dnormed.split_at_mut(rows * d);
        (
            Self {
                x: x_1,
                dy: dy_1,
                stats: stats_1,
                pre: pre_1,
                normed: normed_1,
                activated: activated_1,
                dpre: dpre_1,
                dnormed: dnormed_1,
            },
            Self {
                x: x_2,
                dy: dy_2,
                stats: stats_2,
                pre: pre_2,
                normed: normed_2,
                activated: activated_2,
                dpre: dpre_2,
                dnormed: dnormed_2,
            },
        )
    }
}

/// All that is computed row by row, with packed transposed weights.
struct Rowwise<'a> {
    level: Level,
    norm: LayerNorm<'a>,
    /// `[f, d]`
    w1: Panels<'a>,
    /// `[d, f]`
    w2: Panels<'a>,
    /// `[d, f]`
    widths: [usize; 2],
}

impl Rowwise<'_> {
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
        while !rows.stats.is_empty() {
            let count = rows.stats.len().min(BLOCK_ROWS);
            let (block, rest) = rows.split(count, self.widths);
            self.block(block, scratch);
            rows = rest;
        }
    }

    fn block(&self, rows: Rows<'_>, scratch: &mut Scratch) {
        let Rows { x, dy, stats, pre, normed, activated, dpre, dnormed } = rows;
        let (level, [d, f], count) = (self.level, self.widths, stats.len());
        layer_norm::apply(level, &self.norm, x, stats, normed);
        let epilogue = Epilogue::GeluGrad {
            pre: Mat::row_major(pre, count, f),
            activated: Some(MatMut::row_major(activated, count, f)),
        };
        let ab = (Mat::row_major(dy, count, d), self.w2.into());
        let c = MatMut::row_major(dpre, count, f);
        gemm::compute(level, Product::new(level, ab, c, epilogue), scratch);
        let ab = (Mat::row_major(dpre, count, f), self.w1.into());
        let c = MatMut::row_major(dnormed, count, d);
        gemm::compute(level, Product::new(level, ab, c, Epilogue::Store), scratch);
    }
}

/// Rows whose shares of the weight gradients are added together.
struct Group<'a> {
    normed: &'a [f32],
    activated: &'a [f32],
    dpre: &'a [f32],
    dy: &'a [f32],
    /// Whether the gradients have yet to be started.
    first: bool,
}

/// The gradients that are sums over rows.
struct Sums<'a> {
    level: Level,
    /// `[d, f]`
    widths: [usize; 2],
    dw1: Option<MatMut<'a>>,
    dw2: Option<MatMut<'a>>,
    db1: Option<&'a mut [f32]>,
    db2: Option<&'a mut [f32]>,
}

impl Sums<'_> {
    fn add(&mut self, rows: &Group<'_>, scratch: &mut Scratch) {
        let (level, [d, f]) = (self.level, self.widths);
        let count = rows.dy.len() / d;
        let [normed, dy] = [rows.normed, rows.dy].map(|data| Mat::row_major(data, count, d));
        let [activated, dpre] =
            [rows.activated, rows.dpre].map(|data| Mat::row_major(data, count, f));
        let epilogue = || if rows.first { Epilogue::Store } else { Epilogue::Accumulate };
        if let Some(dw2) = &mut self.dw2 {
            gemm(level, (activated.transposed(), dy), dw2.reborrow(), epilogue(), scratch);
        }
        if let Some(dw1) = &mut self.dw1 {
            gemm(level, (normed.transposed(), dpre), dw1.reborrow(), epilogue(), scratch);
        }
        if let Some(db1) = &mut self.db1 {
            sum_rows(level, dpre, db1, !rows.first);
        }
        if let Some(db2) = &mut self.db2 {
            sum_rows(level, dy, db2, !rows.first);
        }
    }
}
