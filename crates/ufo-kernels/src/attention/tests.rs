use proptest::prelude::*;

use super::*;
use crate::{
    Vectors,
    testing::{
        assert_bf16_is_close, assert_close, assert_same_for_any_threads, differences, doubles,
        fixed_cases, values,
    },
};

const EPS: f32 = 1e-6;

/// Sizes of a case: images, tokens, width, heads, length of a head.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    tokens: usize,
    d: usize,
    heads: usize,
    head_dim: usize,
}

impl Sizes {
    fn e(&self) -> usize {
        self.heads * self.head_dim
    }

    fn x(&self) -> usize {
        self.batch * self.tokens * self.d
    }

    /// Lengths of norm weight and bias, the weight and the bias of qkv, and those of proj.
    fn lens(&self) -> [usize; 6] {
        let (d, e) = (self.d, self.e());
        [d, d, d * 3 * e, 3 * e, e * d, d]
    }
}

/// `a [m, k] b [k, n] + bias`
fn linear(a: &[f64], b: &[f64], bias: &[f64]) -> Vec<f64> {
    let n = bias.len();
    let k = b.len() / n;
    let row = |row: &[f64]| {
        (0..n)
            .map(|j| bias[j] + (0..k).map(|i| row[i] * b[i * n + j]).sum::<f64>())
            .collect::<Vec<_>>()
    };
    a.chunks(k).flat_map(row).collect()
}

fn normalized(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let d = weight.len();
    let row = |row: &[f64]| {
        let mean = row.iter().sum::<f64>() / d as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
        let rstd = 1.0 / (variance + f64::from(EPS)).sqrt();
        (0..d).map(|i| (row[i] - mean) * rstd * weight[i] + bias[i]).collect::<Vec<_>>()
    };
    x.chunks(d).flat_map(row).collect()
}

/// The formula in double precision.
fn reference(sizes: Sizes, x: &[f64], parameters: &[Vec<f64>; 6]) -> Vec<f64> {
    let Sizes { tokens, heads, head_dim, .. } = sizes;
    let e = sizes.e();
    let [norm_weight, norm_bias, qkv, qkv_bias, proj, proj_bias] = parameters;
    let qkv = linear(&normalized(x, norm_weight, norm_bias), qkv, qkv_bias);
    let rows = x.len() / sizes.d;
    let mut o = vec![0.0; rows * e];
    for (row, head) in (0..rows).flat_map(|row| (0..heads).map(move |head| (row, head))) {
        let at =
            |row: usize, part: usize| &qkv[row * 3 * e + part * e + head * head_dim..][..head_dim];
        let image = row / tokens * tokens..(row / tokens + 1) * tokens;
        let score = |key: usize| {
            let dot: f64 = at(row, 0).iter().zip(at(key, 1)).map(|(q, k)| q * k).sum();
            (dot / (head_dim as f64).sqrt()).exp()
        };
        let sum: f64 = image.clone().map(score).sum();
        for key in image {
            let p = score(key) / sum;
            for (i, v) in at(key, 2).iter().enumerate() {
                o[row * e + head * head_dim + i] += p * v;
            }
        }
    }
    let out = linear(&o, proj, proj_bias);
    out.iter().zip(x).map(|(out, x)| x + out).collect()
}

/// x, dy and parameters of a case.
struct Case {
    sizes: Sizes,
    x: Vec<f32>,
    dy: Vec<f32>,
    parameters: [Vec<f32>; 6],
}

/// y, dx and the gradients of the parameters.
type Results = [Vec<f32>; 8];

const NAMES: [&str; 8] =
    ["y", "dx", "dnorm_weight", "dnorm_bias", "dqkv", "dqkv_bias", "dproj", "dproj_bias"];

impl Case {
    fn new(sizes: Sizes) -> Self {
        let mut seed = 0;
        let parameters = sizes.lens().map(|len| {
            seed += 1;
            let scale = if seed == 1 { 0.3 } else { 1.5 / (sizes.d.max(3) as f32).sqrt() };
            let shift = if seed == 1 { 1.0 } else { 0.0 };
            values(seed, len).iter().map(|v| shift + scale * v).collect()
        });
        Self { sizes, x: values(10, sizes.x()), dy: values(11, sizes.x()), parameters }
    }

    /// The kernels' results. The weight of q, k and v is the left part of a wider matrix.
    fn run(&self, level: Level) -> Results {
        let (d, e) = (self.sizes.d, self.sizes.e());
        let [norm_weight, norm_bias, qkv, qkv_bias, proj, proj_bias] = &self.parameters;
        let wider: Vec<f32> =
            qkv.chunks_exact(3 * e).flat_map(|row| [row, &[f32::NAN; 3]].concat()).collect();
        let attention = Attention {
            norm: LayerNorm { weight: norm_weight, bias: norm_bias, eps: EPS },
            qkv: LinearWeights {
                weight: Mat::new(&wider, [d, 3 * e], [3 * e + 3, 1]),
                bias: Some(qkv_bias),
            },
            proj: LinearWeights { weight: Mat::row_major(proj, e, d), bias: Some(proj_bias) },
            heads: self.sizes.heads,
            tokens: self.sizes.tokens,
        };
        let mut scratch = Scratch::new();
        // What an earlier call left behind must not matter.
        let nothing = vec![f32::NAN; self.x.len()];
        forward(level, &attention, &nothing, &mut nothing.clone(), &mut scratch);
        scratch.lend([20 * self.x.len() + 4096], 0).0[0].fill(f32::NAN);
        let mut only = vec![f32::NAN; self.x.len()];
        forward(level, &attention, &self.x, &mut only, &mut scratch);
        let mut results = NAMES.map(|_| Vec::new());
        let lens = self.sizes.lens();
        let all = [&[self.x.len(), self.x.len()], &lens[..]].concat();
        for (result, len) in results.iter_mut().zip(all) {
            *result = vec![f32::NAN; len];
        }
        let [y, dx, dnorm_weight, dnorm_bias, dqkv, dqkv_bias, dproj, dproj_bias] = &mut results;
        let mut saved = Saved { qkv: vec![f32::NAN; 7], ..Saved::default() };
        forward_saving(level, &attention, (&self.x, y), &mut saved, &mut scratch);
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(y), bits(&only));
        let grads = Grads {
            dx,
            norm_weight: dnorm_weight,
            norm_bias: dnorm_bias,
            qkv: LinearGrads {
                weight: Some(MatMut::row_major(dqkv, d, 3 * e)),
                bias: Some(dqkv_bias),
            },
            proj: LinearGrads {
                weight: Some(MatMut::row_major(dproj, e, d)),
                bias: Some(dproj_bias),
            },
        };
        let given = Backward { saved: &saved, x: &self.x, dy: &self.dy, past: &self.dy };
        backward(level, &attention, &given, grads, &mut scratch);
        results
    }

    /// Output and gradients of the reference: the gradients by differences.
    fn expected(&self) -> [Vec<f64>; 8] {
        let (x, dy) = (doubles(&self.x), doubles(&self.dy));
        let parameters = self.parameters.each_ref().map(|values| doubles(values));
        let loss = |x: &[f64], parameters: &[Vec<f64>; 6]| -> f64 {
            reference(self.sizes, x, parameters).iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        };
        let mut expected = NAMES.map(|_| Vec::new());
        expected[0] = reference(self.sizes, &x, &parameters);
        expected[1] = differences(&x, |x| loss(x, &parameters));
        for i in 0..6 {
            expected[2 + i] = differences(&parameters[i], |values| {
                let mut parameters = parameters.clone();
                parameters[i] = values.to_vec();
                loss(&x, &parameters)
            });
        }
        expected
    }
}

fn check(sizes: Sizes) {
    let case = Case::new(sizes);
    let expected = case.expected();
    for level in Level::available() {
        let got = case.run(level);
        for ((name, got), expected) in NAMES.iter().zip(&got).zip(&expected) {
            assert_close(&format!("{name} at {level:?}"), got, expected, 2e-5);
        }
    }
}

proptest! {
    #![proptest_config(fixed_cases(12))]

    #[test]
    fn output_and_gradients_are_those_of_the_formula(
        batch in 1_usize..3,
        tokens in 1_usize..7,
        d in 3_usize..9,
        heads in 1_usize..4,
        head_dim in 1_usize..6,
    ) {
        check(Sizes { batch, tokens, d, heads, head_dim });
    }
}

#[test]
fn heads_of_more_than_a_vector_are_those_of_the_formula() {
    check(Sizes { batch: 1, tokens: 19, d: 5, heads: 1, head_dim: 18 });
    check(Sizes { batch: 2, tokens: 17, d: 3, heads: 2, head_dim: 8 });
}

/// Differences would take too long, so only the forward pass.
#[test]
fn outputs_of_many_tokens_are_those_of_the_formula() {
    for (tokens, head_dim) in [(65, 64), (197, 32), (577, 80)] {
        let case = Case::new(Sizes { batch: 1, tokens, d: 24, heads: 2, head_dim });
        let parameters = case.parameters.each_ref().map(|values| doubles(values));
        let expected = reference(case.sizes, &doubles(&case.x), &parameters);
        for level in Level::available() {
            assert_close("y", &case.run(level)[0], &expected, 5e-6);
        }
    }
}

/// Gradients of many tokens, in several blocks of queries, along one random direction.
#[test]
fn gradients_of_many_tokens_agree_with_a_difference() {
    let sizes = Sizes { batch: 1, tokens: 577, d: 16, heads: 1, head_dim: 20 };
    let case = Case::new(sizes);
    let (x, dy) = (doubles(&case.x), doubles(&case.dy));
    let parameters = case.parameters.each_ref().map(|values| doubles(values));
    let along: Vec<Vec<f64>> = std::iter::once(x.len())
        .chain(sizes.lens())
        .enumerate()
        .map(|(seed, len)| doubles(&values(50 + seed as u64, len)))
        .collect();
    let loss = |step: f64| -> f64 {
        let moved = |values: &[f64], i: usize| -> Vec<f64> {
            values.iter().zip(&along[i]).map(|(v, a)| v + step * a).collect()
        };
        let x = moved(&x, 0);
        let parameters = std::array::from_fn(|i| moved(&parameters[i], i + 1));
        reference(sizes, &x, &parameters).iter().zip(&dy).map(|(y, dy)| y * dy).sum()
    };
    let difference = (loss(1e-6) - loss(-1e-6)) / 2e-6;
    for level in Level::available() {
        let results = case.run(level);
        let slope: f64 = results[1..]
            .iter()
            .zip(&along)
            .flat_map(|(gradient, along)| gradient.iter().zip(along))
            .map(|(g, a)| f64::from(*g) * a)
            .sum();
        let off = (slope - difference).abs() / difference.abs();
        assert!(off < 1e-4, "{level:?}: {slope} {difference}");
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let case = Case::new(Sizes { batch: 5, tokens: 65, d: 33, heads: 3, head_dim: 16 });
    assert_same_for_any_threads(|level| case.run(level).concat());
}

#[test]
fn products_in_bf16_are_close_to_those_in_f32() {
    for (batch, tokens, head_dim) in [(3, 35, 16), (1, 21, 10), (1, 401, 20)] {
        let case = Case::new(Sizes { batch, tokens, d: 48, heads: 3, head_dim });
        assert_bf16_is_close(|level| case.run(level).to_vec());
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let mut case = Case::new(Sizes { batch: 1, tokens: 5, d: 4, heads: 1, head_dim: 4 });
    for weight in &mut case.parameters[2] {
        *weight *= 1e4;
    }
    for level in Level::available() {
        assert!(case.run(level).concat().iter().all(|v| v.is_finite()), "{level:?}");
    }
}

#[test]
fn a_nan_stays_in_its_image() {
    let mut case = Case::new(Sizes { batch: 2, tokens: 5, d: 4, heads: 2, head_dim: 3 });
    case.x[21] = f32::NAN;
    for level in Level::available() {
        let [y, dx, ..] = case.run(level);
        for values in [y, dx] {
            assert!(values[..20].iter().all(|v| v.is_finite()), "{level:?}");
            assert!(values[20..].iter().all(|v| v.is_nan()), "{level:?}");
        }
    }
}

#[test]
#[should_panic(expected = "qkv: [4, 6], not [4, 9]")]
fn shapes_are_checked() {
    let (weight, bias) = ([0.0; 24], [0.0; 4]);
    let qkv = LinearWeights { weight: Mat::row_major(&weight, 4, 6), bias: None };
    let proj = LinearWeights { weight: Mat::row_major(&weight[..12], 3, 4), bias: None };
    let norm = LayerNorm { weight: &bias, bias: &bias, eps: EPS };
    let attention = Attention { norm, qkv, proj, heads: 1, tokens: 2 };
    forward(Vectors::Portable.into(), &attention, &[0.0; 8], &mut [0.0; 8], &mut Scratch::new());
}

#[test]
fn heads_alone_give_the_formula_and_the_first_queries_have_the_same_bits() {
    let (batch, tokens, heads, head_dim) = (2, 21, 3, 10);
    let e = heads * head_dim;
    let qkv = values(1, batch * tokens * 3 * e);
    for level in Level::available() {
        let run = |queries: usize| {
            let mut o = vec![f32::NAN; batch * queries * e];
            let sizes = Heads { heads, head_dim, tokens, queries };
            attend(level, &sizes, &qkv, &mut o, &mut Scratch::new());
            o
        };
        let all = run(tokens);
        let mut expected = vec![0.0; all.len()];
        let at = |row: usize, part: usize, head: usize| {
            &qkv[row * 3 * e + part * e + head * head_dim..][..head_dim]
        };
        for (row, head) in (0..batch * tokens).flat_map(|row| (0..heads).map(move |h| (row, h))) {
            let image = row / tokens * tokens..(row / tokens + 1) * tokens;
            let weight = |key: usize| {
                let pairs = at(row, 0, head).iter().zip(at(key, 1, head));
                let dot: f64 = pairs.map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                (dot / (head_dim as f64).sqrt()).exp()
            };
            let sum: f64 = image.clone().map(weight).sum();
            for key in image {
                for (i, v) in at(key, 2, head).iter().enumerate() {
                    expected[row * e + head * head_dim + i] += weight(key) / sum * f64::from(*v);
                }
            }
        }
        assert_close("o", &all, &expected, 1e-5);
        for queries in [1, 4, 20] {
            let of_image = |image: usize| all[image * tokens * e..][..queries * e].iter();
            let first: Vec<f32> = (0..batch).flat_map(of_image).copied().collect();
            assert_eq!(run(queries), first, "{level:?}, {queries}");
        }
    }
}
