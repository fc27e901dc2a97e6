//! Small products inside one thread.
//!
//! Of f32, the left factor is read from where it lies, in rows or in columns; the right one is in panels as
//! wide as a register tile, packed once and used several times. Columns are padded with zeros to whole vectors, in
//! the panels and in the result. At a level of bf16 they are products like others: there both factors are packed for
//! each, and the columns that fill up the result are left as they are.
#![allow(unsafe_code, reason = "tiles work on pointers")]

use crate::{
    Scratch,
    gemm::{
        self, Destination, Epilogue, F32, Factors, Product, Strided, pack_right, packed_len, tile,
    },
    level::{self, Kernel, Level},
    mat::{Mat, MatMut},
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

/// A right factor, `[k, n]`.
pub(super) enum Right<'a> {
    Panels(&'a [f32]),
    /// A factor at a level of bf16.
    Plain(Mat<'a>),
}

impl<'a> Right<'a> {
    /// `panels` has room for the rows of `mat` times its padded columns.
    pub(super) fn new(level: Level, mat: Mat<'a>, panels: &'a mut [f32]) -> Self {
        if level.factors() != level::Factors::F32 {
            return Self::Plain(mat);
        }
        level.run(Pack { mat, to: panels });
        Self::Panels(panels)
    }
}

/// `c = a b`, or `c + a b`: `a` is `[m, k]`, `c` in rows of `n` values, rounded up to whole vectors.
pub(super) fn multiply(
    level: Level,
    (a, b): (Mat, &Right),
    (c, width): (&mut [f32], usize),
    add: bool,
    scratch: &mut Scratch,
) {
    match *b {
        Right::Panels(b) => level.run(Multiply { a, b, c, width, add }),
        Right::Plain(b) => {
            let c = MatMut::new(c, [a.rows(), b.cols()], [width, 1]);
            let epilogue = if add { Epilogue::Accumulate } else { Epilogue::Store };
            gemm::compute(level, Product::new(level, (a, b.into()), c, epilogue), scratch);
        }
    }
}

struct Pack<'a> {
    mat: Mat<'a>,
    to: &'a mut [f32],
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

/// See [`multiply`].
struct Multiply<'a> {
    a: Mat<'a>,
    /// Panels.
    b: &'a [f32],
    c: &'a mut [f32],
    width: usize,
    add: bool,
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
