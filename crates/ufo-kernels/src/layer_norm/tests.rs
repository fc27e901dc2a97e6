use proptest::prelude::*;

use super::*;
use crate::{
    Vectors,
    testing::{assert_same_for_any_threads, assert_within, differences, doubles, values},
};

const EPS: f32 = 1e-6;

/// The formula in double precision.
fn reference(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let d = weight.len();
    let row = |row: &[f64]| {
        let mean = row.iter().sum::<f64>() / d as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
        let rstd = 1.0 / (variance + f64::from(EPS)).sqrt();
        (0..d).map(|i| (row[i] - mean) * rstd * weight[i] + bias[i]).collect::<Vec<_>>()
    };
    x.chunks(d).flat_map(row).collect()
}

/// Input, output and gradients of one case.
struct Case {
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
    /// Whether the gradient of the output also reaches the input past the norm.
    past: bool,
}

struct Results {
    y: Vec<f32>,
    stats: Vec<RowStats>,
    dx: Vec<f32>,
    dweight: Vec<f32>,
    dbias: Vec<f32>,
}

impl Case {
    fn new(rows: usize, d: usize) -> Self {
        let weight = values(2, d).iter().map(|w| 1.0 + 0.5 * w).collect();
        let x = values(1, rows * d).iter().map(|x| 2.0 * x + 0.5).collect();
        let past = rows.is_multiple_of(2);
        Self { x, weight, bias: values(3, d), dy: values(4, rows * d), past }
    }

    fn run(&self, level: Level) -> Results {
        let d = self.weight.len();
        let norm = LayerNorm { weight: &self.weight, bias: &self.bias, eps: EPS };
        let mut stats = vec![RowStats::default(); self.x.len() / d];
        let mut y = vec![f32::NAN; self.x.len()];
        forward(level, &norm, &self.x, &mut y, &mut stats);
        let mut again = vec![f32::NAN; self.x.len()];
        apply(level, &norm, &self.x, &stats, &mut again);
        assert_eq!(y, again);
        let mut results = Results {
            y,
            stats,
            dx: vec![f32::NAN; self.x.len()],
            dweight: vec![f32::NAN; d],
            dbias: vec![f32::NAN; d],
        };
        let Results { stats, dx, dweight, dbias, .. } = &mut results;
        let (dy, past) = (&self.dy[..], self.past.then_some(&self.dy[..]));
        let given = Backward { weight: &self.weight, x: &self.x, stats, dy, past };
        let mut scratch = Scratch::new();
        // What an earlier call left behind must not matter.
        scratch.lend([3 * self.x.len()], 0).0[0].fill(f32::NAN);
        backward(level, &given, Grads { dx, dweight, dbias }, &mut scratch);
        results
    }

    /// The gradients by the formula of the module, in double precision.
    fn gradients(&self) -> [Vec<f64>; 3] {
        let d = self.weight.len();
        let [x, weight, dy] = [&self.x, &self.weight, &self.dy].map(|v| doubles(v));
        let n = reference(&x, &vec![1.0; d], &vec![0.0; d]);
        let (mut dx, mut dweight, mut dbias) = (Vec::new(), vec![0.0; d], vec![0.0; d]);
        for ((x, n), dy) in x.chunks(d).zip(n.chunks(d)).zip(dy.chunks(d)) {
            let mean = x.iter().sum::<f64>() / d as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            let rstd = 1.0 / (variance + f64::from(EPS)).sqrt();
            let g: Vec<f64> = (0..d).map(|i| dy[i] * weight[i]).collect();
            let mean_g = g.iter().sum::<f64>() / d as f64;
            let mean_gn = (0..d).map(|i| g[i] * n[i]).sum::<f64>() / d as f64;
            for i in 0..d {
                let past = if self.past { dy[i] } else { 0.0 };
                dx.push(past + rstd * (g[i] - mean_g - n[i] * mean_gn));
                dweight[i] += dy[i] * n[i];
                dbias[i] += dy[i];
            }
        }
        [dx, dweight, dbias]
    }

    fn check(&self) {
        let [x, weight, bias] = [&self.x, &self.weight, &self.bias].map(|v| doubles(v));
        let [dx, dweight, dbias] = self.gradients();
        for level in Level::available() {
            let got = self.run(level);
            // Rounding of `x - mean` is multiplied by rstd, in dx twice; gradients may vanish.
            let rstd = got.stats.iter().fold(1.0, |top: f32, stats| top.max(stats.rstd));
            let (rstd, rows) = (f64::from(rstd), got.stats.len() as f64);
            assert_within("y", &got.y, &reference(&x, &weight, &bias), 2e-6 * rstd);
            assert_within("dx", &got.dx, &dx, 2e-6 * rstd * rstd);
            assert_within("dweight", &got.dweight, &dweight, 1e-6 * rstd * (1.0 + rows));
            assert_within("dbias", &got.dbias, &dbias, 3e-7 * (1.0 + rows));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn forward_and_backward_equal_the_formula(rows in 1_usize..80, d in 1_usize..70) {
        Case::new(rows, d).check();
    }
}

#[test]
fn typical_widths_equal_the_formula() {
    for (rows, d) in [(0, 4), (1, 1), (3, 192), (65, 384), (33, 257)] {
        Case::new(rows, d).check();
    }
}

#[test]
fn the_formula_of_the_gradients_agrees_with_differences() {
    let case = Case::new(3, 5);
    let [x, weight, bias] = [&case.x, &case.weight, &case.bias].map(|v| doubles(v));
    let dy = doubles(&case.dy);
    let dot = |y: Vec<f64>| y.iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>();
    let [dx, dweight, dbias] = case.gradients();
    let pairs = [
        (dx, differences(&x, |x| dot(reference(x, &weight, &bias)))),
        (dweight, differences(&weight, |weight| dot(reference(&x, weight, &bias)))),
        (dbias, differences(&bias, |bias| dot(reference(&x, &weight, bias)))),
    ];
    for (formula, difference) in pairs {
        for (a, b) in formula.iter().zip(difference) {
            assert!((a - b).abs() < 1e-7, "{a} {b}");
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let case = Case::new(1100, 129);
    assert_same_for_any_threads(|level| {
        let Results { y, dx, dweight, dbias, .. } = case.run(level);
        [y, dx, dweight, dbias].concat()
    });
}

#[test]
fn a_large_mean_does_not_spoil_the_variance() {
    let x: Vec<f32> = (0..48).map(|i| 4096.0 + (i % 3) as f32).collect();
    let norm = LayerNorm { weight: &[1.0; 48], bias: &[0.0; 48], eps: 0.0 };
    for level in Level::available() {
        let (mut y, mut stats) = ([0.0; 48], [RowStats::default()]);
        forward(level, &norm, &x, &mut y, &mut stats);
        assert!((y[2] - 1.224_744_9).abs() < 1e-5 && y[1].abs() < 1e-5, "{level:?}: {y:?}");
    }
}

#[test]
fn a_nan_stays_in_its_row() {
    let mut x = values(1, 3 * 19);
    x[25] = f32::NAN;
    let norm = LayerNorm { weight: &[1.0; 19], bias: &[0.0; 19], eps: EPS };
    for level in Level::available() {
        let (mut y, mut stats) = ([0.0; 3 * 19], [RowStats::default(); 3]);
        forward(level, &norm, &x, &mut y, &mut stats);
        assert!(y[19..38].iter().all(|y| y.is_nan()), "{level:?}");
        assert!(y[..19].iter().chain(&y[38..]).all(|y| y.is_finite()), "{level:?}");
    }
}

#[test]
#[should_panic(expected = "bias: not of the length of weight")]
fn lengths_are_checked() {
    let norm = LayerNorm { weight: &[1.0; 4], bias: &[0.0; 3], eps: EPS };
    forward(Vectors::Portable.into(), &norm, &[0.0; 4], &mut [0.0; 4], &mut [RowStats::default()]);
}
