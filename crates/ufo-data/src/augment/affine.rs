//! Rotation and shear, as Pillow's `Image.rotate` and `Image.transform`.
//!
//! Output pixel (x, y) is read at `(a x + b y + c, d x + e y + f)` of the input, with both taken at
//! pixel centers; what falls outside is gray.

use crate::Image;

/// The color outside of the image.
const FILL: [u8; 3] = [128; 3];

/// How a pixel between pixels is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// From 2 x 2 pixels.
    Bilinear,
    /// From 4 x 4 pixels; Pillow's transform uses the cubic of `a = -1`.
    Bicubic,
}

/// Turns counterclockwise around the center.
pub(super) fn rotate(image: &Image, degrees: f64, reading: Reading) -> Image {
    if degrees == 0.0 {
        return image.clone();
    }
    let (sin, cos) = (-degrees.to_radians()).sin_cos();
    let [sin, cos] = [sin, cos].map(|value| (value * 1e15).round() / 1e15);
    let (x, y) = (image.width as f64 / 2.0, image.height as f64 / 2.0);
    let matrix = [cos, sin, -cos * x - sin * y + x, -sin, cos, sin * x - cos * y + y];
    transform(image, matrix, reading)
}

/// Moves each row by `factor` times its height.
pub(super) fn shear_x(image: &Image, factor: f64, reading: Reading) -> Image {
    transform(image, [1.0, factor, 0.0, 0.0, 1.0, 0.0], reading)
}

/// Moves each column by `factor` times its distance from the left.
pub(super) fn shear_y(image: &Image, factor: f64, reading: Reading) -> Image {
    transform(image, [1.0, 0.0, 0.0, factor, 1.0, 0.0], reading)
}

fn transform(image: &Image, [a, b, c, d, e, f]: [f64; 6], reading: Reading) -> Image {
    let mut rgb = Vec::with_capacity(image.rgb.len());
    for y in 0..image.height {
        for x in 0..image.width {
            let (x, y) = (x as f64 + 0.5, y as f64 + 0.5);
            let (from_x, from_y) = (a * x + b * y + c, d * x + e * y + f);
            let inside = (0.0..image.width as f64).contains(&from_x)
                && (0.0..image.height as f64).contains(&from_y);
            rgb.extend(if inside { read(image, from_x, from_y, reading) } else { FILL });
        }
    }
    Image { width: image.width, height: image.height, rgb }
}

/// The color at a point inside of the image.
fn read(image: &Image, x: f64, y: f64, reading: Reading) -> [u8; 3] {
    let (x, y) = (x - 0.5, y - 0.5);
    let (column, row) = (x.floor(), y.floor());
    let (dx, dy) = (x - column, y - row);
    let clip = |at: isize, side: usize| at.clamp(0, side as isize - 1) as usize;
    let pixel = |ahead_x: isize, ahead_y: isize, channel: usize| {
        let x = clip(column as isize + ahead_x, image.width);
        let y = clip(row as isize + ahead_y, image.height);
        f64::from(image.rgb[image.at(x, y) + channel])
    };
    std::array::from_fn(|channel| {
        let value = match reading {
            Reading::Bilinear => {
                let across = |y| linear([pixel(0, y, channel), pixel(1, y, channel)], dx);
                linear([across(0), across(1)], dy)
            }
            Reading::Bicubic => {
                let across = |y| cubic([-1, 0, 1, 2].map(|x| pixel(x, y, channel)), dx);
                cubic([-1, 0, 1, 2].map(across), dy)
            }
        };
        value.clamp(0.0, 255.0) as u8
    })
}

fn linear([a, b]: [f64; 2], t: f64) -> f64 {
    a + (b - a) * t
}

fn cubic([a, b, c, d]: [f64; 4], t: f64) -> f64 {
    let second = 2.0 * (a - b) + c - d;
    let third = -a + b - c + d;
    b + t * ((c - a) + t * (second + t * third))
}
