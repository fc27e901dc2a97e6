//! A convolution of each channel with its own window, for a vector of channels at a time.
//!
//! The vector's channels of an image are copied out with zeros around them, so that they lie side by
//! side in the first-level cache and no tap has to be checked.
#![allow(unsafe_code, reason = "the loops over pixels and taps work on pointers")]

mod gradients;

use super::{
    Activation, Conv,
    lend::for_each_with,
    pointwise::transpose,
    shape::{Axis, Shape},
};
use crate::{
    level::{Kernel, Level},
    scratch::Scratch,
    simd::{Simd, gelu},
    split::Shared,
};

pub(super) use gradients::backward;

/// Most lanes that any level has.
const MAX_LANES: usize = 16;
/// Channels a piece of work of the forward pass.
const PIECE_CHANNELS: usize = 32;

/// Sizes of the copies of an image that a vector of channels needs.
#[derive(Clone, Copy)]
struct Planes {
    axes: [Axis; 2],
    channels: usize,
}

impl Planes {
    fn of(shape: &Shape) -> Self {
        Self { axes: shape.axes(), channels: shape.channels }
    }

    /// Height and width of the padded input.
    fn padded(&self) -> [usize; 2] {
        self.axes.map(|axis| axis.size + 2 * axis.padding)
    }

    fn padded_pixels(&self) -> usize {
        self.padded()[0] * self.padded()[1]
    }

    fn out(&self) -> [usize; 2] {
        self.axes.map(|axis| axis.out)
    }

    fn out_pixels(&self) -> usize {
        self.out()[0] * self.out()[1]
    }

    fn kernel(&self) -> [usize; 2] {
        self.axes.map(|axis| axis.kernel)
    }

    fn taps(&self) -> usize {
        self.kernel()[0] * self.kernel()[1]
    }

    /// Pixel of the padded input where line `y` of the image starts.
    #[inline(always)]
    fn line(&self, y: usize) -> usize {
        (y + self.axes[0].padding) * self.padded()[1] + self.axes[1].padding
    }
}

pub(super) fn forward(
    level: Level,
    conv: &Conv<'_>,
    input: &[f32],
    (out, pre): (&mut [f32], Option<&mut [f32]>),
    scratch: &mut Scratch,
) {
    let shape = &conv.shape;
    let planes = Planes::of(shape);
    let blocks = shape.channels.div_ceil(PIECE_CHANNELS);
    let ([weight], scratches) = scratch.lend([shape.weight_len()], rayon::current_num_threads());
    transpose(conv.weight, [shape.channels, shape.taps()], weight);
    let (out, pre) = (Shared::new(out), pre.map(Shared::new));
    let work = shape.output_len() * shape.taps();
    for_each_with([shape.images * blocks, work], scratches, |i, scratch| {
        let (image, first) = (i / blocks, i % blocks * PIECE_CHANNELS);
        let lens = [planes.padded_pixels() * MAX_LANES, planes.taps() * MAX_LANES];
        let ([padded, taps], _) = scratch.lend(lens, 0);
        level.run(Forward {
            planes,
            channels: first..shape.channels.min(first + PIECE_CHANNELS),
            weight,
            bias: conv.bias,
            activation: conv.activation,
            input: &input[image * shape.image_len()..][..shape.image_len()],
            out: &out,
            pre: pre.as_ref(),
            first: image * planes.out_pixels() * shape.channels,
            padded,
            taps,
        });
    });
}

/// The output of some channels of an image.
struct Forward<'a> {
    planes: Planes,
    channels: std::ops::Range<usize>,
    /// `[kh, kw, channels]`
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    activation: Activation,
    input: &'a [f32],
    out: &'a Shared<'a, f32>,
    pre: Option<&'a Shared<'a, f32>>,
    /// Where the image's output starts.
    first: usize,
    padded: &'a mut [f32],
    taps: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Planes { channels, .. } = self.planes;
        let [height, width] = self.planes.out();
        let stride = self.planes.axes.map(|axis| axis.stride);
        self.padded.fill(0.0);
        for channel in self.channels.clone().step_by(S::LANES) {
            let lanes = S::LANES.min(self.channels.end - channel);
            pack(s, (&self.weight[channel..], channels), lanes, self.taps);
            pad(s, &self.planes, (&self.input[channel..], lanes), self.padded);
            let bias = self.bias.map_or(s.splat(0.0), |bias| s.read(&bias[channel..][..lanes]));
            for y in 0..height {
                let line = y * stride[0] * self.planes.padded()[1];
                let window = Window {
                    kernel: self.planes.kernel(),
                    width: self.planes.padded()[1],
                    step: stride[1],
                    image: &self.padded[line * S::LANES..],
                    taps: self.taps,
                };
                let first = self.first + y * width * channels + channel;
                window.line(s, (bias, width), &mut Output { pass: &self, first, lanes });
            }
        }
    }
}

/// A line of the output of `lanes` channels, from `first` on.
struct Output<'a> {
    pass: &'a Forward<'a>,
    first: usize,
    lanes: usize,
}

impl Sink for Output<'_> {
    #[inline(always)]
    fn put<S: Simd>(&mut self, s: S, x: usize, sum: S::V) {
        let Forward { planes, activation, out, pre, .. } = *self.pass;
        let to = self.first + x * planes.channels;
        // SAFETY: the pieces have disjoint channels and images.
        let (out, pre) =
            unsafe { (out.part(to, self.lanes), pre.map(|pre| pre.part(to, self.lanes))) };
        if let Some(pre) = pre {
            s.write(pre, sum);
        }
        let sum = match activation {
            Activation::None => sum,
            Activation::Gelu => gelu(s, sum),
        };
        s.write(out, sum);
    }
}

/// What becomes of the sums of a line of windows.
trait Sink {
    fn put<S: Simd>(&mut self, s: S, x: usize, sum: S::V);
}

/// Padded pixels from the first tap of an output pixel on.
#[derive(Clone, Copy)]
struct Window<'a> {
    kernel: [usize; 2],
    /// Pixels a line.
    width: usize,
    /// Pixels from one output pixel to the next.
    step: usize,
    image: &'a [f32],
    taps: &'a [f32],
}

impl Window<'_> {
    /// `init` and the products with all taps, for `count` neighbors.
    #[inline(always)]
    fn line<S: Simd>(&self, s: S, (init, count): (S::V, usize), sink: &mut impl Sink) {
        let mut x = 0;
        while x < count {
            let window = Self { image: &self.image[x * self.step * S::LANES..], ..*self };
            x += match count - x {
                8.. => window.pixels::<S, 8>(s, init, (x, sink)),
                4.. => window.pixels::<S, 4>(s, init, (x, sink)),
                2.. => window.pixels::<S, 2>(s, init, (x, sink)),
                _ => window.pixels::<S, 1>(s, init, (x, sink)),
            };
        }
    }

    /// As [`Self::line`] for `PIXELS` neighbors, the first of which is `x`; gives their number.
    #[inline(always)]
    fn pixels<S: Simd, const PIXELS: usize>(
        &self,
        s: S,
        init: S::V,
        (x, sink): (usize, &mut impl Sink),
    ) -> usize {
        for (i, sum) in self.sums::<S, PIXELS>(s, init).into_iter().enumerate() {
            sink.put(s, x + i, sum);
        }
        PIXELS
    }

    /// `init` and the products with all taps, for `PIXELS` neighbors.
    #[inline(always)]
    fn sums<S: Simd, const PIXELS: usize>(&self, s: S, init: S::V) -> [S::V; PIXELS] {
        let Self { kernel: [kernel_height, kernel_width], width, step, .. } = *self;
        let last = (kernel_height - 1) * width + (PIXELS - 1) * step + kernel_width;
        assert!(self.image.len() >= last * S::LANES);
        assert!(self.taps.len() >= kernel_height * kernel_width * S::LANES);
        let mut sums = [init; PIXELS];
        let mut tap = self.taps.as_ptr();
        for y in 0..kernel_height {
            for x in 0..kernel_width {
                // SAFETY: the assertions cover all pixels and taps.
                unsafe {
                    let weight = s.load(tap);
                    let from = self.image.as_ptr().add((y * width + x) * S::LANES);
                    for (i, sum) in sums.iter_mut().enumerate() {
                        *sum = s.fma(s.load(from.add(i * step * S::LANES)), weight, *sum);
                    }
                }
                tap = tap.wrapping_add(S::LANES);
            }
        }
        sums
    }
}

/// Copies `lanes` values of each of the rows of `from`, which are `stride` apart, side by side.
#[inline(always)]
fn pack<S: Simd>(s: S, (from, stride): (&[f32], usize), lanes: usize, to: &mut [f32]) {
    for (row, to) in to.chunks_exact_mut(S::LANES).enumerate() {
        let Some(from) = from.get(row * stride..row * stride + lanes) else { return };
        s.write(to, s.read(from));
    }
}

/// Copies `lanes` channels of an image into the middle of `padded`.
#[inline(always)]
fn pad<S: Simd>(s: S, planes: &Planes, (image, lanes): (&[f32], usize), padded: &mut [f32]) {
    let [height, width] = planes.axes.map(|axis| axis.size);
    for y in 0..height {
        let to = planes.line(y) * S::LANES;
        let to = &mut padded[to..to + width * S::LANES];
        for (x, to) in to.chunks_exact_mut(S::LANES).enumerate() {
            let from = &image[(y * width + x) * planes.channels..][..lanes];
            s.write(to, s.read(from));
        }
    }
}
