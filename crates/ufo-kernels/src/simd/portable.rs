//! Lanes in a plain array, which the compiler turns into what the target has.
#![allow(unsafe_code, reason = "vectors are read and written through pointers")]

use std::array;

use super::{Simd, bf16};
use crate::level::Kernel;

/// The vectors of plain Rust: `N` lanes, a tile of `ROWS` rows of `VECTORS` vectors, and `DEPTH`
/// integers a lane in products of 8-bit integers.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<const N: usize, const ROWS: usize, const VECTORS: usize, const DEPTH: usize>;

/// The plain vectors that every machine has.
pub(crate) type Portable = Lanes<8, 4, 1, 2>;

/// Plain vectors, a tile and words of integers as large as those of AVX-512, for tests on machines without it.
#[cfg(test)]
pub(crate) type Wide = Lanes<16, 8, 3, 4>;

#[inline(always)]
fn map<const N: usize>(v: [f32; N], f: impl Fn(f32) -> f32) -> [f32; N] {
    array::from_fn(|i| f(v[i]))
}

#[inline(always)]
fn zip<const N: usize>(a: [f32; N], b: [f32; N], f: impl Fn(f32, f32) -> f32) -> [f32; N] {
    array::from_fn(|i| f(a[i], b[i]))
}

#[inline(always)]
fn reduce<const N: usize>(mut v: [f32; N], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            v[i] = f(v[i], v[i + half]);
        }
        half /= 2;
    }
    v[0]
}

#[inline(always)]
fn integers<const N: usize>(a: [f32; N], b: [f32; N], f: impl Fn(i32, i32) -> i32) -> [f32; N] {
    let [a, b] = [a, b].map(|v| v.map(|x| x.to_bits().cast_signed()));
    array::from_fn(|i| f32::from_bits(f(a[i], b[i]).cast_unsigned()))
}

/// The sum of products of two integers of 16 bits, or of four bytes, unsigned ones in `a`.
#[inline(always)]
fn dot<const DEPTH: usize>(a: i32, b: i32) -> i32 {
    if DEPTH == 2 {
        let half = |x: i32, at: i32| i32::from((x >> at) as i16);
        return (half(a, 0) * half(b, 0)).wrapping_add(half(a, 16) * half(b, 16));
    }
    let bytes = a.to_ne_bytes().into_iter().zip(b.to_ne_bytes());
    bytes.map(|(a, b)| i32::from(a) * i32::from(b.cast_signed())).sum()
}

#[inline(never)]
fn called<K: Kernel, S: Simd>(s: S, kernel: K) -> K::Output {
    kernel.run(s)
}

impl<const N: usize, const ROWS: usize, const VECTORS: usize, const DEPTH: usize> Simd
    for Lanes<N, ROWS, VECTORS, DEPTH>
{
    type V = [f32; N];
    const LANES: usize = N;
    const TILE_ROWS: usize = ROWS;
    const TILE_VECTORS: usize = VECTORS;
    const INT8_DEPTH: usize = DEPTH;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        called(self, kernel)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; N]
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        // SAFETY: the caller's promise; an array of floats is aligned as one float.
        unsafe { p.cast::<Self::V>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        // SAFETY: the caller's promise; an array of floats is aligned as one float.
        unsafe { p.cast::<Self::V>().write(v) }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V {
        // SAFETY: lane i is read only if i < n, which the caller promised to be readable.
        array::from_fn(|i| if i < n { unsafe { *p.add(i) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, v: Self::V) {
        for (i, x) in v.into_iter().take(n).enumerate() {
            // SAFETY: i < n, and the caller promised n writable values.
            unsafe { *p.add(i) = x }
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Without the instruction, `mul_add` is a call of the C library a lane.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            array::from_fn(|i| a[i].mul_add(b[i], c[i]))
        } else {
            array::from_fn(|i| a[i] * b[i] + c[i])
        }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn abs(self, v: Self::V) -> Self::V {
        map(v, f32::abs)
    }

    #[inline(always)]
    fn copysign(self, magnitude: Self::V, sign: Self::V) -> Self::V {
        zip(magnitude, sign, f32::copysign)
    }

    #[inline(always)]
    fn positive(self, v: Self::V) -> Self::V {
        map(v, |v| if v > 0.0 { 1.0 } else { 0.0 })
    }

    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        // At 1.5 * 2^23 the spacing of floats is 1: the sum rounds to an integer.
        const INTEGERS: f32 = 12_582_912.0;
        map(v, |x| (x + INTEGERS) - INTEGERS)
    }

    #[inline(always)]
    fn pow2(self, n: Self::V) -> Self::V {
        map(n, |n| f32::from_bits((n as i32).wrapping_add(127).wrapping_shl(23) as u32))
    }

    #[inline(always)]
    fn halves(self, v: Self::V) -> [Self::V; 2] {
        let bits = v.map(f32::to_bits);
        [bits.map(|x| f32::from_bits(x << 16)), bits.map(|x| f32::from_bits(x & bf16::HIGH))]
    }

    #[inline(always)]
    fn pair(self, low: Self::V, high: Self::V) -> Self::V {
        zip(low, high, bf16::pair)
    }

    #[inline(always)]
    fn dot_int8(self, a: Self::V, b: Self::V, sum: Self::V) -> Self::V {
        self.add_int(sum, integers(a, b, dot::<DEPTH>))
    }

    #[inline(always)]
    fn add_int(self, a: Self::V, b: Self::V) -> Self::V {
        integers(a, b, i32::wrapping_add)
    }

    #[inline(always)]
    fn sub_int(self, a: Self::V, b: Self::V) -> Self::V {
        integers(a, b, i32::wrapping_sub)
    }

    #[inline(always)]
    fn float_of_int(self, v: Self::V) -> Self::V {
        map(v, |x| x.to_bits().cast_signed() as f32)
    }

    #[inline(always)]
    fn reduce_sum(self, v: Self::V) -> f32 {
        reduce(v, |a, b| a + b)
    }

    #[inline(always)]
    fn reduce_max(self, v: Self::V) -> f32 {
        reduce(v, |a, b| if a > b { a } else { b })
    }
}
