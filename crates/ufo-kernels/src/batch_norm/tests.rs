use proptest::prelude::*;

use super::*;
use crate::testing::{
    assert_same_for_any_threads, assert_within, differences, doubles, fixed_cases, values,
};

const EPS: f32 = 1e-3;
const ALL: [Activation; 3] = [Activation::None, Activation::Relu, Activation::Hardswish];

fn activate(activation: Activation, v: f64) -> f64 {
    match activation {
        Activation::None => v,
        Activation::Relu => v.max(0.0),
        Activation::Hardswish => v * (v + 3.0).clamp(0.0, 6.0) / 6.0,
    }
}

fn slope(activation: Activation, v: f64) -> f64 {
    match activation {
        Activation::Relu => f64::from(u8::from(v > 0.0)),
        Activation::Hardswish if v <= -3.0 => 0.0,
        Activation::Hardswish if v <= 3.0 => v / 3.0 + 0.5,
        Activation::None | Activation::Hardswish => 1.0,
    }
}

struct Case {
    rows: usize,
    x: Vec<f32>,
    residual: Option<Vec<f32>>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
    /// Mean and variance, unless those of x.
    given: Option<[Vec<f32>; 2]>,
    activation: Activation,
}

/// `[y, mean, var, dx, dresidual, dweight, dbias]`
type Results<T> = [Vec<T>; 7];

impl Case {
    fn new([rows, c]: [usize; 2], activation: Activation, residual: bool, measured: bool) -> Self {
        let len = rows * c;
        let scaled = |seed, len, by: f32, plus: f32| -> Vec<f32> {
            values(seed, len).iter().map(|v| by * v + plus).collect()
        };
        Self {
            rows,
            x: scaled(1, len, 2.0, 0.5),
            residual: residual.then(|| scaled(2, len, 2.0, 0.0)),
            weight: scaled(3, c, 1.5, 1.0),
            bias: values(4, c),
            dy: values(5, len),
            given: (!measured).then(|| [values(6, c), scaled(7, c, 0.5, 1.0)]),
            activation,
        }
    }

    fn run(&self, level: Level) -> Results<f32> {
        let (len, c) = (self.x.len(), self.weight.len());
        let mut scratch = Scratch::new();
        // What an earlier call left behind must not matter.
        scratch.lend([3 * len + 5000], 0).0[0].fill(f32::NAN);
        let [mut mean, mut var] =
            self.given.clone().unwrap_or([vec![f32::NAN; c], vec![f32::NAN; c]]);
        if self.given.is_none() {
            measure(level, &self.x, [&mut mean, &mut var], &mut scratch);
        }
        let norm = BatchNorm {
            weight: &self.weight,
            bias: &self.bias,
            mean: &mean,
            var: &var,
            eps: EPS,
            activation: self.activation,
        };
        let residual = self.residual.as_deref();
        let [mut y, mut dx, mut dresidual] = [(); 3].map(|()| vec![f32::NAN; len]);
        let [mut dweight, mut dbias] = [(); 2].map(|()| vec![f32::NAN; c]);
        forward(level, &norm, (&self.x, residual), &mut y, &mut scratch);
        let given = Backward { x: &self.x, residual, dy: &self.dy, measured: self.given.is_none() };
        let grads = Grads {
            dx: &mut dx,
            dresidual: residual.map(|_| &mut dresidual[..]),
            dweight: &mut dweight,
            dbias: &mut dbias,
        };
        backward(level, &norm, &given, grads, &mut scratch);
        dresidual.truncate(residual.map_or(0, <[f32]>::len));
        [y, mean, var, dx, dresidual, dweight, dbias]
    }

    /// The formula of the module in double precision.
    fn reference(&self, x: &[f64], residual: &[f64], [weight, bias]: [&[f64]; 2]) -> Results<f64> {
        let (len, c, rows) = (x.len(), weight.len(), self.rows as f64);
        let of = |f: &dyn Fn(usize) -> f64, channel: usize| -> f64 {
            (channel..len).step_by(c).map(f).sum()
        };
        let (mean, var) = if let Some([mean, var]) = &self.given {
            (doubles(mean), doubles(var))
        } else {
            let mean: Vec<f64> = (0..c).map(|k| of(&|i| x[i], k) / rows).collect();
            let var = (0..c).map(|k| of(&|i| (x[i] - mean[k]).powi(2), k) / rows).collect();
            (mean, var)
        };
        let rstd: Vec<f64> = var.iter().map(|var| 1.0 / (var + f64::from(EPS)).sqrt()).collect();
        let n = |i: usize| (x[i] - mean[i % c]) * rstd[i % c];
        let pre =
            |i: usize| n(i) * weight[i % c] + bias[i % c] + residual.get(i).copied().unwrap_or(0.0);
        let g = |i: usize| f64::from(self.dy[i]) * slope(self.activation, pre(i));
        let dbias: Vec<f64> = (0..c).map(|k| of(&g, k)).collect();
        let dweight: Vec<f64> = (0..c).map(|k| of(&|i| g(i) * n(i), k)).collect();
        let dx = |i: usize| {
            let k = i % c;
            let back =
                if self.given.is_none() { (dbias[k] + n(i) * dweight[k]) / rows } else { 0.0 };
            rstd[k] * weight[k] * (g(i) - back)
        };
        let y = (0..len).map(|i| activate(self.activation, pre(i))).collect();
        let [dx, dresidual] = [(0..len).map(dx).collect(), (0..residual.len()).map(g).collect()];
        [y, mean, var, dx, dresidual, dweight, dbias]
    }

    fn check(&self) {
        let residual = self.residual.as_deref().map(doubles).unwrap_or_default();
        let [x, weight, bias] = [&self.x, &self.weight, &self.bias].map(|v| doubles(v));
        let want = self.reference(&x, &residual, [&weight, &bias]);
        let rstd =
            want[2].iter().fold(1.0, |top: f64, var| top.max(1.0 / (var + f64::from(EPS)).sqrt()));
        let sums = 1.0 + self.rows as f64;
        for level in Level::available() {
            let got = self.run(level);
            let names = ["y", "mean", "var", "dx", "dresidual", "dweight", "dbias"];
            let limits = [
                3e-6 * rstd,
                1e-6,
                2e-6,
                6e-6 * rstd * rstd,
                3e-6 * rstd,
                2e-6 * rstd * sums,
                1e-6 * rstd * sums,
            ];
            for (((name, got), want), limit) in names.iter().zip(&got).zip(&want).zip(limits) {
                assert_within(&format!("{name} at {level:?}"), got, want, limit);
            }
        }
    }
}

proptest! {
    #![proptest_config(fixed_cases(96))]

    #[test]
    fn forward_and_backward_equal_the_formula(
        rows in 1_usize..70, c in 1_usize..50, kind in 0_usize..3, residual: bool, measured: bool,
    ) {
        // Away from a kink's jump, across which rounding would be an error of its own.
        let activation = if ALL[kind] == Activation::Relu { Activation::None } else { ALL[kind] };
        Case::new([rows, c], activation, residual, measured).check();
    }
}

#[test]
fn typical_sizes_equal_the_formula() {
    for (rows, c) in [(1, 1), (400, 64), (37, 2048), (900, 24), (70, 184), (3000, 3)] {
        for activation in ALL {
            Case::new([rows, c], activation, c % 3 == 0, c != 64).check();
        }
    }
}

#[test]
fn the_formula_of_the_gradients_agrees_with_differences() {
    for activation in ALL {
        for measured in [true, false] {
            let case = Case::new([4, 3], activation, true, measured);
            let [x, weight, bias] = [&case.x, &case.weight, &case.bias].map(|v| doubles(v));
            let residual = doubles(case.residual.as_ref().unwrap());
            let dy = doubles(&case.dy);
            let dot = |[y, ..]: Results<f64>| y.iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>();
            let [_, _, _, dx, dresidual, dweight, dbias] =
                case.reference(&x, &residual, [&weight, &bias]);
            for (formula, difference) in [
                (dx, differences(&x, |x| dot(case.reference(x, &residual, [&weight, &bias])))),
                (
                    dresidual,
                    differences(&residual, |r| dot(case.reference(&x, r, [&weight, &bias]))),
                ),
                (dweight, differences(&weight, |w| dot(case.reference(&x, &residual, [w, &bias])))),
                (dbias, differences(&bias, |b| dot(case.reference(&x, &residual, [&weight, b])))),
            ] {
                for (a, b) in formula.iter().zip(difference) {
                    assert!((a - b).abs() < 1e-7, "{activation:?}: {a} {b}");
                }
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let case = Case::new([3000, 40], Activation::Hardswish, true, true);
    assert_same_for_any_threads(|level| case.run(level).concat());
}

#[test]
fn a_large_mean_does_not_spoil_the_variance() {
    let x: Vec<f32> = (0..3 * 900).map(|i| 4096.0 + (i / 3 % 3) as f32).collect();
    for level in Level::available() {
        let (mut mean, mut var) = ([0.0; 3], [0.0; 3]);
        measure(level, &x, [&mut mean, &mut var], &mut Scratch::new());
        assert!(mean.iter().all(|mean| (mean - 4097.0).abs() < 1e-6), "{level:?}: {mean:?}");
        assert!(var.iter().all(|var| (var - 2.0 / 3.0).abs() < 1e-6), "{level:?}: {var:?}");
    }
}

#[test]
fn a_nan_shows_in_its_channel() {
    let mut case = Case::new([9, 5], Activation::Relu, false, true);
    case.x[7] = f32::NAN;
    for level in Level::available() {
        let [y, ..] = case.run(level);
        let nan: Vec<usize> = (0..y.len()).filter(|i| y[*i].is_nan()).map(|i| i % 5).collect();
        assert_eq!(nan, [2; 9], "{level:?}");
    }
}

#[test]
#[should_panic(expected = "bias: 3 values for 4 channels")]
fn lengths_are_checked() {
    let norm = BatchNorm {
        weight: &[1.0; 4],
        bias: &[0.0; 3],
        mean: &[0.0; 4],
        var: &[1.0; 4],
        eps: EPS,
        activation: Activation::None,
    };
    let level = crate::Vectors::Portable.into();
    forward(level, &norm, (&[0.0; 4], None), &mut [0.0; 4], &mut Scratch::new());
}
