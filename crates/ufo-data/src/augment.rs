//! Random changes of a training image (spec 3.4): flip, pad-crop, random erasing.

use crate::{Error, Image, Preprocess};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// What is done to a training image, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Pixels of black added on each side before a random crop of the input size.
    pub pad_crop: usize,
    /// Probability of a horizontal flip, 0 to 1.
    pub flip: f32,
    /// Probability that one rectangle becomes noise, 0 to 1 (arXiv 1708.04896, timm's `pixel`).
    pub erase: f32,
}

impl Augment {
    /// Checks every field.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn validate(&self) -> Result<(), Error> {
        for (key, value) in [("augment.flip", self.flip), ("augment.erase", self.erase)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::config(key, value, "0 to 1"));
            }
        }
        if self.pad_crop > 1024 {
            return Err(Error::config("augment.pad_crop", self.pad_crop, "0 to 1024"));
        }
        Ok(())
    }

    /// The augmented and normalized image, CHW, into `out`.
    pub fn apply(
        &self,
        image: &Image,
        preprocess: &Preprocess,
        rng: &mut impl Rng,
        out: &mut [f32],
    ) {
        let mut image = preprocess.resized(image);
        if self.pad_crop > 0 {
            image = pad_crop(&image, self.pad_crop, rng);
        }
        if rng.random::<f32>() < self.flip {
            flip(&mut image);
        }
        preprocess.normalize_into(&image, out);
        if rng.random::<f32>() < self.erase {
            erase(out, image.height, image.width, rng);
        }
    }
}

fn pad_crop(image: &Image, pad: usize, rng: &mut impl Rng) -> Image {
    let (top, left) = (rng.random_range(0..=2 * pad), rng.random_range(0..=2 * pad));
    let mut out = Image::filled(image.width, image.height, [0; 3]);
    for y in 0..image.height {
        let Some(from_y) = (y + top).checked_sub(pad).filter(|&y| y < image.height) else {
            continue;
        };
        for x in 0..image.width {
            if let Some(from_x) = (x + left).checked_sub(pad).filter(|&x| x < image.width) {
                let (to, from) = (3 * (y * image.width + x), 3 * (from_y * image.width + from_x));
                out.rgb[to..to + 3].copy_from_slice(&image.rgb[from..from + 3]);
            }
        }
    }
    out
}

fn flip(image: &mut Image) {
    let width = image.width;
    for row in image.rgb.chunks_exact_mut(3 * width) {
        for x in 0..width / 2 {
            for channel in 0..3 {
                row.swap(3 * x + channel, 3 * (width - 1 - x) + channel);
            }
        }
    }
}

/// Area 0.02 to 1/3 of the image, aspect log-uniform in 0.3 to 1/0.3, at most ten tries.
fn erase(out: &mut [f32], height: usize, width: usize, rng: &mut impl Rng) {
    for _ in 0..10 {
        let area = rng.random_range(0.02..1.0 / 3.0) * (height * width) as f64;
        let aspect = rng.random_range(0.3_f64.ln()..(1.0 / 0.3_f64).ln()).exp();
        let (h, w) = ((area * aspect).sqrt().round(), (area / aspect).sqrt().round());
        let (h, w) = (h as usize, w as usize);
        if h >= height || w >= width || h == 0 || w == 0 {
            continue;
        }
        let (top, left) = (rng.random_range(0..=height - h), rng.random_range(0..=width - w));
        for plane in out.chunks_exact_mut(height * width) {
            for y in top..top + h {
                for value in &mut plane[y * width + left..][..w] {
                    *value = StandardNormal.sample(rng);
                }
            }
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Purpose, stream};

    #[test]
    fn a_flip_mirrors_rows_and_twice_is_nothing() {
        let mut image = Image { width: 2, height: 1, rgb: vec![1, 2, 3, 4, 5, 6] };
        flip(&mut image);
        assert_eq!(image.rgb, [4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn erasing_fills_a_rectangle_of_the_stated_area() {
        let mut out = vec![0.0; 3 * 32 * 32];
        erase(&mut out, 32, 32, &mut stream(1, Purpose::Augment, &[]));
        let changed = out.iter().filter(|&&value| value != 0.0).count();
        assert!((3 * 10..=3 * 400).contains(&changed), "{changed}");
    }

    #[test]
    fn a_crop_moves_the_image_by_at_most_the_padding() {
        let mut image = Image::filled(9, 9, [0; 3]);
        image.rgb[3 * (4 * 9 + 4)] = 200;
        for draw in 0..20 {
            let out = pad_crop(&image, 2, &mut stream(1, Purpose::Augment, &[draw]));
            let at = out.rgb.iter().position(|&v| v == 200).unwrap() / 3;
            assert!((at / 9).abs_diff(4) <= 2 && (at % 9).abs_diff(4) <= 2);
        }
    }
}
