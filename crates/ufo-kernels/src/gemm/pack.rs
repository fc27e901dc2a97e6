//! Right operands in panels, as products take them.
#![allow(unsafe_code, reason = "elements are read and written through pointers")]

use std::{marker::PhantomData, slice};

use super::{
    Tile,
    order::{pack_right, packed_len},
    tile::Strided,
    word::{Bf16, F32, Rounded, Tiles, Word},
};
use crate::{
    level::{Factors, Kernel, Level},
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

/// Words from the start of a cache line on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    /// `len` words of unspecified contents; the memory is reused.
    pub(crate) fn resized(&mut self, len: usize) -> &mut [f32] {
        self.0.resize(len.div_ceil(LINE), Line([0.0; LINE]));
        let start = self.0.as_mut_ptr().cast();
        // SAFETY: lines are floats without padding.
        unsafe { slice::from_raw_parts_mut(start, len) }
    }

    /// All words, to whole lines.
    pub(crate) fn words(&self) -> &[f32] {
        // SAFETY: lines are floats without padding.
        unsafe { slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }
}

/// The right operand of a product in panels as wide as a level's tile, for any number of calls.
///
/// Panel by panel, row by row; the last panel is as many vectors wide as its columns need, with zeros
/// in the lanes left over.
#[derive(Clone, Debug)]
pub struct Packed {
    level: Level,
    rows: usize,
    cols: usize,
    panels: Lines,
}

impl Packed {
    /// The matrix packed for products at `level`.
    ///
    /// # Panics
    /// If this machine lacks the level.
    pub fn new(level: Level, mat: Mat<'_>) -> Self {
        let mut packed = Self { level, rows: 0, cols: 0, panels: Lines::default() };
        packed.pack(mat);
        packed
    }

    /// Packs another matrix in its place; the memory is reused.
    pub fn pack(&mut self, mat: Mat<'_>) {
        (self.rows, self.cols) = (mat.rows(), mat.cols());
        Panels::pack(self.level, mat, self.panels.resized(panels_len(self.level, mat)));
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
    pub(crate) level: Level,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) values: &'a [f32],
}

impl<'a> Panels<'a> {
    /// Packs the matrix into [`panels_len`] values, split over the current pool.
    pub(crate) fn pack(level: Level, mat: Mat<'_>, values: &'a mut [f32]) -> Self {
        match level.factors() {
            Factors::F32 => Self::of_words::<F32>(level, mat, values),
            Factors::Pairs => Self::of_words::<Bf16>(level, mat, values),
            Factors::Tiles => Self::of_words::<Tiles>(level, mat, values),
            Factors::Rounded => Self::of_words::<Rounded>(level, mat, values),
        }
    }

    /// Packs words of the matrix into [`words_len`] values, split over the current pool.
    pub(crate) fn of_words<W: Word>(level: Level, mat: Mat<'_>, values: &'a mut [f32]) -> Self {
        assert!(values.len() == words_len::<W>(level, mat), "values: not as many as panels need");
        let [_, wide] = W::run(level, Tile);
        let parts = if values.len() < FORK_LEN { 1 } else { rayon::current_num_threads() };
        pack_parts::<W>(level, mat, [wide, parts], values);
        Self { level, rows: mat.rows(), cols: mat.cols(), values }
    }
}

/// Values of all panels of a matrix.
pub(crate) fn panels_len(level: Level, mat: Mat<'_>) -> usize {
    match level.factors() {
        Factors::F32 => words_len::<F32>(level, mat),
        Factors::Pairs => words_len::<Bf16>(level, mat),
        Factors::Tiles => words_len::<Tiles>(level, mat),
        Factors::Rounded => words_len::<Rounded>(level, mat),
    }
}

/// Words of all panels of a matrix.
pub(crate) fn words_len<W: Word>(level: Level, mat: Mat<'_>) -> usize {
    W::run(level, PackedLen { rows: mat.rows(), cols: mat.cols(), word: PhantomData::<W> })
}

/// Packs halves of the panels at the same time until there are as many parts.
fn pack_parts<W: Word>(level: Level, mat: Mat<'_>, [wide, parts]: [usize; 2], values: &mut [f32]) {
    let middle = (mat.cols().div_ceil(wide) / 2) * wide;
    if parts <= 1 || middle == 0 {
        return W::run(level, PackRight { mat, values, word: PhantomData::<W> });
    }
    let (left, right) = mat.split_at_col(middle);
    let (to_left, to_right) = values.split_at_mut(words_len::<W>(level, left));
    rayon::join(
        || pack_parts::<W>(level, left, [wide, parts / 2], to_left),
        || pack_parts::<W>(level, right, [wide, parts - parts / 2], to_right),
    );
}

/// The right operand of a product: a matrix, which the call packs as it needs, or one packed before.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a>(pub(super) Operand<'a>);

#[derive(Clone, Copy, Debug)]
pub(super) enum Operand<'a> {
    Plain(Mat<'a>),
    Packed(Panels<'a>),
    Integers(Integers<'a>),
}

/// Panels of 8-bit integers, and what makes the right operand of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Integers<'a> {
    pub(crate) panels: Panels<'a>,
    /// One a column.
    pub(crate) scales: &'a [f32],
    /// 128 times the sum of each column, in integers of 32 bits.
    pub(crate) offsets: &'a [f32],
}

impl<'a> From<Integers<'a>> for Right<'a> {
    fn from(integers: Integers<'a>) -> Self {
        Self(Operand::Integers(integers))
    }
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
        Panels { level, rows, cols, values: panels.words() }.into()
    }
}

struct PackedLen<W> {
    rows: usize,
    cols: usize,
    word: PhantomData<W>,
}

impl<W: Word> Kernel for PackedLen<W> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        packed_len::<S, W>(self.rows, self.cols)
    }
}

struct PackRight<'a, 'b, W> {
    mat: Mat<'a>,
    values: &'b mut [f32],
    word: PhantomData<W>,
}

impl<W: Word> Kernel for PackRight<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = [self.mat.rows(), self.mat.cols()];
        assert!(self.values.len() >= packed_len::<S, W>(shape[0], shape[1]));
        // SAFETY: the matrix has that shape, and there is room for its panels.
        unsafe { pack_right::<S, W>(s, Strided::of(self.mat), shape, self.values.as_mut_ptr()) }
    }
}
