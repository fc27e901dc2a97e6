//! Operands copied into the order in which tiles read them.
#![allow(unsafe_code, reason = "elements are read and written through pointers")]

use std::{ptr::copy_nonoverlapping, slice};

use super::{Tile, tile::Strided};
use crate::{
    level::{Kernel, Level},
    mat::Mat,
    simd::Simd,
};

/// Floats a cache line.
const LINE: usize = 16;
/// Values below which a fork costs more than it saves.
const FORK_LEN: usize = 1 << 16;

/// A cache line, where panels start.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// The right operand of a product in panels as wide as a level's tile, for any number of calls.
///
/// Panel by panel, row by row; the last panel is as many vectors wide as its columns need, with zeros
/// in the lanes left over.
#[derive(Clone, Debug)]
pub struct Packed {
    level: Level,
    rows: usize,
    cols: usize,
    panels: Vec<Line>,
}

impl Packed {
    /// The matrix packed for products at `level`.
    ///
    /// # Panics
    /// If this machine lacks the level.
    pub fn new(level: Level, mat: Mat<'_>) -> Self {
        let mut packed = Self { level, rows: 0, cols: 0, panels: Vec::new() };
        packed.pack(mat);
        packed
    }

    /// Packs another matrix in its place; the memory is reused.
    pub fn pack(&mut self, mat: Mat<'_>) {
        (self.rows, self.cols) = (mat.rows(), mat.cols());
        let len = panels_len(self.level, mat);
        self.panels.resize(len.div_ceil(LINE), Line([0.0; LINE]));
        let start = self.panels.as_mut_ptr().cast();
        // SAFETY: lines are floats without padding.
        let values = unsafe { slice::from_raw_parts_mut(start, self.panels.len() * LINE) };
        Panels::pack(self.level, mat, &mut values[..len]);
    }

    /// The level whose products it is for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        self.cols
    }
}

/// [`Packed`] in borrowed memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<'a> {
    pub(super) level: Level,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) values: &'a [f32],
}

impl<'a> Panels<'a> {
    /// Packs the matrix into [`panels_len`] values, split over the current pool.
    pub(crate) fn pack(level: Level, mat: Mat<'_>, values: &'a mut [f32]) -> Self {
        assert!(values.len() == panels_len(level, mat), "values: not as many as the panels need");
        let [_, wide] = level.run(Tile);
        let parts = if values.len() < FORK_LEN { 1 } else { rayon::current_num_threads() };
        pack_parts(level, mat, [wide, parts], values);
        Self { level, rows: mat.rows(), cols: mat.cols(), values }
    }
}

/// Values of all panels of a matrix.
pub(crate) fn panels_len(level: Level, mat: Mat<'_>) -> usize {
    level.run(PackedLen { rows: mat.rows(), cols: mat.cols() })
}

/// Packs halves of the panels at the same time until there are as many parts.
fn pack_parts(level: Level, mat: Mat<'_>, [wide, parts]: [usize; 2], values: &mut [f32]) {
    let middle = (mat.cols().div_ceil(wide) / 2) * wide;
    if parts <= 1 || middle == 0 {
        return level.run(PackRight { mat, values });
    }
    let (left, right) = mat.split_at_col(middle);
    let (to_left, to_right) = values.split_at_mut(middle * mat.rows());
    rayon::join(
        || pack_parts(level, left, [wide, parts / 2], to_left),
        || pack_parts(level, right, [wide, parts - parts / 2], to_right),
    );
}

/// The right operand of a product: a matrix, which the call packs as it needs, or one packed before.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a>(pub(super) Operand<'a>);

#[derive(Clone, Copy, Debug)]
pub(super) enum Operand<'a> {
    Plain(Mat<'a>),
    Packed(Panels<'a>),
}

impl<'a> From<Mat<'a>> for Right<'a> {
    fn from(mat: Mat<'a>) -> Self {
        Self(Operand::Plain(mat))
    }
}

impl<'a> From<Panels<'a>> for Right<'a> {
    fn from(panels: Panels<'a>) -> Self {
        Self(Operand::Packed(panels))
    }
}

impl<'a> From<&'a Packed> for Right<'a> {
    fn from(packed: &'a Packed) -> Self {
        let Packed { level, rows, cols, ref panels } = *packed;
        // SAFETY: lines are floats without padding.
        let values = unsafe { slice::from_raw_parts(panels.as_ptr().cast(), panels.len() * LINE) };
        Panels { level, rows, cols, values }.into()
    }
}

struct PackedLen {
    rows: usize,
    cols: usize,
}

impl Kernel for PackedLen {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        packed_len::<S>(self.rows, self.cols)
    }
}

/// Values of all panels of a right operand.
pub(crate) fn packed_len<S: Simd>(rows: usize, cols: usize) -> usize {
    rows * cols.next_multiple_of(S::LANES)
}

struct PackRight<'a, 'b> {
    mat: Mat<'a>,
    values: &'b mut [f32],
}

impl Kernel for PackRight<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = [self.mat.rows(), self.mat.cols()];
        assert!(self.values.len() >= packed_len::<S>(shape[0], shape[1]));
        // SAFETY: the matrix has that shape, and there is room for its panels.
        unsafe { pack_right(s, Strided::of(self.mat), shape, self.values.as_mut_ptr()) }
    }
}

/// Packs a right operand of `[rows, cols]` into panels.
///
/// # Safety
/// `from` has that shape, and `to` has room for [`packed_len`] values.
#[inline(always)]
pub(crate) unsafe fn pack_right<S: Simd>(
    s: S,
    from: Strided,
    [rows, cols]: [usize; 2],
    to: *mut f32,
) {
    let wide = S::TILE_VECTORS * S::LANES;
    for col in (0..cols).step_by(wide) {
        let width = wide.min(cols - col);
        let panel = to.wrapping_add(col * rows);
        // SAFETY: the panel's columns lie inside of `from`, and its values inside of `to`.
        unsafe {
            if from.col_stride == 1 {
                pack_rows(s, from.at(0, col), [rows, width], panel);
            } else {
                pack_columns::<S>(from.at(0, col), [rows, width], panel);
            }
        }
    }
}

/// A panel of contiguous rows.
///
/// # Safety
/// As [`pack_right`], for a panel.
#[inline(always)]
unsafe fn pack_rows<S: Simd>(s: S, from: Strided, [rows, width]: [usize; 2], to: *mut f32) {
    let padded = width.next_multiple_of(S::LANES);
    for row in 0..rows {
        for col in (0..width).step_by(S::LANES) {
            // SAFETY: the caller's promise.
            unsafe {
                let v = from.read(s, [row, col, S::LANES.min(width - col)]);
                s.store(to.add(row * padded + col), v);
            }
        }
    }
}

/// A panel of other rows: in squares, so that both sides stay in the cache.
///
/// # Safety
/// As [`pack_right`], for a panel.
#[inline(always)]
unsafe fn pack_columns<S: Simd>(from: Strided, [rows, width]: [usize; 2], to: *mut f32) {
    const SQUARE: usize = 16;
    let padded = width.next_multiple_of(S::LANES);
    for top in (0..rows).step_by(SQUARE) {
        for row in top..rows.min(top + SQUARE) {
            for col in 0..padded {
                // SAFETY: the caller's promise.
                unsafe {
                    let value = if col < width { *from.at(row, col).start } else { 0.0 };
                    *to.add(row * padded + col) = value;
                }
            }
        }
    }
}

/// Packs a left operand of `[rows, k]` so that each tile's columns lie one after the other.
///
/// # Safety
/// `from` has that shape, and `to` has room for `rows`, rounded up to tiles, times `k` values.
#[inline(always)]
pub(super) unsafe fn pack_left<S: Simd>(from: Strided, [rows, k]: [usize; 2], to: *mut f32) {
    for row in (0..rows).step_by(S::TILE_ROWS) {
        let (tile, to) = (from.at(row, 0), to.wrapping_add(row * k));
        // SAFETY: the caller's promise; the full tile is the usual case with a constant size.
        unsafe {
            if rows - row >= S::TILE_ROWS {
                pack_tile::<S>(tile, [S::TILE_ROWS, k], to);
            } else {
                pack_tile::<S>(tile, [rows - row, k], to);
            }
        }
    }
}

/// # Safety
/// As [`pack_left`], for a tile.
#[inline(always)]
unsafe fn pack_tile<S: Simd>(from: Strided, [rows, k]: [usize; 2], to: *mut f32) {
    for col in 0..k {
        let (from, to) = (from.at(0, col), to.wrapping_add(col * S::TILE_ROWS));
        // SAFETY: the caller's promise.
        unsafe {
            if from.row_stride == 1 {
                copy_nonoverlapping(from.start, to, rows);
            } else {
                for row in 0..rows {
                    *to.add(row) = *from.at(row, 0).start;
                }
            }
        }
    }
}
