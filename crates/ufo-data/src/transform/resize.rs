//! Resizing as Pillow does it, to the bit: a horizontal and a vertical pass in fixed point.
//!
//! Output pixel `i` of a side is the weighted mean of the input pixels around `(i + 0.5) * scale`;
//! the filter widens by `scale` when the image shrinks. Weights are integers of 22 fractional bits
//! and each pass rounds to 8 bits, so every processor gives the same pixels.
//!
//! Between the passes a row is three planes of red, green and blue, so that the second pass writes
//! the planes of a network's input at once; a mirrored image is one with mirrored weights.

mod rows;
mod weights;

use rows::{LANES, Level, SLACK};
use weights::{Side, Weights};

use super::Interpolation;
use crate::Image;

/// A rectangle of an image's pixels.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// From the first pixel of the rectangle on.
    rgb: &'a [u8],
    /// Bytes from a row to the next.
    stride: usize,
    width: usize,
    height: usize,
}

/// What becomes of a [`View`].
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// The part of the view that is stretched, as left, top, width and height inside of it; the
    /// filter may read pixels around it. None is the whole.
    pub(crate) part: Option<[f64; 4]>,
    /// Width and height of the result.
    pub(crate) size: [usize; 2],
    pub(crate) filter: Interpolation,
    /// Left becomes right.
    pub(crate) mirrored: bool,
}

/// Weights and rows of earlier images, kept so that the next one takes no memory anew.
#[derive(Default)]
pub(crate) struct Scratch {
    columns: Weights,
    rows: Weights,
    /// The result of the horizontal pass.
    narrow: Vec<u8>,
    /// Two rows of the source with `SLACK` after each.
    padded: [Vec<u8>; 2],
    /// One row of the result.
    line: Vec<u8>,
}

impl Image {
    /// The whole image.
    pub(crate) fn view(&self) -> View<'_> {
        let (width, height) = (self.width, self.height);
        View { rgb: &self.rgb, stride: width * 3, width, height }
    }
}

impl View<'_> {
    /// The rectangle of `width` x `height` whose corner is at (`left`, `top`).
    pub(crate) fn part(self, [left, top]: [usize; 2], [width, height]: [usize; 2]) -> Self {
        let rgb = &self.rgb[top * self.stride + left * 3..];
        Self { rgb, width, height, ..self }
    }

    fn row(&self, y: usize) -> &[u8] {
        &self.rgb[y * self.stride..][..self.width * 3]
    }
}

/// Stretches a view to an 8-bit image.
pub(crate) fn resize(view: View, target: Target) -> Image {
    let [width, height] = target.size;
    let mut rgb = vec![0; width * height * 3];
    let mut outs = rgb.chunks_exact_mut(width * 3);
    each_row(view, target, &mut Scratch::default(), |planes, _| {
        let (Some(out), [red, green, blue]) = (outs.next(), planes) else { return };
        let (pixels, _) = out.as_chunks_mut::<3>();
        for (((pixel, &red), &green), &blue) in pixels.iter_mut().zip(red).zip(green).zip(blue) {
            *pixel = [red, green, blue];
        }
    });
    Image { width, height, rgb }
}

/// Stretches a view to planes of floats: `value * scale + offset`, with a scale and an offset a channel.
///
/// # Shapes
/// `out` is `3 * height * width` values: planes of red, green, blue.
pub(crate) fn resize_into(
    view: View,
    target: Target,
    affine: [[f32; 2]; 3],
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let [width, height] = target.size;
    let mut y = 0;
    each_row(view, target, scratch, |planes, level| {
        for ((channel, plane), affine) in planes.into_iter().enumerate().zip(affine) {
            let start = (channel * height + y) * width;
            rows::scaled(level, plane, affine, &mut out[start..start + width]);
        }
        y += 1;
    });
}

/// Gives the rows of the result from top to bottom, each as planes of `width` values.
fn each_row(
    view: View,
    target: Target,
    scratch: &mut Scratch,
    mut give: impl FnMut([&[u8]; 3], Level),
) {
    let [width, height] = target.size;
    let whole = [0.0, 0.0, view.width as f64, view.height as f64];
    let [left, top, part_width, part_height] = target.part.unwrap_or(whole);
    let level = Level::detect();
    if target.part.is_none() && (view.width, view.height) == (width, height) {
        return each_row_as_it_is(view, target.mirrored, &mut scratch.line, |row| give(row, level));
    }
    let Scratch { columns, rows, narrow, padded, line } = scratch;
    columns.set(Side { input: view.width, start: left, length: part_width }, width, target.filter);
    rows.set(Side { input: view.height, start: top, length: part_height }, height, target.filter);
    if target.mirrored {
        columns.mirror();
    }
    let pitch = width.next_multiple_of(LANES);
    let read = rows.first[0]..rows.first[height - 1] + rows.taps;
    narrow.resize(read.len().next_multiple_of(2) * 3 * pitch, 0);
    for (pair, out) in narrow.chunks_exact_mut(2 * 3 * pitch).enumerate() {
        for (ahead, padded) in padded.iter_mut().enumerate() {
            // The last row of an odd number is narrowed twice.
            let y = (read.start + 2 * pair + ahead).min(read.end - 1);
            padded.clear();
            padded.extend_from_slice(view.row(y));
            padded.extend_from_slice(&[0; SLACK]);
        }
        let [above, below] = &*padded;
        rows::horizontal(level, [above, below], columns, out);
    }
    line.resize(3 * pitch, 0);
    for (&first, weights) in rows.first.iter().zip(rows.values.chunks_exact(rows.taps)) {
        rows::vertical(level, &narrow[(first - read.start) * 3 * pitch..], weights, line);
        give([0, 1, 2].map(|channel| &line[channel * pitch..][..width]), level);
    }
}

/// [`each_row`] for a view that has the right size already.
fn each_row_as_it_is(
    view: View,
    mirrored: bool,
    line: &mut Vec<u8>,
    mut give: impl FnMut([&[u8]; 3]),
) {
    line.resize(line.len().max(3 * view.width), 0);
    let (red, rest) = line.split_at_mut(view.width);
    let (green, rest) = rest.split_at_mut(view.width);
    let blue = &mut rest[..view.width];
    for y in 0..view.height {
        let (pixels, _) = view.row(y).as_chunks::<3>();
        let planes = red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut());
        for (((red, green), blue), pixel) in planes.zip(pixels) {
            [*red, *green, *blue] = *pixel;
        }
        if mirrored {
            for plane in [&mut *red, green, blue] {
                plane.reverse();
            }
        }
        give([red, green, blue]);
    }
}

#[cfg(test)]
mod tests;
