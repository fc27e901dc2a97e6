//! A linear layer whose weight is packed once.

use ufo_kernels::gemm::{Epilogue, Packed, gemm_alone};
use ufo_kernels::{Level, Mat, MatMut, Scratch};

/// `y = x W + b`.
#[derive(Debug)]
pub(crate) struct Dense {
    weight: Packed,
    bias: Option<Vec<f32>>,
}

/// What is done to the sums besides adding the bias.
#[derive(Clone, Copy)]
pub(crate) enum Then<'a> {
    /// Nothing.
    Nothing,
    /// They are added to another matrix.
    Add(Mat<'a>),
    /// The exact (erf) GELU.
    Gelu,
}

impl Dense {
    /// Of a weight `[out, in]`, as files have it.
    pub(crate) fn new(
        level: Level,
        [outputs, inputs]: [usize; 2],
        weight: &[f32],
        bias: Option<Vec<f32>>,
    ) -> Self {
        let weight = Mat::row_major(weight, outputs, inputs).transposed();
        Self { weight: Packed::new(level, weight), bias }
    }

    /// Inputs and outputs.
    pub(crate) fn sizes(&self) -> [usize; 2] {
        [self.weight.rows(), self.weight.cols()]
    }

    /// Computes `y` `[rows, out]` from `x` `[rows, in]`, in this thread.
    pub(crate) fn run<'a>(
        &'a self,
        x: &'a [f32],
        y: &'a mut [f32],
        then: Then<'a>,
        scratch: &mut Scratch,
    ) {
        let [inputs, outputs] = self.sizes();
        let rows = x.len() / inputs;
        let bias = self.bias.as_deref();
        let epilogue = match then {
            Then::Nothing => Epilogue::Bias { bias, residual: None },
            Then::Add(residual) => Epilogue::Bias { bias, residual: Some(residual) },
            Then::Gelu => Epilogue::Gelu { bias, pre: None },
        };
        let (x, y) = (Mat::row_major(x, rows, inputs), MatMut::row_major(y, rows, outputs));
        gemm_alone(self.weight.level(), (x, &self.weight), y, epilogue, scratch);
    }
}
