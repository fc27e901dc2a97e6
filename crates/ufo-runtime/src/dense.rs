//! A linear layer whose weight is packed once.

use ufo_kernels::gemm::{Epilogue, Packed, gemm_alone};
use ufo_kernels::int8::{self, Quantized};
use ufo_kernels::{Level, Mat, MatMut, Scratch};

/// In which numbers the layers of a model multiply. Sums, norms, softmax, GELU and what lies between
/// layers are f32 in all of them, and so are the products of queries, keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floats: the supernet's outputs bit for bit.
    #[default]
    F32,
    /// Both factors rounded to bf16.
    Bf16,
    /// Weights as 8-bit integers with a scale for each output, inputs with one for each row; stems and
    /// heads stay f32.
    Int8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// The level of layers of this precision.
    pub(crate) fn level(self, level: Level) -> Level {
        match self {
            Self::Bf16 => level.bf16(),
            Self::F32 | Self::Int8 => level,
        }
    }
}

/// `y = x W + b`.
#[derive(Debug)]
pub(crate) struct Dense {
    level: Level,
    weight: Weight,
    bias: Option<Vec<f32>>,
}

#[derive(Debug)]
enum Weight {
    Floats(Packed),
    Bytes(Quantized),
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
        (level, precision): (Level, Precision),
        [outputs, inputs]: [usize; 2],
        weight: &[f32],
        bias: Option<Vec<f32>>,
    ) -> Self {
        let level = precision.level(level);
        let weight = Mat::row_major(weight, outputs, inputs).transposed();
        let weight = match precision {
            Precision::F32 | Precision::Bf16 => Weight::Floats(Packed::new(level, weight)),
            Precision::Int8 => Weight::Bytes(Quantized::new(level, weight)),
        };
        Self { level, weight, bias }
    }

    /// Inputs and outputs.
    pub(crate) fn sizes(&self) -> [usize; 2] {
        match &self.weight {
            Weight::Floats(weight) => [weight.rows(), weight.cols()],
            Weight::Bytes(weight) => [weight.rows(), weight.cols()],
        }
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
        match &self.weight {
            Weight::Floats(weight) => gemm_alone(self.level, (x, weight), y, epilogue, scratch),
            Weight::Bytes(weight) => {
                int8::gemm_alone(self.level, (x, weight), y, epilogue, scratch);
            }
        }
    }
}
