//! The attention layer's share of the machine's multiply-add peak, forward and backward.
//!
//! `cargo run --release -p ufo-kernels --example attention_peak -- [threads] [tokens d heads batch]`.
//! The peak is measured in the same process, in turns with the layer; the best of several is printed,
//! since other programs disturb a shared machine. Threads are timed by the processor time that they got.

use ufo_kernels::{
    Level, Mat, MatMut, Scratch,
    attention::{self, Attention, Backward, Grads, LinearGrads, Saved},
    layer_norm::LayerNorm,
    linear::LinearWeights,
};

#[path = "measure/fma_peak.rs"]
mod measure;

use measure::{now, peak};

const ROUNDS: usize = 15;

/// Sizes of a measurement.
#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    d: usize,
    heads: usize,
    batch: usize,
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    let threads = numbers.first().copied().unwrap_or(1);
    let sizes = match numbers.get(1..) {
        Some(&[tokens, d, heads, batch]) => vec![Sizes { tokens, d, heads, batch }],
        _ => vec![
            Sizes { tokens: 65, d: 192, heads: 3, batch: 64 },
            Sizes { tokens: 197, d: 384, heads: 6, batch: 8 },
            Sizes { tokens: 577, d: 384, heads: 6, batch: 2 },
        ],
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
    println!("{:?}, {threads} threads", Level::detect());
    for sizes in sizes {
        pool.install(|| report(sizes));
    }
}

fn report(sizes: Sizes) {
    let Sizes { tokens, d, heads, batch } = sizes;
    let rows = batch * tokens;
    let filled =
        |len: usize| (0..len).map(|i| (i * 37 % 101) as f32 * 0.002 - 0.1).collect::<Vec<f32>>();
    let (x, dy) = (filled(rows * d), filled(rows * d));
    let (qkv, proj, norm) = (filled(d * 3 * d), filled(d * d), filled(d));
    let layer = Attention {
        norm: LayerNorm { weight: &norm, bias: &norm, eps: 1e-6 },
        qkv: LinearWeights { weight: Mat::row_major(&qkv, d, 3 * d), bias: Some(&qkv[..3 * d]) },
        proj: LinearWeights { weight: Mat::row_major(&proj, d, d), bias: Some(&norm) },
        heads,
        tokens,
    };
    let mut step = Step::new(rows, d);
    let mut best = 0.0_f64;
    let [mut forward, mut backward] = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        best = best.max(peak(Level::detect()));
        let [first, second] = step.run(&layer, &x, &dy);
        (forward, backward) = (forward.min(first), backward.min(second));
    }
    // Multiply-adds of the projections and of the two products of the heads, two operations each.
    let gflop = 2e-9 * (4 * rows * d * d + 2 * rows * tokens * d) as f64;
    let core = 2e-9 * (rows * tokens * d) as f64;
    println!("batch {batch}, {tokens} tokens, d {d}, {heads} heads; peak {best:.1} GFLOP/s");
    // The backward pass repeats the scores, which count as work that has to be done.
    for (name, gflop, seconds) in [
        ("forward", gflop, forward),
        ("backward", 2.0 * gflop + core, backward),
        ("both", 3.0 * gflop + core, forward + backward),
    ] {
        let rate = gflop / seconds;
        let share = 100.0 * rate / best;
        println!("  {name:8} {:7.2} ms {rate:6.1} GFLOP/s {share:5.1} %", seconds * 1e3);
    }
}

/// Buffers of one step.
struct Step {
    scratch: Scratch,
    saved: Saved,
    y: Vec<f32>,
    dx: Vec<f32>,
    weights: [Vec<f32>; 2],
    qkv_bias: Vec<f32>,
    biases: [Vec<f32>; 3],
    d: usize,
}

impl Step {
    fn new(rows: usize, d: usize) -> Self {
        let (y, dx) = (vec![0.0; rows * d], vec![0.0; rows * d]);
        let weights = [vec![0.0; 3 * d * d], vec![0.0; d * d]];
        let (qkv_bias, biases) = (vec![0.0; 3 * d], [0; 3].map(|_| vec![0.0; d]));
        let (scratch, saved) = (Scratch::new(), Saved::default());
        Self { scratch, saved, y, dx, weights, qkv_bias, biases, d }
    }

    /// Seconds of the forward and of the backward pass.
    fn run(&mut self, layer: &Attention, x: &[f32], dy: &[f32]) -> [f64; 2] {
        let (level, d) = (Level::detect(), self.d);
        let start = now();
        let io = (x, &mut self.y[..]);
        attention::forward_saving(level, layer, io, &mut self.saved, &mut self.scratch);
        let forward = now() - start;
        let [norm_weight, norm_bias, proj_bias] = self.biases.each_mut();
        let [dqkv, dproj] = &mut self.weights;
        let grads = Grads {
            dx: &mut self.dx,
            norm_weight,
            norm_bias,
            qkv: LinearGrads {
                weight: Some(MatMut::row_major(dqkv, d, 3 * d)),
                bias: Some(&mut self.qkv_bias),
            },
            proj: LinearGrads {
                weight: Some(MatMut::row_major(dproj, d, d)),
                bias: Some(proj_bias),
            },
        };
        let start = now();
        let given = Backward { saved: &self.saved, x, dy, past: dy };
        attention::backward(level, layer, &given, grads, &mut self.scratch);
        [forward, now() - start]
    }
}
