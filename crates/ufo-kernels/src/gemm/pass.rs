//! A block of the inner dimension on its way through a product, tile by tile.
#![allow(unsafe_code, reason = "tiles work on pointers")]

use std::{marker::PhantomData, mem::MaybeUninit, ops::Range};

use super::{
    finish::{Finish, FinishTile, Finisher, Plain, Sums},
    order::LeftBlock,
    tile::{Destination, Factors, Strided, StridedMut, tile},
    word::Word,
};
use crate::simd::Simd;

/// Values of the largest tile of all levels.
const MAX_TILE: usize = 32 * 32;

/// Sizes of the blocks.
pub(super) struct Plan {
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Columns of a full panel.
    pub(super) wide: usize,
    /// Rows of A that stay in the cache while the panels pass.
    pub(super) block_rows: usize,
    pub(super) pack_left: bool,
    /// Whether full panels of a contiguous right operand are read where they lie: for so few rows, or with such vectors, packing
    /// does not pay.
    pub(super) unpacked: bool,
}

/// Some rows of the panels of a right operand.
#[derive(Clone, Copy)]
pub(super) struct PanelRows {
    /// Panels of `rows` rows one after the other.
    pub(super) start: *const f32,
    pub(super) rows: usize,
    /// The first row to use.
    pub(super) from: usize,
    /// The matrix itself, where full panels are read from.
    pub(super) direct: Option<Strided>,
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
pub(super) struct Pass<'a, W> {
    pub(super) word: W,
    /// All of A.
    pub(super) a: Strided,
    /// Columns of A.
    pub(super) a_cols: usize,
    /// Those that are multiplied.
    pub(super) elements: Range<usize>,
    pub(super) b: PanelRows,
    pub(super) c: StridedMut,
    /// What becomes of the sums, or nothing where more are to be added.
    pub(super) finish: Option<Finish<'a>>,
    /// Whether the sums are added to what C holds.
    pub(super) add: bool,
    /// Words.
    pub(super) k: usize,
}

impl<W: Word> Pass<'_, W> {
    /// # Safety
    /// The pointers cover the planned sizes, and `left` a packed block of A if one is planned.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(&self, s: S, plan: &Plan, left: &mut [f32]) {
        let beside = self.finish.and_then(Finish::beside);
        for top in (0..plan.rows).step_by(plan.block_rows) {
            let rows = top..plan.rows.min(top + plan.block_rows);
            let from = self.a.at(top, self.elements.start);
            // SAFETY: the caller's promise.
            let a = unsafe { self.left(s, plan, (from, rows.clone()), left) };
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
                    unsafe { self.place(s, ([row, col], size), factors, beside) };
                }
            }
        }
    }

    /// The words of some rows of A, packed into `buffer` if that is planned.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn left<S: Simd>(
        &self,
        s: S,
        plan: &Plan,
        (from, rows): (Strided, Range<usize>),
        buffer: &mut [f32],
    ) -> Strided {
        if !plan.pack_left {
            return from;
        }
        let block = LeftBlock {
            from,
            top: rows.start,
            shape: [rows.len(), self.elements.len()],
            whole: (self.elements.start == 0).then_some(self.a_cols),
        };
        let to = buffer.as_mut_ptr();
        // SAFETY: the caller's promise.
        let left = unsafe { self.word.pack_left(s, block, to) };
        Strided { start: to, row_stride: left.row_stride, col_stride: left.col_stride }
    }

    /// Computes the tile at `[row, col]` and puts it into C.
    ///
    /// # Safety
    /// As [`Self::run`], for a tile.
    #[inline(always)]
    unsafe fn place<S: Simd>(
        &self,
        s: S,
        (at, size): ([usize; 2], [usize; 2]),
        factors: Factors,
        beside: Option<Strided>,
    ) {
        let ([row, col], [rows, width]) = (at, size);
        let vectors = width.div_ceil(S::LANES);
        // Matrices are of whole squares, and their sums start at zero wherever a row falls in a tile.
        let matrices = S::TILE_WORDS > 1;
        let whole = width == vectors * S::LANES
            && !(matrices && (self.add || !rows.is_multiple_of(S::TILE_WORDS)))
            && self.c.col_stride == 1;
        // Sums that C takes as they are.
        let plain = match self.finish {
            None => true,
            Some(finish) => !W::SCALED && matches!(finish, Finish::Plain(_)),
        };
        self.c.as_read().at(row, col).prefetch(s, size);
        if whole && plain {
            let start = self.c.start.wrapping_add(row * self.c.row_stride + col);
            let to = Destination { start, row_stride: self.c.row_stride, add: self.add };
            // SAFETY: the caller's promise.
            return unsafe { tile::<S, W>(s, [rows, vectors], factors, to) };
        }
        if let Some(beside) = beside {
            beside.at(row, col).prefetch(s, size);
        }
        let mut sums = [const { MaybeUninit::<f32>::uninit() }; MAX_TILE];
        let start = sums.as_mut_ptr().cast::<f32>();
        let stride = vectors * S::LANES;
        let to = Destination { start, row_stride: stride, add: false };
        // SAFETY: the caller's promise; the largest tile fits `sums`, which the tile fills.
        unsafe { tile::<S, W>(s, [rows, vectors], factors, to) };
        let part = Part { at, size, sums: Sums { start, stride } };
        match self.finish {
            None => self.put(s, part, Plain),
            Some(Finish::Plain(finisher)) => self.put(s, part, self.word.finisher(finisher)),
            Some(Finish::Scale(finisher)) => self.put(s, part, self.word.finisher(finisher)),
            Some(Finish::Bias(finisher)) => self.put(s, part, self.word.finisher(finisher)),
            Some(Finish::Gelu(finisher)) => self.put(s, part, self.word.finisher(finisher)),
            Some(Finish::GeluGrad(finisher)) => self.put(s, part, self.word.finisher(finisher)),
        }
    }

    /// Puts the sums of a tile into C by way of a finisher.
    #[inline(always)]
    fn put<S: Simd, F: Finisher>(&self, s: S, part: Part, finisher: F) {
        let Part { at, size, sums } = part;
        let word = PhantomData::<W>;
        s.call(FinishTile { word, finisher, c: self.c, add: self.add, at, size, sums });
    }
}

/// The sums of a tile and their place.
#[derive(Clone, Copy)]
struct Part {
    at: [usize; 2],
    size: [usize; 2],
    sums: Sums,
}
