//! What the operands of a product are made of: words of 32 bits, each of some consecutive elements of
//! the inner dimension.
//!
//! The register tile, the blocks and the epilogues are the same for all kinds of words. A kind says how
//! words are made of elements, and how two vectors of them are multiplied and summed.
#![allow(unsafe_code, reason = "elements are read and written through pointers")]

mod int8;

pub(crate) use int8::{INT8_STEPS, Int8, quantize};

use super::{
    finish::Finisher,
    order::{Left, LeftBlock, pack_left_by_vectors, pack_tiles},
    tile::{MAX_LANES, Strided},
};
use crate::{
    level::{Kernel, Level},
    simd::{Simd, bf16},
};

/// A kind of word.
pub(crate) trait Word: Copy {
    /// Whether operands can be read where they lie, being words already.
    const IN_PLACE: bool;
    /// Whether sums are integers that the epilogue takes for the product only after
    /// [`Self::finisher`]'s scales.
    const SCALED: bool;
    /// Whether they are of bf16 where [`Simd::matrices`] multiplies them, and not of bytes.
    const PAIRS: bool = false;
    /// The finisher with what must be done to sums before it.
    type Finisher<F: Finisher>: Finisher;

    /// Runs a kernel with the instructions for such words.
    fn run<K: Kernel>(level: Level, kernel: K) -> K::Output;

    /// Elements a word.
    fn depth<S: Simd>() -> usize;

    /// Adds the products of words to `sum`.
    fn dot<S: Simd>(s: S, a: S::V, b: S::V, sum: S::V) -> S::V;

    /// Adds two sums.
    fn add<S: Simd>(s: S, a: S::V, b: S::V) -> S::V;

    /// A word of `n` elements that lie `stride` apart, and zeros.
    ///
    /// # Safety
    /// They can be read, and `1 <= n <= depth`.
    unsafe fn gather<S: Simd>(start: *const f32, stride: usize, n: usize) -> f32;

    /// Words of the first `n` rows and of `width` columns, and zeros.
    ///
    /// # Safety
    /// `from` has such columns, `1 <= n <= depth`, and `width <= LANES`.
    #[inline(always)]
    unsafe fn read<S: Simd>(s: S, from: Strided, n: usize, width: usize) -> S::V {
        let mut lanes = [0.0; MAX_LANES];
        for (col, lane) in lanes[..width].iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *lane = unsafe { Self::gather::<S>(from.at(0, col).start, from.row_stride, n) };
        }
        // SAFETY: as many values as the widest vector has.
        unsafe { s.load(lanes.as_ptr()) }
    }

    /// Words of `n` elements of the first row, and zeros.
    ///
    /// # Safety
    /// `from` has such a row, and `1 <= n <= depth * LANES`.
    #[inline(always)]
    unsafe fn along<S: Simd>(s: S, from: Strided, n: usize) -> S::V {
        let (mut lanes, depth) = ([0.0; MAX_LANES], Self::depth::<S>());
        for (lane, at) in lanes.iter_mut().zip((0..n).step_by(depth)) {
            let start = from.at(0, at).start;
            // SAFETY: the caller's promise.
            *lane = unsafe { Self::gather::<S>(start, from.col_stride, depth.min(n - at)) };
        }
        // SAFETY: as many values as the widest vector has.
        unsafe { s.load(lanes.as_ptr()) }
    }

    /// Makes the words of some rows of A.
    ///
    /// # Safety
    /// `block` lies inside of A, and `to` has room for its rows, rounded up to tiles, times the words of
    /// a row; the first block of a row is made before others.
    #[inline(always)]
    unsafe fn pack_left<S: Simd>(self, s: S, block: LeftBlock, to: *mut f32) -> Left {
        // SAFETY: the caller's promise.
        unsafe { pack_tiles::<S, Self>(s, block.from, block.shape, to) }
    }

    /// See [`Self::Finisher`].
    fn finisher<F: Finisher>(self, finisher: F) -> Self::Finisher<F>;
}

/// One f32.
#[derive(Clone, Copy)]
pub(crate) struct F32;

impl Word for F32 {
    const IN_PLACE: bool = true;
    const SCALED: bool = false;
    type Finisher<F: Finisher> = F;

    #[inline]
    fn run<K: Kernel>(level: Level, kernel: K) -> K::Output {
        level.run(kernel)
    }

    #[inline(always)]
    fn depth<S: Simd>() -> usize {
        1
    }

    #[inline(always)]
    fn dot<S: Simd>(s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        s.fma(a, b, sum)
    }

    #[inline(always)]
    fn add<S: Simd>(s: S, a: S::V, b: S::V) -> S::V {
        s.add(a, b)
    }

    #[inline(always)]
    unsafe fn gather<S: Simd>(start: *const f32, _: usize, _: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { *start }
    }

    #[inline(always)]
    unsafe fn read<S: Simd>(s: S, from: Strided, _: usize, width: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { from.read(s, [0, 0, width]) }
    }

    #[inline(always)]
    unsafe fn along<S: Simd>(s: S, from: Strided, n: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { from.read(s, [0, 0, n]) }
    }

    #[inline(always)]
    fn finisher<F: Finisher>(self, finisher: F) -> F {
        finisher
    }
}

/// One f32, rounded to bf16.
#[derive(Clone, Copy)]
pub(crate) struct Rounded;

impl Word for Rounded {
    const IN_PLACE: bool = false;
    const SCALED: bool = false;
    type Finisher<F: Finisher> = F;

    #[inline]
    fn run<K: Kernel>(level: Level, kernel: K) -> K::Output {
        // Where there is an instruction that multiplies pairs, there is one that rounds.
        level.run_bf16(kernel)
    }

    #[inline(always)]
    fn depth<S: Simd>() -> usize {
        1
    }

    #[inline(always)]
    fn dot<S: Simd>(s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        s.fma(a, b, sum)
    }

    #[inline(always)]
    fn add<S: Simd>(s: S, a: S::V, b: S::V) -> S::V {
        s.add(a, b)
    }

    #[inline(always)]
    unsafe fn gather<S: Simd>(start: *const f32, _: usize, _: usize) -> f32 {
        // SAFETY: the caller's promise.
        f32::from_bits(bf16::round(unsafe { *start }))
    }

    #[inline(always)]
    unsafe fn read<S: Simd>(s: S, from: Strided, _: usize, width: usize) -> S::V {
        // SAFETY: the caller's promise.
        s.halves(s.pair(s.splat(0.0), unsafe { from.read(s, [0, 0, width]) }))[1]
    }

    #[inline(always)]
    unsafe fn along<S: Simd>(s: S, from: Strided, n: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { Self::read(s, from, 1, n) }
    }

    #[inline(always)]
    unsafe fn pack_left<S: Simd>(self, s: S, block: LeftBlock, to: *mut f32) -> Left {
        // SAFETY: the caller's promise.
        unsafe { pack_left_by_vectors::<S, Self>(s, block, to) }
    }

    #[inline(always)]
    fn finisher<F: Finisher>(self, finisher: F) -> F {
        finisher
    }
}

/// Two bf16, to which elements are rounded, multiplied by vectors or, with `TILES`, in the tiles of AMX.
#[derive(Clone, Copy)]
pub(crate) struct Pairs<const TILES: bool>;

/// Two bf16, multiplied by vectors.
pub(crate) type Bf16 = Pairs<false>;
/// Two bf16, multiplied in the tiles of AMX.
pub(crate) type Tiles = Pairs<true>;

impl<const TILES: bool> Word for Pairs<TILES> {
    const IN_PLACE: bool = false;
    const SCALED: bool = false;
    const PAIRS: bool = true;
    type Finisher<F: Finisher> = F;

    #[inline]
    fn run<K: Kernel>(level: Level, kernel: K) -> K::Output {
        if TILES { level.run_tiles(kernel) } else { level.run_bf16(kernel) }
    }

    #[inline(always)]
    fn depth<S: Simd>() -> usize {
        2
    }

    #[inline(always)]
    fn dot<S: Simd>(s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        s.dot_bf16(a, b, sum)
    }

    #[inline(always)]
    fn add<S: Simd>(s: S, a: S::V, b: S::V) -> S::V {
        s.add(a, b)
    }

    #[inline(always)]
    unsafe fn gather<S: Simd>(start: *const f32, stride: usize, n: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { bf16::pair(*start, if n > 1 { *start.add(stride) } else { 0.0 }) }
    }

    #[inline(always)]
    unsafe fn read<S: Simd>(s: S, from: Strided, n: usize, width: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe {
            let low = from.read(s, [0, 0, width]);
            let high = if n > 1 { from.read(s, [1, 0, width]) } else { s.splat(0.0) };
            s.pair(low, high)
        }
    }

    #[inline(always)]
    unsafe fn along<S: Simd>(s: S, from: Strided, n: usize) -> S::V {
        let first = n.min(S::LANES);
        // SAFETY: the caller's promise.
        unsafe {
            s.round_in_order(from.read(s, [0, 0, first]), from.read(s, [0, first, n - first]))
        }
    }

    #[inline(always)]
    unsafe fn pack_left<S: Simd>(self, s: S, block: LeftBlock, to: *mut f32) -> Left {
        // SAFETY: the caller's promise.
        unsafe { pack_left_by_vectors::<S, Self>(s, block, to) }
    }

    #[inline(always)]
    fn finisher<F: Finisher>(self, finisher: F) -> F {
        finisher
    }
}
