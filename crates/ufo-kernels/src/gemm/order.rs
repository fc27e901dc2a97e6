//! Operands copied, as words, into the order in which tiles read them.
#![allow(unsafe_code, reason = "elements are read and written through pointers")]

use std::ptr::copy_nonoverlapping;

use super::{tile::Strided, word::Word};
use crate::simd::Simd;

/// Rows that are asked for ahead, since rows far apart come as a surprise to the machine.
const ROWS_AHEAD: usize = 16;

/// Words of all panels of a right operand.
pub(crate) fn packed_len<S: Simd, W: Word>(rows: usize, cols: usize) -> usize {
    rows.div_ceil(W::depth::<S>()) * cols.next_multiple_of(S::LANES)
}

/// Packs a right operand of `[rows, cols]` into panels.
///
/// # Safety
/// `from` has that shape, and `to` has room for [`packed_len`] values.
#[inline(always)]
pub(crate) unsafe fn pack_right<S: Simd, W: Word>(
    s: S,
    from: Strided,
    [rows, cols]: [usize; 2],
    to: *mut f32,
) {
    let wide = S::TILE_VECTORS * S::LANES;
    let words = rows.div_ceil(W::depth::<S>());
    for col in (0..cols).step_by(wide) {
        let width = wide.min(cols - col);
        let panel = to.wrapping_add(col * words);
        // SAFETY: the panel's columns lie inside of `from`, and its values inside of `to`.
        unsafe {
            if from.col_stride == 1 {
                pack_rows::<S, W>(s, from.at(0, col), [rows, width], panel);
            } else {
                pack_columns::<S, W>(from.at(0, col), [rows, width], panel);
            }
        }
    }
}

/// A panel of contiguous rows.
///
/// # Safety
/// As [`pack_right`], for a panel.
#[inline(always)]
unsafe fn pack_rows<S: Simd, W: Word>(
    s: S,
    from: Strided,
    [rows, width]: [usize; 2],
    to: *mut f32,
) {
    let (padded, depth) = (width.next_multiple_of(S::LANES), W::depth::<S>());
    for word in 0..rows.div_ceil(depth) {
        let row = word * depth;
        from.at(row + ROWS_AHEAD, 0).prefetch(s, [depth, width]);
        for col in (0..width).step_by(S::LANES) {
            // SAFETY: the caller's promise.
            unsafe {
                let from = Strided { col_stride: 1, ..from.at(row, col) };
                let v = W::read(s, from, depth.min(rows - row), S::LANES.min(width - col));
                s.store(to.add(word * padded + col), v);
            }
        }
    }
}

/// A panel of other rows: in squares, so that both sides stay in the cache.
///
/// # Safety
/// As [`pack_right`], for a panel.
#[inline(always)]
unsafe fn pack_columns<S: Simd, W: Word>(from: Strided, [rows, width]: [usize; 2], to: *mut f32) {
    const SQUARE: usize = 16;
    let (padded, depth) = (width.next_multiple_of(S::LANES), W::depth::<S>());
    let words = rows.div_ceil(depth);
    for top in (0..words).step_by(SQUARE) {
        for word in top..words.min(top + SQUARE) {
            let (row, stride) = (word * depth, from.row_stride);
            let count = depth.min(rows - row);
            for col in 0..padded {
                // SAFETY: the caller's promise.
                unsafe {
                    *to.add(word * padded + col) = if col < width {
                        W::gather::<S>(from.at(row, col).start, stride, count)
                    } else {
                        0.0
                    };
                }
            }
        }
    }
}

/// Some rows and columns of A.
#[derive(Clone, Copy)]
pub(crate) struct LeftBlock {
    pub(super) from: Strided,
    /// The number of the first row.
    pub(super) top: usize,
    /// `[rows, columns]`
    pub(super) shape: [usize; 2],
    /// All columns of A, where the first of them is the first here.
    pub(super) whole: Option<usize>,
}

/// Distances between the words of a packed left operand; each tile's words follow those of the tile
/// before it.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

/// Packs a left operand of `[rows, k]` so that each tile's columns lie one after the other.
///
/// # Safety
/// `from` has that shape, and `to` has room for `rows`, rounded up to tiles, times the words of a row.
#[inline(always)]
pub(super) unsafe fn pack_tiles<S: Simd, W: Word>(
    s: S,
    from: Strided,
    [rows, k]: [usize; 2],
    to: *mut f32,
) -> Left {
    let words = k.div_ceil(W::depth::<S>());
    for row in (0..rows).step_by(S::TILE_ROWS) {
        let (tile, to) = (from.at(row, 0), to.wrapping_add(row * words));
        // SAFETY: the caller's promise; the full tile is the usual case with a constant size.
        unsafe {
            if rows - row >= S::TILE_ROWS {
                pack_tile::<S, W>(s, tile, [S::TILE_ROWS, k], to);
            } else {
                pack_tile::<S, W>(s, tile, [rows - row, k], to);
            }
        }
    }
    Left { row_stride: 1, col_stride: S::TILE_ROWS }
}

/// # Safety
/// As [`pack_tiles`], for a tile.
#[inline(always)]
unsafe fn pack_tile<S: Simd, W: Word>(s: S, from: Strided, [rows, k]: [usize; 2], to: *mut f32) {
    let depth = W::depth::<S>();
    for word in 0..k / depth {
        let (from, to) = (from.at(0, word * depth), to.wrapping_add(word * S::TILE_ROWS));
        // SAFETY: the caller's promise.
        unsafe { pack_tile_column::<S, W>(s, from, [rows, depth], to) };
    }
    if !k.is_multiple_of(depth) {
        let word = k / depth;
        let (from, to) = (from.at(0, word * depth), to.wrapping_add(word * S::TILE_ROWS));
        // SAFETY: the caller's promise.
        unsafe { pack_tile_column::<S, W>(s, from, [rows, k % depth], to) };
    }
}

/// One word of each row, of `n` elements.
///
/// # Safety
/// As [`pack_tiles`], for a column of words of a tile.
#[inline(always)]
unsafe fn pack_tile_column<S: Simd, W: Word>(
    s: S,
    from: Strided,
    [rows, n]: [usize; 2],
    to: *mut f32,
) {
    let Strided { start, row_stride, col_stride } = from;
    // SAFETY: the caller's promise; a tile has no more rows than a vector lanes.
    unsafe {
        if row_stride != 1 {
            for row in 0..rows {
                *to.add(row) = W::gather::<S>(start.add(row * row_stride), col_stride, n);
            }
        } else if W::IN_PLACE {
            copy_nonoverlapping(start, to, rows);
        } else {
            let column = Strided { start, row_stride: col_stride, col_stride: 1 };
            s.store_first(to, rows, W::read(s, column, n, rows));
        }
    }
}

/// Makes words of the contiguous rows of a left operand of `[rows, k]`, and leaves the rows as they are.
///
/// # Safety
/// As [`pack_tiles`].
#[inline(always)]
pub(super) unsafe fn pack_rows_of_words<S: Simd, W: Word>(
    from: Strided,
    [rows, k]: [usize; 2],
    to: *mut f32,
) -> Left {
    let depth = W::depth::<S>();
    let words = k.div_ceil(depth);
    for row in 0..rows {
        let (from, to) = (from.at(row, 0).start, to.wrapping_add(row * words));
        // SAFETY: the caller's promise.
        unsafe {
            for word in 0..k / depth {
                *to.add(word) = W::gather::<S>(from.add(word * depth), 1, depth);
            }
            if !k.is_multiple_of(depth) {
                *to.add(words - 1) = W::gather::<S>(from.add(k - k % depth), 1, k % depth);
            }
        }
    }
    Left { row_stride: words, col_stride: 1 }
}
