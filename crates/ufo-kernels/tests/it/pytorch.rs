//! Outputs, gradients and optimizer steps equal those of PyTorch in double precision, which
//! `tests/reference/kernels.py` wrote to the file beside it.

use std::collections::HashMap;

use serde_json::Value;
use ufo_kernels::{
    Level, Mat, MatMut, Scratch,
    attention::{self, Attention, LinearGrads},
    cross_entropy::{self, CrossEntropy, Targets},
    ffn::{self, FfnGrads, FfnWeights},
    layer_norm::{self, LayerNorm, RowStats},
    linear::LinearWeights,
    optimizer::{self, AdamW, AdamWState, Sgd, SgdState},
};

const EPS: f32 = 1e-6;
/// Largest difference, relative to the largest expected magnitude.
const CLOSE: f64 = 3e-6;

/// A case of the reference program.
struct Case {
    sizes: HashMap<String, usize>,
    inputs: HashMap<String, Vec<f32>>,
    outputs: HashMap<String, Vec<f64>>,
}

impl Case {
    fn read(name: &str) -> Self {
        let document: Value = serde_json::from_str(include_str!("../reference/kernels.json"))
            .expect("the fixture is JSON");
        let case = &document["cases"][name];
        let numbers = |values: &Value| -> Vec<f64> {
            values
                .as_array()
                .expect("an array")
                .iter()
                .map(|v| v.as_f64().expect("a number"))
                .collect()
        };
        let map = |part: &str| -> HashMap<String, Vec<f64>> {
            let entries = case[part].as_object().expect("an object").iter();
            entries.map(|(name, values)| (name.clone(), numbers(values))).collect()
        };
        let sizes = case["sizes"].as_object().expect("an object").iter();
        Self {
            sizes: sizes.map(|(k, v)| (k.clone(), v.as_u64().expect("a size") as usize)).collect(),
            inputs: map("inputs")
                .into_iter()
                .map(|(name, values)| (name, values.iter().map(|&v| v as f32).collect()))
                .collect(),
            outputs: map("outputs"),
        }
    }

    fn size(&self, name: &str) -> usize {
        self.sizes[name]
    }

    fn input(&self, name: &str) -> &[f32] {
        &self.inputs[name]
    }

    /// A buffer of NaN for an output.
    fn buffer(&self, name: &str) -> Vec<f32> {
        vec![f32::NAN; self.outputs[name].len()]
    }

    fn assert(&self, level: Level, name: &str, got: &[f32]) {
        let expected = &self.outputs[name];
        assert_eq!(got.len(), expected.len(), "{name}");
        let scale = expected.iter().fold(0.0_f64, |scale, v| scale.max(v.abs()));
        assert!(scale > 0.0, "{name}: nothing to compare");
        for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
            let off = (f64::from(got) - expected).abs() / scale;
            assert!(
                off <= CLOSE,
                "{name}[{i}] at {level:?} is {got}, not {expected}: off by {off:e}"
            );
        }
    }

    fn norm(&self, weight: &str, bias: &str) -> LayerNorm<'_> {
        LayerNorm { weight: self.input(weight), bias: self.input(bias), eps: EPS }
    }
}

#[test]
fn layer_norm_equals_torch() {
    let case = Case::read("layer_norm");
    let norm = case.norm("weight", "bias");
    for level in Level::available() {
        let [mut y, mut dx] = ["y", "d_x"].map(|name| case.buffer(name));
        let [mut dweight, mut dbias] = ["d_weight", "d_bias"].map(|name| case.buffer(name));
        let mut stats = vec![RowStats::default(); case.size("rows")];
        layer_norm::forward(level, &norm, case.input("x"), &mut y, &mut stats);
        let given = layer_norm::Backward {
            weight: norm.weight,
            x: case.input("x"),
            stats: &stats,
            dy: case.input("dy"),
            past: None,
        };
        let grads = layer_norm::Grads { dx: &mut dx, dweight: &mut dweight, dbias: &mut dbias };
        layer_norm::backward(level, &given, grads, &mut Scratch::new());
        for (name, got) in [("y", y), ("d_x", dx), ("d_weight", dweight), ("d_bias", dbias)] {
            case.assert(level, name, &got);
        }
    }
}

#[test]
fn cross_entropy_equals_torch() {
    for name in ["cross_entropy", "cross_entropy_soft"] {
        let case = Case::read(name);
        let targets = case.input("targets");
        let classes: Vec<u32> = targets.iter().map(|&class| class as u32).collect();
        let targets = if name == "cross_entropy" {
            Targets::Classes(&classes)
        } else {
            Targets::Weights(targets)
        };
        let logits = case.input("logits");
        let given = CrossEntropy { logits, classes: case.size("classes"), targets, smoothing: 0.1 };
        for level in Level::available() {
            let mut grad = case.buffer("d_logits");
            let loss = cross_entropy::forward_backward(level, &given, &mut grad);
            case.assert(level, "loss", &[loss as f32]);
            case.assert(level, "d_logits", &grad);
        }
    }
}

#[test]
fn adamw_equals_torch() {
    let case = Case::read("adamw");
    let settings = AdamW { lr: 0.05, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1 };
    for level in Level::available() {
        let mut param = case.input("param").to_vec();
        let (mut mean, mut square) = (vec![0.0; param.len()], vec![0.0; param.len()]);
        for (grad, step) in case.input("grads").chunks(param.len()).zip(1..) {
            let (param, mean, square) = (&mut param, &mut mean, &mut square);
            optimizer::adamw(
                level,
                &settings,
                step,
                0.25,
                AdamWState { param, grad, mean, square },
            );
        }
        case.assert(level, "param", &param);
    }
}

#[test]
fn sgd_equals_torch() {
    let case = Case::read("sgd");
    let settings = Sgd { lr: 0.05, momentum: 0.9, weight_decay: 0.1 };
    for level in Level::available() {
        let mut param = case.input("param").to_vec();
        let mut buffer = vec![0.0; param.len()];
        for grad in case.input("grads").chunks(param.len()) {
            let state = SgdState { param: &mut param, grad, buffer: &mut buffer };
            optimizer::sgd(level, &settings, 0.25, state);
        }
        case.assert(level, "param", &param);
    }
}

#[test]
fn ffn_on_slices_of_larger_weights_equals_torch() {
    let case = Case::read("ffn");
    let [d, hidden, full_d, full_hidden] =
        ["dim", "hidden", "full_dim", "full_hidden"].map(|name| case.size(name));
    let linear = |name: &str, [inputs, outputs]: [usize; 2], stride: usize| LinearWeights {
        weight: Mat::new(case.input(name), [inputs, outputs], [stride, 1]),
        bias: Some(&case.input(&format!("{name}_bias"))[..outputs]),
    };
    let weights = FfnWeights {
        norm_weight: case.input("norm_weight"),
        norm_bias: case.input("norm_bias"),
        fc1: linear("fc1", [d, hidden], full_hidden),
        fc2: linear("fc2", [hidden, d], full_d),
    };
    let names = ["y", "d_x", "d_norm_weight", "d_norm_bias", "d_fc1", "d_fc1_bias", "d_fc2"];
    for level in Level::available() {
        let (mut saved, mut scratch) = (ffn::Saved::default(), Scratch::new());
        let mut results = names.map(|name| case.buffer(name));
        let mut d_fc2_bias = case.buffer("d_fc2_bias");
        let [y, dx, norm_weight, norm_bias, fc1_weight, fc1_bias, fc2_weight] = &mut results;
        let x = case.input("x");
        ffn::forward_saving(level, &weights, (x, y), &mut saved, &mut scratch);
        let grads = FfnGrads {
            dx,
            norm_weight,
            norm_bias,
            fc1_weight: Some(fc1_weight),
            fc1_bias: Some(fc1_bias),
            fc2_weight: Some(fc2_weight),
            fc2_bias: Some(&mut d_fc2_bias),
        };
        let dy = case.input("dy");
        let given = ffn::Backward { saved: &saved, x, dy, past: dy };
        ffn::backward(level, &weights, given, grads, &mut scratch);
        for (name, got) in names.iter().zip(&results) {
            case.assert(level, name, got);
        }
        case.assert(level, "d_fc2_bias", &d_fc2_bias);
    }
}

/// Puts runs of `e` values at the start of runs of `full_e`.
fn spread(to: &mut [f32], from: &[f32], [full_e, e]: [usize; 2]) {
    for (to, from) in to.chunks_exact_mut(full_e).zip(from.chunks_exact(e)) {
        to[..e].copy_from_slice(from);
    }
}

/// The leading heads of a larger layer: queries, keys and values of those heads side by side, the output from views of the larger one.
#[test]
fn attention_on_slices_of_larger_weights_equals_torch() {
    let case = Case::read("attention");
    let [d, full_d, heads, tokens] =
        ["dim", "full_dim", "heads", "tokens"].map(|name| case.size(name));
    let (e, full_e) =
        (heads * case.size("head_dim"), case.size("full_heads") * case.size("head_dim"));
    let leading = |row: &[f32]| -> Vec<f32> {
        row.chunks_exact(full_e).flat_map(|part| &part[..e]).copied().collect()
    };
    let rows = case.input("qkv").chunks_exact(3 * full_e).take(d);
    let (qkv, qkv_bias) =
        (rows.map(leading).collect::<Vec<_>>().concat(), leading(case.input("qkv_bias")));
    let layer = Attention {
        norm: case.norm("norm_weight", "norm_bias"),
        qkv: LinearWeights { weight: Mat::row_major(&qkv, d, 3 * e), bias: Some(&qkv_bias) },
        proj: LinearWeights {
            weight: Mat::new(case.input("proj"), [e, d], [full_d, 1]),
            bias: Some(&case.input("proj_bias")[..d]),
        },
        heads,
        tokens,
    };
    let names = ["y", "d_x", "d_norm_weight", "d_norm_bias", "d_proj", "d_proj_bias"];
    for level in Level::available() {
        let (mut saved, mut scratch) = (attention::Saved::default(), Scratch::new());
        let mut results = names.map(|name| case.buffer(name));
        let [y, dx, norm_weight, norm_bias, d_proj, d_proj_bias] = &mut results;
        let (mut d_qkv, mut d_qkv_bias) = (vec![0.0; d * 3 * e], vec![0.0; 3 * e]);
        let x = case.input("x");
        attention::forward_saving(level, &layer, (x, y), &mut saved, &mut scratch);
        let grads = attention::Grads {
            dx,
            norm_weight,
            norm_bias,
            qkv: LinearGrads {
                weight: Some(MatMut::row_major(&mut d_qkv, d, 3 * e)),
                bias: Some(&mut d_qkv_bias),
            },
            proj: LinearGrads {
                weight: Some(MatMut::row_major(d_proj, e, d)),
                bias: Some(d_proj_bias),
            },
        };
        let dy = case.input("dy");
        let given = attention::Backward { saved: &saved, x, dy, past: dy };
        attention::backward(level, &layer, &given, grads, &mut scratch);
        for (name, got) in names.iter().zip(&results) {
            case.assert(level, name, got);
        }
        // The reference's gradients of the whole layer: zero beyond the slice.
        let mut whole = vec![0.0; full_d * 3 * full_e];
        for (to, from) in whole.chunks_exact_mut(3 * full_e).zip(d_qkv.chunks_exact(3 * e)) {
            spread(to, from, [full_e, e]);
        }
        case.assert(level, "d_qkv", &whole);
        let mut whole = vec![0.0; 3 * full_e];
        spread(&mut whole, &d_qkv_bias, [full_e, e]);
        case.assert(level, "d_qkv_bias", &whole);
    }
}
