//! The gradients of a depthwise convolution, for a vector of channels at a time.
#![allow(unsafe_code, reason = "images are written from several threads")]

use super::{MAX_LANES, Planes, Sink, Window, pack, pad};
use crate::{
    conv::{
        Backward, Conv, Grads,
        lend::for_each_with,
        pointwise::{AddRows, transpose},
        shape::Axis,
    },
    level::{Kernel, Level},
    scratch::Scratch,
    simd::{Simd, gelu_and_derivative},
    split::Shared,
};

pub(in crate::conv) fn backward(
    level: Level,
    conv: &Conv<'_>,
    given: &Backward<'_>,
    grads: Grads<'_>,
    scratch: &mut Scratch,
) {
    let shape = &conv.shape;
    let Grads { dx, dweight, dbias } = grads;
    let planes = Planes::of(shape);
    let (channels, len) = (shape.channels, shape.weight_len());
    let images = shape.images_a_partial();
    let partials = shape.images.div_ceil(images);
    let lens = [len, partials * len, partials * channels];
    let ([weight, dweights, dbiases], scratches) = scratch.lend(lens, rayon::current_num_threads());
    transpose(conv.weight, [channels, shape.taps()], weight);
    let (shared_dx, shared_dweights, shared_dbiases) =
        (dx.map(Shared::new), Shared::new(dweights), Shared::new(dbiases));
    let work = 2 * shape.output_len() * shape.taps();
    for_each_with([partials, work], scratches, |i, scratch| {
        let range = i * images..shape.images.min((i + 1) * images);
        // SAFETY: each call has its own images and its own partial sums.
        let (mut dx, dweight, dbias) = unsafe {
            let [start, len] = [range.start, range.len()].map(|n| n * shape.image_len());
            (
                shared_dx.as_ref().map(|dx| dx.part(start, len)),
                shared_dweights.part(i * shape.weight_len(), shape.weight_len()),
                shared_dbiases.part(i * channels, channels),
            )
        };
        dweight.fill(0.0);
        dbias.fill(0.0);
        let lens = [planes.padded_pixels(), planes.spread_pixels(), planes.out_pixels()]
            .map(|pixels| pixels * MAX_LANES);
        let ([padded, spread, g], children) = scratch.lend(lens, 1);
        let lens = [planes.taps() * MAX_LANES; 2];
        let ([taps, sums], _) = children[0].lend(lens, 0);
        for (n, image) in range.clone().enumerate() {
            let [input_len, out_len] = [shape.image_len(), planes.out_pixels() * channels];
            let outputs = image * out_len..(image + 1) * out_len;
            level.run(Gradients {
                planes,
                weight,
                input: &given.input[image * input_len..][..input_len],
                pre: given.pre.get(outputs.clone()),
                dy: &given.dy[outputs],
                dx: dx.as_mut().map(|dx| &mut dx[n * input_len..][..input_len]),
                dweight,
                dbias,
                buffers: Buffers { padded, spread, g, taps, sums },
            });
        }
    });
    dweights_to(level, dweights, [shape.taps(), channels], (weight, dweight));
    if let Some(dbias) = dbias {
        dbias.fill(0.0);
        level.run(AddRows { rows: dbiases, sums: dbias });
    }
}

/// Sums the partial gradients, in `total`, and writes them in the order of the weight.
fn dweights_to(
    level: Level,
    partials: &[f32],
    [taps, channels]: [usize; 2],
    (total, dweight): (&mut [f32], &mut [f32]),
) {
    total.fill(0.0);
    level.run(AddRows { rows: partials, sums: total });
    transpose(total, [taps, channels], dweight);
}

/// Working memory for a vector of channels.
struct Buffers<'a> {
    /// The padded input.
    padded: &'a mut [f32],
    /// The gradient of the padded input, or that of the pre-activation with zeros around it.
    spread: &'a mut [f32],
    /// The gradient of the pre-activation.
    g: &'a mut [f32],
    taps: &'a mut [f32],
    /// The gradient of the taps.
    sums: &'a mut [f32],
}

/// The gradients of an image; those of the parameters are added.
struct Gradients<'a> {
    planes: Planes,
    /// `[kh, kw, channels]`
    weight: &'a [f32],
    input: &'a [f32],
    pre: Option<&'a [f32]>,
    dy: &'a [f32],
    dx: Option<&'a mut [f32]>,
    /// `[kh, kw, channels]`
    dweight: &'a mut [f32],
    dbias: &'a mut [f32],
    buffers: Buffers<'a>,
}

impl Kernel for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let channels = self.planes.channels;
        self.buffers.padded.fill(0.0);
        self.buffers.spread.fill(0.0);
        for channel in (0..channels).step_by(S::LANES) {
            let lanes = S::LANES.min(channels - channel);
            self.output_gradient(s, channel, lanes);
            pad(s, &self.planes, (&self.input[channel..], lanes), self.buffers.padded);
            self.weight_gradient(s, channel, lanes);
            if self.dx.is_some() {
                self.input_gradient(s, channel, lanes);
            }
        }
    }
}

impl Planes {
    /// Zeros around the output from which the gradient of the input is a convolution like the
    /// forward one, with the window turned around; there is none with a stride.
    fn turned(&self) -> Option<[usize; 2]> {
        let fits = |axis: Axis| axis.stride == 1 && axis.padding < axis.kernel;
        let around = self.axes.map(|axis| axis.kernel - 1 - axis.padding.min(axis.kernel - 1));
        self.axes.into_iter().all(fits).then_some(around)
    }

    /// Height and width of the output with those zeros.
    fn turned_size(&self) -> [usize; 2] {
        self.axes.map(|axis| axis.size + axis.kernel - 1)
    }

    fn spread_pixels(&self) -> usize {
        let [height, width] =
            if self.turned().is_some() { self.turned_size() } else { self.padded() };
        height * width
    }
}

/// A line of the gradient of the input, of `lanes` channels.
struct Line<'a> {
    dx: &'a mut [f32],
    channels: usize,
    lanes: usize,
}

impl Sink for Line<'_> {
    #[inline(always)]
    fn put<S: Simd>(&mut self, s: S, x: usize, sum: S::V) {
        s.write(&mut self.dx[x * self.channels..][..self.lanes], sum);
    }
}

impl Gradients<'_> {
    /// The gradient of the pre-activation, side by side, and the sum of it.
    #[inline(always)]
    fn output_gradient<S: Simd>(&mut self, s: S, channel: usize, lanes: usize) {
        let channels = self.planes.channels;
        let mut sum = s.read(&self.dbias[channel..][..lanes]);
        let pixels = self.planes.out_pixels();
        let to = self.buffers.g.chunks_exact_mut(S::LANES).take(pixels);
        for (pixel, to) in to.enumerate() {
            let from = pixel * channels + channel;
            let mut g = s.read(&self.dy[from..][..lanes]);
            if let Some(pre) = self.pre {
                g = s.mul(g, gelu_and_derivative(s, s.read(&pre[from..][..lanes])).1);
            }
            sum = s.add(sum, g);
            s.write(to, g);
        }
        s.write(&mut self.dbias[channel..][..lanes], sum);
    }

    #[inline(always)]
    fn input_gradient<S: Simd>(&mut self, s: S, channel: usize, lanes: usize) {
        let Self { planes, weight, dx: Some(dx), buffers, .. } = self else { return };
        let Buffers { spread, g, taps, .. } = buffers;
        pack(s, (&weight[channel..], planes.channels), lanes, taps);
        let dx = &mut dx[channel..];
        if let Some(around) = planes.turned() {
            turn::<S>(&mut taps[..planes.taps() * S::LANES]);
            surround::<S>(planes, g, (around, spread));
            let [_, width] = planes.turned_size();
            for y in 0..planes.axes[0].size {
                let image = &spread[y * width * S::LANES..];
                let window = Window { kernel: planes.kernel(), width, step: 1, image, taps };
                let count = planes.axes[1].size;
                let dx = &mut dx[y * count * planes.channels..];
                let mut line = Line { dx, channels: planes.channels, lanes };
                window.line(s, (s.splat(0.0), count), &mut line);
            }
        } else {
            spread.fill(0.0);
            scatter(s, planes, (g, taps), spread);
            crop(s, planes, spread, (dx, lanes));
        }
    }

    #[inline(always)]
    fn weight_gradient<S: Simd>(&mut self, s: S, channel: usize, lanes: usize) {
        let Buffers { padded, g, sums, .. } = &mut self.buffers;
        let [kernel_height, kernel_width] = self.planes.kernel();
        for y in 0..kernel_height {
            let mut x = 0;
            while x < kernel_width {
                let at = [y, x];
                let sums = &mut sums[(y * kernel_width + x) * S::LANES..];
                x += match kernel_width - x {
                    7.. => correlate::<S, 7>(s, &self.planes, (padded, g), at, sums),
                    5.. => correlate::<S, 5>(s, &self.planes, (padded, g), at, sums),
                    3.. => correlate::<S, 3>(s, &self.planes, (padded, g), at, sums),
                    2 => correlate::<S, 2>(s, &self.planes, (padded, g), at, sums),
                    _ => correlate::<S, 1>(s, &self.planes, (padded, g), at, sums),
                };
            }
        }
        for tap in 0..self.planes.taps() {
            let to = &mut self.dweight[tap * self.planes.channels + channel..][..lanes];
            let sum = s.add(s.read(to), s.read(&sums[tap * S::LANES..]));
            s.write(to, sum);
        }
    }
}

/// The gradients of `TAPS` neighboring taps from `[y, x]` on, to `sums`; gives their number.
#[inline(always)]
fn correlate<S: Simd, const TAPS: usize>(
    s: S,
    planes: &Planes,
    (padded, g): (&[f32], &[f32]),
    [tap_y, tap_x]: [usize; 2],
    sums: &mut [f32],
) -> usize {
    let ([height, width], padded_width) = (planes.out(), planes.padded()[1]);
    let [stride_y, stride_x] = planes.axes.map(|axis| axis.stride);
    let mut totals = [[s.splat(0.0); TAPS]; 2];
    for y in 0..height {
        let from = (y * stride_y + tap_y) * padded_width + tap_x;
        let g = &g[y * width * S::LANES..(y + 1) * width * S::LANES];
        let last = (width - 1) * stride_x + TAPS;
        let image = &padded[from * S::LANES..(from + last) * S::LANES];
        let mut pairs = g.chunks_exact(2 * S::LANES);
        let mut x = 0;
        for pair in &mut pairs {
            // Pixels in turn, so that a sum does not wait for the one before.
            for (total, g) in totals.iter_mut().zip(pair.chunks_exact(S::LANES)) {
                add_taps(s, image, x * stride_x, s.read(g), total);
                x += 1;
            }
        }
        if let rest @ [_, ..] = pairs.remainder() {
            add_taps(s, image, x * stride_x, s.read(rest), &mut totals[0]);
        }
    }
    for i in 0..TAPS {
        s.write(&mut sums[i * S::LANES..], s.add(totals[0][i], totals[1][i]));
    }
    TAPS
}

/// Adds `g` times the pixels of `image` from `first` on.
#[inline(always)]
fn add_taps<S: Simd, const TAPS: usize>(
    s: S,
    image: &[f32],
    first: usize,
    g: S::V,
    totals: &mut [S::V; TAPS],
) {
    let image = &image[first * S::LANES..(first + TAPS) * S::LANES];
    for (total, pixel) in totals.iter_mut().zip(image.chunks_exact(S::LANES)) {
        *total = s.fma(s.read(pixel), g, *total);
    }
}

/// Turns the order of vectors around.
#[inline(always)]
fn turn<S: Simd>(taps: &mut [f32]) {
    let count = taps.len() / S::LANES;
    for i in 0..count / 2 {
        let (first, last) = taps.split_at_mut((count - 1 - i) * S::LANES);
        first[i * S::LANES..][..S::LANES].swap_with_slice(&mut last[..S::LANES]);
    }
}

/// Copies the lines of `g` into the middle of an image with zeros around it.
#[inline(always)]
fn surround<S: Simd>(planes: &Planes, g: &[f32], ([top, left], to): ([usize; 2], &mut [f32])) {
    let ([_, width], [height, out]) = (planes.turned_size(), planes.out());
    for (y, line) in g.chunks_exact(out * S::LANES).take(height).enumerate() {
        let start = ((top + y) * width + left) * S::LANES;
        to[start..start + line.len()].copy_from_slice(line);
    }
}

/// Adds each pixel of `g` times each tap to the gradient of the padded input.
#[inline(always)]
fn scatter<S: Simd>(s: S, planes: &Planes, (g, taps): (&[f32], &[f32]), spread: &mut [f32]) {
    let ([height, width], padded_width) = (planes.out(), planes.padded()[1]);
    let [kernel_height, kernel_width] = planes.kernel();
    let [stride_y, stride_x] = planes.axes.map(|axis| axis.stride);
    for y in 0..height {
        for tap_y in 0..kernel_height {
            let line = (y * stride_y + tap_y) * padded_width;
            for x in 0..width {
                let g = s.read(&g[(y * width + x) * S::LANES..]);
                let to = (line + x * stride_x) * S::LANES;
                let to = &mut spread[to..to + kernel_width * S::LANES];
                let taps = &taps[tap_y * kernel_width * S::LANES..];
                for (to, tap) in to.chunks_exact_mut(S::LANES).zip(taps.chunks_exact(S::LANES)) {
                    let sum = s.fma(g, s.read(tap), s.read(to));
                    s.write(to, sum);
                }
            }
        }
    }
}

/// Copies the middle of a padded image to `lanes` channels of `image`.
#[inline(always)]
fn crop<S: Simd>(s: S, planes: &Planes, padded: &[f32], (image, lanes): (&mut [f32], usize)) {
    let [height, width] = planes.axes.map(|axis| axis.size);
    for y in 0..height {
        let from = &padded[planes.line(y) * S::LANES..][..width * S::LANES];
        for (x, from) in from.chunks_exact(S::LANES).enumerate() {
            let to = &mut image[(y * width + x) * planes.channels..][..lanes];
            s.write(to, s.read(from));
        }
    }
}
