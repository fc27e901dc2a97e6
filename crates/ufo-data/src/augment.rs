//! Random changes of training images.
//!
//! Order: AutoAugment on the 8-bit image, resize (or a random resized crop), pad and crop, flip,
//! normalize, erase; then MixUp or CutMix over the batch. A probability `p` means `p`. Images with masks or boxes:
//! scale, crop a window, flip, colors, normalize.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Image, Preprocess,
    transform::{Scratch, Target, View, resize},
};

mod affine;
mod auto_augment;
mod color;
mod erase;
mod mix;
mod scene;

pub use auto_augment::Operation;
pub use scene::RandomScale;

/// What training does to images; the default is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Probability of a horizontal flip, 0 to 1; default 0.
    pub flip: f32,
    /// Black pixels added on every side before a random crop to the old size; default 0.
    pub pad_crop: usize,
    /// A random part instead of the whole image is resized; default off.
    pub random_resized_crop: Option<ResizedCrop>,
    /// Probability of an AutoAugment policy, 0 to 1; default 0.
    pub auto_augment: f32,
    /// Probability of erasing a rectangle, 0 to 1; default 0.
    pub erase: f32,
    /// Alpha of MixUp's Beta distribution, 0 (off) or more; default 0.
    pub mixup: f32,
    /// Alpha of CutMix's Beta distribution, 0 (off) or more; default 0. When MixUp is on as well,
    /// each mixed batch takes one of the two with equal chance.
    pub cutmix: f32,
    /// Probability that a batch is mixed, 0 to 1; default 1.
    pub mix_probability: f32,
    /// Images with masks or boxes are scaled by a random factor; default off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_scale: Option<RandomScale>,
    /// How far brightness, contrast and saturation of images with masks or boxes change, 0 to below 1; default 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub color: f32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(value: &f32) -> bool {
    *value == 0.0
}

/// The part of the image that a random resized crop takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResizedCrop {
    /// Range of the part's area, as a fraction above 0 and up to 1; default 0.16 to 1.
    pub scale: [f32; 2],
    /// Range of the part's width over its height, above 0; default 3/4 to 4/3.
    pub ratio: [f32; 2],
}

impl Default for ResizedCrop {
    fn default() -> Self {
        Self { scale: [0.16, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            flip: 0.0,
            pad_crop: 0,
            random_resized_crop: None,
            auto_augment: 0.0,
            erase: 0.0,
            mixup: 0.0,
            cutmix: 0.0,
            mix_probability: 1.0,
            random_scale: None,
            color: 0.0,
        }
    }
}

impl Augment {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Config`] with the key, its value and what is allowed.
    pub fn validate(&self) -> Result<(), Error> {
        let probabilities = [
            ("augment.flip", self.flip),
            ("augment.auto_augment", self.auto_augment),
            ("augment.erase", self.erase),
            ("augment.mix_probability", self.mix_probability),
        ];
        for (key, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::config(key, value, "0 to 1"));
            }
        }
        for (key, value) in [("augment.mixup", self.mixup), ("augment.cutmix", self.cutmix)] {
            if !(0.0..=1000.0).contains(&value) {
                return Err(Error::config(key, value, "0 to 1000"));
            }
        }
        if self.pad_crop > 4096 {
            return Err(Error::config("augment.pad_crop", self.pad_crop, "0 to 4096"));
        }
        if !(0.0..1.0).contains(&self.color) {
            return Err(Error::config("augment.color", self.color, "0 to below 1"));
        }
        self.random_scale.map_or(Ok(()), |scale| scale.validate())?;
        let Some(ResizedCrop { scale, ratio }) = self.random_resized_crop else { return Ok(()) };
        if !(scale[0] > 0.0 && scale[0] <= scale[1] && scale[1] <= 1.0) {
            let value = format!("{scale:?}");
            return Err(Error::config(
                "augment.random_resized_crop.scale",
                value,
                "0 < a <= b <= 1",
            ));
        }
        if !(ratio[0] > 0.0 && ratio[0] <= ratio[1] && ratio[1] <= 100.0) {
            let value = format!("{ratio:?}");
            return Err(Error::config(
                "augment.random_resized_crop.ratio",
                value,
                "0 < a <= b <= 100",
            ));
        }
        Ok(())
    }

    /// The steps on the 8-bit image; the result has the size of `preprocess`.
    pub fn image(&self, image: &Image, preprocess: &Preprocess, rng: &mut impl Rng) -> Image {
        let policy = self.policy(image, rng);
        let image = policy.as_ref().unwrap_or(image);
        let (view, target) = self.part(image, preprocess, rng);
        let mut image = resize(view, target);
        if self.pad_crop > 0 {
            image = pad_crop(&image, self.pad_crop, rng);
        }
        if happens(self.flip, rng) {
            flip(&mut image);
        }
        image
    }

    /// All steps on one sample.
    ///
    /// # Shapes
    /// `out` is `3 * height * width` values of the size of `preprocess`.
    pub fn apply_into(
        &self,
        image: &Image,
        preprocess: &Preprocess,
        rng: &mut impl Rng,
        out: &mut [f32],
    ) {
        self.apply_with(image, preprocess, rng, (&mut Scratch::default(), out));
    }

    /// [`apply_into`](Self::apply_into) with memory from earlier samples.
    pub(crate) fn apply_with(
        &self,
        image: &Image,
        preprocess: &Preprocess,
        rng: &mut impl Rng,
        (scratch, out): (&mut Scratch, &mut [f32]),
    ) {
        if self.pad_crop > 0 {
            preprocess.normalize_into(&self.image(image, preprocess, rng), out);
        } else {
            // The same draws in the same order; the flip comes with the resize.
            let policy = self.policy(image, rng);
            let image = policy.as_ref().unwrap_or(image);
            let (view, target) = self.part(image, preprocess, rng);
            let target = Target { mirrored: happens(self.flip, rng), ..target };
            preprocess.write(view, target, scratch, out);
        }
        if happens(self.erase, rng) {
            erase::apply(out, preprocess.size, rng);
        }
    }

    /// The image after a policy of AutoAugment, when there is one.
    fn policy(&self, image: &Image, rng: &mut impl Rng) -> Option<Image> {
        happens(self.auto_augment, rng).then(|| auto_augment::apply(image, rng))
    }

    /// What is resized, and how.
    fn part<'a>(
        &self,
        image: &'a Image,
        preprocess: &Preprocess,
        rng: &mut impl Rng,
    ) -> (View<'a>, Target) {
        let target = preprocess.target(image);
        let Some(range) = self.random_resized_crop else { return (image.view(), target) };
        let [width, height, left, top] = range.draw(image, rng);
        let view = image.view().part([left, top], [width, height]);
        (view, Target { part: None, ..target })
    }

    /// MixUp or CutMix over a batch: changes `images` and gives the soft targets, or leaves the
    /// batch alone.
    ///
    /// # Shapes
    /// `images` is `labels.len() * 3 * height * width` values; the targets are
    /// `labels.len() * classes`.
    pub fn mix(
        &self,
        images: &mut [f32],
        size: [usize; 2],
        (labels, classes): (&[u32], usize),
        rng: &mut impl Rng,
    ) -> Option<Vec<f32>> {
        let (mixup, cutmix) = (self.mixup > 0.0, self.cutmix > 0.0);
        if !mixup && !cutmix {
            return None;
        }
        let cut = cutmix && (!mixup || rng.random::<bool>());
        let kind = if cut { mix::Kind::CutMix(self.cutmix) } else { mix::Kind::MixUp(self.mixup) };
        happens(self.mix_probability, rng)
            .then(|| mix::apply(kind, images, size, (labels, classes), rng))
    }
}

impl ResizedCrop {
    /// Width, height, left and top of the part: torchvision's draw, ten tries, then the largest
    /// part in the center whose ratio is in range.
    fn draw(&self, image: &Image, rng: &mut impl Rng) -> [usize; 4] {
        let (width, height) = (image.width as f32, image.height as f32);
        for _ in 0..10 {
            let area = width * height * between(self.scale, rng);
            let ratio = between(self.ratio.map(f32::ln), rng).exp();
            let part_width = (area * ratio).sqrt().round() as usize;
            let part_height = (area / ratio).sqrt().round() as usize;
            if (1..=image.width).contains(&part_width) && (1..=image.height).contains(&part_height)
            {
                let left = rng.random_range(0..=image.width - part_width);
                let top = rng.random_range(0..=image.height - part_height);
                return [part_width, part_height, left, top];
            }
        }
        let ratio = (width / height).clamp(self.ratio[0], self.ratio[1]);
        let part_width = ((height * ratio).round().min(width) as usize).max(1);
        let part_height = ((width / ratio).round().min(height) as usize).max(1);
        let (left, top) = ((image.width - part_width) / 2, (image.height - part_height) / 2);
        [part_width, part_height, left, top]
    }
}

fn happens(probability: f32, rng: &mut impl Rng) -> bool {
    probability > 0.0 && rng.random::<f32>() < probability
}

fn between([low, high]: [f32; 2], rng: &mut impl Rng) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// Adds a black border and cuts a random rectangle of the old size.
fn pad_crop(image: &Image, border: usize, rng: &mut impl Rng) -> Image {
    let [left, top] = [0, 1].map(|_| rng.random_range(0..=2 * border));
    let mut cut = Image::filled(image.width, image.height, [0; 3]);
    // Pixel x of the cut is pixel x + left - border of the image.
    let inside = |offset: usize, side: usize| {
        let first = border.saturating_sub(offset).min(side);
        first..(side + border).saturating_sub(offset).clamp(first, side)
    };
    let columns = inside(left, image.width);
    for y in inside(top, image.height) {
        if columns.is_empty() {
            break;
        }
        let from = image.at(columns.start + left - border, y + top - border);
        let to = image.at(columns.start, y);
        let length = columns.len() * 3;
        cut.rgb[to..to + length].copy_from_slice(&image.rgb[from..from + length]);
    }
    cut
}

fn flip(image: &mut Image) {
    for row in image.rgb.chunks_exact_mut(image.width * 3) {
        let (pixels, _) = row.as_chunks_mut::<3>();
        pixels.reverse();
    }
}

#[cfg(test)]
mod tests;
