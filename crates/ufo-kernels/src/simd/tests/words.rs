//! Lanes of integers and of pairs of bf16.

use crate::{
    level::{Kernel, Level},
    simd::{Simd, bf16},
};

/// Pairs, halves, integer operations and products of words.
struct Words;

impl Kernel for Words {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let bits = |v: S::V| -> Vec<u32> {
            let mut out = vec![0.0; S::LANES];
            s.write(&mut out, v);
            out.into_iter().map(f32::to_bits).collect()
        };
        let of = |words: &[u32]| -> S::V {
            let floats: Vec<f32> = words.iter().copied().map(f32::from_bits).collect();
            s.read(&floats)
        };
        let some = |seed: u32| -> Vec<u32> {
            (0..S::LANES as u32)
                .map(|i| (i + seed).wrapping_mul(0x9E37_79B9) ^ (seed << 13))
                .collect()
        };
        let (a, b, sum) = (some(1), some(2), some(3));
        let lanes = |f: &dyn Fn(usize) -> u32| (0..S::LANES).map(f).collect::<Vec<u32>>();
        assert_eq!(bits(s.add_int(of(&a), of(&b))), lanes(&|i| a[i].wrapping_add(b[i])));
        assert_eq!(bits(s.sub_int(of(&a), of(&b))), lanes(&|i| a[i].wrapping_sub(b[i])));
        let floats = lanes(&|i| (a[i].cast_signed() as f32).to_bits());
        assert_eq!(bits(s.float_of_int(of(&a))), floats);
        let [low, high] = s.halves(of(&a));
        assert_eq!(bits(low), lanes(&|i| a[i] << 16));
        assert_eq!(bits(high), lanes(&|i| a[i] & 0xFFFF_0000));
        // Numbers of both signs, those between two bf16, an infinity and NaN.
        let mut x = some(4);
        x[..6].copy_from_slice(&[
            0x3F80_8000,
            0x3F81_8000,
            0x7F80_0001,
            0xFF80_0000,
            0x7FFF_FFFF,
            0,
        ]);
        let pair = |i: usize| bf16::pair(f32::from_bits(x[i]), f32::from_bits(x[5 - i % 6]));
        let y = lanes(&|i| x[5 - i % 6]);
        assert_eq!(bits(s.pair(of(&x), of(&y))), lanes(&|i| pair(i).to_bits()));
        let all: Vec<f32> = x.iter().chain(&y).copied().map(f32::from_bits).collect();
        let ordered = lanes(&|i| bf16::pair(all[2 * i], all[2 * i + 1]).to_bits());
        assert_eq!(bits(s.round_in_order(of(&x), of(&y))), ordered);
        let part =
            |word: u32, i: usize, bits: usize| i64::from(word >> (i * bits)) & ((1 << bits) - 1);
        let signed = |x: i64, bits: usize| if x >> (bits - 1) == 1 { x - (1 << bits) } else { x };
        let dot = |i: usize| -> i64 {
            let bits = 32 / S::INT8_DEPTH;
            let left = |x: i64| if bits == 8 { x } else { signed(x, bits) };
            (0..S::INT8_DEPTH)
                .map(|k| left(part(a[i], k, bits)) * signed(part(b[i], k, bits), bits))
                .sum()
        };
        let want = lanes(&|i| sum[i].wrapping_add(dot(i) as u32));
        assert_eq!(bits(s.dot_int8(of(&a), of(&b), of(&sum))), want);
    }
}

#[test]
fn words_are_made_and_multiplied_as_said() {
    for level in Level::available() {
        level.run(Words);
        level.run_bf16(Words);
        level.run_int8(Words);
    }
}

/// Sums of two products of bf16, within a rounding of each.
struct DotBf16;

impl Kernel for DotBf16 {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let values = |seed: u64| crate::testing::values(seed, 2 * S::LANES);
        let word = |x: &[f32], i: usize| bf16::pair(x[2 * i], x[2 * i + 1]);
        let words = |x: &[f32]| (0..S::LANES).map(|i| word(x, i)).collect::<Vec<f32>>();
        let (a, b, c) = (values(1), values(2), values(3));
        let mut got = vec![0.0; S::LANES];
        s.write(&mut got, s.dot_bf16(s.read(&words(&a)), s.read(&words(&b)), s.read(&c)));
        let rounded = |x: f32| f64::from(f32::from_bits(bf16::round(x)));
        for (i, got) in got.into_iter().enumerate() {
            let product = |k: usize| rounded(a[k]) * rounded(b[k]);
            let want = product(2 * i) + product(2 * i + 1) + f64::from(c[i]);
            assert!((f64::from(got) - want).abs() < 3e-7, "{i}: {got}, not {want}");
        }
    }
}

#[test]
fn products_of_bf16_are_summed_in_f32() {
    for level in Level::available() {
        level.run(DotBf16);
        level.run_bf16(DotBf16);
    }
}
