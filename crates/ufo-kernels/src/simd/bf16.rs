//! Rounding of f32 to bf16, its upper 16 bits, and products without an instruction for them.

use super::Simd;

/// The bits of the nearest bf16, of two the even one, in the upper half; NaN stays NaN.
#[inline(always)]
pub(crate) fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1));
    (if x.is_nan() { bits | QUIET } else { rounded }) & HIGH
}

/// Two values as bf16, `low` in the lower 16 bits.
#[inline(always)]
pub(crate) fn pair(low: f32, high: f32) -> f32 {
    f32::from_bits(round(low) >> 16 | round(high))
}

/// [`Simd::dot_bf16`] in f32, where products of bf16 are exact.
#[inline(always)]
pub(super) fn dot<S: Simd>(s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
    let ([a_low, a_high], [b_low, b_high]) = (s.halves(a), s.halves(b));
    s.fma(a_low, b_low, s.fma(a_high, b_high, sum))
}

/// The upper half.
pub(super) const HIGH: u32 = 0xFFFF_0000;
/// A bit of the upper half that keeps a NaN one.
pub(super) const QUIET: u32 = 0x0040_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_taken_and_of_two_the_even_one() {
        let spacing = 1.0 / 128.0;
        for (x, expected) in [
            (0.0, 0.0),
            (-1.5, -1.5),
            (1.0 + 0.49 * spacing, 1.0),
            (1.0 + 0.5 * spacing, 1.0),
            (1.0 + 0.51 * spacing, 1.0 + spacing),
            (1.0 + 1.5 * spacing, 1.0 + 2.0 * spacing),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
        ] {
            assert_eq!(round(x), f32::to_bits(expected), "{x}");
        }
        for bits in [0x7F80_0001, 0x7FFF_FFFF, 0xFF80_0001] {
            assert!(f32::from_bits(round(f32::from_bits(bits))).is_nan(), "{bits:x}");
        }
        assert_eq!(pair(1.0, -2.0).to_bits(), 0xC000_3F80);
    }
}
