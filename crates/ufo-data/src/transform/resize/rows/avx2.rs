//! The passes compiled for AVX2; the horizontal one, which no compiler vectorizes, by hand.

use std::arch::x86_64::{
    __m256i, _mm_extract_epi32, _mm_loadu_si128, _mm256_add_epi32, _mm256_castsi256_si128,
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
    match columns.taps {
        1 => horizontal_of::<1>(rows, columns, out),
        2 => horizontal_of::<2>(rows, columns, out),
        3 => horizontal_of::<3>(rows, columns, out),
        4 => horizontal_of::<4>(rows, columns, out),
        _ => horizontal_of::<TAPS>(rows, columns, out),
    }
}

/// [`horizontal`] with a first load of `N` taps; there are more only when `N` is `TAPS`.
#[target_feature(enable = "avx2")]
fn horizontal_of<const N: usize>(rows: [&[u8]; 2], columns: &Weights, out: &mut [u8]) {
    let pitch = out.len() / 6;
    let mut planes = out.chunks_exact_mut(pitch).map(|plane| plane.as_chunks_mut::<PIXELS>().0);
    let mut planes: [_; 6] = std::array::from_fn(|_| planes.next().expect("six planes"));
    let source = Source::new(rows, columns);
    let to_planes = both_halves(&PLANES);
    let last = columns.first.len() - 1;
    for four in 0..=last / PIXELS {
        let mut sums = [_mm256_set1_epi32(0); PIXELS];
        for (ahead, sum) in sums.iter_mut().enumerate() {
            // What is after the last pixel is never looked at.
            let pixel = (four * PIXELS + ahead).min(last);
            let weights = &columns.values[pixel * columns.taps..][..columns.taps];
            *sum = weighted::<N>(&source, columns.first[pixel], weights);
        }
        let [a, b, c, d] = sums;
        // Both packs saturate, which is the clamp to 0..=255.
        let pixels = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        let pixels = _mm256_shuffle_epi8(pixels, to_planes);
        let above = _mm256_castsi256_si128(pixels);
        let below = _mm256_extracti128_si256::<1>(pixels);
        let channels = [
            _mm_extract_epi32::<0>(above),
            _mm_extract_epi32::<1>(above),
            _mm_extract_epi32::<2>(above),
            _mm_extract_epi32::<0>(below),
            _mm_extract_epi32::<1>(below),
            _mm_extract_epi32::<2>(below),
        ];
        for (plane, values) in planes.iter_mut().zip(channels) {
            plane[four] = values.to_le_bytes();
        }
    }
}

/// The sums of one output pixel, without their fractions.
#[target_feature(enable = "avx2")]
#[inline]
fn weighted<const N: usize>(source: &Source, first: usize, weights: &[i32]) -> __m256i {
    let (head, rest) = weights.split_first_chunk::<N>().expect("at least N taps");
    let mut sum = _mm256_set1_epi32(HALF);
    // SAFETY: there is a tap at `first`.
    let pixels = unsafe { source.pixels(first) };
    for (&weight, channels) in head.iter().zip(&CHANNELS) {
        sum = add_tap(sum, pixels, both_halves(channels), weight);
    }
    for (load, weights) in (1..).zip(rest.chunks(TAPS)) {
        // SAFETY: the chunk is not empty, so that its first tap is there.
        let pixels = unsafe { source.pixels(first + load * TAPS) };
        for (&weight, channels) in weights.iter().zip(&CHANNELS) {
            sum = add_tap(sum, pixels, both_halves(channels), weight);
        }
    }
    _mm256_srai_epi32::<{ FRACTION_BITS as i32 }>(sum)
}

#[target_feature(enable = "avx2")]
#[inline]
fn add_tap(sum: __m256i, pixels: __m256i, channels: __m256i, weight: i32) -> __m256i {
    let pixel = _mm256_shuffle_epi8(pixels, channels);
    _mm256_add_epi32(sum, _mm256_mullo_epi32(pixel, _mm256_set1_epi32(weight)))
}

/// Two rows that are long enough for every tap.
struct Source<'a> {
    rows: [&'a [u8]; 2],
}

impl<'a> Source<'a> {
    fn new(rows: [&'a [u8]; 2], columns: &Weights) -> Self {
        let furthest = columns.first.iter().copied().max().unwrap_or(0) + columns.taps - 1;
        let length = furthest * 3 + SLACK;
        assert!(rows.iter().all(|row| row.len() >= length), "rows have slack after the last pixel");
        Self { rows }
    }

    /// 16 bytes of each row from pixel `at` on.
    ///
    /// # Safety
    /// A tap of the weights that `new` was given must begin at `at`.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn pixels(&self, at: usize) -> __m256i {
        let [above, below] = self.rows.map(|row| {
            debug_assert!(at * 3 + SLACK <= row.len());
            // SAFETY: `new` has seen that `SLACK` bytes follow the start of every tap.
            unsafe { _mm_loadu_si128(row.as_ptr().add(at * 3).cast()) }
        });
        _mm256_set_m128i(below, above)
    }
}

/// The same 16 bytes in both halves.
#[target_feature(enable = "avx2")]
#[inline]
fn both_halves(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: the array is of the 16 bytes that are read.
    let half = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    _mm256_set_m128i(half, half)
}
