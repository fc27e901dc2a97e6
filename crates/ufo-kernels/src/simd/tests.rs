use crate::level::{Kernel, Level, Vectors};
use crate::simd::{Simd, exp, gelu, gelu_and_derivative};

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
    Positive: |s, a, _, _| s.positive(a), |a, _, _| if a > 0.0 { 1.0 } else { 0.0 };
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

mod words;

/// Squares transposed in whole and in part, and reciprocals.
struct Squares;

impl Kernel for Squares {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (n, stride) = (S::LANES, S::LANES + 3);
        let square: Vec<f32> = (0..n * n).map(|i| i as f32).collect();
        for rows in [1, n - 1, n] {
            let mut to = vec![-1.0; n * stride];
            // SAFETY: a square, and rows inside of `to`.
            unsafe { s.transpose(square.as_ptr(), to.as_mut_ptr(), [rows, stride]) };
            for (at, value) in to.into_iter().enumerate() {
                let (row, col) = (at / stride, at % stride);
                let inside = row < rows && col < n;
                let want = if inside { square[col * n + row] } else { -1.0 };
                assert!((value - want).abs() < 0.5, "{at}: {value}, not {want}");
            }
        }
        for x in [1.0_f32, 1.5, 3.1, 1e7, 1e30] {
            let mut got = vec![0.0; n];
            s.write(&mut got, s.reciprocal(s.splat(x)));
            assert!((f64::from(got[0]) * f64::from(x) - 1.0).abs() < 3e-7, "{x}: {}", got[0]);
        }
    }
}

#[test]
fn squares_are_transposed_and_reciprocals_are_close() {
    for level in Level::available() {
        level.run(Squares);
    }
}
