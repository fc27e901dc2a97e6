//! The "original" policy of AutoAugment for photographs (arXiv:1805.09501, table 9) as timm writes it.
//!
//! One of 25 policies of two steps; each step has an operation, a probability and a magnitude of 0
//! to 10, from which the operation's value follows.

use rand::{Rng, RngExt};

use super::{
    affine::{self, Reading},
    color, happens,
};
use crate::Image;

use Operation::{
    AutoContrast, Brightness, Color, Contrast, Equalize, Invert, Posterize, Rotate, Sharpness,
    ShearX, ShearY, Solarize,
};

/// An operation of AutoAugment on an 8-bit image, with Pillow's arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Stretches each channel to 0..255; has no magnitude.
    AutoContrast,
    /// Blends with black.
    Brightness,
    /// Blends with the gray image.
    Color,
    /// Blends with the mean gray.
    Contrast,
    /// Equalizes each channel's histogram; has no magnitude.
    Equalize,
    /// Inverts; has no magnitude.
    Invert,
    /// Keeps 4 to 8 bits.
    Posterize,
    /// Turns by up to 30 degrees, either way.
    Rotate,
    /// Blends with the smoothed image.
    Sharpness,
    /// Shears rows by up to 0.3, either way.
    ShearX,
    /// Shears columns by up to 0.3, either way.
    ShearY,
    /// Inverts the values from a threshold of 0 to 256 on.
    Solarize,
}

type Step = (Operation, f32, u32);

const POLICIES: [[Step; 2]; 25] = [
    [(Posterize, 0.4, 8), (Rotate, 0.6, 9)],
    [(Solarize, 0.6, 5), (AutoContrast, 0.6, 5)],
    [(Equalize, 0.8, 8), (Equalize, 0.6, 3)],
    [(Posterize, 0.6, 7), (Posterize, 0.6, 6)],
    [(Equalize, 0.4, 7), (Solarize, 0.2, 4)],
    [(Equalize, 0.4, 4), (Rotate, 0.8, 8)],
    [(Solarize, 0.6, 3), (Equalize, 0.6, 7)],
    [(Posterize, 0.8, 5), (Equalize, 1.0, 2)],
    [(Rotate, 0.2, 3), (Solarize, 0.6, 8)],
    [(Equalize, 0.6, 8), (Posterize, 0.4, 6)],
    [(Rotate, 0.8, 8), (Color, 0.4, 0)],
    [(Rotate, 0.4, 9), (Equalize, 0.6, 2)],
    [(Equalize, 0.0, 7), (Equalize, 0.8, 8)],
    [(Invert, 0.6, 4), (Equalize, 1.0, 8)],
    [(Color, 0.6, 4), (Contrast, 1.0, 8)],
    [(Rotate, 0.8, 8), (Color, 1.0, 2)],
    [(Color, 0.8, 8), (Solarize, 0.8, 7)],
    [(Sharpness, 0.4, 7), (Invert, 0.6, 8)],
    [(ShearX, 0.6, 5), (Equalize, 1.0, 9)],
    [(Color, 0.4, 0), (Equalize, 0.6, 3)],
    [(Equalize, 0.4, 7), (Solarize, 0.2, 4)],
    [(Solarize, 0.6, 5), (AutoContrast, 0.6, 5)],
    [(Invert, 0.6, 4), (Equalize, 1.0, 8)],
    [(Color, 0.6, 4), (Contrast, 1.0, 8)],
    [(Equalize, 0.8, 8), (Equalize, 0.6, 3)],
];

/// Applies one policy, drawn uniformly.
pub(super) fn apply(image: &Image, rng: &mut impl Rng) -> Image {
    let policy = POLICIES[rng.random_range(0..POLICIES.len() as u32) as usize];
    let mut image = image.clone();
    for (operation, probability, magnitude) in policy {
        if happens(probability, rng) {
            image = operation.apply(&image, magnitude, rng);
        }
    }
    image
}

impl Operation {
    /// Applies the operation with a magnitude of 0 to 10; the sign and the interpolation of a
    /// geometric operation are drawn.
    pub fn apply(self, image: &Image, magnitude: u32, rng: &mut impl Rng) -> Image {
        let share = f64::from(magnitude) / 10.0;
        match self {
            AutoContrast => color::autocontrast(image),
            Brightness => color::brightness(image, factor(share)),
            Color => color::color(image, factor(share)),
            Contrast => color::contrast(image, factor(share)),
            Equalize => color::equalize(image),
            Invert => color::invert(image),
            Posterize => color::posterize(image, (magnitude * 4 / 10 + 4).min(8)),
            Rotate => affine::rotate(image, signed(30.0 * share, rng), reading(rng)),
            Sharpness => color::sharpness(image, factor(share)),
            ShearX => affine::shear_x(image, signed(0.3 * share, rng), reading(rng)),
            ShearY => affine::shear_y(image, signed(0.3 * share, rng), reading(rng)),
            Solarize => color::solarize(image, magnitude * 256 / 10),
        }
    }
}

/// An enhancement's factor, 0.1 to 1.9.
fn factor(share: f64) -> f32 {
    (share * 1.8 + 0.1) as f32
}

fn signed(value: f64, rng: &mut impl Rng) -> f64 {
    if rng.random::<bool>() { -value } else { value }
}

fn reading(rng: &mut impl Rng) -> Reading {
    if rng.random::<bool>() { Reading::Bicubic } else { Reading::Bilinear }
}
