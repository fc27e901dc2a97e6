//! Times of the kernels at the sizes of a small vision transformer: 64 images of 65 tokens, width 192.
//!
//! `cargo bench -p ufo-kernels -- [filter]`; one thread, the fastest level.
#![allow(missing_docs, reason = "criterion_group makes a public function")]

use criterion::{Criterion, criterion_group, criterion_main};
use ufo_kernels::{
    Level, Mat, MatMut, Scratch,
    attention::{self, Attention, LinearGrads},
    conv::{self, Activation, Conv, Groups, Layout, Saving, Shape},
    cross_entropy::{self, CrossEntropy, Targets},
    ffn::{self, FfnGrads, FfnWeights},
    gemm::{Epilogue, Packed, gemm},
    int8::{self, Quantized},
    layer_norm::{self, LayerNorm, RowStats},
    linear::LinearWeights,
    optimizer::{self, AdamW, AdamWState, Sgd, SgdState},
};

const ROWS: usize = 64 * TOKENS;
const TOKENS: usize = 65;
const D: usize = 192;
const HIDDEN: usize = 4 * D;
const CLASSES: usize = 100;

fn filled(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 37 % 101) as f32 * 0.002 - 0.1).collect()
}

/// Runs a benchmark in a pool of one thread.
fn bench(criterion: &mut Criterion, name: &str, mut f: impl FnMut(Level) + Send) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread starts");
    let level = Level::detect();
    criterion.bench_function(name, |bencher| bencher.iter(|| pool.install(|| f(level))));
}

fn products(criterion: &mut Criterion) {
    let (x, w, dy) = (filled(ROWS * D), filled(D * HIDDEN), filled(ROWS * HIDDEN));
    let (x, dy) = (Mat::row_major(&x, ROWS, D), Mat::row_major(&dy, ROWS, HIDDEN));
    let w = Mat::row_major(&w, D, HIDDEN);
    let packed = Packed::new(Level::detect(), w);
    let (mut y, mut dx, mut dw) = (filled(ROWS * HIDDEN), filled(ROWS * D), filled(D * HIDDEN));
    let mut scratch = Scratch::new();
    bench(criterion, "gemm forward", |level| {
        let y = MatMut::row_major(&mut y, ROWS, HIDDEN);
        gemm(level, (x, &packed), y, Epilogue::Store, &mut scratch);
    });
    bench(criterion, "gemm dx", |level| {
        let dx = MatMut::row_major(&mut dx, ROWS, D);
        gemm(level, (dy, w.transposed()), dx, Epilogue::Store, &mut scratch);
    });
    bench(criterion, "gemm dw", |level| {
        let dw = MatMut::row_major(&mut dw, D, HIDDEN);
        gemm(level, (x.transposed(), dy), dw, Epilogue::Store, &mut scratch);
    });
}

fn low_precision_products(criterion: &mut Criterion) {
    let (x, w) = (filled(ROWS * D), filled(D * HIDDEN));
    let (x, w) = (Mat::row_major(&x, ROWS, D), Mat::row_major(&w, D, HIDDEN));
    let packed = Packed::new(Level::detect().bf16(), w);
    let quantized = Quantized::new(Level::detect(), w);
    let (mut y, mut scratch) = (filled(ROWS * HIDDEN), Scratch::new());
    bench(criterion, "gemm forward bf16", |level| {
        let y = MatMut::row_major(&mut y, ROWS, HIDDEN);
        gemm(level.bf16(), (x, &packed), y, Epilogue::Store, &mut scratch);
    });
    bench(criterion, "gemm forward int8", |level| {
        let y = MatMut::row_major(&mut y, ROWS, HIDDEN);
        int8::gemm(level, (x, &quantized), y, Epilogue::Store, &mut scratch);
    });
}

/// Kernels of 3x3 on 64 images of 32x32, dense from 32 to 64 channels and depthwise of 64.
fn convolutions(criterion: &mut Criterion) {
    let dense = Shape {
        images: 64,
        channels: 32,
        outputs: 64,
        size: [32, 32],
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        layout: Layout::Nhwc,
        groups: Groups::One,
    };
    let depthwise = Shape { channels: 64, groups: Groups::Depthwise, ..dense };
    for (name, shape) in [("dense", dense), ("depthwise", depthwise)] {
        let pixels = shape.images * 32 * 32;
        let input = filled(pixels * shape.channels);
        let inputs = if shape.groups == Groups::One { shape.channels } else { 1 };
        let (weight, bias) = (filled(9 * inputs * shape.outputs), filled(shape.outputs));
        let layer =
            Conv { weight: &weight, bias: Some(&bias), shape, activation: Activation::Gelu };
        let [mut out, mut pre] = [(); 2].map(|()| filled(pixels * shape.outputs));
        let dy = filled(out.len());
        let mut scratch = Scratch::new();
        bench(criterion, &format!("convolution {name} forward"), |level| {
            let saving = Saving { out: &mut out, pre: &mut pre };
            conv::forward_saving(level, &layer, &input, saving, &mut scratch);
        });
        let (mut dx, mut dweight, mut dbias) =
            (filled(input.len()), filled(weight.len()), filled(bias.len()));
        bench(criterion, &format!("convolution {name} backward"), |level| {
            let given = conv::Backward { input: &input, pre: &pre, dy: &dy };
            let grads =
                conv::Grads { dx: Some(&mut dx), dweight: &mut dweight, dbias: Some(&mut dbias) };
            conv::backward(level, &layer, &given, grads, &mut scratch);
        });
    }
}

fn norms(criterion: &mut Criterion) {
    let (x, weight) = (filled(ROWS * D), filled(D));
    let norm = LayerNorm { weight: &weight, bias: &weight, eps: 1e-6 };
    let mut stats = vec![RowStats::default(); ROWS];
    let (mut y, mut dweight, mut dbias) = (filled(ROWS * D), filled(D), filled(D));
    let mut scratch = Scratch::new();
    bench(criterion, "layer norm forward", |level| {
        layer_norm::forward(level, &norm, &x, &mut y, &mut stats);
    });
    bench(criterion, "layer norm backward", |level| {
        let given =
            layer_norm::Backward { weight: &weight, x: &x, stats: &stats, dy: &x, past: None };
        let grads = layer_norm::Grads { dx: &mut y, dweight: &mut dweight, dbias: &mut dbias };
        layer_norm::backward(level, &given, grads, &mut scratch);
    });
}

fn losses(criterion: &mut Criterion) {
    let (logits, mut grad) = (filled(ROWS * CLASSES), filled(ROWS * CLASSES));
    let classes: Vec<u32> = (0..ROWS as u32).map(|row| row % CLASSES as u32).collect();
    for (name, targets) in [
        ("cross entropy of classes", Targets::Classes(&classes)),
        ("cross entropy of weights", Targets::Weights(&logits)),
    ] {
        let given = CrossEntropy { logits: &logits, classes: CLASSES, targets, smoothing: 0.1 };
        bench(criterion, name, |level| {
            std::hint::black_box(cross_entropy::forward_backward(level, &given, &mut grad));
        });
    }
}

fn optimizers(criterion: &mut Criterion) {
    let len = 1 << 20;
    let (mut param, grad) = (filled(len), filled(len));
    let (mut mean, mut square) = (vec![0.0; len], vec![0.0; len]);
    let settings = AdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.05 };
    bench(criterion, "adamw of a million", |level| {
        let (param, mean, square) = (&mut param[..], &mut mean[..], &mut square[..]);
        let state = AdamWState { param, grad: &grad, mean, square };
        optimizer::adamw(level, &settings, 10, 1.0, state);
    });
    let settings = Sgd { lr: 1e-3, momentum: 0.9, weight_decay: 0.05 };
    bench(criterion, "sgd of a million", |level| {
        let state = SgdState { param: &mut param, grad: &grad, buffer: &mut mean };
        optimizer::sgd(level, &settings, 1.0, state);
    });
    bench(criterion, "sum of squares of a million", |level| {
        std::hint::black_box(optimizer::sum_of_squares(level, &grad));
    });
}

fn attentions(criterion: &mut Criterion) {
    let (x, dy, mut y, mut dx) =
        (filled(ROWS * D), filled(ROWS * D), filled(ROWS * D), filled(ROWS * D));
    let (qkv, proj, norm) = (filled(D * 3 * D), filled(D * D), filled(D));
    let layer = Attention {
        norm: LayerNorm { weight: &norm, bias: &norm, eps: 1e-6 },
        qkv: LinearWeights { weight: Mat::row_major(&qkv, D, 3 * D), bias: None },
        proj: LinearWeights { weight: Mat::row_major(&proj, D, D), bias: Some(&norm) },
        heads: 3,
        tokens: TOKENS,
    };
    let (mut saved, mut scratch) = (attention::Saved::default(), Scratch::new());
    bench(criterion, "attention forward", |level| {
        attention::forward_saving(level, &layer, (&x, &mut y), &mut saved, &mut scratch);
    });
    let (mut d_qkv, mut d_proj) = (filled(D * 3 * D), filled(D * D));
    let (mut qkv_bias, mut biases) = (filled(3 * D), [(); 3].map(|()| filled(D)));
    bench(criterion, "attention backward", |level| {
        let [norm_weight, norm_bias, proj_bias] = biases.each_mut();
        let grads = attention::Grads {
            dx: &mut dx,
            norm_weight,
            norm_bias,
            qkv: LinearGrads {
                weight: Some(MatMut::row_major(&mut d_qkv, D, 3 * D)),
                bias: Some(&mut qkv_bias),
            },
            proj: LinearGrads {
                weight: Some(MatMut::row_major(&mut d_proj, D, D)),
                bias: Some(proj_bias),
            },
        };
        let given = attention::Backward { saved: &saved, x: &x, dy: &dy, past: &dy };
        attention::backward(level, &layer, &given, grads, &mut scratch);
    });
}

fn feed_forwards(criterion: &mut Criterion) {
    let (x, dy, mut y, mut dx) =
        (filled(ROWS * D), filled(ROWS * D), filled(ROWS * D), filled(ROWS * D));
    let (fc1, fc2, long) = (filled(D * HIDDEN), filled(HIDDEN * D), filled(HIDDEN));
    let weights = FfnWeights {
        norm_weight: &long[..D],
        norm_bias: &long[..D],
        fc1: LinearWeights { weight: Mat::row_major(&fc1, D, HIDDEN), bias: Some(&long) },
        fc2: LinearWeights { weight: Mat::row_major(&fc2, HIDDEN, D), bias: Some(&long[..D]) },
    };
    let (mut saved, mut scratch) = (ffn::Saved::default(), Scratch::new());
    bench(criterion, "ffn forward", |level| {
        ffn::forward_saving(level, &weights, (&x, &mut y), &mut saved, &mut scratch);
    });
    let [mut fc1_weight, mut fc2_weight] = [(); 2].map(|()| filled(D * HIDDEN));
    let [mut norm_weight, mut norm_bias, mut fc2_bias] = [(); 3].map(|()| filled(D));
    let mut fc1_bias = filled(HIDDEN);
    bench(criterion, "ffn backward", |level| {
        let grads = FfnGrads {
            dx: &mut dx,
            norm_weight: &mut norm_weight,
            norm_bias: &mut norm_bias,
            fc1_weight: Some(&mut fc1_weight),
            fc1_bias: Some(&mut fc1_bias),
            fc2_weight: Some(&mut fc2_weight),
            fc2_bias: Some(&mut fc2_bias),
        };
        let given = ffn::Backward { saved: &saved, x: &x, dy: &dy, past: &dy };
        ffn::backward(level, &weights, given, grads, &mut scratch);
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).without_plots();
    targets = products, low_precision_products, convolutions, norms, losses, optimizers, attentions,
        feed_forwards
}
criterion_main!(benches);
