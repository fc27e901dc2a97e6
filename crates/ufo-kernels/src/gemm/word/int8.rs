//! Words of 8-bit integers, and what makes them of the rows of A and floats of their sums.
//!
//! Where the machine multiplies bytes in fours, the left ones are unsigned: 128 is added to each, and 128
//! times the sum of a column of B subtracted from the column's sums. Elsewhere two integers of 16 bits
//! make a word. All sums are exact, so the bits are the same at all levels.
#![allow(unsafe_code, reason = "elements are read and written through pointers")]

use super::Word;
use crate::{
    gemm::{
        finish::Finisher,
        order::{Left, LeftBlock, contiguous_left, left_place, words},
        tile::{Strided, load_columns},
    },
    level::{Kernel, Level, Vectors},
    simd::{Simd, Twice},
};

/// Steps of the integers on each side of zero.
pub(crate) const INT8_STEPS: f32 = 127.0;
/// Magnitudes that count as zero: their reciprocals would overflow.
const TINY: f32 = 1e-36;
/// At 1.5 * 2^23 the spacing of floats is 1: a sum rounds to an integer, in its lower bits.
const INTEGERS: f32 = 12_582_912.0;

/// The scale of integers for values of magnitudes up to `largest`, and its reciprocal; zeros if all
/// values count as zero.
#[inline(always)]
pub(crate) fn quantize(largest: f32) -> [f32; 2] {
    if largest < TINY { [0.0; 2] } else { [largest / INT8_STEPS, INT8_STEPS / largest] }
}

/// Rows of A times the integers of a `Quantized` B, with a scale for each row of A and column of B.
#[derive(Clone, Copy)]
pub(crate) struct Int8 {
    /// The scale of each row of A and its reciprocal, which [`Word::pack_left`] writes.
    pub(crate) rows: [*mut f32; 2],
    /// The scale of each column of B.
    pub(crate) cols: *const f32,
    /// 128 times the sum of each column, in integers of 32 bits.
    pub(crate) offsets: *const f32,
}

impl Word for Int8 {
    const IN_PLACE: bool = false;
    const SCALED: bool = true;
    type Finisher<F: Finisher> = Scaled<F>;

    #[inline]
    fn run<K: Kernel>(level: Level, kernel: K) -> K::Output {
        if level.vectors() == Vectors::Amx {
            level.run_tiles(kernel)
        } else {
            level.run_int8(kernel)
        }
    }

    #[inline(always)]
    fn depth<S: Simd>() -> usize {
        S::INT8_DEPTH
    }

    #[inline(always)]
    fn dot<S: Simd>(s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        s.dot_int8(a, b, sum)
    }

    #[inline(always)]
    fn add<S: Simd>(s: S, a: S::V, b: S::V) -> S::V {
        s.add_int(a, b)
    }

    /// Of elements that are integers.
    #[inline(always)]
    unsafe fn gather<S: Simd>(start: *const f32, stride: usize, n: usize) -> f32 {
        let bits = 32 / S::INT8_DEPTH;
        let element = |word: u32, i: usize| {
            // SAFETY: the caller's promise.
            let value = unsafe { *start.add(i * stride) } as i32;
            word | (value.cast_unsigned() & (u32::MAX >> (32 - bits))) << (i * bits)
        };
        f32::from_bits((0..n).fold(0, element))
    }

    #[inline(always)]
    unsafe fn pack_left<S: Simd>(self, s: S, block: LeftBlock, to: *mut f32) -> Left {
        s.call(QuantizeRows { scales: self.rows, block, to });
        contiguous_left::<S>(words::<S, Self>(block.shape[1]))
    }

    #[inline(always)]
    fn finisher<F: Finisher>(self, inner: F) -> Scaled<F> {
        Scaled { inner, word: self }
    }
}

/// Makes left words of rows; made only by [`Word::pack_left`].
struct QuantizeRows {
    scales: [*mut f32; 2],
    block: LeftBlock,
    to: *mut f32,
}

impl Kernel for QuantizeRows {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let LeftBlock { from, top, shape: [rows, k], whole } = self.block;
        let words = words::<S, Int8>(k);
        for row in 0..rows {
            let from = from.at(row, 0);
            // SAFETY: there is a place for each row, its elements and its words.
            unsafe {
                let [scale, inverse] = self.scales.map(|scales| scales.wrapping_add(top + row));
                if let Some(cols) = whole {
                    [*scale, *inverse] = quantize(largest(Twice(s), from, cols));
                }
                let inverse = *inverse;
                let steps = |x: f32| (x * inverse + INTEGERS).to_bits();
                // All of a row, or its words in a tile.
                let at_once = if S::TILE_WORDS > 1 { S::TILE_WORDS } else { words.max(1) };
                for word in (0..words).step_by(at_once) {
                    let to = self.to.add(left_place::<S>([row, word], words));
                    let from = from.at(0, word * S::INT8_DEPTH);
                    let part = [k.saturating_sub(word * S::INT8_DEPTH), at_once];
                    if from.col_stride == 1 {
                        write_words::<S>(part, |col| steps(*from.start.add(col)), to);
                    } else {
                        let element = |col: usize| *from.start.add(col * from.col_stride);
                        write_words::<S>(part, |col| steps(element(col)), to);
                    }
                }
            }
        }
    }
}

/// The largest magnitude of the first row of a matrix of `cols` columns; NaN if there is a NaN or an
/// infinity.
///
/// # Safety
/// There is such a row.
#[inline(always)]
unsafe fn largest<S: Simd>(s: S, from: Strided, cols: usize) -> f32 {
    let (mut largest, mut spoiled) = (s.splat(0.0), s.splat(0.0));
    let mut add = |v: S::V| {
        largest = s.max(s.abs(v), largest);
        // Zero, or NaN of a NaN or an infinity.
        spoiled = s.fma(v, s.splat(0.0), spoiled);
    };
    let full = if from.col_stride == 1 { cols - cols % S::LANES } else { 0 };
    for col in (0..full).step_by(S::LANES) {
        // SAFETY: the caller's promise.
        add(unsafe { s.load(from.start.add(col)) });
    }
    for col in (full..cols).step_by(S::LANES) {
        // SAFETY: the caller's promise.
        add(unsafe { from.read(s, [0, col, S::LANES.min(cols - col)]) });
    }
    s.reduce_max(largest) + s.reduce_sum(spoiled)
}

/// Writes a row of `k` integers, the lower bits of `steps`, as left words; those beyond the words are left out.
///
/// # Safety
/// There is room for the words.
#[inline(always)]
unsafe fn write_words<S: Simd>([k, words]: [usize; 2], steps: impl Fn(usize) -> u32, to: *mut f32) {
    let k = k.min(words * S::INT8_DEPTH);
    if S::INT8_DEPTH == 4 {
        let to = to.cast::<u8>();
        for col in 0..k {
            // SAFETY: the caller's promise.
            unsafe { *to.add(col) = steps(col) as u8 ^ 0x80 };
        }
        for col in k..4 * words {
            // SAFETY: the caller's promise.
            unsafe { *to.add(col) = 0 };
        }
    } else {
        let to = to.cast::<u16>();
        for col in 0..k {
            // SAFETY: the caller's promise.
            unsafe { *to.add(col) = steps(col) as u16 };
        }
        for col in k..2 * words {
            // SAFETY: the caller's promise.
            unsafe { *to.add(col) = 0 };
        }
    }
}

/// A finisher of products whose sums are integers.
#[derive(Clone, Copy)]
pub(crate) struct Scaled<F> {
    inner: F,
    word: Int8,
}

impl<F: Finisher> Finisher for Scaled<F> {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, s: S, place: [usize; 3], sum: S::V) -> S::V {
        let Int8 { rows, cols, offsets } = self.word;
        let [row, col, n] = place;
        // SAFETY: the place lies inside the product, which has as many scales.
        unsafe {
            let sum = if S::INT8_DEPTH == 4 {
                s.sub_int(sum, load_columns(s, offsets, [col, n]))
            } else {
                sum
            };
            let p = s.mul(s.float_of_int(sum), s.splat(*rows[0].add(row)));
            self.inner.apply(s, place, s.mul(p, load_columns(s, cols, [col, n])))
        }
    }

    #[inline(always)]
    fn beside(self) -> Option<Strided> {
        self.inner.beside()
    }

    #[inline(always)]
    fn contiguous(self) -> Option<Self> {
        Some(Self { inner: self.inner.contiguous()?, ..self })
    }
}
