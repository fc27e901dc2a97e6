//! A product that one thread computes, block by block.
#![allow(unsafe_code, reason = "tiles work on pointers")]

use std::{mem::MaybeUninit, ops::Range};

use super::{
    epilogue::Epilogue,
    finish::{Finish, FinishTile, Plain, Sums},
    pack::{Operand, Right, pack_left, pack_right, packed_len},
    tile::{Destination, Factors, Strided, StridedMut, tile},
};
use crate::{
    level::Level,
    mat::{Mat, MatMut},
    scratch::Scratch,
    simd::Simd,
};

/// Largest part of the inner dimension that passes through a tile at a time: a panel of so many rows
/// stays in the first-level cache.
const INNER_BLOCK: usize = 384;
/// Values of A that stay in the second-level cache while the panels pass.
const LEFT_BLOCK: usize = 32 << 10;
/// Up to so many tiles of rows, a contiguous right operand is read where it lies.
const UNPACKED_TILES: usize = 2;
/// Values of the largest tile of all levels.
const MAX_TILE: usize = 8 * 48;

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
            Operand::Packed(_) => None,
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

    /// Computes all of it in this thread, with the vectors of the level that it was made for.
    #[inline(always)]
    pub(crate) fn compute<S: Simd>(mut self, s: S, scratch: &mut Scratch) {
        let (rows, cols, k) = (self.a.rows(), self.cols.len(), self.a.cols());
        if rows == 0 || cols == 0 {
            return;
        }
        let inner = k.div_ceil(k.div_ceil(INNER_BLOCK).max(1));
        let wide = S::TILE_VECTORS * S::LANES;
        let block_rows = (LEFT_BLOCK / inner.max(1)).max(1).next_multiple_of(S::TILE_ROWS);
        let plan = Plan {
            rows,
            cols,
            wide,
            block_rows,
            pack_left: self.a.col_stride() != 1 && cols > wide,
            accumulate: matches!(self.epilogue, Epilogue::Accumulate),
            unpacked: rows <= UNPACKED_TILES * S::TILE_ROWS,
        };
        let left_len =
            if plan.pack_left { block_rows.min(rows).next_multiple_of(S::TILE_ROWS) } else { 0 };
        let right_len = match self.b.0 {
            Operand::Plain(_) => packed_len::<S>(inner, cols),
            Operand::Packed(_) => 0,
        };
        let ([left, right], _) = scratch.lend([left_len * inner, right_len], 0);
        let c = StridedMut::of(&mut self.c);
        let finish = self.epilogue.finish();
        let mut from = 0;
        loop {
            let to = k.min(from + inner);
            let finish = if to == k { finish } else { Finish::Plain(Plain) };
            let pass = Pass {
                a: Strided::of(self.a).at(0, from),
                b: self.panels(s, &plan, from..to, right),
                c,
                finish,
                beside: finish.beside(),
                add: from > 0 || plan.accumulate,
                k: to - from,
            };
            // SAFETY: the shapes were checked in `new`, and the buffers are as long as planned.
            unsafe { pass.run(s, &plan, left) };
            from = to;
            if from == k {
                return;
            }
        }
    }

    /// Where the panels of these inner rows lie, packed into `buffer` if they are not yet.
    #[inline(always)]
    fn panels<S: Simd>(
        &self,
        s: S,
        plan: &Plan,
        inner: Range<usize>,
        buffer: &mut [f32],
    ) -> PanelRows {
        let mat = match self.b.0 {
            Operand::Packed(panels) => {
                let len = packed_len::<S>(panels.rows, panels.cols);
                assert!(panels.values.len() >= len, "b: packed for other vectors");
                return PanelRows {
                    start: panels.values.as_ptr().wrapping_add(self.cols.start * panels.rows),
                    rows: panels.rows,
                    from: inner.start,
                    direct: None,
                };
            }
            Operand::Plain(mat) => mat,
        };
        let from = Strided::of(mat).at(inner.start, self.cols.start);
        let direct = plan.unpacked && mat.col_stride() == 1;
        // Only the last columns, where a full panel would reach beyond the matrix.
        let first = if direct { plan.cols - plan.cols % plan.wide } else { 0 };
        let start = buffer.as_mut_ptr();
        // SAFETY: `compute` made room for all panels of as many rows.
        unsafe {
            let to = start.wrapping_add(first * inner.len());
            pack_right(s, from.at(0, first), [inner.len(), plan.cols - first], to);
        }
        PanelRows { start, rows: inner.len(), from: 0, direct: direct.then_some(from) }
    }
}

/// Sizes of the blocks.
struct Plan {
    rows: usize,
    cols: usize,
    /// Columns of a full panel.
    wide: usize,
    /// Rows of A that stay in the cache while the panels pass.
    block_rows: usize,
    pack_left: bool,
    accumulate: bool,
    /// Whether so few rows are multiplied that packing the right operand does not pay.
    unpacked: bool,
}

/// Some rows of the panels of a right operand.
#[derive(Clone, Copy)]
struct PanelRows {
    /// Panels of `rows` rows one after the other.
    start: *const f32,
    rows: usize,
    /// The first row to use.
    from: usize,
    /// The matrix itself, where full panels are read from.
    direct: Option<Strided>,
}

impl PanelRows {
    /// Start and row distance of the panel at column `col`, of `width` columns.
    #[inline(always)]
    fn panel(&self, col: usize, [width, wide]: [usize; 2], lanes: usize) -> (*const f32, usize) {
        match self.direct {
            Some(mat) if width == wide => (mat.at(0, col).start, mat.row_stride),
            _ => {
                let stride = width.next_multiple_of(lanes);
                (self.start.wrapping_add(col * self.rows + self.from * stride), stride)
            }
        }
    }
}

/// A block of the inner dimension.
struct Pass<'a> {
    a: Strided,
    b: PanelRows,
    c: StridedMut,
    finish: Finish<'a>,
    /// Another matrix that the epilogue uses.
    beside: Option<Strided>,
    /// Whether the sums are added to what C holds.
    add: bool,
    k: usize,
}

impl Pass<'_> {
    /// # Safety
    /// The pointers cover the planned sizes, and `left` a packed block of A if one is planned.
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, s: S, plan: &Plan, left: &mut [f32]) {
        for top in (0..plan.rows).step_by(plan.block_rows) {
            let rows = top..plan.rows.min(top + plan.block_rows);
            let mut a = self.a.at(top, 0);
            if plan.pack_left {
                // SAFETY: the caller's promise.
                unsafe { pack_left::<S>(a, [rows.len(), self.k], left.as_mut_ptr()) };
                // Tiles of rows follow each other as rows of TILE_ROWS values would.
                a = Strided { start: left.as_ptr(), row_stride: 1, col_stride: S::TILE_ROWS };
            }
            for col in (0..plan.cols).step_by(plan.wide) {
                let width = plan.wide.min(plan.cols - col);
                let (b, b_stride) = self.b.panel(col, [width, plan.wide], S::LANES);
                for row in rows.clone().step_by(S::TILE_ROWS) {
                    let offset = row - top;
                    let a = if plan.pack_left {
                        Strided { start: a.start.wrapping_add(offset * self.k), ..a }
                    } else {
                        a.at(offset, 0)
                    };
                    let factors = Factors { a, b, b_stride, k: self.k };
                    let size = [S::TILE_ROWS.min(rows.end - row), width];
                    // SAFETY: the caller's promise.
                    unsafe { self.place(s, [row, col], size, factors) };
                }
            }
        }
    }

    /// Computes the tile at `[row, col]` and puts it into C.
    ///
    /// # Safety
    /// As [`Self::run`], for a tile.
    #[inline(always)]
    unsafe fn place<S: Simd>(&self, s: S, at: [usize; 2], size: [usize; 2], factors: Factors) {
        let ([row, col], [rows, width]) = (at, size);
        let vectors = width.div_ceil(S::LANES);
        let whole = width == vectors * S::LANES && self.c.col_stride == 1;
        self.c.as_read().at(row, col).prefetch(s, size);
        if whole && matches!(self.finish, Finish::Plain(_)) {
            let start = self.c.start.wrapping_add(row * self.c.row_stride + col);
            let to = Destination { start, row_stride: self.c.row_stride, add: self.add };
            // SAFETY: the caller's promise.
            return unsafe { tile(s, [rows, vectors], factors, to) };
        }
        if let Some(beside) = self.beside {
            beside.at(row, col).prefetch(s, size);
        }
        let mut sums = [const { MaybeUninit::<f32>::uninit() }; MAX_TILE];
        let start = sums.as_mut_ptr().cast::<f32>();
        let stride = vectors * S::LANES;
        let to = Destination { start, row_stride: stride, add: false };
        let (c, add, sums) = (self.c, self.add, Sums { start, stride });
        macro_rules! finish {
            ($($kind:ident)+) => {
                match self.finish {
                    $(Finish::$kind(finisher) => {
                        s.call(FinishTile { finisher, c, add, at, size, sums });
                    })+
                }
            };
        }
        // SAFETY: the caller's promise; the largest tile fits `sums`, which the tile fills.
        unsafe { tile(s, [rows, vectors], factors, to) };
        finish! { Plain Scale Bias Gelu GeluGrad }
    }
}
