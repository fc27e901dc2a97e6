//! Vectors of f32 (and of what else fits into 32 bits) under one trait, so that each kernel is written once for every [`Level`].
//!
//! A value of a [`Simd`] type is a token: it exists only where the machine has the instructions, so
//! arithmetic on vectors is safe, and only access through pointers is not.
//!
//! [`Level`]: crate::Level
#![allow(unsafe_code, reason = "vectors are read and written through pointers")]

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod bf16;
mod math;
mod portable;
mod twice;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::{Amx, Avx512, Avx512Bf16, Avx512Vnni};
pub(crate) use math::{exp, gelu, gelu_and_derivative};
pub(crate) use portable::Portable;
#[cfg(test)]
pub(crate) use portable::Wide;
pub(crate) use twice::Twice;

use crate::{
    gemm::{Destination, Factors},
    level::Kernel,
};

/// Vectors of [`Simd::LANES`] floats, or of other values of 32 bits in their place. All methods work lane by lane unless they say otherwise.
pub(crate) trait Simd: Copy + Send + Sync {
    /// A vector.
    type V: Copy;
    /// Floats a vector.
    const LANES: usize;
    /// Rows of the matrix product's register tile.
    const TILE_ROWS: usize;
    /// Vectors a row of the matrix product's register tile, at most 3.
    const TILE_VECTORS: usize;
    /// Words of the inner dimension that a tile takes at a time, of zeros where there are no more; its rows come in as
    /// many, too. More than 1 where [`Self::matrices`] multiplies.
    const TILE_WORDS: usize = 1;
    /// Consecutive elements that a lane holds in products of 8-bit integers: 2 of 16 bits, or 4 bytes,
    /// which are unsigned on the left.
    const INT8_DEPTH: usize;

    /// Runs `kernel` in a function of its own, so that the compiler gives it all registers.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;

    /// The same value in all lanes.
    fn splat(self, x: f32) -> Self::V;

    /// The `LANES` values from `p` on.
    ///
    /// # Safety
    /// They can be read.
    unsafe fn load(self, p: *const f32) -> Self::V;

    /// Writes `LANES` values from `p` on.
    ///
    /// # Safety
    /// They can be written.
    unsafe fn store(self, p: *mut f32, v: Self::V);

    /// The `n <= LANES` values from `p` on, and zeros in the other lanes.
    ///
    /// # Safety
    /// The `n` values can be read, and `n <= LANES`.
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V;

    /// Writes the first `n <= LANES` lanes from `p` on.
    ///
    /// # Safety
    /// The `n` values can be written, and `n <= LANES`.
    unsafe fn store_first(self, p: *mut f32, n: usize, v: Self::V);

    /// Writes the first `rows` columns of a square of `LANES` rows of `LANES` values as rows, `stride` apart.
    ///
    /// # Safety
    /// The square can be read and the rows be written, `LANES` values each, and `rows <= LANES`.
    #[inline(always)]
    unsafe fn transpose(self, square: *const f32, to: *mut f32, [rows, stride]: [usize; 2]) {
        for row in 0..rows {
            for col in 0..Self::LANES {
                // SAFETY: the caller's promise.
                unsafe { *to.add(row * stride + col) = *square.add(col * Self::LANES + row) }
            }
        }
    }

    /// Asks for the cache line at `p`, which may be any address.
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 has the instruction, and it never faults.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(p.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = p;
    }

    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b + c`, rounded once where the machine has fused multiply-add.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `1 / v` to a few units in the last place, for `v` of magnitudes from 1 to 1e30.
    #[inline(always)]
    fn reciprocal(self, v: Self::V) -> Self::V {
        self.div(self.splat(1.0), v)
    }
    /// The larger one; `b` if one is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller one; `b` if one is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The absolute value.
    fn abs(self, v: Self::V) -> Self::V;
    /// `magnitude >= 0` with the sign of `sign`.
    fn copysign(self, magnitude: Self::V, sign: Self::V) -> Self::V;
    /// 1 where the value is above 0, else (of NaN, too) 0.
    fn positive(self, v: Self::V) -> Self::V;
    /// The nearest integer, the even one of two; for `|v| < 2^22`.
    fn round(self, v: Self::V) -> Self::V;
    /// `2^n` for integers `-126 <= n <= 127`; anything for others.
    fn pow2(self, n: Self::V) -> Self::V;
    /// `v 2^n` for integers `-252 <= n <= 254`.
    #[inline(always)]
    fn scale(self, v: Self::V, n: Self::V) -> Self::V {
        // In two steps: 2^n alone may be too large or too small for a float.
        let half = self.round(self.mul(n, self.splat(0.5)));
        self.mul(self.mul(v, self.pow2(half)), self.pow2(self.sub(n, half)))
    }
    /// The sum of all lanes, in a fixed order.
    fn reduce_sum(self, v: Self::V) -> f32;
    /// The largest lane; unspecified if one is NaN.
    fn reduce_max(self, v: Self::V) -> f32;

    /// Adds to `sum` the products of the two bf16 that a lane of `a` and of `b` holds.
    #[inline(always)]
    fn dot_bf16(self, a: Self::V, b: Self::V, sum: Self::V) -> Self::V {
        bf16::dot(self, a, b, sum)
    }
    /// The lower and the upper 16 bits of each lane as bf16, in f32.
    fn halves(self, v: Self::V) -> [Self::V; 2];
    /// Two values rounded to bf16 in each lane, `low` in its lower 16 bits.
    fn pair(self, low: Self::V, high: Self::V) -> Self::V;
    /// The values of `first` and then of `second` rounded to bf16, one after the other: two of them a lane.
    #[inline(always)]
    fn round_in_order(self, first: Self::V, second: Self::V) -> Self::V {
        let mut values = [0.0; 64];
        // SAFETY: two vectors of at most 32 values.
        unsafe {
            self.store(values.as_mut_ptr(), first);
            self.store(values.as_mut_ptr().add(Self::LANES), second);
        }
        let mut words = [0.0; 32];
        for (word, pair) in words.iter_mut().zip(values.chunks_exact(2)) {
            *word = bf16::pair(pair[0], pair[1]);
        }
        // SAFETY: as many words as the widest vector has.
        unsafe { self.load(words.as_ptr()) }
    }
    /// Adds to the 32-bit integers `sum`, wrapping, the products of the [`Self::INT8_DEPTH`] integers
    /// that a lane of `a` and of `b` holds.
    fn dot_int8(self, a: Self::V, b: Self::V, sum: Self::V) -> Self::V;
    /// Readies this thread for [`Self::matrices`], until [`Self::matrices_end`].
    #[inline(always)]
    fn matrices_begin(self) {}
    /// Ends what [`Self::matrices_begin`] began.
    #[inline(always)]
    fn matrices_end(self) {}
    /// The product of up to [`Self::TILE_ROWS`] rows of A and a panel of some vectors: of pairs of bf16, or else of
    /// bytes, which are unsigned on the left. A is in squares of [`Self::TILE_WORDS`] rows and words, those of the same rows
    /// one after the other; of it as many rows are read, and written to `to`, as make whole squares.
    ///
    /// # Safety
    /// The factors and the destination lie in memory to read and to write, of those sizes, and the thread is ready.
    #[inline(always)]
    unsafe fn matrices(self, _pairs: bool, _size: [usize; 2], _factors: Factors, _to: Destination) {
        unreachable!("no vectors with matrices")
    }
    /// `a + b` of 32-bit integers, wrapping.
    fn add_int(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b` of 32-bit integers, wrapping.
    fn sub_int(self, a: Self::V, b: Self::V) -> Self::V;
    /// The nearest floats of 32-bit integers.
    fn float_of_int(self, v: Self::V) -> Self::V;

    /// The first `LANES` values of `x`, with zeros where it is shorter.
    #[inline(always)]
    fn read(self, x: &[f32]) -> Self::V {
        if x.len() >= Self::LANES {
            // SAFETY: the slice has that many values.
            unsafe { self.load(x.as_ptr()) }
        } else {
            // SAFETY: the slice has that many values, fewer than LANES.
            unsafe { self.load_first(x.as_ptr(), x.len()) }
        }
    }

    /// Writes `v` to the first `LANES` values of `y`, or to all where it is shorter.
    #[inline(always)]
    fn write(self, y: &mut [f32], v: Self::V) {
        if y.len() >= Self::LANES {
            // SAFETY: the slice has that many values.
            unsafe { self.store(y.as_mut_ptr(), v) }
        } else {
            // SAFETY: the slice has that many values, fewer than LANES.
            unsafe { self.store_first(y.as_mut_ptr(), y.len(), v) }
        }
    }
}

#[cfg(test)]
mod tests;
