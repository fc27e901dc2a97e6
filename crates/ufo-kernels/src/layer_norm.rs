//! Layer normalization of rows (arXiv 1607.06450).
//!
//! With the mean `m` of a row of `d` values, its variance `v` in a second pass, and
//! `r = 1 / sqrt(v + eps)`:
//! ```text
//! n = (x - m) r          y = n weight + bias
//! g = dy weight          dx = past + r (g - mean(g) - n mean(g n))
//! dweight = sum of dy n over rows, dbias = sum of dy over rows
//! ```
#![allow(unsafe_code, reason = "pieces of rows are written from several threads")]

use crate::Scratch;
use crate::level::{Kernel, Level};
use crate::simd::Simd;
use crate::split::{self, Shared};

/// Rows a piece of work. The weight gradients are summed over a piece and then over pieces.
const PIECE_ROWS: usize = 32;

/// The parameters; the length of `weight` is the length of a row.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// Factor of each column.
    pub weight: &'a [f32],
    /// Added to each column.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

/// What the backward pass needs to know of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowStats {
    /// The row's mean.
    pub mean: f32,
    /// One over the root of the row's variance plus epsilon.
    pub rstd: f32,
}

/// What [`backward`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// The weight of the forward pass, `[d]`.
    pub weight: &'a [f32],
    /// The input of the forward pass, `[m, d]`.
    pub x: &'a [f32],
    /// The statistics from the forward pass, `[m]`.
    pub stats: &'a [RowStats],
    /// The gradient of the output, `[m, d]`.
    pub dy: &'a [f32],
    /// Added to the gradient of the input, `[m, d]`: what reaches x past the norm.
    pub past: Option<&'a [f32]>,
}

/// What [`backward`] overwrites.
#[derive(Debug)]
pub struct Grads<'a> {
    /// The gradient of the input, `[m, d]`.
    pub dx: &'a mut [f32],
    /// The gradient of the weight, `[d]`.
    pub dweight: &'a mut [f32],
    /// The gradient of the bias, `[d]`.
    pub dbias: &'a mut [f32],
}

/// Normalizes the rows of `x` into `y`, both `[m, d]`, and notes the `[m]` statistics.
pub fn forward(level: Level, norm: &LayerNorm, x: &[f32], y: &mut [f32], stats: &mut [RowStats]) {
    let d = check_forward(norm, x.len(), y.len(), stats.len());
    let (shared_y, shared_stats) = (Shared::new(y), Shared::new(stats));
    for_pieces(x, d, |row, x| {
        let rows = x.len() / d;
        // SAFETY: pieces are disjoint runs of rows.
        let (y, stats) = unsafe { (shared_y.part(row * d, x.len()), shared_stats.part(row, rows)) };
        level.run(Measure { x, d, eps: norm.eps, stats });
        level.run(Apply { norm, x, stats, y });
    });
}

/// Repeats the output of [`forward`], bit for bit, from its input and statistics.
pub fn apply(level: Level, norm: &LayerNorm, x: &[f32], stats: &[RowStats], y: &mut [f32]) {
    let d = check_forward(norm, x.len(), y.len(), stats.len());
    let shared_y = Shared::new(y);
    for_pieces(x, d, |row, x| {
        // SAFETY: pieces are disjoint runs of rows.
        let y = unsafe { shared_y.part(row * d, x.len()) };
        level.run(Apply { norm, x, stats: &stats[row..][..x.len() / d], y });
    });
}

/// Computes all gradients.
pub fn backward(level: Level, given: &Backward, grads: Grads, scratch: &mut Scratch) {
    let Grads { dx, dweight, dbias } = grads;
    let d = check_rows(given.weight.len(), given.x.len(), dx.len(), given.stats.len());
    assert_eq!(given.dy.len(), given.x.len(), "dy: not of the length of x");
    let past = given.past.map_or(given.x.len(), <[f32]>::len);
    assert_eq!(past, given.x.len(), "past: not of the length of x");
    assert_eq!(dweight.len(), d, "dweight: not of the length of weight");
    assert_eq!(dbias.len(), d, "dbias: not of the length of weight");
    let pieces = given.stats.len().div_ceil(PIECE_ROWS);
    let ([sums], _) = scratch.lend([pieces * 2 * d], 0);
    let (shared_dx, shared_sums) = (Shared::new(dx), Shared::new(sums));
    for_pieces(given.x, d, |row, x| {
        let rows = row..row + x.len() / d;
        // SAFETY: pieces are disjoint runs of rows, each with its own sums.
        let (dx, sums) = unsafe {
            let sums = shared_sums.part(row / PIECE_ROWS * 2 * d, 2 * d);
            (shared_dx.part(row * d, x.len()), sums)
        };
        let values = row * d..row * d + x.len();
        let past = given.past.map(|past| &past[values.clone()]);
        let dy = &given.dy[values];
        let piece = Backward { weight: given.weight, x, stats: &given.stats[rows], dy, past };
        level.run(Gradients { given: piece, dx, sums });
    });
    level.run(Total { sums, dweight, dbias });
}

fn check_forward(norm: &LayerNorm, x: usize, y: usize, stats: usize) -> usize {
    assert_eq!(norm.bias.len(), norm.weight.len(), "bias: not of the length of weight");
    check_rows(norm.weight.len(), x, y, stats)
}

/// The length of a row, after checking that all fit.
fn check_rows(d: usize, x: usize, y: usize, stats: usize) -> usize {
    assert!(d > 0, "weight: empty");
    assert!(x.is_multiple_of(d), "x: {x} values are no rows of {d}");
    assert_eq!(y, x, "y, dx: not of the length of x");
    assert_eq!(stats, x / d, "stats: not one a row");
    d
}

/// Calls `piece` with the number of its first row and its rows of `x`.
fn for_pieces(x: &[f32], d: usize, piece: impl Fn(usize, &[f32]) + Sync + Send) {
    let len = PIECE_ROWS * d;
    split::for_each(x.len().div_ceil(len), x.len(), |i| {
        piece(i * PIECE_ROWS, &x[i * len..x.len().min((i + 1) * len)]);
    });
}

struct Measure<'a> {
    x: &'a [f32],
    d: usize,
    eps: f32,
    stats: &'a mut [RowStats],
}

impl Kernel for Measure<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let count = self.d as f32;
        for (row, stats) in self.x.chunks_exact(self.d).zip(self.stats) {
            let mut sum = s.splat(0.0);
            for x in row.chunks(S::LANES) {
                sum = s.add(sum, s.read(x));
            }
            let mean = s.reduce_sum(sum) / count;
            let mut square = s.splat(0.0);
            let chunks = row.chunks_exact(S::LANES);
            let rest = chunks.remainder();
            for x in chunks {
                let off = s.sub(s.read(x), s.splat(mean));
                square = s.fma(off, off, square);
            }
            let rest: f32 = rest.iter().map(|x| (x - mean) * (x - mean)).sum();
            let variance = (s.reduce_sum(square) + rest) / count;
            *stats = RowStats { mean, rstd: 1.0 / (variance + self.eps).sqrt() };
        }
    }
}

struct Apply<'a> {
    norm: &'a LayerNorm<'a>,
    x: &'a [f32],
    stats: &'a [RowStats],
    y: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let LayerNorm { weight, bias, .. } = *self.norm;
        let d = weight.len();
        let rows = self.x.chunks_exact(d).zip(self.y.chunks_exact_mut(d));
        for ((x, y), stats) in rows.zip(self.stats) {
            for i in (0..d).step_by(S::LANES) {
                let n = normalized(s, &x[i..], *stats);
                s.write(&mut y[i..], s.fma(n, s.read(&weight[i..]), s.read(&bias[i..])));
            }
        }
    }
}

#[inline(always)]
fn normalized<S: Simd>(s: S, x: &[f32], stats: RowStats) -> S::V {
    s.mul(s.sub(s.read(x), s.splat(stats.mean)), s.splat(stats.rstd))
}

/// Adds a vector to the first values of a slice.
#[inline(always)]
fn accumulate<S: Simd>(s: S, to: &mut [f32], value: S::V) {
    let sum = s.add(s.read(to), value);
    s.write(to, sum);
}

struct Gradients<'a> {
    given: Backward<'a>,
    dx: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Backward { weight, x, stats, dy, past } = self.given;
        let d = weight.len();
        let (dweight, dbias) = self.sums.split_at_mut(d);
        dweight.fill(0.0);
        dbias.fill(0.0);
        let rows = x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(self.dx.chunks_exact_mut(d));
        for (row, (((x, dy), dx), stats)) in rows.zip(stats).enumerate() {
            let past = past.map(|past| &past[row * d..][..d]);
            let (mut sum, mut sum_n) = (s.splat(0.0), s.splat(0.0));
            for i in (0..d).step_by(S::LANES) {
                // Lanes beyond the row have a zero dy, which makes zeros of all that follows.
                let (n, dy) = (normalized(s, &x[i..], *stats), s.read(&dy[i..]));
                let g = s.mul(dy, s.read(&weight[i..]));
                sum = s.add(sum, g);
                sum_n = s.fma(g, n, sum_n);
                accumulate(s, &mut dweight[i..], s.mul(dy, n));
                accumulate(s, &mut dbias[i..], dy);
            }
            let mean = s.splat(s.reduce_sum(sum) / d as f32);
            let mean_n = s.splat(s.reduce_sum(sum_n) / d as f32);
            for i in (0..d).step_by(S::LANES) {
                let n = normalized(s, &x[i..], *stats);
                let g = s.mul(s.read(&dy[i..]), s.read(&weight[i..]));
                let rest = s.sub(s.sub(g, mean), s.mul(n, mean_n));
                let past = past.map_or(s.splat(0.0), |past| s.read(&past[i..]));
                s.write(&mut dx[i..], s.fma(rest, s.splat(stats.rstd), past));
            }
        }
    }
}

/// The sums of all pieces, in their order.
struct Total<'a> {
    sums: &'a [f32],
    dweight: &'a mut [f32],
    dbias: &'a mut [f32],
}

impl Kernel for Total<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let d = self.dweight.len();
        self.dweight.fill(0.0);
        self.dbias.fill(0.0);
        for piece in self.sums.chunks_exact(2 * d) {
            let (dweight, dbias) = piece.split_at(d);
            for i in (0..d).step_by(S::LANES) {
                accumulate(s, &mut self.dweight[i..], s.read(&dweight[i..]));
                accumulate(s, &mut self.dbias[i..], s.read(&dbias[i..]));
            }
        }
    }
}

#[cfg(test)]
mod tests;
