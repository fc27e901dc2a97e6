//! What both kinds of convolution do with single values: the gradient of the activation, sums, and
//! the order of the weight's axes.

use crate::{
    level::Kernel,
    simd::{Simd, gelu_and_derivative},
};

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

/// Writes the transposes of matrices of `[rows, cols]`, one after the other.
pub(super) fn transpose(from: &[f32], [rows, cols]: [usize; 2], to: &mut [f32]) {
    let matrices = from.chunks_exact(rows * cols).zip(to.chunks_exact_mut(rows * cols));
    for (from, to) in matrices {
        for (col, to) in to.chunks_exact_mut(rows).enumerate() {
            for (to, from) in to.iter_mut().zip(from[col..].iter().step_by(cols)) {
                *to = *from;
            }
        }
    }
}
