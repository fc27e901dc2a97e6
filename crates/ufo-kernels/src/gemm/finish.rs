//! How tiles go through an [`Epilogue`] into C.
#![allow(unsafe_code, reason = "elements are read and written through pointers")]

use std::marker::PhantomData;

#[cfg(doc)]
use super::Epilogue;
use super::{
    tile::{Strided, StridedMut, load_columns},
    word::Word,
};
use crate::{
    level::Kernel,
    simd::{Simd, Twice, gelu, gelu_and_derivative},
};

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
pub(crate) trait Finisher: Copy {
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
pub(super) struct Scale(pub(super) f32);

#[derive(Clone, Copy)]
pub(super) struct AddBias<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) residual: Option<Strided>,
}

#[derive(Clone, Copy)]
pub(super) struct Gelu<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) pre: Option<StridedMut>,
}

#[derive(Clone, Copy)]
pub(super) struct GeluGrad {
    pub(super) pre: Strided,
    pub(super) activated: Option<StridedMut>,
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
    // SAFETY: the bias has a value for each column of the product.
    s.add(p, unsafe { load_columns(s, bias.as_ptr(), [col, n]) })
}

/// The sums of a tile on the stack.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub(super) start: *const f32,
    pub(super) stride: usize,
}

/// Puts the sums of a tile into C by way of the epilogue; made only where a tile was computed.
pub(super) struct FinishTile<W, F> {
    pub(super) word: PhantomData<W>,
    pub(super) finisher: F,
    pub(super) c: StridedMut,
    /// Whether the sums are added to what C holds.
    pub(super) add: bool,
    pub(super) at: [usize; 2],
    pub(super) size: [usize; 2],
    pub(super) sums: Sums,
}

impl<W: Word, F: Finisher> Kernel for FinishTile<W, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { at: [row, col], size: [rows, width], .. } = self;
        // Constant strides where they can be, so that the usual case does without other accesses.
        let Some((c, finisher)) = self.c.contiguous().zip(self.finisher.contiguous()) else {
            return s.call(FinishStrided(self));
        };
        let tile = FinishTile { finisher, c, ..self };
        for i in 0..rows {
            let mut j = 0;
            while width - j >= 2 * S::LANES {
                // SAFETY: a part of the tile, inside by the promise of its maker.
                unsafe { tile.apply(Twice(s), [i, j], [row + i, col + j, 2 * S::LANES]) };
                j += 2 * S::LANES;
            }
            while j < width {
                let n = S::LANES.min(width - j);
                // SAFETY: as above.
                unsafe { tile.apply(s, [i, j], [row + i, col + j, n]) };
                j += n;
            }
        }
    }
}

/// The same for columns that are not contiguous, in a function of its own.
struct FinishStrided<W, F>(FinishTile<W, F>);

impl<W: Word, F: Finisher> Kernel for FinishStrided<W, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let FinishTile { at: [row, col], size: [rows, width], .. } = self.0;
        for i in 0..rows {
            for j in (0..width).step_by(S::LANES) {
                let n = S::LANES.min(width - j);
                // SAFETY: a part of the tile, inside by the promise of its maker.
                unsafe { self.0.apply(s, [i, j], [row + i, col + j, n]) };
            }
        }
    }
}

impl<W: Word, F: Finisher> FinishTile<W, F> {
    /// # Safety
    /// `place` lies inside of C, and `[i, j]` is the same place in the tile.
    #[inline(always)]
    unsafe fn apply<S: Simd>(&self, s: S, [i, j]: [usize; 2], place: [usize; 3]) {
        // SAFETY: the caller's promise; sums are stored in whole vectors.
        unsafe {
            let start = self.sums.start.add(i * self.sums.stride + j);
            let full = place[2] == S::LANES;
            let mut p = if full { s.load(start) } else { s.load_first(start, place[2]) };
            if self.add {
                p = W::add(s, self.c.as_read().read(s, place), p);
            }
            self.c.write(s, place, self.finisher.apply(s, place, p));
        }
    }
}
