use crate::level::{Kernel, Level, Vectors};
use crate::simd::{Simd, bf16, exp, gelu, gelu_and_derivative};

/// Applies an operation to whole vectors of three inputs.
struct Lanewise<'a, F> {
    inputs: [&'a [f32]; 3],
    operation: F,
}

trait Operation {
    fn apply<S: Simd>(&self, s: S, a: S::V, b: S::V, c: S::V) -> S::V;
}

impl<F: Operation> Kernel for Lanewise<'_, F> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f32> {
        let len = self.inputs[0].len();
        let mut output = vec![0.0; len];
        for start in (0..len).step_by(S::LANES) {
            let count = (len - start).min(S::LANES);
            let [a, b, c] = self.inputs.map(|input| s.read(&input[start..start + count]));
            let value = self.operation.apply(s, a, b, c);
            s.write(&mut output[start..start + count], value);
        }
        output
    }
}

macro_rules! operations {
    ($($type:ident: $apply:expr, $scalar:expr;)+) => {$(
        struct $type;
        impl Operation for $type {
            #[inline(always)]
            fn apply<S: Simd>(&self, s: S, a: S::V, b: S::V, c: S::V) -> S::V {
                fn typed<S: Simd>(f: impl Fn(S, S::V, S::V, S::V) -> S::V) -> impl Fn(S, S::V, S::V, S::V) -> S::V { f }
                typed::<S>($apply)(s, a, b, c)
            }
        }
        impl $type {
            fn check(level: Level) {
                let (a, b, c) = inputs();
                let output = level.run(Lanewise { inputs: [&a, &b, &c], operation: $type });
                let scalar: fn(f32, f32, f32) -> f32 = $scalar;
                for (i, got) in output.into_iter().enumerate() {
                    let expected = scalar(a[i], b[i], c[i]);
                    assert!(
                        got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(),
                        "{} at {level:?}: {} {} {} gave {got}, not {expected}",
                        stringify!($type), a[i], b[i], c[i],
                    );
                }
            }
        }
    )+
    #[test]
    fn every_operation_equals_the_scalar_one() {
        for level in Level::available() {
            $($type::check(level);)+
        }
    }};
}

operations! {
    Splat: |s, _, _, _| s.splat(1.25), |_, _, _| 1.25;
    Add: |s, a, b, _| s.add(a, b), |a, b, _| a + b;
    Sub: |s, a, b, _| s.sub(a, b), |a, b, _| a - b;
    Mul: |s, a, b, _| s.mul(a, b), |a, b, _| a * b;
    Div: |s, a, b, _| s.div(a, b), |a, b, _| a / b;
    Max: |s, a, b, _| s.max(a, b), |a, b, _| if a > b { a } else { b };
    Min: |s, a, b, _| s.min(a, b), |a, b, _| if a < b { a } else { b };
    Round: |s, a, _, _| s.add(s.round(s.max(s.splat(-1e6), s.min(s.splat(1e6), a))), s.splat(0.0)), |a, _, _| a.clamp(-1e6, 1e6).round_ties_even() + 0.0;
    Abs: |s, a, _, _| s.abs(a), |a, _, _| a.abs();
    Copysign: |s, a, b, _| s.copysign(s.abs(a), b), |a, b, _| a.abs().copysign(b);
}

/// Every pair of some special values and a few ordinary ones, 37 lanes: an odd number.
fn inputs() -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let values = [0.0, 1.5, -2.5, 3.25, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e30, -1e-30];
    let pairs: Vec<(f32, f32)> =
        values.iter().flat_map(|&a| values.iter().map(move |&b| (a, b))).collect();
    let third = pairs.iter().rev().map(|pair| pair.1).collect();
    (pairs.iter().map(|p| p.0).collect(), pairs.iter().map(|p| p.1).collect(), third)
}

struct Fma;

impl Operation for Fma {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, a: S::V, b: S::V, c: S::V) -> S::V {
        s.fma(a, b, c)
    }
}

#[test]
fn fma_rounds_once_or_twice() {
    let a = [1.0 + f32::EPSILON; 19];
    let c = [-1.0; 19];
    for level in Level::available() {
        let got = level.run(Lanewise { inputs: [&a, &a, &c], operation: Fma });
        let once = a[0].mul_add(a[0], -1.0);
        let twice = a[0] * a[0] - 1.0;
        let expected =
            if matches!(level.vectors(), Vectors::Portable | Vectors::Wide) { twice } else { once };
        assert_eq!(got, [expected; 19], "{level:?}");
    }
}

struct PowerOfTwo;

impl Operation for PowerOfTwo {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, a: S::V, _: S::V, _: S::V) -> S::V {
        s.pow2(a)
    }
}

#[test]
fn powers_of_two_are_exact() {
    let n: Vec<f32> = (-126..=127).map(|n| n as f32).collect();
    let expected: Vec<f32> = n.iter().map(|n| n.exp2()).collect();
    for level in Level::available() {
        let got = level.run(Lanewise { inputs: [&n, &n, &n], operation: PowerOfTwo });
        assert_eq!(got, expected, "{level:?}");
    }
}

/// The sum and the largest of one vector's worth of values.
struct Reduce<'a>(&'a [f32]);

impl Kernel for Reduce<'_> {
    type Output = (f32, f32, usize);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32, usize) {
        assert!(self.0.len() >= S::LANES);
        let value = s.read(self.0);
        (s.reduce_sum(value), s.reduce_max(value), S::LANES)
    }
}

#[test]
fn reductions_take_every_lane() {
    for level in Level::available() {
        for place in 0..16 {
            let mut values = [-2.0; 16];
            values[place] = 5.0;
            let (sum, largest, lanes) = level.run(Reduce(&values));
            let (mut expected, mut top) = (-2.0 * lanes as f32, -2.0);
            if place < lanes {
                (expected, top) = (expected + 7.0, 5.0);
            }
            assert_eq!((sum, largest), (expected, top), "{level:?} lane {place}");
        }
    }
}

struct Exp;

impl Operation for Exp {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, a: S::V, _: S::V, _: S::V) -> S::V {
        exp(s, a)
    }
}

#[test]
fn exp_is_close_over_its_whole_range() {
    let x: Vec<f32> = (-1_740_000..=1_774_000).map(|i| i as f32 * 5e-5).collect();
    for level in Level::available() {
        let got = level.run(Lanewise { inputs: [&x, &x, &x], operation: Exp });
        for (&x, got) in x.iter().zip(got) {
            let expected = f64::from(x).exp();
            let relative = (f64::from(got) - expected).abs() / expected;
            assert!(relative < 2e-7, "{level:?}: exp({x}) is {got}, off by {relative:e}");
        }
    }
}

#[test]
fn exp_ends_where_f32_does() {
    let x = [0.0, -0.0, 88.8, 1e30, f32::INFINITY, -104.5, -1e30, f32::NEG_INFINITY, -95.0];
    let expected = [1.0, 1.0, f32::INFINITY, f32::INFINITY, f32::INFINITY, 0.0, 0.0, 0.0];
    for level in Level::available() {
        let got = level.run(Lanewise { inputs: [&x, &x, &x], operation: Exp });
        assert_eq!(got[..8], expected, "{level:?}");
        assert!((f64::from(got[8]) - (-95_f64).exp()).abs() < 1.5e-45, "{level:?}: {}", got[8]);
        let nan = level.run(Lanewise { inputs: [&[f32::NAN]; 3], operation: Exp });
        assert!(nan[0].is_nan(), "{level:?}");
    }
}

#[test]
fn a_partial_write_leaves_the_rest_alone() {
    for level in Level::available() {
        for len in 0..40 {
            let x: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let y = level.run(WriteInto(&x));
            assert_eq!(y[..len], x[..], "{level:?}");
            assert_eq!(y[len..], [-1.0; 56][len..], "{level:?}");
        }
    }
}

/// Copies into the start of 56 values of -1.
struct WriteInto<'a>(&'a [f32]);

impl Kernel for WriteInto<'_> {
    type Output = [f32; 56];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f32; 56] {
        let mut y = [-1.0; 56];
        for (x, y) in self.0.chunks(S::LANES).zip(y[..self.0.len()].chunks_mut(S::LANES)) {
            s.write(y, s.read(x));
        }
        y
    }
}

/// GELU, and GELU and its derivative from the function of both.
struct Gelu<'a>(&'a [f32]);

impl Kernel for Gelu<'_> {
    type Output = [Vec<f32>; 3];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let mut out = [0; 3].map(|_| vec![0.0; self.0.len()]);
        for start in (0..self.0.len()).step_by(S::LANES) {
            let end = (start + S::LANES).min(self.0.len());
            let v = s.read(&self.0[start..end]);
            let (value, derivative) = gelu_and_derivative(s, v);
            for (out, v) in out.iter_mut().zip([gelu(s, v), value, derivative]) {
                s.write(&mut out[start..end], v);
            }
        }
        out
    }
}

/// Complementary error function for `x >= 0`: a series near 0, a continued fraction beyond.
fn erfc(x: f64) -> f64 {
    if x < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let tail = (1..200).rev().fold(x, |tail, n| x + f64::from(n) / 2.0 / tail);
    (-x * x).exp() / std::f64::consts::PI.sqrt() / tail
}

fn gelu_f64(x: f64) -> (f64, f64) {
    let q = 0.5 * erfc(x.abs() / std::f64::consts::SQRT_2);
    let phi = if x > 0.0 { 1.0 - q } else { q };
    (x * phi, phi + x * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt())
}

#[test]
fn gelu_and_its_derivative_are_exact_to_5e_7() {
    let x: Vec<f32> = (0..320_001).map(|i| -16.0 + i as f32 * 1e-4).collect();
    for level in Level::available() {
        let [alone, value, derivative] = level.run(Gelu(&x));
        let mut worst = [0.0_f64; 2];
        for i in 0..x.len() {
            let (want, want_derivative) = gelu_f64(f64::from(x[i]));
            assert_eq!(alone[i].to_bits(), value[i].to_bits(), "{level:?} {}", x[i]);
            worst[0] = worst[0].max((f64::from(value[i]) - want).abs());
            worst[1] = worst[1].max((f64::from(derivative[i]) - want_derivative).abs());
        }
        assert!(worst.iter().all(|worst| *worst <= 5e-7), "{level:?}: {worst:?}");
    }
}

#[test]
fn gelu_at_the_ends() {
    let x = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e30, -1e30, 0.0];
    for level in Level::available() {
        let [value, _, derivative] = level.run(Gelu(&x));
        assert_eq!((value[0], derivative[0]), (f32::INFINITY, 1.0), "{level:?}");
        assert_eq!((value[3], derivative[3]), (1e30, 1.0), "{level:?}");
        assert_eq!((value[5], derivative[5]), (0.0, 0.5), "{level:?}");
        assert!(value[2].is_nan() && derivative[2].is_nan(), "{level:?}");
        for i in [1, 4] {
            assert!(value[i].abs() <= 1e-30 && derivative[i].abs() <= 1e-6, "{level:?}");
        }
    }
}

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
