use proptest::prelude::*;

use super::*;
use crate::testing::{
    assert_close, assert_same_for_any_threads, differences, doubles, fixed_cases, values,
};

/// Sizes `[b, p, c, s]` and `[x, weight1, bias1, weight2, bias2]`.
struct Case {
    sizes: [usize; 4],
    inputs: [Vec<f32>; 5],
    dy: Vec<f32>,
}

impl Case {
    fn new([b, p, c, s]: [usize; 4]) -> Self {
        let x = values(1, b * p * c).iter().map(|x| x + 0.5).collect();
        // Gates on both sides of their kinks.
        let bias2 = values(5, c).iter().map(|v| 5.0 * v).collect();
        let inputs = [x, values(2, s * c), values(3, s), values(4, c * s), bias2];
        Self { sizes: [b, p, c, s], inputs, dy: values(6, b * p * c) }
    }

    /// y and the gradients of the inputs.
    fn run(&self, level: Level) -> [Vec<f32>; 6] {
        let [x, weight1, bias1, weight2, bias2] = &self.inputs;
        let squeeze = SqueezeExcite { weight1, bias1, weight2, bias2 };
        let mut scratch = Scratch::new();
        // What an earlier call left behind must not matter.
        scratch.lend([4 * x.len() + 100], 0).0[0].fill(f32::NAN);
        let mut saved = Saved { mean: vec![f32::NAN; 3], ..Saved::default() };
        let mut y = vec![f32::NAN; x.len()];
        forward(level, &squeeze, (self.sizes[0], x), (&mut y, &mut saved), &mut scratch);
        let mut grads = self.inputs.each_ref().map(|input| vec![f32::NAN; input.len()]);
        let [dx, dweight1, dbias1, dweight2, dbias2] = &mut grads;
        let into = Grads { dx, dweight1, dbias1, dweight2, dbias2 };
        backward(level, &squeeze, (self.sizes[0], x, &self.dy), (&saved, into), &mut scratch);
        let [dx, dweight1, dbias1, dweight2, dbias2] = grads;
        [y, dx, dweight1, dbias1, dweight2, dbias2]
    }

    /// `(mean, hidden, z, y)` in double precision.
    fn reference(&self, [x, w1, b1, w2, b2]: [&[f64]; 5]) -> [Vec<f64>; 4] {
        let [b, p, c, s] = self.sizes;
        let each = |rows: usize, cols: usize, f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            (0..rows * cols).map(|at| f(at / cols, at % cols)).collect()
        };
        let mean = each(b, c, &|n, k| {
            (0..p).map(|pixel| x[(n * p + pixel) * c + k]).sum::<f64>() / p as f64
        });
        let hidden = each(b, s, &|n, j| {
            (b1[j] + (0..c).map(|k| mean[n * c + k] * w1[j * c + k]).sum::<f64>()).max(0.0)
        });
        let z = each(b, c, &|n, k| {
            b2[k] + (0..s).map(|j| hidden[n * s + j] * w2[k * s + j]).sum::<f64>()
        });
        let gate = |z: f64| (z + 3.0).clamp(0.0, 6.0) / 6.0;
        let y = each(b * p, c, &|row, k| x[row * c + k] * gate(z[row / p * c + k]));
        [mean, hidden, z, y]
    }

    /// y and the gradients by the formula of the module, in double precision.
    fn results(&self) -> [Vec<f64>; 6] {
        let [b, p, c, s] = self.sizes;
        let inputs = self.inputs.each_ref().map(|input| doubles(input));
        let [mean, hidden, z, y] = self.reference(inputs.each_ref().map(Vec::as_slice));
        let [x, w1, _, w2, _] = &inputs;
        let dy = doubles(&self.dy);
        let [mut dx, mut dw1, mut db1] = [vec![0.0; x.len()], vec![0.0; s * c], vec![0.0; s]];
        let [mut dw2, mut db2] = [vec![0.0; c * s], vec![0.0; c]];
        for n in 0..b {
            let pixels = || n * p..(n + 1) * p;
            let dz: Vec<f64> = (0..c)
                .map(|k| {
                    let sum: f64 = pixels().map(|row| x[row * c + k] * dy[row * c + k]).sum();
                    if z[n * c + k].abs() < 3.0 { sum / 6.0 } else { 0.0 }
                })
                .collect();
            let mut dmean = vec![0.0; c];
            for j in 0..s {
                let dhidden: f64 = (0..c).map(|k| dz[k] * w2[k * s + j]).sum();
                let dhidden = if hidden[n * s + j] > 0.0 { dhidden } else { 0.0 };
                db1[j] += dhidden;
                for k in 0..c {
                    dw2[k * s + j] += dz[k] * hidden[n * s + j];
                    dw1[j * c + k] += dhidden * mean[n * c + k];
                    dmean[k] += dhidden * w1[j * c + k];
                }
            }
            for k in 0..c {
                db2[k] += dz[k];
                let gate = (z[n * c + k] + 3.0).clamp(0.0, 6.0) / 6.0;
                for row in pixels() {
                    dx[row * c + k] = dy[row * c + k] * gate + dmean[k] / p as f64;
                }
            }
        }
        [y, dx, dw1, db1, dw2, db2]
    }
}

proptest! {
    #![proptest_config(fixed_cases(48))]

    #[test]
    fn forward_and_backward_equal_the_formula(
        b in 1_usize..5, p in 1_usize..12, c in 1_usize..40, s in 1_usize..12,
    ) {
        let case = Case::new([b, p, c, s]);
        for level in Level::available() {
            let names = ["y", "dx", "dweight1", "dbias1", "dweight2", "dbias2"];
            for ((name, got), want) in names.iter().zip(case.run(level)).zip(case.results()) {
                assert_close(&format!("{name} at {level:?}"), &got, &want, 1e-5);
            }
        }
    }
}

#[test]
fn the_formula_of_the_gradients_agrees_with_differences() {
    let case = Case::new([2, 3, 5, 4]);
    let inputs = case.inputs.each_ref().map(|input| doubles(input));
    let dy = doubles(&case.dy);
    let [_, formulas @ ..] = case.results();
    for (at, formula) in formulas.iter().enumerate() {
        let found = differences(&inputs[at], |changed| {
            let mut inputs = inputs.each_ref().map(Vec::as_slice);
            inputs[at] = changed;
            let [.., y] = case.reference(inputs);
            y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        });
        for (a, b) in formula.iter().zip(found) {
            assert!((a - b).abs() < 1e-7, "input {at}: {a} {b}");
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let case = Case::new([7, 400, 72, 24]);
    assert_same_for_any_threads(|level| case.run(level).concat());
}

#[test]
#[should_panic(expected = "weight2: 7 values, expected 8")]
fn lengths_are_checked() {
    let (weight, weight2, bias1, bias2) = ([0.0; 8], [0.0; 7], [0.0; 2], [0.0; 4]);
    let squeeze =
        SqueezeExcite { weight1: &weight, bias1: &bias1, weight2: &weight2, bias2: &bias2 };
    let (mut y, mut saved) = ([0.0; 4], Saved::default());
    let level = crate::Vectors::Portable.into();
    let to = (&mut y[..], &mut saved);
    forward(level, &squeeze, (1, &[0.0; 4]), to, &mut Scratch::new());
}
