//! What happens to the elements of a product before they are written.
#![allow(unsafe_code, reason = "elements are read and written through pointers")]

use super::tile::{Strided, StridedMut};
use crate::{
    mat::{Mat, MatMut},
    simd::{Simd, gelu, gelu_and_derivative},
};

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

/// An [`Epilogue`] of pointers, which tiles in turn apply to their places.
#[derive(Clone, Copy)]
pub(super) enum Finish<'a> {
    Plain(Plain),
    Scale(Scale),
    Bias(AddBias<'a>),
    Gelu(Gelu<'a>),
    GeluGrad(GeluGrad),
}

impl Finish<'_> {
    /// [`Finisher::beside`]
    #[inline(always)]
    pub(super) fn beside(self) -> Option<Strided> {
        match self {
            Self::Plain(finisher) => finisher.beside(),
            Self::Scale(finisher) => finisher.beside(),
            Self::Bias(finisher) => finisher.beside(),
            Self::Gelu(finisher) => finisher.beside(),
            Self::GeluGrad(finisher) => finisher.beside(),
        }
    }
}

/// One kind of [`Finish`].
pub(super) trait Finisher: Copy {
    /// What `n` elements `p` of row `row` from column `col` on become.
    ///
    /// # Safety
    /// The `n <= LANES` places lie inside the product that the epilogue was checked against.
    unsafe fn apply<S: Simd>(self, s: S, place: [usize; 3], p: S::V) -> S::V;

    /// Another matrix that is read or written at the same places.
    fn beside(self) -> Option<Strided>;

    /// The same with constant column strides, if all are 1.
    fn contiguous(self) -> Option<Self>;
}

#[derive(Clone, Copy)]
pub(super) struct Plain;

#[derive(Clone, Copy)]
pub(super) struct Scale(f32);

#[derive(Clone, Copy)]
pub(super) struct AddBias<'a> {
    bias: Option<&'a [f32]>,
    residual: Option<Strided>,
}

#[derive(Clone, Copy)]
pub(super) struct Gelu<'a> {
    bias: Option<&'a [f32]>,
    pre: Option<StridedMut>,
}

#[derive(Clone, Copy)]
pub(super) struct GeluGrad {
    pre: Strided,
    activated: Option<StridedMut>,
}

impl Finisher for Plain {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, _: S, _: [usize; 3], p: S::V) -> S::V {
        p
    }

    #[inline(always)]
    fn beside(self) -> Option<Strided> {
        None
    }

    #[inline(always)]
    fn contiguous(self) -> Option<Self> {
        Some(self)
    }
}

impl Finisher for Scale {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, s: S, _: [usize; 3], p: S::V) -> S::V {
        s.mul(p, s.splat(self.0))
    }

    #[inline(always)]
    fn beside(self) -> Option<Strided> {
        None
    }

    #[inline(always)]
    fn contiguous(self) -> Option<Self> {
        Some(self)
    }
}

impl Finisher for AddBias<'_> {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, s: S, place: [usize; 3], p: S::V) -> S::V {
        // SAFETY: the caller's promise.
        let p = unsafe { add_bias(s, self.bias, place, p) };
        match self.residual {
            // SAFETY: the caller's promise.
            Some(residual) => s.add(p, unsafe { residual.read(s, place) }),
            None => p,
        }
    }

    #[inline(always)]
    fn beside(self) -> Option<Strided> {
        self.residual
    }

    #[inline(always)]
    fn contiguous(self) -> Option<Self> {
        match self.residual {
            Some(residual) => Some(Self { residual: Some(residual.contiguous()?), ..self }),
            None => Some(self),
        }
    }
}

impl Finisher for Gelu<'_> {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, s: S, place: [usize; 3], p: S::V) -> S::V {
        // SAFETY: the caller's promise.
        let p = unsafe { add_bias(s, self.bias, place, p) };
        if let Some(pre) = self.pre {
            // SAFETY: the caller's promise.
            unsafe { pre.write(s, place, p) };
        }
        gelu(s, p)
    }

    #[inline(always)]
    fn beside(self) -> Option<Strided> {
        self.pre.map(StridedMut::as_read)
    }

    #[inline(always)]
    fn contiguous(self) -> Option<Self> {
        match self.pre {
            Some(pre) => Some(Self { pre: Some(pre.contiguous()?), ..self }),
            None => Some(self),
        }
    }
}

impl Finisher for GeluGrad {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, s: S, place: [usize; 3], p: S::V) -> S::V {
        // SAFETY: the caller's promise.
        let (value, derivative) = gelu_and_derivative(s, unsafe { self.pre.read(s, place) });
        if let Some(activated) = self.activated {
            // SAFETY: the caller's promise.
            unsafe { activated.write(s, place, value) };
        }
        s.mul(p, derivative)
    }

    #[inline(always)]
    fn beside(self) -> Option<Strided> {
        Some(self.pre)
    }

    #[inline(always)]
    fn contiguous(self) -> Option<Self> {
        let pre = self.pre.contiguous()?;
        match self.activated {
            Some(activated) => Some(Self { pre, activated: Some(activated.contiguous()?) }),
            None => Some(Self { pre, activated: None }),
        }
    }
}

/// # Safety
/// As [`Finisher::apply`].
#[inline(always)]
unsafe fn add_bias<S: Simd>(s: S, bias: Option<&[f32]>, [_, col, n]: [usize; 3], p: S::V) -> S::V {
    let Some(bias) = bias else { return p };
    let start = bias.as_ptr().wrapping_add(col);
    // SAFETY: the bias has a value for each column of the product.
    s.add(p, unsafe { if n == S::LANES { s.load(start) } else { s.load_first(start, n) } })
}
