//! The windows of output pixels as rows of a matrix, and their gradients back into the image.
//!
//! A row has the window's values in the order in which they lie in the input, `[kh, kw, channels]` or
//! `[channels, kh, kw]`: runs of contiguous values, one a line of the window (and channel).

use std::ops::Range;

use super::shape::{Axis, Layout, Shape};
use crate::{level::Kernel, simd::Simd};

/// Copies windows of `input` into the rows of `columns`.
pub(super) struct Gather<'a> {
    pub(super) shape: &'a Shape,
    /// Output pixels, counted through all images.
    pub(super) pixels: Range<usize>,
    pub(super) input: &'a [f32],
    /// `[pixels, window_len]`
    pub(super) columns: &'a mut [f32],
}

/// Adds the rows of `columns` to the windows of `image`.
pub(super) struct Spread<'a> {
    pub(super) shape: &'a Shape,
    /// Output pixels, counted from the first image of `image`.
    pub(super) pixels: Range<usize>,
    /// `[pixels, window_len]`
    pub(super) columns: &'a [f32],
    pub(super) image: &'a mut [f32],
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (shape, pixels) = (self.shape, self.pixels.clone());
        visit(s, shape, pixels, &mut self);
    }
}

impl Kernel for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (shape, pixels) = (self.shape, self.pixels.clone());
        visit(s, shape, pixels, &mut self);
    }
}

/// A line of a window.
struct Run {
    /// Its place in the columns, of `len` values.
    column: usize,
    len: usize,
    /// Its values that lie on the image, and where the first one lies there.
    inside: Range<usize>,
    image: usize,
}

/// What is done with each line of each window.
trait Visit {
    fn run<S: Simd>(&mut self, s: S, run: &Run);
}

impl Visit for Gather<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, run: &Run) {
        let Run { inside, image, .. } = run;
        let to = &mut self.columns[run.column..][..run.len];
        if inside.len() < run.len {
            to[..inside.start].fill(0.0);
            to[inside.end..].fill(0.0);
        }
        copy(s, &self.input[*image..][..inside.len()], &mut to[inside.clone()]);
    }
}

impl Visit for Spread<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, run: &Run) {
        let Run { inside, image, .. } = run;
        let from = &self.columns[run.column..][..run.len][inside.clone()];
        add(s, from, &mut self.image[*image..][..inside.len()]);
    }
}

/// Copies; the last vector may write some values twice, so that none is masked.
#[inline(always)]
fn copy<S: Simd>(s: S, from: &[f32], to: &mut [f32]) {
    let len = to.len();
    if len < S::LANES {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
        return;
    }
    let mut i = 0;
    while i + S::LANES <= len {
        s.write(&mut to[i..], s.read(&from[i..]));
        i += S::LANES;
    }
    if i < len {
        s.write(&mut to[len - S::LANES..], s.read(&from[len - S::LANES..]));
    }
}

#[inline(always)]
fn add<S: Simd>(s: S, from: &[f32], to: &mut [f32]) {
    let whole = to.len() - to.len() % S::LANES;
    let (to, to_rest) = to.split_at_mut(whole);
    let (from, from_rest) = from.split_at(whole);
    for (to, from) in to.chunks_exact_mut(S::LANES).zip(from.chunks_exact(S::LANES)) {
        let sum = s.add(s.read(to), s.read(from));
        s.write(to, sum);
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to += *from;
    }
}

/// Visits the lines of the windows of `pixels`: within a line of output pixels window line by window
/// line, so that a place of the image is always visited in the same order.
#[inline(always)]
fn visit<S: Simd>(s: S, shape: &Shape, pixels: Range<usize>, visitor: &mut impl Visit) {
    let [vertical, horizontal] = shape.axes();
    let planes = Planes::of(shape);
    let (mut pixel, mut row) = (pixels.start, 0);
    while pixel < pixels.end {
        let (line, x) = (pixel / horizontal.out, pixel % horizontal.out);
        let (image, y) = (line / vertical.out, line % vertical.out);
        let outs = x..horizontal.out.min(x + pixels.end - pixel);
        pixel += outs.len();
        let taps = vertical.taps(y);
        for plane in 0..planes.count {
            for tap in 0..vertical.kernel {
                let start = (plane * vertical.kernel + tap) * planes.unit * horizontal.kernel;
                let column = row * shape.window_len() + start;
                let image = taps.contains(&tap).then(|| {
                    let from = plane * vertical.size + vertical.under(y, tap);
                    image * shape.image_len() + from * horizontal.size * planes.unit
                });
                let line = Line { column, image, unit: planes.unit, step: shape.window_len() };
                line.visit(s, &horizontal, outs.clone(), visitor);
            }
        }
        row += outs.len();
    }
}

/// How an image is made of lines of contiguous values.
struct Planes {
    count: usize,
    /// Values a pixel.
    unit: usize,
}

impl Planes {
    fn of(shape: &Shape) -> Self {
        match shape.layout {
            Layout::Nchw => Self { count: shape.channels, unit: 1 },
            Layout::Nhwc => Self { count: 1, unit: shape.channels },
        }
    }
}

/// The same line of the windows of neighboring output pixels.
struct Line {
    /// Where that of the first pixel lies in the columns, and its distance to the next.
    column: usize,
    step: usize,
    /// The line of the image that it lies on, if any.
    image: Option<usize>,
    unit: usize,
}

impl Line {
    #[inline(always)]
    fn visit<S: Simd>(&self, s: S, axis: &Axis, outs: Range<usize>, visitor: &mut impl Visit) {
        let len = axis.kernel * self.unit;
        for (i, x) in outs.enumerate() {
            let taps = axis.taps(x);
            let column = self.column + i * self.step;
            let (inside, image) = match self.image {
                Some(image) if !taps.is_empty() => (
                    taps.start * self.unit..taps.end * self.unit,
                    image + axis.under(x, taps.start) * self.unit,
                ),
                _ => (0..0, 0),
            };
            visitor.run(s, &Run { column, len, inside, image });
        }
    }
}
