//! Products in f32, bf16 and 8-bit integers, for the shapes of a ViT block, one line each.
//!
//! `cargo run --release -p ufo-kernels --example precision_peak -- [threads]`. The weight is packed, or
//! quantized, beforehand; the rows are packed or quantized in each call, which is counted. The kinds are
//! timed in turns and the best of several is printed, as in the example `peak`: by the processor time of
//! all threads divided by their number, and by the clock on the wall.

use std::time::Instant;

use ufo_kernels::{
    Level, Mat, MatMut, Scratch,
    gemm::{Epilogue, Packed, gemm},
    int8::{self, Quantized},
};

#[path = "measure/fma_peak.rs"]
mod measure;

use measure::{now, peak};

const ROUNDS: usize = 60;

/// `(rows, inputs, outputs)`
const SHAPES: [[usize; 3]; 5] =
    [[4160, 192, 768], [4160, 768, 192], [65, 192, 768], [65, 768, 192], [197, 384, 1536]];

fn main() {
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
    let level = Level::detect();
    pool.install(|| {
        let peak = peak(level);
        println!("{:?}, {threads} threads, {peak:.0} GFLOP/s at most in f32", level.vectors());
        if !level.has_fast_bf16() {
            println!("bf16 is emulated");
        }
        for shape in SHAPES {
            report(level, shape);
        }
    });
}

fn filled(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 7) as f32 * 0.25 - 0.7).collect()
}

/// Prints the billions of operations a second of each kind.
fn report(level: Level, [m, k, n]: [usize; 3]) {
    let (x, w) = (filled(m * k), filled(k * n));
    let (x, w) = (Mat::row_major(&x, m, k), Mat::row_major(&w, k, n));
    let [packed, packed_bf16] = [level, level.bf16()].map(|level| Packed::new(level, w));
    let quantized = Quantized::new(level, w);
    let (mut y, mut scratch) = (vec![0.0; m * n], Scratch::new());
    let mut run = |kind: usize| {
        let y = MatMut::row_major(&mut y, m, n);
        match kind {
            0 => gemm(level, (x, &packed), y, Epilogue::Store, &mut scratch),
            1 => gemm(level.bf16(), (x, &packed_bf16), y, Epilogue::Store, &mut scratch),
            _ => int8::gemm(level, (x, &quantized), y, Epilogue::Store, &mut scratch),
        }
    };
    let operations = 2.0 * (m * k * n) as f64;
    let repeats = (2e8 / operations).ceil() as usize;
    let mut best = [[0.0_f64; 2]; 3];
    for _ in 0..ROUNDS {
        for (kind, best) in best.iter_mut().enumerate() {
            let (start, wall) = (now(), Instant::now());
            (0..repeats).for_each(|_| run(kind));
            for (best, seconds) in
                best.iter_mut().zip([now() - start, wall.elapsed().as_secs_f64()])
            {
                *best = best.max(repeats as f64 * operations / seconds / 1e9);
            }
        }
    }
    let [f32, bf16, int8] = best;
    let name = format!("[{m} x {k} x {n}]");
    let share = int8[0] / f32[0];
    println!(
        "{name:<18} f32 {:6.1} ({:6.1})  bf16 {:6.1} ({:6.1})  int8 {:6.1} ({:6.1}), {share:.2} of f32",
        f32[0], f32[1], bf16[0], bf16[1], int8[0], int8[1],
    );
}
