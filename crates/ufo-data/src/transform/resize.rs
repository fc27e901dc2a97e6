//! Resizing as Pillow does it, to the bit: a horizontal and a vertical pass in fixed point.
//!
//! Output pixel `i` of a side is the weighted mean of the input pixels around `(i + 0.5) * scale`;
//! the filter widens by `scale` when the image shrinks. Weights are integers of 22 fractional bits
//! and each pass rounds to 8 bits, so every processor gives the same pixels.

use std::ops::Range;

use super::Interpolation;
use crate::Image;

const FRACTION_BITS: u32 = 22;

/// Stretches `image`, or its part of left, top, width and height, to `width` x `height`.
///
/// The part lies inside the image; the filter may read pixels around it.
pub(crate) fn resize(
    image: &Image,
    part: Option<[f64; 4]>,
    [width, height]: [usize; 2],
    filter: Interpolation,
) -> Image {
    let whole = [0.0, 0.0, image.width as f64, image.height as f64];
    if part.is_none() && (image.width, image.height) == (width, height) {
        return image.clone();
    }
    let [left, top, part_width, part_height] = part.unwrap_or(whole);
    let columns = Side { input: image.width, start: left, length: part_width, output: width };
    let rows = Side { input: image.height, start: top, length: part_height, output: height };
    if filter == Interpolation::Nearest {
        return nearest(image, &columns, &rows);
    }
    let rows_weights = rows.weights(filter);
    let first = rows_weights.first().map_or(0, |weights| weights.first);
    let last = rows_weights.last().map_or(0, Weights::end);
    let narrow = horizontal(image, first..last, &columns.weights(filter));
    vertical(&narrow, first, &rows_weights)
}

/// One side: `output` pixels made of `length` of the `input` pixels from `start` on.
struct Side {
    input: usize,
    start: f64,
    length: f64,
    output: usize,
}

/// The weights of one output pixel: of the input pixels from `first` on.
struct Weights {
    first: usize,
    values: Vec<i32>,
}

impl Weights {
    fn end(&self) -> usize {
        self.first + self.values.len()
    }
}

impl Side {
    fn weights(&self, filter: Interpolation) -> Vec<Weights> {
        let scale = self.length / self.output as f64;
        let stretch = scale.max(1.0);
        let support = support(filter) * stretch;
        let inverse = 1.0 / stretch;
        (0..self.output)
            .map(|index| {
                let center = self.start + (index as f64 + 0.5) * scale;
                let first = (center - support + 0.5).max(0.0) as usize;
                let end = ((center + support + 0.5).max(0.0) as usize).min(self.input);
                let first = first.min(self.input - 1);
                let raw = (first..end.max(first + 1))
                    .map(|at| response(filter, (at as f64 - center + 0.5) * inverse));
                let raw: Vec<f64> = raw.collect();
                let sum: f64 = raw.iter().sum();
                Weights { first, values: raw.iter().map(|&value| fixed(value, sum)).collect() }
            })
            .collect()
    }

    fn nearest(&self, index: usize) -> usize {
        let scale = self.length / self.output as f64;
        ((self.start + (index as f64 + 0.5) * scale) as usize).min(self.input - 1)
    }
}

fn fixed(value: f64, sum: f64) -> i32 {
    let normalized = if sum == 0.0 { value } else { value / sum };
    let scaled = normalized * f64::from(1 << FRACTION_BITS);
    (scaled + 0.5_f64.copysign(scaled)) as i32
}

fn support(filter: Interpolation) -> f64 {
    match filter {
        Interpolation::Nearest => 0.0,
        Interpolation::Bilinear => 1.0,
        Interpolation::Bicubic => 2.0,
    }
}

fn response(filter: Interpolation, x: f64) -> f64 {
    let x = x.abs();
    match filter {
        Interpolation::Nearest => f64::from(u8::from(x < 0.5)),
        Interpolation::Bilinear => (1.0 - x).max(0.0),
        Interpolation::Bicubic => {
            const A: f64 = -0.5;
            if x < 1.0 {
                ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
            } else if x < 2.0 {
                (((x - 5.0) * x + 8.0) * x - 4.0) * A
            } else {
                0.0
            }
        }
    }
}

fn to_u8(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

fn horizontal(image: &Image, rows: Range<usize>, columns: &[Weights]) -> Image {
    let (width, height) = (columns.len(), rows.len());
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in rows {
        let row = &image.rgb[image.at(0, y)..][..image.width * 3];
        for weights in columns {
            let mut sums = [1 << (FRACTION_BITS - 1); 3];
            let pixels = row[weights.first * 3..].chunks_exact(3);
            for (&weight, pixel) in weights.values.iter().zip(pixels) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            rgb.extend(sums.map(to_u8));
        }
    }
    Image { width, height, rgb }
}

/// `image` holds the rows from `first` on.
fn vertical(image: &Image, first: usize, rows: &[Weights]) -> Image {
    let stride = image.width * 3;
    let mut rgb = Vec::with_capacity(stride * rows.len());
    let mut sums = vec![0; stride];
    for weights in rows {
        sums.fill(1 << (FRACTION_BITS - 1));
        let start = (weights.first - first) * stride;
        for (&weight, row) in weights.values.iter().zip(image.rgb[start..].chunks_exact(stride)) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        rgb.extend(sums.iter().copied().map(to_u8));
    }
    Image { width: image.width, height: rows.len(), rgb }
}

fn nearest(image: &Image, columns: &Side, rows: &Side) -> Image {
    let mut rgb = Vec::with_capacity(columns.output * rows.output * 3);
    let xs: Vec<usize> = (0..columns.output).map(|index| columns.nearest(index)).collect();
    for index in 0..rows.output {
        let y = rows.nearest(index);
        for &x in &xs {
            rgb.extend_from_slice(&image.rgb[image.at(x, y)..][..3]);
        }
    }
    Image { width: columns.output, height: rows.output, rgb }
}
