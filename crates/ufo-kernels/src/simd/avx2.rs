//! Eight lanes with AVX2 and FMA.
#![allow(unsafe_code, reason = "vector intrinsics")]
#![allow(clippy::wildcard_imports, reason = "a file of intrinsics")]

use std::arch::x86_64::*;

use super::{Simd, bf16};
use crate::level::Kernel;

/// The vectors of AVX2 and FMA; a value proves that the machine has both.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The machine has AVX2 and FMA.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

/// Lane-by-lane operations that are one instruction.
macro_rules! instructions {
    ($($name:ident($($x:ident),+) = $intrinsic:ident;)+) => {
        $(
            #[inline(always)]
            fn $name(self, $($x: __m256),+) -> __m256 {
                // SAFETY: the token proves that the instruction exists.
                unsafe { $intrinsic($($x),+) }
            }
        )+
    };
}

/// All bits set in the first `n` lanes.
///
/// # Safety
/// The machine has AVX2.
#[inline(always)]
unsafe fn first(n: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes)
    }
}

/// [`bf16::round`], with anything in the lower halves.
///
/// # Safety
/// The machine has AVX2.
#[inline(always)]
unsafe fn rounded(v: __m256) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let bits = _mm256_castps_si256(v);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
        let nan = _mm256_or_si256(bits, _mm256_set1_epi32(bf16::QUIET.cast_signed()));
        let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
        _mm256_blendv_epi8(up, nan, is_nan)
    }
}

#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn called<K: Kernel>(s: Avx2, kernel: K) -> K::Output {
    kernel.run(s)
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;
    const INT8_DEPTH: usize = 2;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the token proves the features.
        unsafe { called(self, kernel) }
    }

    instructions! {
        add(a, b) = _mm256_add_ps;
        sub(a, b) = _mm256_sub_ps;
        mul(a, b) = _mm256_mul_ps;
        div(a, b) = _mm256_div_ps;
        fma(a, b, c) = _mm256_fmadd_ps;
        max(a, b) = _mm256_max_ps;
        min(a, b) = _mm256_min_ps;
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: the token proves AVX2; the caller promised readable values.
        unsafe { _mm256_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: the token proves AVX2; the caller promised writable values.
        unsafe { _mm256_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m256 {
        // SAFETY: the token proves AVX2; only the first n lanes are read.
        unsafe { _mm256_maskload_ps(p, first(n)) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, v: __m256) {
        // SAFETY: the token proves AVX2; only the first n lanes are written.
        unsafe { _mm256_maskstore_ps(p, first(n), v) }
    }

    #[inline(always)]
    fn abs(self, v: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), v) }
    }

    #[inline(always)]
    unsafe fn transpose(self, square: *const f32, to: *mut f32, [rows, stride]: [usize; 2]) {
        // SAFETY: the token proves AVX2; the caller promised the square and the rows.
        unsafe {
            let row = |i: usize| _mm256_loadu_ps(square.add(8 * i));
            // Of rows 4 g to 4 g + 3, in each half h, column 4 h + c.
            let mut quads = [_mm256_setzero_ps(); 8];
            for (g, quads) in quads.chunks_exact_mut(4).enumerate() {
                let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|i| row(4 * g + i));
                let pairs = |a, b| (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let ((a, b), (c, d)) = (pairs(r0, r1), pairs(r2, r3));
                quads[0] = _mm256_shuffle_ps::<0x44>(a, c);
                quads[1] = _mm256_shuffle_ps::<0xEE>(a, c);
                quads[2] = _mm256_shuffle_ps::<0x44>(b, d);
                quads[3] = _mm256_shuffle_ps::<0xEE>(b, d);
            }
            for c in 0..4 {
                let (low, high) = (quads[c], quads[4 + c]);
                let columns = [
                    _mm256_permute2f128_ps::<0x20>(low, high),
                    _mm256_permute2f128_ps::<0x31>(low, high),
                ];
                for (h, column) in columns.into_iter().enumerate() {
                    if 4 * h + c < rows {
                        _mm256_storeu_ps(to.add((4 * h + c) * stride), column);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn copysign(self, magnitude: __m256, sign: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_or_ps(magnitude, _mm256_and_ps(_mm256_set1_ps(-0.0), sign)) }
    }

    #[inline(always)]
    fn positive(self, v: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let above = _mm256_cmp_ps::<_CMP_GT_OQ>(v, _mm256_setzero_ps());
            _mm256_and_ps(above, _mm256_set1_ps(1.0))
        }
    }

    #[inline(always)]
    fn round(self, v: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
    }

    #[inline(always)]
    fn pow2(self, n: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }

    #[inline(always)]
    fn halves(self, v: __m256) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        unsafe {
            let low = _mm256_slli_epi32::<16>(_mm256_castps_si256(v));
            let high = _mm256_set1_epi32(bf16::HIGH.cast_signed());
            [_mm256_castsi256_ps(low), _mm256_and_ps(v, _mm256_castsi256_ps(high))]
        }
    }

    #[inline(always)]
    fn pair(self, low: __m256, high: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let low = _mm256_srli_epi32::<16>(rounded(low));
            _mm256_castsi256_ps(_mm256_blend_epi16::<0b1010_1010>(low, rounded(high)))
        }
    }

    #[inline(always)]
    fn dot_int8(self, a: __m256, b: __m256, sum: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let products = _mm256_madd_epi16(_mm256_castps_si256(a), _mm256_castps_si256(b));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sum), products))
        }
    }

    #[inline(always)]
    fn add_int(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let sum = _mm256_add_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b));
            _mm256_castsi256_ps(sum)
        }
    }

    #[inline(always)]
    fn sub_int(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let difference = _mm256_sub_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b));
            _mm256_castsi256_ps(difference)
        }
    }

    #[inline(always)]
    fn float_of_int(self, v: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_cvtepi32_ps(_mm256_castps_si256(v)) }
    }

    #[inline(always)]
    fn reduce_sum(self, v: __m256) -> f32 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn reduce_max(self, v: __m256) -> f32 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
}
