//! What machines with AVX-512F have for products of bf16 and of bytes.
#![allow(unsafe_code, reason = "vector intrinsics")]
#![allow(clippy::wildcard_imports, reason = "a file of intrinsics")]

use std::{arch::x86_64::*, mem::transmute};

use super::{Extended, rounded};
use crate::{
    gemm::{Destination, Factors},
    level::Kernel,
    simd::{Simd, amx, bf16},
};

/// Instructions beside those of AVX-512F.
pub(crate) trait Extension: Copy + Send + Sync {
    /// [`Simd::TILE_ROWS`] and [`Simd::TILE_VECTORS`]
    const TILE: [usize; 2] = [8, 3];
    /// [`Simd::TILE_WORDS`]
    const TILE_WORDS: usize = 1;
    /// [`Simd::INT8_DEPTH`]
    const INT8_DEPTH: usize = 2;

    /// [`Simd::call`]
    fn call<K: Kernel>(s: Extended<Self>, kernel: K) -> K::Output;

    /// [`Simd::dot_bf16`]
    #[inline(always)]
    fn dot_bf16(s: Extended<Self>, a: __m512, b: __m512, sum: __m512) -> __m512 {
        bf16::dot(s, a, b, sum)
    }

    /// [`Simd::pair`]
    #[inline(always)]
    fn pair(_: Extended<Self>, low: __m512, high: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe {
            let low = _mm512_srli_epi32::<16>(rounded(low));
            let high = _mm512_and_si512(rounded(high), _mm512_set1_epi32(bf16::HIGH.cast_signed()));
            _mm512_castsi512_ps(_mm512_or_si512(low, high))
        }
    }

    /// [`Simd::round_in_order`]
    #[inline(always)]
    fn round_in_order(_: Extended<Self>, first: __m512, second: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe {
            let half = |v| _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded(v)));
            let low = _mm512_castsi256_si512(half(first));
            _mm512_castsi512_ps(_mm512_inserti64x4::<1>(low, half(second)))
        }
    }

    /// [`Simd::matrices_begin`]
    #[inline(always)]
    fn matrices_begin(_: Extended<Self>) {}

    /// [`Simd::matrices_end`]
    #[inline(always)]
    fn matrices_end(_: Extended<Self>) {}

    /// [`Simd::matrices`]
    ///
    /// # Safety
    /// As for [`Simd::matrices`].
    #[inline(always)]
    unsafe fn matrices(
        _: Extended<Self>,
        _pairs: bool,
        _size: [usize; 2],
        _factors: Factors,
        _to: Destination,
    ) {
        unreachable!("no extension with matrices")
    }

    /// [`Simd::dot_int8`], here of 16 bits, which AVX-512F can only multiply in 32.
    #[inline(always)]
    fn dot_int8(s: Extended<Self>, a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe {
            let (a, b) = (_mm512_castps_si512(a), _mm512_castps_si512(b));
            let high = _mm512_mullo_epi32(_mm512_srai_epi32::<16>(a), _mm512_srai_epi32::<16>(b));
            let (a, b) = (_mm512_slli_epi32::<16>(a), _mm512_slli_epi32::<16>(b));
            let low = _mm512_mullo_epi32(_mm512_srai_epi32::<16>(a), _mm512_srai_epi32::<16>(b));
            s.add_int(sum, _mm512_castsi512_ps(_mm512_add_epi32(low, high)))
        }
    }
}

/// None.
#[derive(Clone, Copy)]
pub(crate) struct Foundation;

/// AVX-512-BF16, and AVX-512BW, which all machines with it have.
#[derive(Clone, Copy)]
pub(crate) struct Bf16;

/// AVX-512-VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Vnni;

/// AMX with bf16 and bytes, and what [`Bf16`] and [`Vnni`] are.
#[derive(Clone, Copy)]
pub(crate) struct Tiles;

/// Functions that [`Extension::call`] runs kernels in.
macro_rules! called {
    ($($name:ident: $extension:ident, $features:literal;)+) => {$(
        #[inline(never)]
        #[target_feature(enable = $features)]
        fn $name<K: Kernel>(s: Extended<$extension>, kernel: K) -> K::Output {
            kernel.run(s)
        }
    )+};
}

called! {
    foundation: Foundation, "avx512f";
    pairs: Bf16, "avx512f,avx512bw,avx512bf16";
    vnni: Vnni, "avx512f,avx512vnni";
    tiles: Tiles, "avx512f,avx512bw,avx512bf16,avx512vnni";
}

impl Extension for Foundation {
    #[inline(always)]
    fn call<K: Kernel>(s: Extended<Self>, kernel: K) -> K::Output {
        // SAFETY: the token proves the features.
        unsafe { foundation(s, kernel) }
    }
}

impl Extension for Bf16 {
    #[inline(always)]
    fn call<K: Kernel>(s: Extended<Self>, kernel: K) -> K::Output {
        // SAFETY: the token proves the features.
        unsafe { pairs(s, kernel) }
    }

    #[inline(always)]
    fn dot_bf16(_: Extended<Self>, a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512-BF16; the vectors are of 512 bits without meaning.
        unsafe {
            let (a, b) = (transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b));
            _mm512_dpbf16_ps(sum, a, b)
        }
    }

    #[inline(always)]
    fn pair(_: Extended<Self>, low: __m512, high: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512-BF16 and AVX-512BW.
        unsafe { pair(low, high) }
    }

    #[inline(always)]
    fn round_in_order(_: Extended<Self>, first: __m512, second: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512-BF16.
        unsafe { round_in_order(first, second) }
    }
}

/// # Safety
/// The machine has AVX-512-BF16 and AVX-512BW.
#[inline(always)]
unsafe fn pair(low: __m512, high: __m512) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let halves = round_in_order(low, high);
        // Of a lane's two numbers the second, in its upper bits, is 16 further on.
        let step = _mm512_set1_epi32(0x0001_0001);
        let start = _mm512_set1_epi32(0x0010_0000);
        let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let order = _mm512_add_epi32(start, _mm512_mullo_epi32(lane, step));
        let ordered = _mm512_permutexvar_epi16(order, _mm512_castps_si512(halves));
        _mm512_castsi512_ps(ordered)
    }
}

/// # Safety
/// The machine has AVX-512-BF16.
#[inline(always)]
unsafe fn round_in_order(first: __m512, second: __m512) -> __m512 {
    // SAFETY: the caller's promise; the vectors are of 512 bits without meaning.
    unsafe { transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(second, first)) }
}

impl Extension for Tiles {
    const TILE: [usize; 2] = [2 * amx::SIDE, 2];
    const TILE_WORDS: usize = amx::SIDE;
    const INT8_DEPTH: usize = 4;

    #[inline(always)]
    fn call<K: Kernel>(s: Extended<Self>, kernel: K) -> K::Output {
        // SAFETY: the token proves the features.
        unsafe { tiles(s, kernel) }
    }

    #[inline(always)]
    fn pair(_: Extended<Self>, low: __m512, high: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512-BF16 and AVX-512BW.
        unsafe { pair(low, high) }
    }

    #[inline(always)]
    fn round_in_order(_: Extended<Self>, first: __m512, second: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512-BF16.
        unsafe { round_in_order(first, second) }
    }

    #[inline(always)]
    fn matrices_begin(_: Extended<Self>) {
        // SAFETY: the token proves AMX.
        unsafe { amx::configure() }
    }

    #[inline(always)]
    fn matrices_end(_: Extended<Self>) {
        // SAFETY: the token proves AMX.
        unsafe { amx::release() }
    }

    #[inline(always)]
    unsafe fn matrices(
        _: Extended<Self>,
        pairs: bool,
        [rows, vectors]: [usize; 2],
        factors: Factors,
        to: Destination,
    ) {
        // SAFETY: the token proves AMX; for the rest the caller's promise.
        unsafe {
            match (pairs, rows.div_ceil(amx::SIDE), vectors) {
                (true, 1, 1) => amx::product::<true, 1, 1>(factors, to),
                (true, 1, 2) => amx::product::<true, 1, 2>(factors, to),
                (true, 2, 1) => amx::product::<true, 2, 1>(factors, to),
                (true, 2, 2) => amx::product::<true, 2, 2>(factors, to),
                (false, 1, 1) => amx::product::<false, 1, 1>(factors, to),
                (false, 1, 2) => amx::product::<false, 1, 2>(factors, to),
                (false, 2, 1) => amx::product::<false, 2, 1>(factors, to),
                (false, 2, 2) => amx::product::<false, 2, 2>(factors, to),
                (_, rows, _) => unreachable!("no product of {rows} by {vectors} tiles"),
            }
        }
    }

    #[inline(always)]
    fn dot_int8(_: Extended<Self>, a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512-VNNI.
        unsafe { dot_bytes(a, b, sum) }
    }
}

/// # Safety
/// The machine has AVX-512-VNNI.
#[inline(always)]
unsafe fn dot_bytes(a: __m512, b: __m512, sum: __m512) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b) = (_mm512_castps_si512(a), _mm512_castps_si512(b));
        _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(sum), a, b))
    }
}

impl Extension for Vnni {
    const INT8_DEPTH: usize = 4;

    #[inline(always)]
    fn call<K: Kernel>(s: Extended<Self>, kernel: K) -> K::Output {
        // SAFETY: the token proves the features.
        unsafe { vnni(s, kernel) }
    }

    #[inline(always)]
    fn dot_int8(_: Extended<Self>, a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512-VNNI.
        unsafe { dot_bytes(a, b, sum) }
    }
}
