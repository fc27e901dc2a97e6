//! The windows of output pixels as rows of a matrix, and their gradients back into the image.
//!
//! A row has the window's values in the order in which they lie in the input, `[kh, kw, channels]` or
//! `[channels, kh, kw]`: runs of contiguous values, one a line of the window (and channel).
#![allow(unsafe_code, reason = "the innermost loops work on pointers")]

use std::{ops::Range, slice};

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

/// The same line of the windows of `count` neighbors, all of it on the image.
struct Runs {
    count: usize,
    len: usize,
    /// Where the first one lies in the columns and in the image.
    column: usize,
    image: usize,
    /// The distances to the next one in the columns and in the image.
    steps: [usize; 2],
}

impl Runs {
    /// Panics unless all values lie inside of columns and an image of these lengths.
    #[inline(always)]
    fn check(&self, columns: usize, image: usize) {
        let reach = |step: usize| (self.count - 1) * step + self.len;
        assert!(self.count > 0 && self.column + reach(self.steps[0]) <= columns);
        assert!(self.image + reach(self.steps[1]) <= image);
    }
}

/// What is done with each line of each window.
trait Visit {
    fn run<S: Simd>(&mut self, s: S, run: &Run);
    fn runs<S: Simd>(&mut self, s: S, runs: &Runs);
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

    #[inline(always)]
    fn runs<S: Simd>(&mut self, s: S, runs: &Runs) {
        runs.check(self.columns.len(), self.input.len());
        let to = self.columns[runs.column..].as_mut_ptr();
        let from = self.input[runs.image..].as_ptr();
        // SAFETY: the check covers all runs.
        unsafe {
            match runs.len {
                1 => copy_short::<1>(from, to, runs),
                2 => copy_short::<2>(from, to, runs),
                3 => copy_short::<3>(from, to, runs),
                5 => copy_short::<5>(from, to, runs),
                7 => copy_short::<7>(from, to, runs),
                9 => copy_short::<9>(from, to, runs),
                15 => copy_short::<15>(from, to, runs),
                len => {
                    for i in 0..runs.count {
                        let from = slice::from_raw_parts(from.add(i * runs.steps[1]), len);
                        copy(s, from, slice::from_raw_parts_mut(to.add(i * runs.steps[0]), len));
                    }
                }
            }
        }
    }
}

/// Copies runs of a constant length, such as those of 1 or 3 channels.
///
/// # Safety
/// All of `runs` can be read from `from` on and written from `to` on.
#[inline(always)]
unsafe fn copy_short<const LEN: usize>(from: *const f32, to: *mut f32, runs: &Runs) {
    for i in 0..runs.count {
        // SAFETY: the caller's promise.
        unsafe {
            let values = from.add(i * runs.steps[1]).cast::<[f32; LEN]>().read();
            to.add(i * runs.steps[0]).cast::<[f32; LEN]>().write(values);
        }
    }
}

impl Visit for Spread<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, run: &Run) {
        let Run { inside, image, .. } = run;
        let from = &self.columns[run.column..][..run.len][inside.clone()];
        add(s, from, &mut self.image[*image..][..inside.len()]);
    }

    #[inline(always)]
    fn runs<S: Simd>(&mut self, s: S, runs: &Runs) {
        runs.check(self.columns.len(), self.image.len());
        let from = self.columns[runs.column..].as_ptr();
        let to = self.image[runs.image..].as_mut_ptr();
        for i in 0..runs.count {
            // SAFETY: the check covers all runs.
            unsafe {
                let from = slice::from_raw_parts(from.add(i * runs.steps[0]), runs.len);
                add(s, from, slice::from_raw_parts_mut(to.add(i * runs.steps[1]), runs.len));
            }
        }
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
    for (to, from) in to.chunks_exact_mut(S::LANES).zip(from.chunks_exact(S::LANES)) {
        s.write(to, s.read(from));
    }
    if !len.is_multiple_of(S::LANES) {
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
        let Some(image) = self.image else {
            return self.clipped(s, axis, outs.clone(), (outs.start, visitor));
        };
        let full = axis.full();
        let start = full.start.clamp(outs.start, outs.end);
        let end = full.end.clamp(start, outs.end);
        self.clipped(s, axis, outs.start..start, (outs.start, visitor));
        if start < end {
            let runs = Runs {
                count: end - start,
                len: axis.kernel * self.unit,
                column: self.column + (start - outs.start) * self.step,
                image: image + axis.under(start, 0) * self.unit,
                steps: [self.step, axis.stride * self.unit],
            };
            visitor.runs(s, &runs);
        }
        self.clipped(s, axis, end..outs.end, (outs.start, visitor));
    }

    /// Visits the windows of `outs` one by one; the column is that of `first`.
    #[inline(always)]
    fn clipped<S: Simd>(
        &self,
        s: S,
        axis: &Axis,
        outs: Range<usize>,
        (first, visitor): (usize, &mut impl Visit),
    ) {
        let len = axis.kernel * self.unit;
        for x in outs {
            let taps = axis.taps(x);
            let column = self.column + (x - first) * self.step;
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
