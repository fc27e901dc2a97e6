//! Small products inside one thread, on panels that are packed once and used several times.
//!
//! The left factor is read from where it lies, in rows or in columns; the right one is in panels as
//! wide as a register tile. Columns are padded with zeros to whole vectors, in the panels and in the
//! result.
#![allow(unsafe_code, reason = "tiles work on pointers")]

use crate::{
    gemm::{Destination, F32, Factors, Strided, pack_right, packed_len, tile},
    level::{Kernel, Level},
    mat::Mat,
    simd::Simd,
};

/// `len` rounded up to whole vectors.
pub(super) fn padded(level: Level, len: usize) -> usize {
    level.run(Padded(len))
}

struct Padded(usize);

impl Kernel for Padded {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        self.0.next_multiple_of(S::LANES)
    }
}

/// Packs a right factor into `to`, which has room for its rows times its padded columns.
pub(super) struct Pack<'a> {
    pub(super) mat: Mat<'a>,
    pub(super) to: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = [self.mat.rows(), self.mat.cols()];
        assert!(self.to.len() >= packed_len::<S, F32>(shape[0], shape[1]));
        // SAFETY: a checked matrix, and room for all panels.
        unsafe { pack_right::<S, F32>(s, Strided::of(self.mat), shape, self.to.as_mut_ptr()) }
    }
}

/// `c = a b`, or `c + a b`.
pub(super) struct Multiply<'a> {
    /// `[m, k]`
    pub(super) a: Mat<'a>,
    /// Panels of `[k, n]`.
    pub(super) b: &'a [f32],
    /// Rows of `n`, rounded up to whole vectors, values.
    pub(super) c: &'a mut [f32],
    /// Columns of `c`, whole vectors.
    pub(super) width: usize,
    /// Whether the product is added to `c`.
    pub(super) add: bool,
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (m, k, width) = (self.a.rows(), self.a.cols(), self.width);
        assert!(width.is_multiple_of(S::LANES));
        assert!(self.b.len() >= k * width && self.c.len() >= m * width);
        let wide = S::TILE_VECTORS * S::LANES;
        let a = Strided::of(self.a);
        for col in (0..width).step_by(wide) {
            let b_stride = wide.min(width - col);
            let b = self.b.as_ptr().wrapping_add(col * k);
            for row in (0..m).step_by(S::TILE_ROWS) {
                let start = self.c.as_mut_ptr().wrapping_add(row * width + col);
                let to = Destination { start, row_stride: width, add: self.add };
                let size = [S::TILE_ROWS.min(m - row), b_stride / S::LANES];
                let factors = Factors { a: a.at(row, 0), b, b_stride, k };
                // SAFETY: the matrix was checked when it was made, the lengths of the others above.
                unsafe { tile::<S, F32>(s, size, factors, to) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{assert_within, values};

    proptest! {
        #[test]
        fn products_of_any_size_and_layout(
            m in 1_usize..20, k in 1_usize..40, n in 1_usize..40, columns in any::<bool>(),
        ) {
            let (a, b) = (values(1, m * k), values(2, k * n));
            let a = if columns {
                Mat::new(&a, [m, k], [1, m])
            } else {
                Mat::row_major(&a, m, k)
            };
            let b = Mat::row_major(&b, k, n);
            for level in Level::available() {
                let width = padded(level, n);
                let mut panels = vec![f32::NAN; k * width];
                level.run(Pack { mat: b, to: &mut panels });
                let mut c = vec![f32::NAN; m * width];
                for add in [false, true] {
                    level.run(Multiply { a, b: &panels, c: &mut c, width, add });
                }
                let element = |i: usize, j: usize| {
                    (0..k).map(|l| f64::from(a.at(i, l)) * f64::from(b.at(l, j))).sum::<f64>()
                };
                let expected: Vec<f64> = (0..m * width)
                    .map(|at| if at % width < n { 2.0 * element(at / width, at % width) } else { 0.0 })
                    .collect();
                assert_within("c", &c, &expected, 1e-5);
            }
        }
    }
}
