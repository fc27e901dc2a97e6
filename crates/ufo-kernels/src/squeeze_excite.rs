//! Squeeze-and-excitation (arXiv 1709.01507) with the hard sigmoid of `MobileNetV3` (arXiv 1905.02244).
//!
//! For the `p` pixels of an image of `c` channels, layers of `[s, c]` and `[c, s]`:
//! ```text
//! mean = sum of x over pixels / p          hidden = max(fc1 mean, 0)
//! z = fc2 hidden          gate = min(max(z + 3, 0), 6) / 6          y = x gate
//! dz = (sum of dy x over pixels) / 6 where -3 < z < 3, else 0
//! dx = dy gate + dmean / p
//! ```
//! The gradients of the layers are those of [`linear`].
#![allow(unsafe_code, reason = "images are written from several threads")]

use crate::level::{Kernel, Level};
use crate::linear::{self, LinearWeights};
use crate::mat::{Mat, MatMut};
use crate::scratch::Scratch;
use crate::simd::Simd;
use crate::split::{self, Shared};

/// The parameters; the lengths of the biases are `s` and `c`.
#[derive(Clone, Copy, Debug)]
pub struct SqueezeExcite<'a> {
    /// `[s, c]`
    pub weight1: &'a [f32],
    /// `[s]`
    pub bias1: &'a [f32],
    /// `[c, s]`
    pub weight2: &'a [f32],
    /// `[c]`
    pub bias2: &'a [f32],
}

/// What the backward pass needs of the forward pass; any old content is overwritten.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// `[b, c]`
    mean: Vec<f32>,
    /// `[b, s]`
    hidden: Vec<f32>,
    /// `[b, c]`
    z: Vec<f32>,
}

/// What [`backward`] overwrites.
#[derive(Debug)]
pub struct Grads<'a> {
    /// The gradient of the input, `[b, p, c]`.
    pub dx: &'a mut [f32],
    /// The gradient of the first layer's weight, `[s, c]`.
    pub dweight1: &'a mut [f32],
    /// That of its bias, `[s]`.
    pub dbias1: &'a mut [f32],
    /// The gradient of the second layer's weight, `[c, s]`.
    pub dweight2: &'a mut [f32],
    /// That of its bias, `[c]`.
    pub dbias2: &'a mut [f32],
}

/// Computes `y` of `x`, the pixels of `b` images, both `[b, p, c]`.
///
/// # Panics
/// If a length does not fit.
pub fn forward(
    level: Level,
    squeeze: &SqueezeExcite<'_>,
    (b, x): (usize, &[f32]),
    (y, saved): (&mut [f32], &mut Saved),
    scratch: &mut Scratch,
) {
    let [p, c, s] = squeeze.sizes(b, x.len());
    assert!(y.len() == x.len(), "y: not of the length of x");
    let Saved { mean, hidden, z } = saved;
    mean.resize(b * c, 0.0);
    hidden.resize(b * s, 0.0);
    z.resize(b * c, 0.0);
    sum_pixels(level, [b, p, c], (x, None), mean);
    for mean in mean.iter_mut() {
        *mean /= p as f32;
    }
    let (means, to) = (Mat::row_major(mean, b, c), MatMut::row_major(hidden, b, s));
    linear::forward(level, &squeeze.first(), means, to, scratch);
    for hidden in hidden.iter_mut().filter(|hidden| **hidden < 0.0) {
        *hidden = 0.0;
    }
    let (hidden, to) = (Mat::row_major(hidden, b, s), MatMut::row_major(z, b, c));
    linear::forward(level, &squeeze.second(), hidden, to, scratch);
    let ([gate, zeros], _) = scratch.lend([b * c, b * c], 0);
    gates(z, gate);
    zeros.fill(0.0);
    scale(level, [b, p, c], (x, [gate, zeros]), y);
}

/// Computes all gradients from `x`, that of the output `dy`, and what the forward pass saved.
///
/// # Panics
/// If a length does not fit.
pub fn backward(
    level: Level,
    squeeze: &SqueezeExcite<'_>,
    (b, x, dy): (usize, &[f32], &[f32]),
    (saved, grads): (&Saved, Grads<'_>),
    scratch: &mut Scratch,
) {
    let [p, c, s] = squeeze.sizes(b, x.len());
    assert!(dy.len() == x.len() && grads.dx.len() == x.len(), "dy, dx: not of the length of x");
    let Saved { mean, hidden, z } = saved;
    assert!([mean.len(), hidden.len()] == [b * c, b * s], "saved: of another shape");
    let ([dz, dhidden, dmean, gate], children) = scratch.lend([b * c, b * s, b * c, b * c], 1);
    sum_pixels(level, [b, p, c], (x, Some(dy)), dz);
    for (dz, z) in dz.iter_mut().zip(z) {
        *dz = if *z > -3.0 && *z < 3.0 { *dz / 6.0 } else { 0.0 };
    }
    let child = &mut children[0];
    let given = [(&hidden[..], s), (&*dz, c)].map(|(values, cols)| Mat::row_major(values, b, cols));
    let into = (&mut *dhidden, [grads.dweight2, grads.dbias2]);
    layer_backward(level, squeeze.second(), given, into, child);
    for (dhidden, hidden) in dhidden.iter_mut().zip(hidden) {
        *dhidden = if *hidden > 0.0 { *dhidden } else { 0.0 };
    }
    let given =
        [(&mean[..], c), (&*dhidden, s)].map(|(values, cols)| Mat::row_major(values, b, cols));
    let into = (&mut *dmean, [grads.dweight1, grads.dbias1]);
    layer_backward(level, squeeze.first(), given, into, child);
    for dmean in dmean.iter_mut() {
        *dmean /= p as f32;
    }
    gates(z, gate);
    scale(level, [b, p, c], (dy, [gate, dmean]), grads.dx);
}

impl<'a> SqueezeExcite<'a> {
    /// The layer from c to s.
    fn first(&self) -> LinearWeights<'a> {
        let [c, s] = [self.bias2.len(), self.bias1.len()];
        let weight = Mat::row_major(self.weight1, s, c).transposed();
        LinearWeights { weight, bias: Some(self.bias1) }
    }

    /// The layer from s to c.
    fn second(&self) -> LinearWeights<'a> {
        let [c, s] = [self.bias2.len(), self.bias1.len()];
        let weight = Mat::row_major(self.weight2, c, s).transposed();
        LinearWeights { weight, bias: Some(self.bias2) }
    }

    /// `[p, c, s]` of `len` values of `b` images, after checking that all lengths fit.
    fn sizes(&self, b: usize, len: usize) -> [usize; 3] {
        let [c, s] = [self.bias2.len(), self.bias1.len()];
        for (name, weight) in [("weight1", self.weight1), ("weight2", self.weight2)] {
            assert!(weight.len() == c * s, "{name}: {} values, expected {}", weight.len(), c * s);
        }
        let images = b * c;
        assert!(images > 0 && len.is_multiple_of(images), "x: {len} values of {b} images of {c}");
        assert!(len > 0, "x: no pixels");
        [len / images, c, s]
    }
}

/// The gradients of a layer of weights `[in, out]`, those of the weight as `[out, in]`.
fn layer_backward<'a>(
    level: Level,
    layer: LinearWeights<'a>,
    [x, dy]: [Mat<'a>; 2],
    (dx, [dweight, dbias]): (&'a mut [f32], [&'a mut [f32]; 2]),
    scratch: &mut Scratch,
) {
    let [inputs, outputs] = [layer.weight.rows(), layer.weight.cols()];
    let grads = linear::Grads {
        dx: Some(MatMut::row_major(dx, x.rows(), inputs)),
        dweight: Some(MatMut::row_major(dweight, outputs, inputs).transposed()),
        dbias: Some(dbias),
    };
    linear::backward(level, layer.weight, (x, dy), grads, scratch);
}

fn gates(z: &[f32], gate: &mut [f32]) {
    gate.iter_mut().zip(z).for_each(|(gate, z)| *gate = (z + 3.0).clamp(0.0, 6.0) / 6.0);
}

/// Writes for each image the sums over pixels of the first factor, times the second if there is one.
fn sum_pixels(
    level: Level,
    [b, p, c]: [usize; 3],
    (x, by): (&[f32], Option<&[f32]>),
    sums: &mut [f32],
) {
    let shared = Shared::new(sums);
    split::for_each(b, 2 * x.len(), |image| {
        let pixels = image * p * c..(image + 1) * p * c;
        // SAFETY: images are disjoint.
        let sums = unsafe { shared.part(image * c, c) };
        level.run(Dot { x: &x[pixels.clone()], by: by.map(|by| &by[pixels]), sums });
    });
}

/// Writes for each image `x gate + plus`, of a gate and a summand a channel.
fn scale(level: Level, [b, p, c]: [usize; 3], (x, lines): (&[f32], [&[f32]; 2]), y: &mut [f32]) {
    let shared = Shared::new(y);
    split::for_each(b, 2 * x.len(), |image| {
        let pixels = image * p * c..(image + 1) * p * c;
        // SAFETY: images are disjoint.
        let y = unsafe { shared.part(pixels.start, pixels.len()) };
        level.run(Scale { lines: lines.map(|line| &line[image * c..][..c]), x: &x[pixels], y });
    });
}

struct Dot<'a> {
    x: &'a [f32],
    by: Option<&'a [f32]>,
    sums: &'a mut [f32],
}

impl Kernel for Dot<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, by, sums } = self;
        let c = sums.len();
        sums.fill(0.0);
        for (n, x) in x.chunks_exact(c).enumerate() {
            for i in (0..c).step_by(S::LANES) {
                let (value, sum) = (s.read(&x[i..]), s.read(&sums[i..]));
                let sum = match by {
                    Some(by) => s.fma(value, s.read(&by[n * c + i..(n + 1) * c]), sum),
                    None => s.add(value, sum),
                };
                s.write(&mut sums[i..], sum);
            }
        }
    }
}

struct Scale<'a> {
    lines: [&'a [f32]; 2],
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [gate, plus] = self.lines;
        let c = gate.len();
        for (x, y) in self.x.chunks_exact(c).zip(self.y.chunks_exact_mut(c)) {
            for i in (0..c).step_by(S::LANES) {
                let product = s.fma(s.read(&x[i..]), s.read(&gate[i..]), s.read(&plus[i..]));
                s.write(&mut y[i..], product);
            }
        }
    }
}

#[cfg(test)]
mod tests;
