//! A product that one thread computes, block by block.
#![allow(unsafe_code, reason = "tiles work on pointers")]

use std::ops::Range;

use super::{
    epilogue::Epilogue,
    finish::{AddBias, Finish},
    order::{pack_right, packed_len, words},
    pack::{Integers, Operand, Right},
    pass::{PanelRows, Pass, Plan},
    tile::{Strided, StridedMut},
    word::Word,
};
use crate::{
    level::Level,
    mat::{Mat, MatMut},
    scratch::Scratch,
    simd::Simd,
};

/// Most words of the inner dimension that pass through a tile at a time: a panel of so many rows stays
/// in the first-level cache.
const INNER_BLOCK: usize = 384;
/// Words of A that stay in the second-level cache while the panels pass.
const LEFT_BLOCK: usize = 32 << 10;
/// Up to so many tiles of rows, a contiguous right operand is read where it lies; with vectors of a cache line, whenever no
/// other thread needs its panels: a row of a panel is some whole lines then.
const UNPACKED_TILES: usize = 2;
/// Floats a cache line.
const LINE: usize = 16;

/// `C = epilogue(A B)`, all shapes checked.
pub(crate) struct Product<'a> {
    a: Mat<'a>,
    b: Right<'a>,
    /// Columns of `b` that belong to `c`; they start at a multiple of the tile's width.
    cols: Range<usize>,
    c: MatMut<'a>,
    epilogue: Epilogue<'a>,
}

impl<'a> Product<'a> {
    /// Panics unless the shapes fit and a packed operand is for this level.
    pub(crate) fn new(
        level: Level,
        (a, b): (Mat<'a>, Right<'a>),
        c: MatMut<'a>,
        epilogue: Epilogue<'a>,
    ) -> Self {
        let (rows, cols) = match b.0 {
            Operand::Plain(mat) => (mat.rows(), mat.cols()),
            Operand::Packed(panels) => {
                let packed_for = panels.level;
                assert!(packed_for == level, "b: packed for {packed_for:?}, used at {level:?}");
                (panels.rows, panels.cols)
            }
            Operand::Integers(Integers { panels, .. }) => {
                let packed_for = panels.level;
                assert!(packed_for == level.f32(), "b: for {packed_for:?}, used at {level:?}");
                (panels.rows, panels.cols)
            }
        };
        assert!(rows == a.cols(), "b: {rows} rows, but a has {} columns", a.cols());
        let shape = [c.rows(), c.cols()];
        assert!(
            shape == [a.rows(), cols],
            "c: {shape:?}, but the product is [{}, {cols}]",
            a.rows()
        );
        epilogue.check(shape);
        Self { a, b, cols: 0..cols, c, epilogue }
    }

    /// The right operand if it has yet to be packed.
    pub(super) fn plain_right(&self) -> Option<Mat<'a>> {
        match self.b.0 {
            Operand::Plain(mat) => Some(mat),
            Operand::Packed(_) | Operand::Integers(_) => None,
        }
    }

    /// The right operand if it is of integers, and the first of its columns that is meant.
    pub(super) fn integers(&self) -> Option<(Integers<'a>, usize)> {
        match self.b.0 {
            Operand::Integers(integers) => Some((integers, self.cols.start)),
            Operand::Plain(_) | Operand::Packed(_) => None,
        }
    }

    /// The same product with the right operand packed.
    pub(super) fn with_right<'b>(self, b: Right<'b>) -> Product<'b>
    where
        'a: 'b,
    {
        Product { b, ..self }
    }

    /// Rows of C.
    pub(super) fn rows(&self) -> usize {
        self.a.rows()
    }

    /// Multiply-adds.
    pub(crate) fn work(&self) -> usize {
        self.a.rows() * self.a.cols() * self.cols.len()
    }

    /// Two products over parts of C, at tile boundaries of its longer side; the first has about
    /// `share[0] / share[1]` of it.
    pub(super) fn halve(self, tile: [usize; 2], share: [usize; 2]) -> (Self, Self) {
        let Self { a, b, cols, c, epilogue } = self;
        let part = |len: usize, tile: usize| {
            (len.div_ceil(tile) * share[0]).div_ceil(share[1]).saturating_mul(tile).min(len)
        };
        if a.rows() >= cols.len() {
            let row = part(a.rows(), tile[0]);
            let (a_1, a_2) = a.split_at_row(row);
            let (c_1, c_2) = c.split_at_row(row);
            let (epilogue_1, epilogue_2) = epilogue.split_at_row(row);
            (
                Self { a: a_1, b, cols: cols.clone(), c: c_1, epilogue: epilogue_1 },
                Self { a: a_2, b, cols, c: c_2, epilogue: epilogue_2 },
            )
        } else {
            let col = part(cols.len(), tile[1]);
            let (c_1, c_2) = c.split_at_col(col);
            let (epilogue_1, epilogue_2) = epilogue.split_at_col(col);
            let middle = cols.start + col;
            (
                Self { a, b, cols: cols.start..middle, c: c_1, epilogue: epilogue_1 },
                Self { a, b, cols: middle..cols.end, c: c_2, epilogue: epilogue_2 },
            )
        }
    }

    /// Computes all of it in this thread, with the vectors of the level and the words that it was made
    /// for.
    #[inline(always)]
    pub(super) fn compute<S: Simd, W: Word>(mut self, s: S, word: W, scratch: &mut Scratch) {
        let (rows, cols, depth) = (self.a.rows(), self.cols.len(), W::depth::<S>());
        if rows == 0 || cols == 0 {
            return;
        }
        let words = words::<S, W>(self.a.cols());
        let accumulate = matches!(self.epilogue, Epilogue::Accumulate);
        // Integers and what C holds before cannot be added, so the integers must come in one piece.
        let pieces = if W::SCALED && accumulate { 1 } else { words.div_ceil(INNER_BLOCK).max(1) };
        let inner = words.div_ceil(pieces).next_multiple_of(S::TILE_WORDS);
        let wide = S::TILE_VECTORS * S::LANES;
        let plan = Plan {
            rows,
            cols,
            wide,
            block_rows: (LEFT_BLOCK / inner.max(1)).max(1).next_multiple_of(S::TILE_ROWS),
            pack_left: !W::IN_PLACE || self.a.col_stride() != 1 && cols > wide,
            unpacked: W::IN_PLACE && (S::LANES == LINE || rows <= UNPACKED_TILES * S::TILE_ROWS),
        };
        let left_rows = plan.block_rows.min(rows.next_multiple_of(S::TILE_ROWS));
        let left_len = if plan.pack_left { left_rows * inner } else { 0 };
        let right_len = match self.b.0 {
            Operand::Plain(_) => packed_len::<S, W>(inner * depth, cols),
            Operand::Packed(_) | Operand::Integers(_) => 0,
        };
        let ([left, right], _) = scratch.lend([left_len, right_len], 0);
        let c = StridedMut::of(&mut self.c);
        let finish = if W::SCALED && accumulate {
            Finish::Bias(AddBias { bias: None, residual: Some(c.as_read()) })
        } else {
            self.epilogue.finish()
        };
        s.matrices_begin();
        for from in (0..words.max(1)).step_by(inner.max(1)) {
            let to = words.min(from + inner);
            let pass = Pass {
                word,
                a: Strided::of(self.a),
                a_cols: self.a.cols(),
                elements: from * depth..self.a.cols().min(to * depth),
                b: self.panels::<S, W>(s, &plan, from..to, right),
                c,
                finish: (to == words).then_some(finish),
                add: from > 0 || accumulate && !W::SCALED,
                k: to - from,
            };
            // SAFETY: the shapes were checked in `new`, and the buffers are as long as planned.
            unsafe { pass.run(s, &plan, left) };
        }
        s.matrices_end();
    }

    /// Where the panels of these inner rows of words lie, packed into `buffer` if they are not yet.
    #[inline(always)]
    fn panels<S: Simd, W: Word>(
        &self,
        s: S,
        plan: &Plan,
        inner: Range<usize>,
        buffer: &mut [f32],
    ) -> PanelRows {
        let (mat, depth) = match self.b.0 {
            Operand::Packed(panels) | Operand::Integers(Integers { panels, .. }) => {
                let len = packed_len::<S, W>(panels.rows, panels.cols);
                assert!(panels.values.len() >= len, "b: packed for other vectors");
                let rows = words::<S, W>(panels.rows);
                return PanelRows {
                    start: panels.values.as_ptr().wrapping_add(self.cols.start * rows),
                    rows,
                    from: inner.start,
                    direct: None,
                };
            }
            Operand::Plain(mat) => (mat, W::depth::<S>()),
        };
        let from = Strided::of(mat).at(inner.start * depth, self.cols.start);
        let direct = plan.unpacked && mat.col_stride() == 1;
        // Only the last columns, where a full panel would reach beyond the matrix.
        let first = if direct { plan.cols - plan.cols % plan.wide } else { 0 };
        let elements = mat.rows().min(inner.end * depth) - inner.start * depth;
        let start = buffer.as_mut_ptr();
        // SAFETY: `compute` made room for all panels of as many rows.
        unsafe {
            let to = start.wrapping_add(first * inner.len());
            pack_right::<S, W>(s, from.at(0, first), [elements, plan.cols - first], to);
        }
        PanelRows { start, rows: inner.len(), from: 0, direct: direct.then_some(from) }
    }
}
