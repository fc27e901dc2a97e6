//! What happens to the elements of a product before they are written.

use super::{
    finish::{AddBias, Finish, Gelu, GeluGrad, Plain, Scale},
    tile::{Strided, StridedMut},
};
use crate::mat::{Mat, MatMut};

/// What becomes of the product `P = A B` on its way into C. Biases have one value a column.
#[derive(Debug)]
pub enum Epilogue<'a> {
    /// `C = P`
    Store,
    /// `C = C + P`
    Accumulate,
    /// `C = factor P`
    Scale(f32),
    /// `C = P + bias + residual`
    Bias {
        /// Added to every row.
        bias: Option<&'a [f32]>,
        /// Added element by element, `[m, n]`.
        residual: Option<Mat<'a>>,
    },
    /// `C = gelu(P + bias)`
    Gelu {
        /// Added to every row.
        bias: Option<&'a [f32]>,
        /// Where `P + bias` is kept, `[m, n]`.
        pre: Option<MatMut<'a>>,
    },
    /// `C = P gelu'(pre)`: the gradient by `pre` where `P` is that by `gelu(pre)`.
    GeluGrad {
        /// The pre-activation, `[m, n]`.
        pre: Mat<'a>,
        /// Where `gelu(pre)` is written again, `[m, n]`.
        activated: Option<MatMut<'a>>,
    },
}

impl<'a> Epilogue<'a> {
    /// Panics unless all parts fit a product of `[rows, cols]`.
    pub(super) fn check(&self, shape: [usize; 2]) {
        let mat = |name: &str, rows: usize, cols: usize| {
            assert!(
                [rows, cols] == shape,
                "{name}: [{rows}, {cols}], but the product is {shape:?}"
            );
        };
        let (bias, read, written) = match self {
            Self::Store | Self::Accumulate | Self::Scale(_) => (None, None, None),
            Self::Bias { bias, residual } => (*bias, *residual, None),
            Self::Gelu { bias, pre } => (*bias, None, pre.as_ref()),
            Self::GeluGrad { pre, activated } => (None, Some(*pre), activated.as_ref()),
        };
        if let Some(bias) = bias {
            assert!(bias.len() == shape[1], "bias: {} values for {} columns", bias.len(), shape[1]);
        }
        if let Some(read) = read {
            let name = if matches!(self, Self::Bias { .. }) { "residual" } else { "pre" };
            mat(name, read.rows(), read.cols());
        }
        if let Some(written) = written {
            let name = if matches!(self, Self::Gelu { .. }) { "pre" } else { "activated" };
            mat(name, written.rows(), written.cols());
        }
    }

    /// The epilogues of the rows before `row` and of the others.
    pub(super) fn split_at_row(self, row: usize) -> (Self, Self) {
        self.split(&|bias| (bias, bias), &|mat| mat.split_at_row(row), &|mat| mat.split_at_row(row))
    }

    /// The epilogues of the columns before `col` and of the others.
    pub(super) fn split_at_col(self, col: usize) -> (Self, Self) {
        self.split(&|bias| bias.split_at(col), &|mat| mat.split_at_col(col), &|mat| {
            mat.split_at_col(col)
        })
    }

    fn split(
        self,
        bias_at: &dyn Fn(&'a [f32]) -> (&'a [f32], &'a [f32]),
        mat_at: &dyn Fn(Mat<'a>) -> (Mat<'a>, Mat<'a>),
        mut_at: &dyn Fn(MatMut<'a>) -> (MatMut<'a>, MatMut<'a>),
    ) -> (Self, Self) {
        match self {
            Self::Store => (Self::Store, Self::Store),
            Self::Accumulate => (Self::Accumulate, Self::Accumulate),
            Self::Scale(factor) => (Self::Scale(factor), Self::Scale(factor)),
            Self::Bias { bias, residual } => {
                let (bias_1, bias_2) = bias.map(bias_at).unzip();
                let (residual_1, residual_2) = residual.map(mat_at).unzip();
                (
                    Self::Bias { bias: bias_1, residual: residual_1 },
                    Self::Bias { bias: bias_2, residual: residual_2 },
                )
            }
            Self::Gelu { bias, pre } => {
                let (bias_1, bias_2) = bias.map(bias_at).unzip();
                let (pre_1, pre_2) = pre.map(mut_at).unzip();
                (Self::Gelu { bias: bias_1, pre: pre_1 }, Self::Gelu { bias: bias_2, pre: pre_2 })
            }
            Self::GeluGrad { pre, activated } => {
                let (pre_1, pre_2) = mat_at(pre);
                let (activated_1, activated_2) = activated.map(mut_at).unzip();
                (
                    Self::GeluGrad { pre: pre_1, activated: activated_1 },
                    Self::GeluGrad { pre: pre_2, activated: activated_2 },
                )
            }
        }
    }

    /// The epilogue as the tiles use it.
    pub(super) fn finish(&mut self) -> Finish<'a> {
        match self {
            Self::Store | Self::Accumulate => Finish::Plain(Plain),
            Self::Scale(factor) => Finish::Scale(Scale(*factor)),
            Self::Bias { bias, residual } => {
                Finish::Bias(AddBias { bias: *bias, residual: residual.map(Strided::of) })
            }
            Self::Gelu { bias, pre } => {
                Finish::Gelu(Gelu { bias: *bias, pre: pre.as_mut().map(StridedMut::of) })
            }
            Self::GeluGrad { pre, activated } => Finish::GeluGrad(GeluGrad {
                pre: Strided::of(*pre),
                activated: activated.as_mut().map(StridedMut::of),
            }),
        }
    }
}
