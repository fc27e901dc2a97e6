//! Bilinear resizing of maps, corners not aligned, as PyTorch's `interpolate`.
//!
//! Output pixel `o` of a side lies at `max((o + 1/2) in / out - 1/2, 0)` of the input and is mixed of the
//! two pixels around it; going down, no pixel is averaged over more than these.
#![allow(unsafe_code, reason = "rows and images are written from several threads")]

use crate::level::{Kernel, Level};
use crate::simd::Simd;
use crate::split::{self, Shared};

/// The sizes of maps with channels last; pairs are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Number of images.
    pub images: usize,
    /// Height and width of an input.
    pub size: [usize; 2],
    /// Height and width of an output.
    pub out: [usize; 2],
    /// Channels.
    pub channels: usize,
}

/// The two input pixels that an output pixel is mixed of, and the share of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// The pixel before, and that after; the same at the end.
    pub pixels: [usize; 2],
    /// Share of the pixel after, 0 to 1.
    pub share: f32,
}

/// What each output pixel of a side is mixed of.
pub fn mixes(input: usize, output: usize) -> Vec<Mix> {
    let scale = input as f64 / output as f64;
    let mix = |at: usize| {
        let place = ((at as f64 + 0.5) * scale - 0.5).max(0.0);
        let first = (place as usize).min(input - 1);
        Mix { pixels: [first, (first + 1).min(input - 1)], share: (place - first as f64) as f32 }
    };
    (0..output).map(mix).collect()
}

impl Shape {
    /// Values of an input image and of its output.
    fn lens(&self) -> [usize; 2] {
        [self.size, self.out].map(|[height, width]| height * width * self.channels)
    }

    fn check(&self, x: usize, y: usize) -> [usize; 2] {
        let sides = [self.size, self.out].concat();
        assert!(self.channels > 0 && sides.iter().all(|side| *side > 0), "sizes: {self:?}");
        let lens = self.lens();
        let expected = lens.map(|len| len * self.images);
        assert!([x, y] == expected, "x, y: {x} and {y} values, expected {expected:?}");
        lens
    }
}

/// Computes `y`, `[n, out_height, out_width, c]`, of `x`, `[n, height, width, c]`.
///
/// # Panics
/// If a length does not fit, or a size is 0.
pub fn forward(level: Level, shape: &Shape, x: &[f32], y: &mut [f32]) {
    let [image, _] = shape.check(x.len(), y.len());
    let [down, along] = [0, 1].map(|axis| mixes(shape.size[axis], shape.out[axis]));
    let (c, work) = (shape.channels, 4 * y.len());
    let [from, to] = [shape.size[1] * c, shape.out[1] * c];
    let y = Shared::new(y);
    split::for_each(shape.images * shape.out[0], work, |line| {
        let Mix { pixels, share } = down[line % shape.out[0]];
        let first = line / shape.out[0] * image;
        let rows = pixels.map(|row| &x[first + row * from..][..from]);
        // SAFETY: lines are disjoint.
        let y = unsafe { y.part(line * to, to) };
        level.run(Line { rows, share, along: &along, channels: c, y });
    });
}

/// Computes the gradient `dx` of the input of that of the output.
///
/// # Panics
/// If a length does not fit, or a size is 0.
pub fn backward(level: Level, shape: &Shape, dy: &[f32], dx: &mut [f32]) {
    let [image, out] = shape.check(dx.len(), dy.len());
    let [down, along] = [0, 1].map(|axis| mixes(shape.size[axis], shape.out[axis]));
    let dx = Shared::new(dx);
    split::for_each(shape.images, 4 * dy.len(), |n| {
        // SAFETY: images are disjoint.
        let dx = unsafe { dx.part(n * image, image) };
        let dy = &dy[n * out..][..out];
        level.run(Scatter { shape, down: &down, along: &along, dy, dx });
    });
}

/// A line of the output.
struct Line<'a> {
    rows: [&'a [f32]; 2],
    share: f32,
    along: &'a [Mix],
    channels: usize,
    y: &'a mut [f32],
}

impl Kernel for Line<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { rows: [above, below], share: down, along, channels: c, y } = self;
        for (mix, y) in along.iter().zip(y.chunks_exact_mut(c)) {
            let [left, right] = mix.pixels.map(|pixel| pixel * c);
            let corners = [&above[left..], &above[right..], &below[left..], &below[right..]];
            let [a, b, d, e] = corners.map(|corner| &corner[..c]);
            for (i, y) in y.iter_mut().enumerate() {
                let upper = a[i] + (b[i] - a[i]) * mix.share;
                let lower = d[i] + (e[i] - d[i]) * mix.share;
                *y = upper + (lower - upper) * down;
            }
        }
    }
}

/// The gradient of an image.
struct Scatter<'a> {
    shape: &'a Shape,
    down: &'a [Mix],
    along: &'a [Mix],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { shape, down, along, dy, dx } = self;
        let c = shape.channels;
        dx.fill(0.0);
        for (row, dy) in down.iter().zip(dy.chunks_exact(shape.out[1] * c)) {
            for (column, dy) in along.iter().zip(dy.chunks_exact(c)) {
                let rows = [(row.pixels[0], 1.0 - row.share), (row.pixels[1], row.share)];
                let columns =
                    [(column.pixels[0], 1.0 - column.share), (column.pixels[1], column.share)];
                for (y, by) in rows {
                    for (x, bx) in columns {
                        let to = &mut dx[(y * shape.size[1] + x) * c..][..c];
                        to.iter_mut().zip(dy).for_each(|(to, dy)| *to += by * bx * dy);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixed_cases;

    fn up(size: [usize; 2], out: [usize; 2], x: &[f32]) -> Vec<f32> {
        let images = x.len() / (size[0] * size[1]);
        let shape = Shape { images, size, out, channels: 1 };
        let mut y = vec![0.0; images * out[0] * out[1]];
        forward(Level::detect(), &shape, x, &mut y);
        y
    }

    /// `torch.nn.functional.interpolate(x, out, mode="bilinear", align_corners=False)` of PyTorch 2.15.
    #[test]
    fn resizing_equals_pytorch() {
        let close = |got: &[f32], want: &[f32]| {
            assert_eq!(got.len(), want.len());
            assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-5), "{got:?} {want:?}");
        };
        close(&up([1, 2], [1, 4], &[0.0, 1.0]), &[0.0, 0.25, 0.75, 1.0]);
        let square = up([2, 2], [4, 4], &[1.0, 2.0, 3.0, 4.0]);
        let first = [1.0, 1.25, 1.75, 2.0, 1.5, 1.75, 2.25, 2.5];
        let last = [2.5, 2.75, 3.25, 3.5, 3.0, 3.25, 3.75, 4.0];
        close(&square, &[first, last].concat());
        close(&up([1, 3], [1, 5], &[1.0, 4.0, 9.0]), &[1.0, 2.2, 4.0, 7.0, 9.0]);
        close(&up([1, 4], [1, 2], &[1.0, 4.0, 9.0, 16.0]), &[2.5, 12.5]);
    }

    proptest::proptest! {
        #![proptest_config(fixed_cases(24))]
        #[test]
        fn every_level_gives_sums_written_out(
            sizes in proptest::array::uniform4(1_usize..9),
            channels in 1_usize..20,
        ) {
            let [h, w, rows, columns] = sizes;
            let shape = Shape { images: 2, size: [h, w], out: [rows, columns], channels };
            let x: Vec<f32> =
                (0..2 * h * w * channels).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect();
            let (down, along) = (mixes(h, rows), mixes(w, columns));
            let mut expected = Vec::new();
            for image in 0..2 {
                for row in &down {
                    for column in &along {
                        for c in 0..channels {
                            let at = |y: usize, x_at: usize| {
                                f64::from(x[((image * h + y) * w + x_at) * channels + c])
                            };
                            let line = |y: usize| {
                                at(y, column.pixels[0]) * f64::from(1.0 - column.share)
                                    + at(y, column.pixels[1]) * f64::from(column.share)
                            };
                            let (up, low) = (line(row.pixels[0]), line(row.pixels[1]));
                            expected.push(up * f64::from(1.0 - row.share) + low * f64::from(row.share));
                        }
                    }
                }
            }
            for level in Level::available() {
                let mut y = vec![0.0; expected.len()];
                forward(level, &shape, &x, &mut y);
                for (got, want) in y.iter().zip(&expected) {
                    proptest::prop_assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
                }
            }
        }
    }

    #[test]
    fn the_gradient_is_the_transposed_resize() {
        let shape = Shape { images: 2, size: [3, 4], out: [7, 9], channels: 5 };
        let values = |count: usize, seed: usize| -> Vec<f32> {
            (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5).collect()
        };
        let (x, dy) = (values(2 * 60, 1), values(2 * 315, 2));
        let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        for level in Level::available() {
            forward(level, &shape, &x, &mut y);
            backward(level, &shape, &dy, &mut dx);
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < 1e-4);
        }
    }
}
