//! The convolution's share of the machine's multiply-add peak, for layers of small networks.
//!
//! `cargo run --release -p ufo-kernels --example conv_peak -- [threads] [substring of a layer]`.
//! The peak and each pass are timed in turns in the same process, and the best of several is printed,
//! since other programs disturb a shared machine. Threads are timed by the processor time that they got.

use std::hint::black_box;

use ufo_kernels::{
    Level, Scratch,
    conv::{self, Activation, Backward, Conv, Grads, Groups, Layout, Saving, Shape},
};

#[path = "measure/fma_peak.rs"]
mod measure;

use measure::{now, peak};

const ROUNDS: usize = 9;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let filter = arguments.next().unwrap_or_default();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
    let level = Level::detect();
    println!("{level:?}, {threads} threads; GFLOP/s (share of the peak)");
    pool.install(|| {
        for (name, shape, activation, first) in layers() {
            if name.contains(&filter) {
                Layer::new(shape, activation, first).report(level, name);
            }
        }
    });
}

/// Name, sizes, activation, and whether the input needs no gradient.
fn layers() -> Vec<(&'static str, Shape, Activation, bool)> {
    let (gelu, none) = (Activation::Gelu, Activation::None);
    let full =
        |images, [channels, outputs]: [usize; 2], size, [kernel, stride, padding]: [usize; 3]| {
            let [size, kernel, stride, padding] = [size, kernel, stride, padding].map(|n| [n, n]);
            let (layout, groups) = (Layout::Nhwc, Groups::One);
            Shape { images, channels, outputs, size, kernel, stride, padding, layout, groups }
        };
    let stem = full(48, [3, 32], 32, [3, 2, 1]);
    let depthwise = Shape { groups: Groups::Depthwise, ..full(16, [120, 120], 16, [5, 1, 2]) };
    vec![
        ("stem 1, 3 to 32, 3x3 s2, NCHW", Shape { layout: Layout::Nchw, ..stem }, gelu, true),
        ("stem 1, 3 to 32, 3x3 s2, NHWC", stem, gelu, true),
        ("stem 2, 32 to 64, 3x3 s2", full(48, [32, 64], 16, [3, 2, 1]), gelu, false),
        ("stem 3, 64 to 96, 2x2 s2", full(48, [64, 96], 8, [2, 2, 0]), none, false),
        ("resnet 3x3, 128 to 128", full(16, [128, 128], 16, [3, 1, 1]), none, false),
        ("resnet 1x1, 256 to 64", full(16, [256, 64], 16, [1, 1, 0]), none, false),
        ("resnet 3x3, 32 to 32", full(16, [32, 32], 32, [3, 1, 1]), none, false),
        ("depthwise 5x5, 120", depthwise, none, false),
        ("depthwise 5x5, 120, GELU", depthwise, gelu, false),
        ("depthwise 5x5 s2, 120", Shape { stride: [2, 2], ..depthwise }, none, false),
        ("depthwise 3x3, 120", Shape { kernel: [3, 3], padding: [1, 1], ..depthwise }, none, false),
    ]
}

/// A layer with its values and gradients.
struct Layer {
    shape: Shape,
    activation: Activation,
    first: bool,
    input: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    out: Vec<f32>,
    pre: Vec<f32>,
    dx: Vec<f32>,
    dweight: Vec<f32>,
    dbias: Vec<f32>,
    scratch: Scratch,
}

impl Layer {
    fn new(shape: Shape, activation: Activation, first: bool) -> Self {
        let filled =
            |len: usize| (0..len).map(|i| (i % 7) as f32 * 0.25 - 0.7).collect::<Vec<f32>>();
        let pre = if activation == Activation::Gelu { shape.output_len() } else { 0 };
        Self {
            shape,
            activation,
            first,
            input: filled(shape.input_len()),
            weight: filled(shape.weight_len()),
            bias: filled(shape.outputs),
            out: filled(shape.output_len()),
            pre: filled(pre),
            dx: filled(shape.input_len()),
            dweight: filled(shape.weight_len()),
            dbias: filled(shape.outputs),
            scratch: Scratch::new(),
        }
    }

    /// Prints the best rates of the forward and of the backward pass.
    fn report(mut self, level: Level, name: &str) {
        let products = self.shape.output_len() * self.shape.weight_len() / self.shape.outputs;
        let flops = 2.0 * products as f64;
        let backward_flops = flops * if self.first { 1.0 } else { 2.0 };
        let (mut best_peak, mut best) = (0.0_f64, [f64::INFINITY; 2]);
        for _ in 0..ROUNDS {
            best_peak = best_peak.max(peak(level));
            for _ in 0..3 {
                let start = now();
                self.forward(level);
                let middle = now();
                self.backward(level);
                best = [best[0].min(middle - start), best[1].min(now() - middle)];
            }
        }
        let rate = |flops: f64, seconds: f64| {
            let rate = flops / seconds / 1e9;
            format!("{:7.1} us {rate:6.1} ({:2.0} %)", seconds * 1e6, 100.0 * rate / best_peak)
        };
        println!(
            "{name:<30} forward {}, backward {}, both {}; peak {best_peak:.1}",
            rate(flops, best[0]),
            rate(backward_flops, best[1]),
            rate(flops + backward_flops, best[0] + best[1]),
        );
    }

    fn forward(&mut self, level: Level) {
        let Self { shape, activation, ref weight, ref bias, .. } = *self;
        let conv = Conv { weight, bias: Some(bias), shape, activation };
        let saving = Saving { out: &mut self.out, pre: &mut self.pre };
        conv::forward_saving(level, &conv, &self.input, saving, &mut self.scratch);
        black_box(&self.out);
    }

    fn backward(&mut self, level: Level) {
        let Self { shape, activation, ref weight, ref bias, .. } = *self;
        let conv = Conv { weight, bias: Some(bias), shape, activation };
        let given = Backward { input: &self.input, pre: &self.pre, dy: &self.out };
        let grads = Grads {
            dx: (!self.first).then_some(&mut self.dx),
            dweight: &mut self.dweight,
            dbias: Some(&mut self.dbias),
        };
        conv::backward(level, &conv, &given, grads, &mut self.scratch);
        black_box(&self.dweight);
    }
}
