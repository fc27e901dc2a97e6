//! The matrix product's share of the machine's multiply-add peak, for the shapes of a ViT block.
//!
//! `cargo run --release -p ufo-kernels --example peak -- [threads] [substring of a shape or layout]
//! [bf16]`.
//! The peak and each product are timed in turns in the same process, and the best of several is
//! printed, since other programs disturb a shared machine. Threads are timed by the processor time
//! that they got, so several show what they cost, not how long they wait for each other; a last column
//! shows the clock on the wall.

use std::time::Instant;

use ufo_kernels::{
    Level, Mat, MatMut, Scratch,
    ffn::{self, Backward, FfnGrads, FfnWeights, Saved},
    gemm::{Epilogue, Packed, Right, gemm},
    linear::LinearWeights,
};

#[path = "measure/fma_peak.rs"]
mod measure;

use measure::{now, peak};

const ROUNDS: usize = 7;

/// `(rows, inputs, outputs)` of the layers of a block at widths 192 and 384.
const SHAPES: [[usize; 3]; 8] = [
    [4160, 192, 576],
    [4160, 192, 192],
    [4160, 192, 768],
    [4160, 768, 192],
    [1576, 384, 1152],
    [1576, 384, 384],
    [1576, 384, 1536],
    [1576, 1536, 384],
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let filter = arguments.next().unwrap_or_default();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
    let level = Level::detect();
    let level = if arguments.next().is_some_and(|precision| precision == "bf16") {
        level.bf16()
    } else {
        level
    };
    println!("{level:?}, {threads} threads");
    pool.install(|| {
        for shape in SHAPES {
            for layout in ["Y = X W", "Y = X packed W", "dX = dY W^T", "dW = X^T dY"] {
                let name = format!("{shape:?} {layout}");
                if name.contains(&filter) {
                    report_gemm(level, &name, shape, layout);
                }
            }
        }
        for shape in [[4160, 192, 768], [1576, 384, 1536]] {
            let name = format!("{shape:?} ffn");
            if name.contains(&filter) {
                report_ffn(level, &name, shape);
            }
        }
    });
}

fn filled(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 7) as f32 * 0.25 - 0.7).collect()
}

/// Prints the best GFLOP/s of `work` beside the best of the peak.
fn report(level: Level, name: &str, flops: f64, mut work: impl FnMut()) {
    let (mut best_peak, mut best, mut best_wall) = (0.0_f64, 0.0_f64, 0.0_f64);
    for _ in 0..ROUNDS {
        best_peak = best_peak.max(peak(level));
        for _ in 0..3 {
            let (start, wall) = (now(), Instant::now());
            work();
            best = best.max(flops / (now() - start) / 1e9);
            best_wall = best_wall.max(flops / wall.elapsed().as_secs_f64() / 1e9);
        }
    }
    let share = 100.0 * best / best_peak;
    println!("{name:<34} {best:7.1} of {best_peak:7.1} GFLOP/s: {share:3.0} % ({best_wall:.1})");
}

/// The whole feed-forward: forward (inference), forward and backward (training).
fn report_ffn(level: Level, name: &str, [m, d, f]: [usize; 3]) {
    let (x, w1, w2) = (filled(m * d), filled(d * f), filled(f * d));
    let (dy, ones, bias) = (filled(m * d), vec![1.0; d], filled(f));
    let fc1 = LinearWeights { weight: Mat::row_major(&w1, d, f), bias: Some(&bias) };
    let fc2 = LinearWeights { weight: Mat::row_major(&w2, f, d), bias: Some(&bias[..d]) };
    let weights = FfnWeights { norm_weight: &ones, norm_bias: &ones, fc1, fc2 };
    let (mut saved, mut scratch) = (Saved::default(), Scratch::new());
    let mut y = vec![0.0; m * d];
    let [mut dx, mut g1, mut g2] = [m * d, d * f, f * d].map(|len| vec![0.0; len]);
    let [mut nw, mut nb, mut gb1, mut gb2] = [d, d, f, d].map(|len| vec![0.0; len]);
    let flops = 4.0 * (m * d * f) as f64;
    report(level, &format!("{name} inference"), flops, || {
        ffn::forward(level, &weights, &x, &mut y, &mut scratch);
    });
    report(level, &format!("{name} training"), 3.0 * flops, || {
        ffn::forward_saving(level, &weights, (&x, &mut y), &mut saved, &mut scratch);
        let grads = FfnGrads {
            dx: &mut dx,
            norm_weight: &mut nw,
            norm_bias: &mut nb,
            fc1_weight: Some(&mut g1),
            fc1_bias: Some(&mut gb1),
            fc2_weight: Some(&mut g2),
            fc2_bias: Some(&mut gb2),
        };
        ffn::backward(
            level,
            &weights,
            Backward { saved: &saved, x: &x, dy: &dy, past: &dy },
            grads,
            &mut scratch,
        );
    });
}

fn report_gemm(level: Level, name: &str, [rows, inputs, outputs]: [usize; 3], layout: &str) {
    let (x, w, dy) = (filled(rows * inputs), filled(inputs * outputs), filled(rows * outputs));
    let (x, w, dy) = (
        Mat::row_major(&x, rows, inputs),
        Mat::row_major(&w, inputs, outputs),
        Mat::row_major(&dy, rows, outputs),
    );
    let packed = Packed::new(level, w);
    let (a, b): (Mat<'_>, Right<'_>) = match layout {
        "Y = X W" => (x, w.into()),
        "Y = X packed W" => (x, (&packed).into()),
        "dX = dY W^T" => (dy, w.transposed().into()),
        _ => (x.transposed(), dy.into()),
    };
    let (m, n) = match layout {
        "dX = dY W^T" => (rows, inputs),
        "dW = X^T dY" => (inputs, outputs),
        _ => (rows, outputs),
    };
    let mut c = vec![0.0; m * n];
    let mut scratch = Scratch::new();
    report(level, name, 2.0 * (rows * inputs * outputs) as f64, || {
        gemm(level, (a, b), MatMut::row_major(&mut c, m, n), Epilogue::Store, &mut scratch);
    });
}
