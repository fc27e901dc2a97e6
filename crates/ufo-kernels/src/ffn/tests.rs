use super::*;
use crate::testing::{
    assert_bf16_is_close, assert_close, assert_same_for_any_threads, assert_within, differences,
    doubles, values,
};

/// A feed-forward whose weights lie in the corner of larger ones, in some precision.
#[derive(Clone)]
struct Case<T> {
    /// `[m, d, f]`
    shape: [usize; 3],
    /// `x, norm_weight, norm_bias, w1, b1, w2, b2`, the weights contiguous.
    parts: [Vec<T>; 7],
}

const NAMES: [&str; 7] =
    ["dx", "norm_weight", "norm_bias", "fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias"];

fn case([m, d, f]: [usize; 3]) -> Case<f32> {
    let lens = [m * d, d, d, d * f, f, f * d, d];
    let mut seed = 0;
    let mut parts = lens.map(|len| {
        seed += 1;
        values(seed, len)
    });
    parts[1].iter_mut().for_each(|w| *w += 1.5);
    Case { shape: [m, d, f], parts }
}

fn gelu_f64(x: f64) -> f64 {
    let steps = 200;
    let h = x / f64::from(steps);
    let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let inner = |i: i32| if i % 2 == 1 { 4.0 } else { 2.0 } * density(f64::from(i) * h);
    let sum = density(0.0) + density(x) + (1..steps).map(inner).sum::<f64>();
    x * (0.5 + sum * h / 3.0)
}

impl Case<f64> {
    fn of(case: &Case<f32>) -> Self {
        Self { shape: case.shape, parts: case.parts.each_ref().map(|part| doubles(part)) }
    }

    /// The output in double precision.
    fn output(&self) -> Vec<f64> {
        let [_, d, f] = self.shape;
        let [x, norm_weight, norm_bias, w1, b1, w2, b2] = &self.parts;
        let mut y = Vec::new();
        for row in x.chunks(d) {
            let mean = row.iter().sum::<f64>() / d as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            let rstd = 1.0 / (variance + 1e-6).sqrt();
            let normed = |k: usize| (row[k] - mean) * rstd * norm_weight[k] + norm_bias[k];
            let hidden: Vec<f64> = (0..f)
                .map(|j| gelu_f64((0..d).map(|k| normed(k) * w1[k * f + j]).sum::<f64>() + b1[j]))
                .collect();
            y.extend(
                (0..d).map(|k| {
                    row[k] + (0..f).map(|j| hidden[j] * w2[j * d + k]).sum::<f64>() + b2[k]
                }),
            );
        }
        y
    }
}

/// The inference output, the training output and the gradients in the order of [`NAMES`].
fn run(level: Level, case: &Case<f32>, dy: &[f32]) -> Vec<Vec<f32>> {
    let [_, d, f] = case.shape;
    let [x, norm_weight, norm_bias, w1, b1, w2, b2] = &case.parts;
    let larger = |w: &[f32], rows: usize, cols: usize| {
        let mut data = vec![f32::NAN; (rows + 1) * (cols + 3)];
        for row in 0..rows {
            data[row * (cols + 3)..][..cols].copy_from_slice(&w[row * cols..][..cols]);
        }
        data
    };
    let (large_1, large_2) = (larger(w1, d, f), larger(w2, f, d));
    let fc1 = LinearWeights { weight: Mat::new(&large_1, [d, f], [f + 3, 1]), bias: Some(b1) };
    let fc2 = LinearWeights { weight: Mat::new(&large_2, [f, d], [d + 3, 1]), bias: Some(b2) };
    let weights = FfnWeights { norm_weight, norm_bias, fc1, fc2 };
    let mut scratch = Scratch::new();
    let mut saved = Saved::default();
    let [mut inferred, mut trained] = [0; 2].map(|_| vec![f32::NAN; x.len()]);
    forward(level, &weights, x, &mut inferred, &mut scratch);
    forward_saving(level, &weights, (x, &mut trained), &mut saved, &mut scratch);
    let [mut dx, mut nw, mut nb, mut g1, mut gb1, mut g2, mut gb2] =
        case.parts.each_ref().map(|part| vec![f32::NAN; part.len()]);
    let grads = FfnGrads {
        dx: &mut dx,
        norm_weight: &mut nw,
        norm_bias: &mut nb,
        fc1_weight: Some(&mut g1),
        fc1_bias: Some(&mut gb1),
        fc2_weight: Some(&mut g2),
        fc2_bias: Some(&mut gb2),
    };
    backward(level, &weights, Backward { saved: &saved, x, dy, past: dy }, grads, &mut scratch);
    vec![inferred, trained, dx, nw, nb, g1, gb1, g2, gb2]
}

fn assert_matches_the_formula(shape: [usize; 3]) {
    let case = case(shape);
    let dy = values(99, shape[0] * shape[1]);
    let reference = Case::of(&case);
    let output = reference.output();
    let gradients: Vec<Vec<f64>> = (0..7)
        .map(|part| {
            differences(&reference.parts[part], |at| {
                let mut moved = reference.clone();
                moved.parts[part] = at.to_vec();
                moved.output().iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum()
            })
        })
        .collect();
    for level in Level::available() {
        let got = run(level, &case, &dy);
        assert_close("y", &got[0], &output, 1e-5);
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
        assert_eq!(bits(&got[0]), bits(&got[1]), "{level:?}: inference and training differ");
        for (k, name) in NAMES.into_iter().enumerate() {
            // In a row of one value, x - mean is 0 and dx only rounding.
            if shape[1] > 1 || k != 0 {
                let name = format!("{name} at {level:?} of {shape:?}");
                // GELU's own error is absolute, however small the gradients are.
                let largest = gradients[k].iter().fold(0.0_f64, |largest, v| largest.max(v.abs()));
                assert_within(&name, &got[2 + k], &gradients[k], 3e-5 * largest + 1e-6);
            }
        }
    }
}

#[test]
fn output_and_gradients_are_those_of_the_formula() {
    for m in [1, 2, 3, 7] {
        for d in [1, 3, 5, 8, 17] {
            for f in [1, 2, 5, 18] {
                assert_matches_the_formula([m, d, f]);
            }
        }
    }
}

#[test]
fn rows_beyond_a_block_and_a_group_are_as_the_others() {
    // The gradients of many rows are the sums of the gradients of each.
    let [m, d, f] = [2 * GROUP_ROWS + BLOCK_ROWS + 5, 9, 20];
    let case = case([m, d, f]);
    let dy = values(99, m * d);
    for level in Level::available() {
        let all = run(level, &case, &dy);
        let mut sums = vec![vec![0.0_f64; 0]; 9];
        for row in 0..m {
            let mut one = case.clone();
            one.shape[0] = 1;
            one.parts[0] = case.parts[0][row * d..][..d].to_vec();
            for (k, part) in run(level, &one, &dy[row * d..][..d]).iter().enumerate() {
                if k < 3 {
                    sums[k].extend(doubles(part));
                } else {
                    sums[k].resize(part.len(), 0.0);
                    sums[k].iter_mut().zip(part).for_each(|(sum, v)| *sum += f64::from(*v));
                }
            }
        }
        for (k, sum) in sums.iter().enumerate() {
            assert_close(&format!("part {k} at {level:?}"), &all[k], sum, 2e-5);
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let case = case([1000, 40, 130]);
    let dy = values(99, 1000 * 40);
    assert_same_for_any_threads(|level| run(level, &case, &dy).concat());
}

#[test]
fn products_in_bf16_are_close_to_those_in_f32() {
    let case = case([300, 40, 130]);
    let dy = values(99, 300 * 40);
    assert_bf16_is_close(|level| run(level, &case, &dy));
}

#[test]
fn no_rows_give_zero_weight_gradients() {
    for level in Level::available() {
        let got = run(level, &case([0, 4, 6]), &[]);
        assert!(got.iter().flatten().all(|v| v.to_bits() == 0), "{level:?}");
    }
}

#[test]
fn nan_stays_in_its_row() {
    let mut case = case([3, 8, 10]);
    case.parts[0][8 + 2] = f32::NAN;
    for level in Level::available() {
        let y = &run(level, &case, &[1.0; 24])[0];
        assert!(y[8..16].iter().all(|v| v.is_nan()), "{level:?}");
        assert!(y[..8].iter().chain(&y[16..]).all(|v| v.is_finite()), "{level:?}");
    }
}

#[test]
fn rows_have_the_same_bits_in_bf16_wherever_the_threads_cut() {
    // Two passes over the hidden width, and blocks that threads cut at other rows.
    let case = case([1040, 40, 1601]);
    let dy = values(99, 1040 * 40);
    assert_same_for_any_threads(|level| run(level.bf16(), &case, &dy).concat());
}
