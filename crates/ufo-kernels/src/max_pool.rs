//! The largest value of each window of a map, a channel at a time.
//!
//! ```text
//! y[n, oy, ox, c] = max over ky, kx of x[n, oy s + ky - p, ox s + kx - p, c], of those on the image
//! dx[n, iy, ix, c] = sum of dy over the windows whose first largest value (line by line) is there
//! ```
#![allow(unsafe_code, reason = "images are written from several threads")]

use crate::level::{Kernel, Level};
use crate::simd::Simd;
use crate::split::{self, Shared};

/// The sizes of maps and windows; pairs are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Number of images.
    pub images: usize,
    /// Height and width of an input.
    pub size: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// Pixels a side of a window, at most 16.
    pub kernel: usize,
    /// Input pixels from one window to the next.
    pub stride: usize,
    /// Pixels that windows reach beyond the image, fewer than `kernel`.
    pub padding: usize,
}

impl Shape {
    /// Height and width of an output.
    ///
    /// # Panics
    /// If the shape is impossible.
    pub fn out_size(&self) -> [usize; 2] {
        let Self { size, kernel, stride, padding, .. } = *self;
        assert!(kernel > padding && kernel <= 16 && stride > 0, "kernel, stride: {self:?}");
        size.map(|size| {
            assert!(size > 0 && size + 2 * padding >= kernel, "size: {self:?}");
            // A window that begins after the image has no value.
            ((size + 2 * padding - kernel) / stride + 1).min((size + padding - 1) / stride + 1)
        })
    }

    /// Values of an input image and of its output.
    fn image_lens(&self) -> [usize; 2] {
        [self.size, self.out_size()].map(|[height, width]| height * width * self.channels)
    }

    fn check(&self, x: usize, y: usize) -> [usize; 2] {
        let lens = self.image_lens();
        let expected = lens.map(|len| len * self.images);
        assert!([x, y] == expected, "x, y: {x} and {y} values, expected {expected:?}");
        lens
    }
}

/// Computes `y`, `[n, out_height, out_width, c]`, of `x`, `[n, height, width, c]`, and for each value the
/// number of its tap in the window.
///
/// # Panics
/// If a length does not fit, or the shape is impossible.
pub fn forward(level: Level, shape: &Shape, x: &[f32], y: &mut [f32], taps: &mut [u8]) {
    let [image, out] = shape.check(x.len(), y.len());
    assert!(taps.len() == y.len(), "taps: not of the length of y");
    let (y, taps) = (Shared::new(y), Shared::new(taps));
    let work = shape.images * out * shape.kernel * shape.kernel;
    split::for_each(shape.images, work, |n| {
        // SAFETY: images are disjoint.
        let (y, taps) = unsafe { (y.part(n * out, out), taps.part(n * out, out)) };
        level.run(Largest { shape, x: &x[n * image..][..image], y, taps });
    });
}

/// Computes `dx` of the gradient `dy` of the output and the taps of the forward pass.
///
/// # Panics
/// If a length does not fit, or the shape is impossible.
pub fn backward(shape: &Shape, taps: &[u8], dy: &[f32], dx: &mut [f32]) {
    let [image, out] = shape.check(dx.len(), dy.len());
    assert!(taps.len() == dy.len(), "taps: not of the length of dy");
    let dx = Shared::new(dx);
    split::for_each(shape.images, shape.images * (image + out), |n| {
        // SAFETY: images are disjoint.
        let dx = unsafe { dx.part(n * image, image) };
        dx.fill(0.0);
        let (taps, dy) = (&taps[n * out..][..out], &dy[n * out..][..out]);
        let windows = taps.chunks_exact(shape.channels).zip(dy.chunks_exact(shape.channels));
        for (window, (taps, dy)) in windows.enumerate() {
            for (channel, (tap, dy)) in taps.iter().zip(dy).enumerate() {
                dx[shape.pixel(window, usize::from(*tap)) * shape.channels + channel] += dy;
            }
        }
    });
}

impl Shape {
    /// The pixel of the image under a tap of a window, which lies on the image.
    #[inline(always)]
    fn pixel(&self, window: usize, tap: usize) -> usize {
        let [_, out_width] = self.out_size();
        let [y, x] =
            [(window / out_width, tap / self.kernel), (window % out_width, tap % self.kernel)]
                .map(|(out, tap)| out * self.stride + tap - self.padding);
        y * self.size[1] + x
    }
}

/// The output of an image.
struct Largest<'a> {
    shape: &'a Shape,
    x: &'a [f32],
    y: &'a mut [f32],
    taps: &'a mut [u8],
}

impl Kernel for Largest<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { shape, x, y, taps } = self;
        let [_, out_width] = shape.out_size();
        let c = shape.channels;
        let windows = y.chunks_exact_mut(c).zip(taps.chunks_exact_mut(c)).enumerate();
        for (window, (y, taps)) in windows {
            let corner = [window / out_width, window % out_width].map(|out| out * shape.stride);
            y.fill(f32::NEG_INFINITY);
            let mut first = true;
            for tap in 0..shape.kernel * shape.kernel {
                let at = [corner[0] + tap / shape.kernel, corner[1] + tap % shape.kernel];
                let inside =
                    |i: usize| (shape.padding..shape.size[i] + shape.padding).contains(&at[i]);
                if !(inside(0) && inside(1)) {
                    continue;
                }
                let pixel = (at[0] - shape.padding) * shape.size[1] + at[1] - shape.padding;
                let values = x[pixel * c..][..c].iter();
                for ((y, to), &value) in y.iter_mut().zip(taps.iter_mut()).zip(values) {
                    // NaN is the largest, as in PyTorch.
                    let larger = first || value > *y || value.is_nan();
                    *y = if larger { value } else { *y };
                    *to = if larger { tap as u8 } else { *to };
                }
                first = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{assert_same_for_any_threads, fixed_cases, values};

    /// Output and input gradient, window by window.
    fn reference(shape: &Shape, x: &[f32], dy: &[f32]) -> [Vec<f32>; 2] {
        let Shape { images, size: [height, width], channels, kernel, stride, padding } = *shape;
        let [rows, columns] = shape.out_size();
        let (mut y, mut dx) = (Vec::new(), vec![0.0; x.len()]);
        for (at, dy) in dy[..images * rows * columns * channels].iter().enumerate() {
            let (window, channel) = (at / channels, at % channels);
            let (n, oy, ox) = (window / columns / rows, window / columns % rows, window % columns);
            let mut best: Option<usize> = None;
            for ky in 0..kernel {
                for kx in 0..kernel {
                    let (iy, ix) = (oy * stride + ky, ox * stride + kx);
                    if iy < padding
                        || ix < padding
                        || iy >= height + padding
                        || ix >= width + padding
                    {
                        continue;
                    }
                    let pixel = (n * height + iy - padding) * width + ix - padding;
                    let i = pixel * channels + channel;
                    if best.is_none_or(|best| x[i] > x[best]) {
                        best = Some(i);
                    }
                }
            }
            let best = best.unwrap();
            y.push(x[best]);
            dx[best] += dy;
        }
        [y, dx]
    }

    fn run(level: Level, shape: &Shape, x: &[f32], dy: &[f32]) -> [Vec<f32>; 2] {
        let (mut y, mut taps) = (vec![f32::NAN; dy.len()], vec![255; dy.len()]);
        forward(level, shape, x, &mut y, &mut taps);
        let mut dx = vec![f32::NAN; x.len()];
        backward(shape, &taps, dy, &mut dx);
        [y, dx]
    }

    fn inputs(shape: &Shape) -> [Vec<f32>; 2] {
        let [image, out] = shape.image_lens();
        // Ties, too.
        let x = values(1, shape.images * image).iter().map(|x| (8.0 * x).round()).collect();
        [x, values(2, shape.images * out)]
    }

    proptest! {
        #![proptest_config(fixed_cases(64))]

        #[test]
        fn forward_and_backward_equal_the_formula(
            images in 1_usize..3, height in 1_usize..9, width in 1_usize..9, channels in 1_usize..20,
            kernel in 1_usize..4, stride in 1_usize..3, padding in 0_usize..2,
        ) {
            prop_assume!(padding < kernel && height.min(width) + 2 * padding >= kernel);
            let shape = Shape { images, size: [height, width], channels, kernel, stride, padding };
            let [x, dy] = inputs(&shape);
            for level in Level::available() {
                assert_eq!(run(level, &shape, &x, &dy), reference(&shape, &x, &dy), "{level:?}");
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let shape =
            Shape { images: 5, size: [28, 31], channels: 40, kernel: 3, stride: 2, padding: 1 };
        let [x, dy] = inputs(&shape);
        assert_same_for_any_threads(|level| run(level, &shape, &x, &dy).concat());
    }

    #[test]
    fn a_nan_is_the_largest() {
        let shape =
            Shape { images: 1, size: [2, 2], channels: 1, kernel: 2, stride: 1, padding: 0 };
        let (mut y, mut taps) = ([0.0], [0]);
        forward(Level::detect(), &shape, &[1.0, f32::NAN, 3.0, 2.0], &mut y, &mut taps);
        assert!(y[0].is_nan() && taps[0] == 1);
    }
}
