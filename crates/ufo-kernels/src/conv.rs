//! Two-dimensional convolution with an optional fused GELU.
//!
//! With the window of `kh` by `kw` taps, stride `s` and `p` rows and columns of zeros around an image:
//! ```text
//! pre[n, oy, ox, o] = bias[o] + sum over c, ky, kx of
//!                     x[n, oy s + ky - p, ox s + kx - p, c] weight[o, c, ky, kx]
//! out = pre, or gelu(pre)
//! g = dy, or dy gelu'(pre)
//! dx[n, iy, ix, c] = sum over o and all (oy, ky), (ox, kx) with oy s + ky - p = iy, ox s + kx - p = ix
//!                    of g[n, oy, ox, o] weight[o, c, ky, kx]
//! dweight[o, c, ky, kx] = sum over n, oy, ox of g[n, oy, ox, o] x[n, oy s + ky - p, ox s + kx - p, c]
//! dbias[o] = sum over n, oy, ox of g[n, oy, ox, o]
//! ```
//! A full convolution copies the windows of some output pixels into the rows of a matrix that stays in
//! the cache ("im2col": Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks
//! for Document Processing", 2006) and multiplies it by the weight; the gradients are the two other
//! products, one of which is added back into the image. A depthwise one works on the pixels directly,
//! in f32 also at a level of bf16.
//!
//! Images are `[n, height, width, channels]`; only the input of a full convolution may be
//! `[n, channels, height, width]`.

mod columns;
mod dense;
mod depthwise;
mod lend;
mod pointwise;
mod shape;

use crate::{level::Level, scratch::Scratch};

pub use shape::{Groups, Layout, Shape};

/// What becomes of the sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// They are the output.
    #[default]
    None,
    /// The exact (erf) GELU.
    Gelu,
}

/// A convolution: its parameters and what it is applied to.
#[derive(Clone, Copy, Debug)]
pub struct Conv<'a> {
    /// `[outputs, channels, kh, kw]`, depthwise `[channels, 1, kh, kw]`.
    pub weight: &'a [f32],
    /// `[outputs]`, added to every output pixel.
    pub bias: Option<&'a [f32]>,
    /// The sizes of images and window.
    pub shape: Shape,
    /// What becomes of the sums.
    pub activation: Activation,
}

/// What [`forward_saving`] overwrites.
#[derive(Debug)]
pub struct Saving<'a> {
    /// The output, `[n, out_height, out_width, outputs]`.
    pub out: &'a mut [f32],
    /// The pre-activation, as long as `out`; empty where there is no activation.
    pub pre: &'a mut [f32],
}

/// What [`backward`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// The input of the forward pass, in its layout.
    pub input: &'a [f32],
    /// The pre-activation that the forward pass kept; empty where there is no activation.
    pub pre: &'a [f32],
    /// The gradient of the output, `[n, out_height, out_width, outputs]`.
    pub dy: &'a [f32],
}

/// What [`backward`] overwrites.
#[derive(Debug)]
pub struct Grads<'a> {
    /// The gradient of the input, in its layout, unless nobody needs it.
    pub dx: Option<&'a mut [f32]>,
    /// The gradient of the weight, as it lies.
    pub dweight: &'a mut [f32],
    /// The gradient of the bias, `[outputs]`, unless nobody needs it.
    pub dbias: Option<&'a mut [f32]>,
}

/// Computes `out`, `[n, out_height, out_width, outputs]`.
///
/// # Panics
/// If a length does not fit the shape, or the shape itself is impossible.
pub fn forward(
    level: Level,
    conv: &Conv<'_>,
    input: &[f32],
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    conv.check(input, out);
    dispatch(level, conv, input, (out, None), scratch);
}

/// [`forward`] that keeps what the backward pass needs.
///
/// # Panics
/// As [`forward`], and if `pre` is not as long as `out` with an activation, or not empty without.
pub fn forward_saving(
    level: Level,
    conv: &Conv<'_>,
    input: &[f32],
    saving: Saving<'_>,
    scratch: &mut Scratch,
) {
    let Saving { out, pre } = saving;
    conv.check(input, out);
    conv.check_pre(pre);
    let pre = (conv.activation == Activation::Gelu).then_some(pre);
    dispatch(level, conv, input, (out, pre), scratch);
}

/// Computes all gradients.
///
/// # Panics
/// If a length does not fit the shape, or the shape itself is impossible.
pub fn backward(
    level: Level,
    conv: &Conv<'_>,
    given: &Backward<'_>,
    grads: Grads<'_>,
    scratch: &mut Scratch,
) {
    let shape = &conv.shape;
    conv.check(given.input, given.dy);
    conv.check_pre(given.pre);
    let expect = |name: &str, len: usize, expected: usize| {
        assert!(len == expected, "{name}: {len} values, expected {expected}");
    };
    expect("dweight", grads.dweight.len(), shape.weight_len());
    if let Some(dx) = &grads.dx {
        expect("dx", dx.len(), shape.input_len());
    }
    if let Some(dbias) = &grads.dbias {
        expect("dbias", dbias.len(), shape.outputs);
    }
    match shape.groups {
        Groups::One => dense::backward(level, conv, given, grads, scratch),
        Groups::Depthwise => depthwise::backward(level, conv, given, grads, scratch),
    }
}

fn dispatch(
    level: Level,
    conv: &Conv<'_>,
    input: &[f32],
    to: (&mut [f32], Option<&mut [f32]>),
    scratch: &mut Scratch,
) {
    match conv.shape.groups {
        Groups::One => dense::forward(level, conv, input, to, scratch),
        Groups::Depthwise => depthwise::forward(level, conv, input, to, scratch),
    }
}

impl Conv<'_> {
    /// Panics unless the shape is possible and all lengths fit it; `output` is `out` or `dy`.
    fn check(&self, input: &[f32], output: &[f32]) {
        let shape = &self.shape;
        shape.check();
        for (name, len, expected) in [
            ("weight", self.weight.len(), shape.weight_len()),
            ("input", input.len(), shape.input_len()),
            ("out, dy", output.len(), shape.output_len()),
        ] {
            assert!(len == expected, "{name}: {len} values, expected {expected}");
        }
        if let Some(bias) = self.bias {
            assert!(bias.len() == shape.outputs, "bias: {} values", bias.len());
        }
    }

    fn check_pre(&self, pre: &[f32]) {
        let expected = match self.activation {
            Activation::None => 0,
            Activation::Gelu => self.shape.output_len(),
        };
        assert!(pre.len() == expected, "pre: {} values, expected {expected}", pre.len());
    }
}

#[cfg(test)]
mod tests;
