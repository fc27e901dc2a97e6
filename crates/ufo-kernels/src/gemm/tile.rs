//! The register tile: some rows of A times one panel of B.
#![allow(unsafe_code, reason = "elements are read and written through pointers")]

use std::{array, marker::PhantomData};

use super::word::Word;
use crate::{
    level::Kernel,
    mat::{Mat, MatMut},
    simd::Simd,
};

/// Most lanes of a vector or a pair of them.
pub(super) const MAX_LANES: usize = 32;

/// Where a matrix to read lies.
#[derive(Clone, Copy)]
pub(crate) struct Strided {
    pub(crate) start: *const f32,
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
}

/// Where a matrix to write lies.
#[derive(Clone, Copy)]
pub(crate) struct StridedMut {
    pub(crate) start: *mut f32,
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
}

impl Strided {
    pub(crate) fn of(mat: Mat<'_>) -> Self {
        Self {
            start: mat.data().as_ptr(),
            row_stride: mat.row_stride(),
            col_stride: mat.col_stride(),
        }
    }

    /// The same with a constant column stride, if that is 1.
    #[inline(always)]
    pub(super) fn contiguous(self) -> Option<Self> {
        (self.col_stride == 1).then_some(Self { col_stride: 1, ..self })
    }

    /// Where the matrix that starts at `(row, col)` lies.
    #[inline(always)]
    pub(crate) fn at(self, row: usize, col: usize) -> Self {
        let start = self.start.wrapping_add(row * self.row_stride + col * self.col_stride);
        Self { start, ..self }
    }

    /// Asks for rows that are about to be used, of up to `width` values.
    #[inline(always)]
    pub(super) fn prefetch<S: Simd>(self, s: S, [rows, width]: [usize; 2]) {
        for row in 0..rows {
            let start = self.at(row, 0).start;
            for col in (0..width).step_by(16) {
                s.prefetch(start.wrapping_add(col));
            }
            // Rows seldom start at a cache line.
            s.prefetch(start.wrapping_add(width - 1));
        }
    }

    /// `n` elements of row `row` from column `col` on.
    ///
    /// # Safety
    /// They lie inside the matrix, and `n <= LANES`.
    #[inline(always)]
    pub(crate) unsafe fn read<S: Simd>(self, s: S, [row, col, n]: [usize; 3]) -> S::V {
        let start = self.at(row, col).start;
        // SAFETY: the caller's promise.
        unsafe {
            if self.col_stride != 1 {
                let mut lanes = [0.0; MAX_LANES];
                for (i, lane) in lanes[..n].iter_mut().enumerate() {
                    *lane = *start.add(i * self.col_stride);
                }
                s.load(lanes.as_ptr())
            } else if n == S::LANES {
                s.load(start)
            } else {
                s.load_first(start, n)
            }
        }
    }
}

impl StridedMut {
    pub(crate) fn of(mat: &mut MatMut<'_>) -> Self {
        let (row_stride, col_stride) = (mat.row_stride(), mat.col_stride());
        Self { start: mat.start(), row_stride, col_stride }
    }

    /// The same with a constant column stride, if that is 1.
    #[inline(always)]
    pub(super) fn contiguous(self) -> Option<Self> {
        (self.col_stride == 1).then_some(Self { col_stride: 1, ..self })
    }

    /// The same, to read from.
    #[inline(always)]
    pub(crate) fn as_read(self) -> Strided {
        let Self { start, row_stride, col_stride } = self;
        Strided { start, row_stride, col_stride }
    }

    /// Writes `n` elements of row `row` from column `col` on.
    ///
    /// # Safety
    /// They lie inside the matrix, and `n <= LANES`.
    #[inline(always)]
    pub(crate) unsafe fn write<S: Simd>(self, s: S, [row, col, n]: [usize; 3], v: S::V) {
        let start = self.start.wrapping_add(row * self.row_stride + col * self.col_stride);
        // SAFETY: the caller's promise.
        unsafe {
            if self.col_stride != 1 {
                let mut lanes = [0.0; MAX_LANES];
                s.store(lanes.as_mut_ptr(), v);
                for (i, lane) in lanes[..n].iter().enumerate() {
                    *start.add(i * self.col_stride) = *lane;
                }
            } else if n == S::LANES {
                s.store(start, v);
            } else {
                s.store_first(start, n, v);
            }
        }
    }
}

/// Where a tile's sums go, `row_stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Destination {
    pub(crate) start: *mut f32,
    pub(crate) row_stride: usize,
    /// Whether they are added to what is there.
    pub(crate) add: bool,
}

/// `n` values, one a column, from column `col` on.
///
/// # Safety
/// They can be read, and `n <= LANES`.
#[inline(always)]
pub(super) unsafe fn load_columns<S: Simd>(s: S, values: *const f32, [col, n]: [usize; 2]) -> S::V {
    let start = values.wrapping_add(col);
    // SAFETY: the caller's promise.
    unsafe { if n == S::LANES { s.load(start) } else { s.load_first(start, n) } }
}

/// The factors of a tile, in words: `a` `[rows, k]` and a panel `b` of `k` contiguous rows, `b_stride`
/// apart.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    pub(crate) a: Strided,
    pub(crate) b: *const f32,
    pub(crate) b_stride: usize,
    pub(crate) k: usize,
}

/// The product of `rows <= TILE_ROWS` rows of A and a panel of `vectors <= TILE_VECTORS` vectors.
///
/// # Safety
/// `factors` and `to` lie in memory to read and to write, of those sizes.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, W: Word>(
    s: S,
    [rows, vectors]: [usize; 2],
    factors: Factors,
    to: Destination,
) {
    if S::TILE_WORDS > 1 {
        // SAFETY: the caller's promise.
        return unsafe { s.matrices(W::PAIRS, [rows, vectors], factors, to) };
    }
    macro_rules! sizes {
        ($($rows:literal: $($vectors:literal)+;)+) => {
            match (rows, vectors) {
                $($(($rows, $vectors) => {
                    if $rows <= S::TILE_ROWS && $vectors <= S::TILE_VECTORS {
                        s.call(Sized::<W, $rows, $vectors> { factors, to, word: PhantomData });
                    }
                })+)+
                _ => unreachable!("no tile of {rows} rows and {vectors} vectors"),
            }
        };
    }
    sizes! { 1: 1 2 3; 2: 1 2 3; 3: 1 2 3; 4: 1 2 3; 5: 1 2 3; 6: 1 2 3; 7: 1 2 3; 8: 1 2 3; }
}

/// [`tile`] of a constant size, so that the sums stay in registers; made only there.
struct Sized<W, const ROWS: usize, const VECTORS: usize> {
    factors: Factors,
    to: Destination,
    word: PhantomData<W>,
}

impl<W: Word, const ROWS: usize, const VECTORS: usize> Kernel for Sized<W, ROWS, VECTORS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Factors { a, mut b, b_stride, k } = self.factors;
        let mut sums = [[s.splat(0.0); VECTORS]; ROWS];
        let rows: [*const f32; ROWS] = array::from_fn(|i| a.start.wrapping_add(i * a.row_stride));
        let mut column = 0;
        for _ in 0..k {
            let mut panel = [s.splat(0.0); VECTORS];
            for (j, v) in panel.iter_mut().enumerate() {
                // SAFETY: a row of the panel, inside by the promise of `tile`'s caller.
                *v = unsafe { s.load(b.add(j * S::LANES)) };
                s.prefetch(b.wrapping_add(4 * b_stride + j * S::LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                // SAFETY: an element of A, inside by the promise of `tile`'s caller.
                let x = s.splat(unsafe { *rows[i].add(column) });
                for (sum, v) in sums.iter_mut().zip(panel) {
                    *sum = W::dot(s, x, v, *sum);
                }
            }
            column += a.col_stride;
            b = b.wrapping_add(b_stride);
        }
        let to = self.to;
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                // SAFETY: a place of the destination, by the promise of `tile`'s caller.
                unsafe {
                    let place = to.start.add(i * to.row_stride + j * S::LANES);
                    let sum = if to.add { W::add(s, s.load(place), sum) } else { sum };
                    s.store(place, sum);
                }
            }
        }
    }
}
