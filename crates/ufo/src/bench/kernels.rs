//! Products alone: the first of a feed-forward network, 4,160 tokens of S by its weights, on one thread.

use super::Workload;
use anyhow::Result;
use ufo_kernels::gemm::{Epilogue, Packed, gemm};
use ufo_kernels::int8::{self, Quantized};
use ufo_kernels::{Level, Mat, MatMut, Scratch};
use ufo_runtime::Precision;

const TOKENS: usize = 64 * 65;
const SIZES: [usize; 2] = [192, 768];

/// Weights in the form that a precision multiplies by.
enum Weights {
    Floats(Packed, Level),
    Bytes(Quantized, Level),
}

pub(crate) struct Product {
    x: Vec<f32>,
    y: Vec<f32>,
    weights: Weights,
    scratch: Scratch,
}

impl Product {
    pub(crate) fn new(precision: Precision) -> Self {
        let [inputs, outputs] = SIZES;
        let filled = |len: usize| (0..len).map(|i| (i * 37 % 101) as f32 * 0.002 - 0.1).collect();
        let weights: Vec<f32> = filled(inputs * outputs);
        let (level, w) = (Level::detect(), Mat::row_major(&weights, inputs, outputs));
        let weights = match precision {
            Precision::F32 => Weights::Floats(Packed::new(level, w), level),
            Precision::Bf16 => Weights::Floats(Packed::new(level.bf16(), w), level.bf16()),
            Precision::Int8 => Weights::Bytes(Quantized::new(level, w), level),
        };
        let y = vec![0.0; TOKENS * outputs];
        Self { x: filled(TOKENS * inputs), y, weights, scratch: Scratch::new() }
    }
}

impl Workload for Product {
    fn step(&mut self) -> Result<()> {
        let Self { x, y, weights, scratch } = self;
        let x = Mat::row_major(x, TOKENS, SIZES[0]);
        let y = MatMut::row_major(y, TOKENS, SIZES[1]);
        match weights {
            Weights::Floats(packed, level) => {
                gemm(*level, (x, &*packed), y, Epilogue::Store, scratch);
            }
            Weights::Bytes(bytes, level) => {
                int8::gemm(*level, (x, &*bytes), y, Epilogue::Store, scratch);
            }
        }
        Ok(())
    }
}
