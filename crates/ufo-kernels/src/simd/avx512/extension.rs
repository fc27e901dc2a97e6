//! What machines with AVX-512F have for products of bf16 and of bytes.
#![allow(unsafe_code, reason = "vector intrinsics")]
#![allow(clippy::wildcard_imports, reason = "a file of intrinsics")]

use std::{arch::x86_64::*, mem::transmute};

use super::Extended;
use crate::{
    level::Kernel,
    simd::{Simd, bf16},
};

/// Instructions beside those of AVX-512F.
pub(crate) trait Extension: Copy + Send + Sync {
    /// [`Simd::INT8_DEPTH`]
    const INT8_DEPTH: usize = 2;

    /// [`Simd::call`]
    fn call<K: Kernel>(s: Extended<Self>, kernel: K) -> K::Output;

    /// [`Simd::dot_bf16`]
    #[inline(always)]
    fn dot_bf16(s: Extended<Self>, a: __m512, b: __m512, sum: __m512) -> __m512 {
        bf16::dot(s, a, b, sum)
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

/// AVX-512-BF16.
#[derive(Clone, Copy)]
pub(crate) struct Bf16;

/// AVX-512-VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Vnni;

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
    pairs: Bf16, "avx512f,avx512bf16";
    vnni: Vnni, "avx512f,avx512vnni";
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
        unsafe {
            let (a, b) = (_mm512_castps_si512(a), _mm512_castps_si512(b));
            _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(sum), a, b))
        }
    }
}
