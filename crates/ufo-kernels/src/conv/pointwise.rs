//! What both kinds of convolution do with single values: the gradient of the activation, sums, and
//! the order of the weight's axes.

#![allow(unsafe_code, reason = "pieces are written from several threads")]

use crate::{
    level::{Kernel, Level},
    simd::{Simd, gelu_and_derivative},
    split::{self, Shared},
};

/// Values a piece of work.
const PIECE: usize = 1 << 14;

/// `g = dy gelu'(pre)`
pub(super) struct GeluGrad<'a> {
    pub(super) pre: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) g: &'a mut [f32],
}

impl Kernel for GeluGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let values = self.pre.chunks(S::LANES).zip(self.dy.chunks(S::LANES));
        for (g, (pre, dy)) in self.g.chunks_mut(S::LANES).zip(values) {
            let (_, derivative) = gelu_and_derivative(s, s.read(pre));
            s.write(g, s.mul(s.read(dy), derivative));
        }
    }
}

/// Adds the rows of a matrix to `sums`, one after the other.
pub(super) struct AddRows<'a> {
    pub(super) rows: &'a [f32],
    pub(super) sums: &'a mut [f32],
}

impl Kernel for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.rows.chunks_exact(self.sums.len()) {
            for (sums, row) in self.sums.chunks_mut(S::LANES).zip(row.chunks(S::LANES)) {
                let sum = s.add(s.read(sums), s.read(row));
                s.write(sums, sum);
            }
        }
    }
}

/// Adds the rows of a matrix and writes their sums, a run of columns a piece of work.
pub(super) fn sum_rows(level: Level, rows: &[f32], sums: &mut [f32]) {
    let cols = sums.len();
    let shared = Shared::new(sums);
    split::for_each(cols.div_ceil(PIECE), rows.len(), |i| {
        let piece = i * PIECE..cols.min((i + 1) * PIECE);
        // SAFETY: pieces are disjoint runs of columns.
        let sums = unsafe { shared.part(piece.start, piece.len()) };
        sums.fill(0.0);
        for row in rows.chunks_exact(cols) {
            level.run(AddRows { rows: &row[piece.clone()], sums });
        }
    });
}

/// Writes the transposes of matrices of `[rows, cols]`, one after the other.
pub(super) fn transpose(from: &[f32], [rows, cols]: [usize; 2], to: &mut [f32]) {
    let matrix = rows * cols;
    let (piece, len) = (matrix * (PIECE / matrix).max(1), to.len());
    let shared = Shared::new(to);
    split::for_each(len.div_ceil(piece), len, |i| {
        let piece = i * piece..len.min((i + 1) * piece);
        // SAFETY: pieces are disjoint runs of matrices.
        let to = unsafe { shared.part(piece.start, piece.len()) };
        let matrices = from[piece].chunks_exact(matrix).zip(to.chunks_exact_mut(matrix));
        for (from, to) in matrices {
            for (col, to) in to.chunks_exact_mut(rows).enumerate() {
                for (to, from) in to.iter_mut().zip(from[col..].iter().step_by(cols)) {
                    *to = *from;
                }
            }
        }
    });
}
