//! Operands copied, as words, into the order in which tiles read them.
#![allow(unsafe_code, reason = "elements are read and written through pointers")]

use std::ptr::copy_nonoverlapping;

use super::{tile::Strided, word::Word};
use crate::simd::Simd;

/// Lanes of the widest vector.
const SQUARE: usize = 16;
/// Rows that are asked for ahead, since rows far apart come as a surprise to the machine.
const ROWS_AHEAD: usize = 16;
/// Squares that are asked for ahead.
const SQUARES_AHEAD: usize = 4;

/// Words of so many elements of the inner dimension, with those of zeros that tiles take at the end.
#[inline(always)]
pub(crate) fn words<S: Simd, W: Word>(elements: usize) -> usize {
    elements.div_ceil(W::depth::<S>()).next_multiple_of(S::TILE_WORDS)
}

/// Words of all panels of a right operand.
pub(crate) fn packed_len<S: Simd, W: Word>(rows: usize, cols: usize) -> usize {
    words::<S, W>(rows) * cols.next_multiple_of(S::LANES)
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
    let words = words::<S, W>(rows);
    for col in (0..cols).step_by(wide) {
        let width = wide.min(cols - col);
        let panel = to.wrapping_add(col * words);
        // SAFETY: the panel's columns lie inside of `from`, and its values inside of `to`.
        unsafe {
            if from.col_stride == 1 {
                pack_rows::<S, W>(s, from.at(0, col), [rows, width], panel);
            } else {
                pack_columns::<S, W>(s, from.at(0, col), [rows, width], panel);
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
    let filled = rows.div_ceil(depth);
    for word in 0..filled {
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
    for word in filled..words::<S, W>(rows) {
        for col in (0..padded).step_by(S::LANES) {
            // SAFETY: the caller's promise.
            unsafe { s.store(to.add(word * padded + col), s.splat(0.0)) };
        }
    }
}

/// A panel of other rows, in squares so that both sides stay in the cache.
///
/// # Safety
/// As [`pack_right`], for a panel.
#[inline(always)]
unsafe fn pack_columns<S: Simd, W: Word>(
    s: S,
    from: Strided,
    [rows, width]: [usize; 2],
    to: *mut f32,
) {
    let (padded, depth) = (width.next_multiple_of(S::LANES), W::depth::<S>());
    let words = words::<S, W>(rows);
    let mut square = [0.0_f32; SQUARE * SQUARE];
    for col in (0..padded).step_by(S::LANES) {
        for top in (0..words).step_by(S::LANES) {
            let (row, count) = (top * depth, S::LANES.min(words - top));
            let elements = (rows - row).min(S::LANES * depth);
            // SAFETY: the caller's promise; a square has at most `SQUARE` rows.
            unsafe {
                for i in 0..S::LANES {
                    let v = if col + i < width {
                        let column = from.at(row, col + i);
                        let column = Strided { col_stride: column.row_stride, ..column };
                        let ahead = column.at(0, SQUARES_AHEAD * S::LANES * depth);
                        ahead.prefetch(s, [1, S::LANES * depth]);
                        W::along(s, column, elements)
                    } else {
                        s.splat(0.0)
                    };
                    s.store(square.as_mut_ptr().add(i * S::LANES), v);
                }
                let to = to.add(top * padded + col);
                s.transpose(square.as_ptr(), to, [count, padded]);
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

/// Where word `word` of row `row` lies in a left operand whose rows are contiguous, `words` each: in rows one after the
/// other, or in the tiles of [`Simd::matrices`], those of the same rows one after the other.
#[inline(always)]
pub(super) fn left_place<S: Simd>([row, word]: [usize; 2], words: usize) -> usize {
    let side = S::TILE_WORDS;
    (row / side * words + word / side * side) * side + row % side * side + word % side
}

/// Distances in such an operand; between columns they are 1 in a tile.
#[inline(always)]
pub(super) fn contiguous_left<S: Simd>(words: usize) -> Left {
    let row_stride = if S::TILE_WORDS > 1 { S::TILE_WORDS } else { words };
    Left { row_stride, col_stride: 1 }
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
    if from.row_stride == 1 {
        // SAFETY: the caller's promise.
        unsafe { pack_rows_of_tiles::<S, W>(s, from, [rows, k], to) };
        return Left { row_stride: 1, col_stride: S::TILE_ROWS };
    }
    for row in (0..rows).step_by(S::TILE_ROWS) {
        let (tile, to) = (from.at(row, 0), to.wrapping_add(row * words));
        // SAFETY: the caller's promise; the full tile is the usual case with a constant size.
        unsafe {
            if rows - row >= S::TILE_ROWS {
                pack_tile::<S, W>(tile, [S::TILE_ROWS, k], to);
            } else {
                pack_tile::<S, W>(tile, [rows - row, k], to);
            }
        }
    }
    Left { row_stride: 1, col_stride: S::TILE_ROWS }
}

/// A left operand whose columns are contiguous: a word of all tiles at a time, since such columns lie far apart.
///
/// # Safety
/// As [`pack_tiles`].
#[inline(always)]
unsafe fn pack_rows_of_tiles<S: Simd, W: Word>(
    s: S,
    from: Strided,
    [rows, k]: [usize; 2],
    to: *mut f32,
) {
    let depth = W::depth::<S>();
    let words = k.div_ceil(depth);
    for word in 0..words {
        let column = from.at(0, word * depth);
        let column = Strided { row_stride: column.col_stride, col_stride: 1, ..column };
        column.at(ROWS_AHEAD, 0).prefetch(s, [depth, rows]);
        let n = depth.min(k - word * depth);
        for row in (0..rows).step_by(S::TILE_ROWS) {
            let to = to.wrapping_add(row * words + word * S::TILE_ROWS);
            let count = S::TILE_ROWS.min(rows - row);
            // SAFETY: the caller's promise; a tile has no more rows than a vector lanes.
            unsafe {
                if W::IN_PLACE && count == S::TILE_ROWS {
                    copy_nonoverlapping(column.at(0, row).start, to, S::TILE_ROWS);
                } else {
                    s.store_first(to, count, W::read(s, column.at(0, row), n, count));
                }
            }
        }
    }
}

/// # Safety
/// As [`pack_tiles`], for a tile.
#[inline(always)]
unsafe fn pack_tile<S: Simd, W: Word>(from: Strided, [rows, k]: [usize; 2], to: *mut f32) {
    let depth = W::depth::<S>();
    for word in 0..k.div_ceil(depth) {
        let n = depth.min(k - word * depth);
        let Strided { start, row_stride, col_stride } = from.at(0, word * depth);
        for row in 0..rows {
            // SAFETY: the caller's promise.
            unsafe {
                let value = W::gather::<S>(start.add(row * row_stride), col_stride, n);
                *to.add(word * S::TILE_ROWS + row) = value;
            }
        }
    }
}

/// Makes words of bf16 of a left operand; rows that are contiguous stay as they are.
///
/// # Safety
/// As [`pack_tiles`].
#[inline(always)]
pub(super) unsafe fn pack_left_by_vectors<S: Simd, W: Word>(
    s: S,
    block: LeftBlock,
    to: *mut f32,
) -> Left {
    let LeftBlock { from, shape: [rows, k], .. } = block;
    if S::TILE_WORDS > 1 && from.row_stride == 1 && from.col_stride != 1 {
        // SAFETY: the caller's promise.
        return unsafe { pack_left_columns::<S, W>(s, from, [rows, k], to) };
    }
    if S::TILE_WORDS == 1 && from.col_stride != 1 {
        // SAFETY: the caller's promise.
        return unsafe { pack_tiles::<S, W>(s, from, [rows, k], to) };
    }
    let depth = W::depth::<S>();
    let words = words::<S, W>(k);
    for row in 0..rows {
        let from = from.at(row, 0);
        for word in (0..words).step_by(S::LANES) {
            let (col, count) = (word * depth, S::LANES.min(words - word));
            let to = to.wrapping_add(left_place::<S>([row, word], words));
            // SAFETY: the caller's promise.
            unsafe {
                let v = W::along(s, from.at(0, col), (k - col).min(depth * S::LANES));
                if count == S::LANES {
                    s.store(to, v);
                } else {
                    s.store_first(to, count, v);
                }
            }
        }
    }
    contiguous_left::<S>(words)
}

/// Makes contiguous rows of words of a left operand whose columns are contiguous.
///
/// # Safety
/// As [`pack_tiles`].
#[inline(always)]
unsafe fn pack_left_columns<S: Simd, W: Word>(
    s: S,
    from: Strided,
    [rows, k]: [usize; 2],
    to: *mut f32,
) -> Left {
    let (depth, words) = (W::depth::<S>(), words::<S, W>(k));
    let mut square = [0.0_f32; SQUARE * SQUARE];
    for top in (0..words).step_by(S::LANES) {
        for row in (0..rows).step_by(S::LANES) {
            let count = S::LANES.min(rows - row);
            for i in 0..S::LANES {
                let col = (top + i) * depth;
                let column = from.at(row, col.min(k - 1));
                let column = Strided { row_stride: column.col_stride, col_stride: 1, ..column };
                // SAFETY: the caller's promise; a square has at most `SQUARE` rows.
                unsafe {
                    let v = if col < k {
                        W::read(s, column, depth.min(k - col), count)
                    } else {
                        s.splat(0.0)
                    };
                    s.store(square.as_mut_ptr().add(i * S::LANES), v);
                }
            }
            let to = to.wrapping_add(left_place::<S>([row, top], words));
            // SAFETY: the caller's promise, and rows of so many words.
            unsafe { s.transpose(square.as_ptr(), to, [count, S::TILE_WORDS]) };
        }
    }
    contiguous_left::<S>(words)
}
