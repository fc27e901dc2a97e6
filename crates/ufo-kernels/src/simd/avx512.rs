//! Sixteen lanes with AVX-512F, and with instructions for products that not all such machines have.
#![allow(unsafe_code, reason = "vector intrinsics")]
#![allow(clippy::wildcard_imports, reason = "a file of intrinsics")]

use std::{arch::x86_64::*, marker::PhantomData};

use self::extension::{Bf16, Extension, Foundation, Tiles, Vnni};
use super::{Simd, bf16};
use crate::{
    gemm::{Destination, Factors},
    level::Kernel,
};

mod extension;

/// The vectors of AVX-512F with an extension; a value proves that the machine has both.
#[derive(Clone, Copy)]
pub(crate) struct Extended<E>(PhantomData<E>);

/// AVX-512F alone.
pub(crate) type Avx512 = Extended<Foundation>;
/// AVX-512F and AVX-512-BF16.
pub(crate) type Avx512Bf16 = Extended<Bf16>;
/// AVX-512F and AVX-512-VNNI.
pub(crate) type Avx512Vnni = Extended<Vnni>;
/// AVX-512F, AVX-512-BF16, AVX-512-VNNI and AMX with bf16 and bytes.
pub(crate) type Amx = Extended<Tiles>;

impl<E> Extended<E> {
    /// # Safety
    /// The machine has AVX-512F and the extension.
    pub(crate) unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

/// Lane-by-lane operations that are one instruction.
macro_rules! instructions {
    ($($name:ident($($x:ident),+) = $intrinsic:ident;)+) => {
        $(
            #[inline(always)]
            fn $name(self, $($x: __m512),+) -> __m512 {
                // SAFETY: the token proves that the instruction exists.
                unsafe { $intrinsic($($x),+) }
            }
        )+
    };
}

/// The mask of the first `n <= 16` lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1_u32 << n) - 1) as __mmask16
}

/// [`bf16::round`], with anything in the lower halves.
///
/// # Safety
/// The machine has AVX-512F.
#[inline(always)]
unsafe fn rounded(v: __m512) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let bits = _mm512_castps_si512(v);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
        let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        let quiet = _mm512_set1_epi32(bf16::QUIET.cast_signed());
        _mm512_mask_or_epi32(up, is_nan, bits, quiet)
    }
}

impl<E: Extension> Simd for Extended<E> {
    type V = __m512;
    const LANES: usize = 16;
    const TILE_ROWS: usize = E::TILE[0];
    const TILE_VECTORS: usize = E::TILE[1];
    const TILE_WORDS: usize = E::TILE_WORDS;
    const INT8_DEPTH: usize = E::INT8_DEPTH;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        E::call(self, kernel)
    }

    instructions! {
        add(a, b) = _mm512_add_ps;
        sub(a, b) = _mm512_sub_ps;
        mul(a, b) = _mm512_mul_ps;
        div(a, b) = _mm512_div_ps;
        fma(a, b, c) = _mm512_fmadd_ps;
        max(a, b) = _mm512_max_ps;
        min(a, b) = _mm512_min_ps;
        abs(v) = _mm512_abs_ps;
        scale(v, n) = _mm512_scalef_ps;
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: the token proves AVX-512F; the caller promised readable values.
        unsafe { _mm512_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: the token proves AVX-512F; the caller promised writable values.
        unsafe { _mm512_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m512 {
        // SAFETY: the token proves AVX-512F; only the first n lanes are read.
        unsafe { _mm512_maskz_loadu_ps(first(n), p) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, v: __m512) {
        // SAFETY: the token proves AVX-512F; only the first n lanes are written.
        unsafe { _mm512_mask_storeu_ps(p, first(n), v) }
    }

    #[inline(always)]
    unsafe fn transpose(self, square: *const f32, to: *mut f32, [rows, stride]: [usize; 2]) {
        // SAFETY: the token proves AVX-512F; the caller promised the square and the rows.
        unsafe {
            let row = |i: usize| _mm512_loadu_ps(square.add(16 * i));
            // Of rows 4 g to 4 g + 3, in each quarter q, column 4 q + c.
            let mut quads = [_mm512_setzero_ps(); 16];
            for (g, quads) in quads.chunks_exact_mut(4).enumerate() {
                let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|i| row(4 * g + i));
                let pairs = |a, b| {
                    (
                        _mm512_castps_pd(_mm512_unpacklo_ps(a, b)),
                        _mm512_castps_pd(_mm512_unpackhi_ps(a, b)),
                    )
                };
                let ((a, b), (c, d)) = (pairs(r0, r1), pairs(r2, r3));
                quads[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
                quads[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
                quads[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
                quads[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
            }
            for c in 0..4 {
                let [g0, g1, g2, g3] = [0, 1, 2, 3].map(|g| quads[4 * g + c]);
                let even =
                    [_mm512_shuffle_f32x4::<0x88>(g0, g1), _mm512_shuffle_f32x4::<0x88>(g2, g3)];
                let odd =
                    [_mm512_shuffle_f32x4::<0xDD>(g0, g1), _mm512_shuffle_f32x4::<0xDD>(g2, g3)];
                let columns = [
                    _mm512_shuffle_f32x4::<0x88>(even[0], even[1]),
                    _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]),
                    _mm512_shuffle_f32x4::<0xDD>(even[0], even[1]),
                    _mm512_shuffle_f32x4::<0xDD>(odd[0], odd[1]),
                ];
                for (q, column) in columns.into_iter().enumerate() {
                    if 4 * q + c < rows {
                        _mm512_storeu_ps(to.add((4 * q + c) * stride), column);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn reciprocal(self, v: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe {
            // Right to 14 bits, and a step of Newton's.
            let near = _mm512_rcp14_ps(v);
            let gap = _mm512_fnmadd_ps(v, near, _mm512_set1_ps(1.0));
            _mm512_fmadd_ps(near, gap, near)
        }
    }

    #[inline(always)]
    fn copysign(self, magnitude: __m512, sign: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe {
            let sign_bit = _mm512_castps_si512(_mm512_set1_ps(-0.0));
            let bit = _mm512_and_si512(sign_bit, _mm512_castps_si512(sign));
            _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(magnitude), bit))
        }
    }

    #[inline(always)]
    fn positive(self, v: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(v, _mm512_setzero_ps());
            _mm512_maskz_mov_ps(above, _mm512_set1_ps(1.0))
        }
    }

    #[inline(always)]
    fn round(self, v: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
    }

    #[inline(always)]
    fn pow2(self, n: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        }
    }

    #[inline(always)]
    fn dot_bf16(self, a: __m512, b: __m512, sum: __m512) -> __m512 {
        E::dot_bf16(self, a, b, sum)
    }

    #[inline(always)]
    fn halves(self, v: __m512) -> [__m512; 2] {
        // SAFETY: the token proves AVX-512F.
        unsafe {
            let bits = _mm512_castps_si512(v);
            let high = _mm512_and_si512(bits, _mm512_set1_epi32(bf16::HIGH.cast_signed()));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits)), _mm512_castsi512_ps(high)]
        }
    }

    #[inline(always)]
    fn pair(self, low: __m512, high: __m512) -> __m512 {
        E::pair(self, low, high)
    }

    #[inline(always)]
    fn round_in_order(self, first: __m512, second: __m512) -> __m512 {
        E::round_in_order(self, first, second)
    }

    #[inline(always)]
    fn matrices_begin(self) {
        E::matrices_begin(self);
    }

    #[inline(always)]
    fn matrices_end(self) {
        E::matrices_end(self);
    }

    #[inline(always)]
    unsafe fn matrices(self, pairs: bool, size: [usize; 2], factors: Factors, to: Destination) {
        // SAFETY: the caller's promise.
        unsafe { E::matrices(self, pairs, size, factors, to) }
    }

    #[inline(always)]
    fn dot_int8(self, a: __m512, b: __m512, sum: __m512) -> __m512 {
        E::dot_int8(self, a, b, sum)
    }

    #[inline(always)]
    fn add_int(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe {
            let sum = _mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b));
            _mm512_castsi512_ps(sum)
        }
    }

    #[inline(always)]
    fn sub_int(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe {
            let difference = _mm512_sub_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b));
            _mm512_castsi512_ps(difference)
        }
    }

    #[inline(always)]
    fn float_of_int(self, v: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_cvtepi32_ps(_mm512_castps_si512(v)) }
    }

    #[inline(always)]
    fn reduce_sum(self, v: __m512) -> f32 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_reduce_add_ps(v) }
    }

    #[inline(always)]
    fn reduce_max(self, v: __m512) -> f32 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_reduce_max_ps(v) }
    }
}
