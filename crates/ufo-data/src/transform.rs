//! The fixed part of preprocessing: resize and normalize, as data.
//!
//! A model file carries its [`Preprocess`], so training, evaluation and serving do the same to an
//! image. Resizing follows Pillow: filters widen when the image shrinks, and the bicubic filter has
//! `a = -0.5`.

mod resize;

use serde::{Deserialize, Serialize};

pub(crate) use resize::{Scratch, Target, View, resize};

use resize::resize_into;

use crate::{Error, Image};

/// How an image becomes the network's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocess {
    /// Height and width of the result, in pixels, 1 to 4096; default 256 x 256.
    pub size: [usize; 2],
    /// What happens to the aspect ratio; default `squash`.
    pub resize: ResizeMode,
    /// The filter; default `bicubic`.
    pub interpolation: Interpolation,
    /// Subtracted from each channel scaled to 0..1; default 0.5.
    pub mean: [f32; 3],
    /// Each channel is divided by it after the mean is subtracted; above 0, default 0.5.
    pub std: [f32; 3],
}

impl Default for Preprocess {
    fn default() -> Self {
        Self {
            size: [256, 256],
            resize: ResizeMode::Squash,
            interpolation: Interpolation::Bicubic,
            mean: [0.5; 3],
            std: [0.5; 3],
        }
    }
}

/// What a resize does to the aspect ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ResizeMode {
    /// Both sides are stretched to the target.
    Squash,
    /// The image is scaled until it covers `size / crop_pct`, and the center is cut out.
    ShortestCrop {
        /// The part of the scaled image that is kept, above 0 and up to 1.
        crop_pct: f32,
    },
}

/// The resize filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// The source pixel under the target pixel's center.
    Nearest,
    /// Triangle.
    Bilinear,
    /// Keys' cubic with `a = -0.5`.
    Bicubic,
}

impl Preprocess {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Config`] with the key, its value and what is allowed.
    pub fn validate(&self) -> Result<(), Error> {
        if self.size.iter().any(|side| !(1..=4096).contains(side)) {
            return Err(Error::config("preprocess.size", format!("{:?}", self.size), "1 to 4096"));
        }
        if let ResizeMode::ShortestCrop { crop_pct } = self.resize
            && !(crop_pct > 0.0 && crop_pct <= 1.0)
        {
            return Err(Error::config("preprocess.resize.crop_pct", crop_pct, "above 0, up to 1"));
        }
        if self.mean.iter().any(|mean| !mean.is_finite()) {
            return Err(Error::config("preprocess.mean", format!("{:?}", self.mean), "numbers"));
        }
        if self.std.iter().any(|std| !(std.is_finite() && *std > 0.0)) {
            return Err(Error::config("preprocess.std", format!("{:?}", self.std), "above 0"));
        }
        Ok(())
    }

    /// The image at the network's size, still 8-bit.
    pub fn resized(&self, image: &Image) -> Image {
        resize(image.view(), self.target(image))
    }

    /// What [`resized`](Self::resized) stretches, and how.
    pub(crate) fn target(&self, image: &Image) -> Target {
        let part = match self.resize {
            ResizeMode::Squash => None,
            ResizeMode::ShortestCrop { crop_pct } => Some(self.center(image, crop_pct)),
        };
        let [height, width] = self.size;
        Target { part, size: [width, height], filter: self.interpolation, mirrored: false }
    }

    /// Left, top, width and height in the image of what is left when the center of `size` is cut out
    /// of the scaled image: a long thin image would be enormous when scaled as a whole.
    fn center(&self, image: &Image, crop_pct: f32) -> [f64; 4] {
        let [height, width] = self.size;
        let [scaled_height, scaled_width] = self.covering(image, crop_pct);
        let step_x = image.width as f64 / scaled_width as f64;
        let step_y = image.height as f64 / scaled_height as f64;
        let left = round_half_even(scaled_width - width) as f64 * step_x;
        let top = round_half_even(scaled_height - height) as f64 * step_y;
        [left, top, width as f64 * step_x, height as f64 * step_y]
    }

    /// Height and width of the image scaled to just cover `size / crop_pct`.
    fn covering(&self, image: &Image, crop_pct: f32) -> [usize; 2] {
        // The small addend undoes the rounding of `crop_pct` to 32 bits: 224 / 0.8 is 280.
        let target = self
            .size
            .map(|side| ((side as f64 / f64::from(crop_pct) + 1e-3).floor() as usize).max(side));
        let [by_height, by_width] = [target[0] * image.width, target[1] * image.height];
        if by_height >= by_width {
            [target[0], (by_height / image.height).max(target[1])]
        } else {
            [(by_width / image.width).max(target[0]), target[1]]
        }
    }

    /// Stretches a view and normalizes it.
    ///
    /// # Shapes
    /// `out` is `3 * height * width` values of the target: planes of red, green, blue.
    pub(crate) fn write(&self, view: View, target: Target, scratch: &mut Scratch, out: &mut [f32]) {
        let affine = std::array::from_fn(|channel| {
            let scale = 1.0 / (255.0 * self.std[channel]);
            [scale, -self.mean[channel] / self.std[channel]]
        });
        resize_into(view, target, affine, scratch, out);
    }

    /// Writes a resized image as normalized floats.
    ///
    /// # Shapes
    /// `image` is of `size`; `out` is `3 * height * width` values: planes of red, green, blue.
    ///
    /// # Panics
    /// When a length differs.
    pub fn normalize_into(&self, image: &Image, out: &mut [f32]) {
        let size = [image.width, image.height];
        assert_eq!(out.len(), 3 * size[0] * size[1], "one float for each channel value");
        let target = Target { part: None, size, filter: self.interpolation, mirrored: false };
        self.write(image.view(), target, &mut Scratch::default(), out);
    }

    /// Resizes and normalizes.
    ///
    /// # Shapes
    /// The result is `3 * height * width` values: planes of red, green, blue.
    pub fn apply(&self, image: &Image) -> Vec<f32> {
        let mut out = vec![0.0; 3 * self.size[0] * self.size[1]];
        self.write(image.view(), self.target(image), &mut Scratch::default(), &mut out);
        out
    }
}

/// Half of `n`, ties to the even number, as `round(n / 2)` in Python.
fn round_half_even(n: usize) -> usize {
    n / 2 + usize::from(n % 4 == 3)
}

#[cfg(test)]
mod tests;
