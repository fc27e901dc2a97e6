//! The passes compiled for AVX2; the horizontal one, which no compiler vectorizes, by hand.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_extract_epi32, _mm_loadu_si128, _mm256_add_epi32, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_mullo_epi32, _mm256_packs_epi32, _mm256_packus_epi16,
    _mm256_set_m128i, _mm256_set1_epi32, _mm256_shuffle_epi8, _mm256_srai_epi32,
};

use super::{FRACTION_BITS, HALF, SLACK, Weights, scaled_inlined, vertical_inlined};

/// Output pixels that are packed at once.
const PIXELS: usize = 4;
/// Taps that one load of 16 bytes holds.
const TAPS: usize = 5;

/// A byte that a shuffle makes 0.
const NO: u8 = 0x80;
/// For each tap of a load, the shuffle that gives its channels 32 bits each.
const CHANNELS: [[u8; 16]; TAPS] = [
    [0, NO, NO, NO, 1, NO, NO, NO, 2, NO, NO, NO, NO, NO, NO, NO],
    [3, NO, NO, NO, 4, NO, NO, NO, 5, NO, NO, NO, NO, NO, NO, NO],
    [6, NO, NO, NO, 7, NO, NO, NO, 8, NO, NO, NO, NO, NO, NO, NO],
    [9, NO, NO, NO, 10, NO, NO, NO, 11, NO, NO, NO, NO, NO, NO, NO],
    [12, NO, NO, NO, 13, NO, NO, NO, 14, NO, NO, NO, NO, NO, NO, NO],
];
/// Four pixels of four bytes to planes of four.
const PLANES: [u8; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];

#[target_feature(enable = "avx2")]
pub(super) fn vertical(rows: &[u8], weights: &[i32], out: &mut [u8]) {
    vertical_inlined(rows, weights, out);
}

#[target_feature(enable = "avx2")]
pub(super) fn scaled(values: &[u8], affine: [f32; 2], out: &mut [f32]) {
    scaled_inlined(values, affine, out);
}

/// One row in the lower half of each vector and one in the upper; a half holds the sums of red,
/// green, blue and nothing.
#[target_feature(enable = "avx2")]
pub(super) fn horizontal(rows: [&[u8]; 2], columns: &Weights, out: &mut [u8]) {
    let pitch = out.len() / 6;
    let taps = columns.taps;
    let channels = CHANNELS.each_ref().map(|bytes| both_halves(bytes));
    let planes_of = both_halves(&PLANES);
    for (at, firsts) in columns.first.chunks(PIXELS).enumerate() {
        let mut sums = [_mm256_set1_epi32(0); PIXELS];
        for (ahead, (&first, sum)) in firsts.iter().zip(&mut sums).enumerate() {
            let weights = &columns.values[(at * PIXELS + ahead) * taps..][..taps];
            *sum = _mm256_srai_epi32::<{ FRACTION_BITS as i32 }>(weighted(
                rows, first, weights, &channels,
            ));
        }
        let [a, b, c, d] = sums;
        // Both packs saturate, which is the clamp to 0..=255.
        let pixels = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        let planes = _mm256_shuffle_epi8(pixels, planes_of);
        let halves = [_mm256_castsi256_si128(planes), _mm256_extracti128_si256::<1>(planes)];
        for (half, out) in halves.into_iter().zip(out.chunks_exact_mut(3 * pitch)) {
            let fours = [
                _mm_extract_epi32::<0>(half),
                _mm_extract_epi32::<1>(half),
                _mm_extract_epi32::<2>(half),
            ];
            for (four, plane) in fours.into_iter().zip(out.chunks_exact_mut(pitch)) {
                plane[at * PIXELS..][..PIXELS].copy_from_slice(&four.to_le_bytes());
            }
        }
    }
}

/// The weighted sums of one output pixel.
#[target_feature(enable = "avx2")]
#[inline]
fn weighted(
    rows: [&[u8]; 2],
    first: usize,
    weights: &[i32],
    channels: &[__m256i; TAPS],
) -> __m256i {
    let mut sum = _mm256_set1_epi32(HALF);
    for (load, weights) in weights.chunks(TAPS).enumerate() {
        let at = (first + load * TAPS) * 3;
        let pixels = _mm256_set_m128i(sixteen(rows[1], at), sixteen(rows[0], at));
        for (&weight, &channels) in weights.iter().zip(channels) {
            let pixel = _mm256_shuffle_epi8(pixels, channels);
            let product = _mm256_mullo_epi32(pixel, _mm256_set1_epi32(weight));
            sum = _mm256_add_epi32(sum, product);
        }
    }
    sum
}

#[target_feature(enable = "avx2")]
#[inline]
fn sixteen(row: &[u8], at: usize) -> __m128i {
    let bytes = &row[at..][..SLACK];
    // SAFETY: the slice is of the 16 bytes that are read.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// The same 16 bytes in both halves.
#[target_feature(enable = "avx2")]
#[inline]
fn both_halves(bytes: &[u8; 16]) -> __m256i {
    let half = sixteen(bytes, 0);
    _mm256_set_m128i(half, half)
}
