use proptest::prelude::*;

use super::*;
use crate::{
    Vectors,
    testing::{assert_same_for_any_threads, assert_within, differences, doubles, values},
};

/// The mean loss by its definition, in double precision, of weights after smoothing.
fn loss(x: &[f64], t: &[f64], classes: usize) -> f64 {
    let row = |(x, t): (&[f64], &[f64])| {
        let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = x.iter().map(|x| (x - top).exp()).sum::<f64>().ln() + top;
        x.iter().zip(t).map(|(x, t)| t * (log_sum - x)).sum::<f64>()
    };
    let rows = (x.len() / classes) as f64;
    x.chunks(classes).zip(t.chunks(classes)).map(row).sum::<f64>() / rows
}

fn gradient(x: &[f64], t: &[f64], classes: usize) -> Vec<f64> {
    let rows = (x.len() / classes) as f64;
    let row = |(x, t): (&[f64], &[f64])| {
        let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = x.iter().map(|x| (x - top).exp()).sum();
        let total: f64 = t.iter().sum();
        let one = |(x, t): (&f64, &f64)| ((x - top).exp() / sum * total - t) / rows;
        x.iter().zip(t).map(one).collect::<Vec<_>>()
    };
    x.chunks(classes).zip(t.chunks(classes)).flat_map(row).collect()
}

struct Case {
    classes: usize,
    logits: Vec<f32>,
    labels: Vec<u32>,
    weights: Vec<f32>,
    smoothing: f32,
}

impl Case {
    fn new(rows: usize, classes: usize, smoothing: f32) -> Self {
        let logits = values(1, rows * classes).iter().map(|x| 9.0 * x).collect();
        let labels =
            values(2, rows).iter().map(|v| ((v + 1.0) * 1e4) as u32 % classes as u32).collect();
        let weights = values(3, rows * classes).iter().map(|v| v.abs()).collect();
        Self { classes, logits, labels, weights, smoothing }
    }

    fn run(&self, level: Level, targets: Targets) -> (f64, Vec<f32>) {
        let Self { classes, smoothing, .. } = *self;
        let given = CrossEntropy { logits: &self.logits, classes, targets, smoothing };
        let mut grad = vec![f32::NAN; self.logits.len()];
        let loss = forward_backward(level, &given, &mut grad);
        (loss, grad)
    }

    /// Weights after smoothing, in double precision.
    fn smoothed(&self, weights: &[f64]) -> Vec<f64> {
        let smoothing = f64::from(self.smoothing);
        weights.iter().map(|t| (1.0 - smoothing) * t + smoothing / self.classes as f64).collect()
    }

    fn one_hot(&self) -> Vec<f64> {
        let mut weights = vec![0.0; self.logits.len()];
        for (row, &label) in weights.chunks_mut(self.classes).zip(&self.labels) {
            row[label as usize] = 1.0;
        }
        weights
    }

    fn check(&self) {
        let x = doubles(&self.logits);
        let rows = self.labels.len() as f64;
        let hard = (Targets::Classes(&self.labels), self.one_hot());
        let soft = (Targets::Weights(&self.weights), doubles(&self.weights));
        for (targets, weights) in [hard, soft] {
            let t = self.smoothed(&weights);
            let expected = loss(&x, &t, self.classes);
            let total = t.iter().sum::<f64>() / rows;
            for level in Level::available() {
                let (got, grad) = self.run(level, targets);
                assert!((got - expected).abs() < 3e-6 * (total + expected), "{got} {expected}");
                let limit = 1e-6 * (1.0 + total) / rows;
                assert_within("grad", &grad, &gradient(&x, &t, self.classes), limit);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn loss_and_gradient_equal_the_definition(
        rows in 1_usize..40,
        classes in 1_usize..70,
        smoothing in prop_oneof![Just(0.0_f32), Just(1.0), 0.0_f32..1.0],
    ) {
        Case::new(rows, classes, smoothing).check();
    }
}

#[test]
fn many_classes_equal_the_definition() {
    for (rows, classes) in [(2, 1000), (7, 9001), (300, 100)] {
        Case::new(rows, classes, 0.1).check();
    }
}

#[test]
fn the_gradient_of_the_reference_agrees_with_differences() {
    let case = Case::new(3, 5, 0.2);
    let (x, t) = (doubles(&case.logits), case.smoothed(&doubles(&case.weights)));
    let difference = differences(&x, |x| loss(x, &t, 5));
    for (formula, difference) in gradient(&x, &t, 5).iter().zip(difference) {
        assert!((formula - difference).abs() < 1e-8, "{formula} {difference}");
    }
}

#[test]
fn huge_logits_neither_overflow_nor_vanish() {
    let logits = [3e38_f32, -3e38, 0.0, 1e6, 1e6, 1e6 - 1.0];
    let given = CrossEntropy {
        logits: &logits,
        classes: 3,
        targets: Targets::Classes(&[0, 1]),
        smoothing: 0.0,
    };
    let second = 0.5 * (2.0 + (-1.0_f64).exp()).ln();
    for level in Level::available() {
        let mut grad = [0.0; 6];
        let loss = forward_backward(level, &given, &mut grad);
        assert!((loss - second).abs() < 1e-6, "{level:?}: {loss}");
        assert_eq!(grad[..3], [0.0; 3], "{level:?}");
        assert!(grad.iter().all(|g| g.is_finite()), "{level:?}: {grad:?}");
    }
}

#[test]
fn a_single_class_has_no_loss() {
    let case = Case::new(9, 1, 0.0);
    for level in Level::available() {
        let (loss, grad) = case.run(level, Targets::Classes(&[0; 9]));
        assert_eq!((loss, grad), (0.0, vec![0.0; 9]), "{level:?}");
    }
}

#[test]
fn an_excluded_class_gets_no_gradient_and_a_nan_stays_in_its_row() {
    let mut case = Case::new(2, 17, 0.0);
    case.logits[4] = f32::NEG_INFINITY;
    case.logits[20] = f32::NAN;
    case.labels = vec![3, 3];
    for level in Level::available() {
        let (loss, grad) = case.run(level, Targets::Classes(&case.labels));
        assert!(loss.is_nan(), "{level:?}");
        assert!(grad[4].abs() <= 0.0, "{level:?}: {}", grad[4]);
        assert!(grad[..17].iter().all(|g| g.is_finite()), "{level:?}: {grad:?}");
        assert!(grad[17..].iter().all(|g| g.is_nan()), "{level:?}: {grad:?}");
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let case = Case::new(301, 100, 0.1);
    assert_same_for_any_threads(|level| {
        let (loss, mut grad) = case.run(level, Targets::Weights(&case.weights));
        let bits = loss.to_bits();
        grad.extend([f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32)]);
        grad
    });
}

#[test]
#[should_panic(expected = "targets: class 3 of 3")]
fn classes_must_exist() {
    let case = Case::new(2, 3, 0.0);
    case.run(Vectors::Portable.into(), Targets::Classes(&[0, 3]));
}
