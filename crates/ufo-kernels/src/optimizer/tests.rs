use proptest::prelude::*;

use super::*;
use crate::{
    Vectors,
    testing::{assert_close, assert_same_for_any_threads, assert_within, doubles, values},
};

const ADAMW: AdamW = AdamW { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.05 };
const SGD: Sgd = Sgd { lr: 1e-2, momentum: 0.9, weight_decay: 0.05 };

/// Parameters after steps 1 to `steps` of `AdamW`, the gradient of each being that of [`gradient`].
fn run_adamw(level: Level, start: &[f32], steps: u64, factor: f32) -> [Vec<f32>; 3] {
    let mut param = start.to_vec();
    let (mut mean, mut square) = (vec![0.0; start.len()], vec![0.0; start.len()]);
    for step in 1..=steps {
        let grad = gradient(step, start.len());
        let state =
            AdamWState { param: &mut param, grad: &grad, mean: &mut mean, square: &mut square };
        adamw(level, &ADAMW, step, factor, state);
    }
    [param, mean, square]
}

fn run_sgd(level: Level, start: &[f32], steps: u64, factor: f32) -> [Vec<f32>; 2] {
    let (mut param, mut buffer) = (start.to_vec(), vec![0.0; start.len()]);
    for step in 1..=steps {
        let grad = gradient(step, start.len());
        let state = SgdState { param: &mut param, grad: &grad, buffer: &mut buffer };
        sgd(level, &SGD, factor, state);
    }
    [param, buffer]
}

fn gradient(step: u64, len: usize) -> Vec<f32> {
    values(100 + step, len).iter().map(|g| 0.3 * g + 0.1).collect()
}

/// PyTorch's `AdamW` in double precision.
fn reference_adamw(start: &[f32], steps: u64, factor: f64) -> Vec<f64> {
    let mut state: Vec<(f64, f64, f64)> = doubles(start).iter().map(|&p| (p, 0.0, 0.0)).collect();
    for step in 1..=steps {
        let correction = |beta: f64| 1.0 - beta.powi(step as i32);
        for ((p, m, v), g) in state.iter_mut().zip(doubles(&gradient(step, start.len()))) {
            let g = g * factor;
            *p -= ADAMW.lr * ADAMW.weight_decay * *p;
            *m = ADAMW.beta1 * *m + (1.0 - ADAMW.beta1) * g;
            *v = ADAMW.beta2 * *v + (1.0 - ADAMW.beta2) * g * g;
            let (m, v) = (*m / correction(ADAMW.beta1), *v / correction(ADAMW.beta2));
            *p -= ADAMW.lr * m / (v.sqrt() + ADAMW.eps);
        }
    }
    state.into_iter().map(|(p, ..)| p).collect()
}

/// PyTorch's SGD in double precision, whose first step takes the gradient alone.
fn reference_sgd(start: &[f32], steps: u64, factor: f64) -> Vec<f64> {
    let mut state: Vec<(f64, Option<f64>)> = doubles(start).iter().map(|&p| (p, None)).collect();
    for step in 1..=steps {
        for ((p, buffer), g) in state.iter_mut().zip(doubles(&gradient(step, start.len()))) {
            let g = g * factor + SGD.weight_decay * *p;
            let now = buffer.map_or(g, |buffer| SGD.momentum * buffer + g);
            *buffer = Some(now);
            *p -= SGD.lr * now;
        }
    }
    state.into_iter().map(|(p, _)| p).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn many_steps_equal_the_references(len in 0_usize..40, steps in 1_u64..60) {
        let start = values(1, len);
        for level in Level::available() {
            let [param, ..] = run_adamw(level, &start, steps, 0.5);
            assert_within("adamw", &param, &reference_adamw(&start, steps, 0.5), 3e-6);
            let [param, _] = run_sgd(level, &start, steps, 0.5);
            assert_within("sgd", &param, &reference_sgd(&start, steps, 0.5), 3e-6);
        }
    }
}

#[test]
fn a_thousand_steps_equal_the_references() {
    let start = values(1, 21);
    for level in Level::available() {
        let [param, ..] = run_adamw(level, &start, 1000, 1.0);
        assert_close("adamw", &param, &reference_adamw(&start, 1000, 1.0), 2e-5);
        let [param, _] = run_sgd(level, &start, 1000, 1.0);
        assert_close("sgd", &param, &reference_sgd(&start, 1000, 1.0), 2e-5);
    }
}

#[test]
fn levels_and_threads_do_not_change_a_bit() {
    let start = values(1, 3 * PIECE + 77);
    assert_same_for_any_threads(|level| {
        let adamw = run_adamw(level, &start, 2, 0.7).concat();
        let sgd = run_sgd(level, &start, 2, 0.7).concat();
        [adamw, sgd].concat()
    });
    let portable = run_adamw(Vectors::Portable.into(), &start, 2, 0.7);
    for level in Level::available() {
        assert_eq!(run_adamw(level, &start, 2, 0.7), portable, "{level:?}");
    }
}

#[test]
fn the_sum_of_squares_is_the_same_for_any_threads_and_does_not_overflow() {
    let some = values(5, 5 * PIECE + 3);
    let expected: f64 = doubles(&some).iter().map(|v| v * v).sum();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for level in Level::available() {
        let sum = sum_of_squares(level, &some);
        assert!((sum - expected).abs() < 1e-12 * expected, "{sum} {expected}");
        let shared = pool.install(|| sum_of_squares(level, &some));
        assert_eq!(shared.to_bits(), sum.to_bits());
        assert_eq!(sum_of_squares(level, &[]).to_bits(), 0);
        let large = sum_of_squares(level, &[1e30; 19]);
        assert!((large / 19e60 - 1.0).abs() < 1e-6, "{large}");
        assert!(sum_of_squares(level, &[f32::NAN, 1.0]).is_nan());
    }
}

#[test]
#[should_panic(expected = "grad: not of the length of param")]
fn lengths_are_checked() {
    let state = SgdState { param: &mut [0.0; 2], grad: &[0.0; 3], buffer: &mut [0.0; 2] };
    sgd(Vectors::Portable.into(), &SGD, 1.0, state);
}
