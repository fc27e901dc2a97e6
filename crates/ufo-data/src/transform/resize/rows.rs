//! The passes over single rows, in plain Rust and compiled for AVX2.
//!
//! All arithmetic is on integers, or a product and a sum of floats that are rounded each, so the
//! levels agree to the bit.
#![allow(unsafe_code, reason = "functions compiled for AVX2 are entered here")]
#![allow(clippy::inline_always, reason = "what is inlined is compiled for the caller's features")]

#[cfg(target_arch = "x86_64")]
mod avx2;

use super::weights::{FRACTION_BITS, Weights};

/// Rows of planes are multiples of it.
pub(super) const LANES: usize = 32;
/// Bytes after a source row that the horizontal pass may read.
pub(super) const SLACK: usize = 16;

const HALF: i32 = 1 << (FRACTION_BITS - 1);

/// Which instructions the passes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Level {
    /// The best that this machine has.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        Self::Portable
    }
}

/// The horizontal pass of two rows of pixels, each with `SLACK` after it.
///
/// # Shapes
/// `out` is two rows of three planes.
pub(super) fn horizontal(level: Level, rows: [&[u8]; 2], columns: &Weights, out: &mut [u8]) {
    match level {
        Level::Portable => horizontal_portable(rows, columns, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected.
        Level::Avx2 => unsafe { avx2::horizontal(rows, columns, out) },
    }
}

/// The vertical pass: one row of the result, from as many rows as there are weights.
///
/// # Shapes
/// `rows` are rows of the length of `out`, a multiple of `LANES`.
pub(super) fn vertical(level: Level, rows: &[u8], weights: &[i32], out: &mut [u8]) {
    match level {
        Level::Portable => vertical_inlined(rows, weights, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected.
        Level::Avx2 => unsafe { avx2::vertical(rows, weights, out) },
    }
}

/// Each value times a scale, plus an offset.
pub(super) fn scaled(level: Level, values: &[u8], affine: [f32; 2], out: &mut [f32]) {
    match level {
        Level::Portable => scaled_inlined(values, affine, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected.
        Level::Avx2 => unsafe { avx2::scaled(values, affine, out) },
    }
}

fn horizontal_portable(rows: [&[u8]; 2], columns: &Weights, out: &mut [u8]) {
    let pitch = out.len() / 6;
    for (row, out) in rows.into_iter().zip(out.chunks_exact_mut(3 * pitch)) {
        let each = columns.first.iter().zip(columns.values.chunks_exact(columns.taps));
        for (x, (&first, weights)) in each.enumerate() {
            let mut sums = [HALF; 3];
            let (pixels, _) = row[first * 3..].as_chunks::<3>();
            for (&weight, pixel) in weights.iter().zip(pixels) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            for (channel, sum) in sums.into_iter().enumerate() {
                out[channel * pitch + x] = to_u8(sum);
            }
        }
    }
}

#[inline(always)]
fn vertical_inlined(rows: &[u8], weights: &[i32], out: &mut [u8]) {
    let stride = out.len();
    let (outs, _) = out.as_chunks_mut::<LANES>();
    for (at, out) in outs.iter_mut().enumerate() {
        let mut sums = [HALF; LANES];
        for (&weight, row) in weights.iter().zip(rows.chunks_exact(stride)) {
            let pixels = &row[at * LANES..][..LANES];
            for (sum, &value) in sums.iter_mut().zip(pixels) {
                *sum += i32::from(value) * weight;
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = to_u8(sum);
        }
    }
}

#[inline(always)]
fn scaled_inlined(values: &[u8], [scale, offset]: [f32; 2], out: &mut [f32]) {
    for (out, &value) in out.iter_mut().zip(values) {
        *out = f32::from(value) * scale + offset;
    }
}

#[inline(always)]
fn to_u8(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Interpolation, transform::resize::weights::Side};

    /// Values without a pattern.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn levels_agree_to_the_bit() {
        let best = Level::detect();
        for (input, output) in [(1, 3), (2, 33), (7, 4), (40, 64), (100, 37), (300, 31), (61, 61)] {
            let mut weights = Weights::default();
            let side = Side { input, start: 0.2, length: input as f64 - 0.3 };
            weights.set(side, output, Interpolation::Bicubic);
            let pitch = output.next_multiple_of(LANES);
            let pixels = noise(6 * input + SLACK);
            let rows = [&pixels[..3 * input + SLACK], &pixels[3 * input..]];
            let narrow = |level| {
                let mut out = vec![0; 6 * pitch];
                horizontal(level, rows, &weights, &mut out);
                // What is between the planes is never looked at.
                out.chunks(pitch).flat_map(|plane| plane[..output].to_vec()).collect::<Vec<_>>()
            };
            assert_eq!(narrow(best), narrow(Level::Portable), "{input} to {output}");
            let (tall, weights) = (noise(input * LANES), &weights.values[..weights.taps]);
            let column = |level| {
                let (mut out, mut floats) = ([0; LANES], [0.0; 29]);
                vertical(level, &tall, weights, &mut out);
                scaled(level, &out, [0.017, -2.1], &mut floats);
                (out, floats)
            };
            assert_eq!(column(best), column(Level::Portable), "{input} to {output}");
        }
    }
}
