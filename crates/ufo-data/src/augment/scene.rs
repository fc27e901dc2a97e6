//! Random windows of images with masks or boxes: scale, crop and flip, the same for both, and colors.
//!
//! The image is scaled, a window of the network's size is cut out, and what of the window lies beyond the
//! image is the mean color, with pixels that do not count. Class ids are never mixed: the mask has the id of
//! the nearest pixel. Boxes are cut at the window.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::{Augment, between, color, happens};
use crate::dataset::{Boxed, Scene};
use crate::{
    Annotation, Bounds, Error, IGNORE, Image, Mask, Preprocess, transform::Target,
    transform::resize,
};

/// The factors by which images with masks are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomScale {
    /// The smallest and the largest factor, 1/16 to 16; default 0.5 and 2.
    pub range: [f32; 2],
    /// Step between factors, at least 0; 0 draws any factor of the range; default 0.25.
    pub step: f32,
}

impl Default for RandomScale {
    fn default() -> Self {
        Self { range: [0.5, 2.0], step: 0.25 }
    }
}

impl RandomScale {
    pub(super) fn validate(&self) -> Result<(), Error> {
        let [low, high] = self.range;
        if !(low >= 1.0 / 16.0 && low <= high && high <= 16.0) {
            let value = format!("{:?}", self.range);
            return Err(Error::config("augment.random_scale.range", value, "1/16 <= a <= b <= 16"));
        }
        if !(0.0..=16.0).contains(&self.step) {
            return Err(Error::config("augment.random_scale.step", self.step, "0 to 16"));
        }
        Ok(())
    }

    fn draw(&self, rng: &mut impl Rng) -> f32 {
        let [low, high] = self.range;
        if self.step == 0.0 {
            return between(self.range, rng);
        }
        let steps = ((high - low) / self.step + 1e-3).floor() as usize;
        low + self.step * rng.random_range(0..=steps) as f32
    }
}

/// A window in a scaled image.
#[derive(Clone, Copy)]
struct Window {
    /// Left and top in the scaled image.
    corner: [usize; 2],
    /// Width and height of what lies on the image.
    size: [usize; 2],
    /// Pixels of the image for one of the scaled image, across and down.
    step: [f64; 2],
    mirrored: bool,
}

impl Augment {
    /// The names of what is on that images with masks or boxes cannot take.
    pub fn unfit_for_masks(&self) -> Vec<&'static str> {
        [
            ("pad_crop", self.pad_crop > 0),
            ("random_resized_crop", self.random_resized_crop.is_some()),
            ("auto_augment", self.auto_augment > 0.0),
            ("erase", self.erase > 0.0),
            ("mixup", self.mixup > 0.0),
            ("cutmix", self.cutmix > 0.0),
        ]
        .into_iter()
        .filter_map(|(name, on)| on.then_some(name))
        .collect()
    }

    /// The names of what is on that only images with masks or boxes take.
    pub fn only_for_masks(&self) -> Vec<&'static str> {
        [("random_scale", self.random_scale.is_some()), ("color", self.color > 0.0)]
            .into_iter()
            .filter_map(|(name, on)| on.then_some(name))
            .collect()
    }

    /// A random window of a scene.
    ///
    /// # Shapes
    /// `out` is `3 * height * width` values of the size of `preprocess`, `ids` one a pixel.
    pub(crate) fn window(
        &self,
        scene: &Scene,
        preprocess: &Preprocess,
        rng: &mut impl Rng,
        (out, ids): (&mut [f32], &mut [u8]),
    ) {
        let window = self.cut(&scene.image, preprocess, rng, out);
        window.cut_mask(&scene.mask, preprocess.size[1], ids);
    }

    /// A random window of an image, and the boxes in it, in its pixels.
    ///
    /// # Shapes
    /// `out` is `3 * height * width` values of the size of `preprocess`.
    pub(crate) fn boxes(
        &self,
        boxed: &Boxed,
        preprocess: &Preprocess,
        rng: &mut impl Rng,
        out: &mut [f32],
    ) -> Vec<Annotation> {
        self.cut(&boxed.image, preprocess, rng, out).cut_boxes(&boxed.boxes)
    }

    /// Writes a random window of an image, and says where it is.
    fn cut(
        &self,
        image: &Image,
        preprocess: &Preprocess,
        rng: &mut impl Rng,
        out: &mut [f32],
    ) -> Window {
        let [height, width] = preprocess.size;
        let window = self.place(image, [width, height], rng);
        let [corner, size] = [window.corner, window.size]
            .map(|pair| [pair[0] as f64 * window.step[0], pair[1] as f64 * window.step[1]]);
        let target = Target {
            part: Some([corner[0], corner[1], size[0], size[1]]),
            size: window.size,
            filter: preprocess.interpolation,
            mirrored: window.mirrored,
        };
        let cut = self.colored(resize(image.view(), target), rng);
        if window.size == [width, height] {
            preprocess.normalize_into(&cut, out);
        } else {
            let mut small = vec![0.0; 3 * cut.width * cut.height];
            preprocess.normalize_into(&cut, &mut small);
            out.fill(0.0);
            let planes = out.chunks_exact_mut(height * width);
            for (plane, small) in planes.zip(small.chunks_exact(cut.width * cut.height)) {
                for (row, small) in plane.chunks_exact_mut(width).zip(small.chunks_exact(cut.width))
                {
                    row[..cut.width].copy_from_slice(small);
                }
            }
        }
        window
    }

    /// Draws where the window is.
    fn place(&self, image: &Image, window: [usize; 2], rng: &mut impl Rng) -> Window {
        let factor = self.random_scale.map_or(1.0, |range| range.draw(rng));
        let sides = [image.width, image.height];
        let scaled = sides.map(|side| ((side as f64 * f64::from(factor)).round() as usize).max(1));
        let size = [0, 1].map(|axis| scaled[axis].min(window[axis]));
        let corner = [0, 1].map(|axis| rng.random_range(0..=scaled[axis] - size[axis]));
        let step = [0, 1].map(|axis| sides[axis] as f64 / scaled[axis] as f64);
        Window { corner, size, step, mirrored: happens(self.flip, rng) }
    }

    /// Random brightness, contrast and saturation, factors within `1 - color` and `1 + color`.
    fn colored(&self, image: Image, rng: &mut impl Rng) -> Image {
        if self.color == 0.0 {
            return image;
        }
        let mut factor = || between([1.0 - self.color, 1.0 + self.color], rng);
        let image = color::brightness(&image, factor());
        let image = color::contrast(&image, factor());
        color::color(&image, factor())
    }
}

impl Window {
    /// What lies of the boxes in the window, in its pixels.
    fn cut_boxes(&self, boxes: &[Annotation]) -> Vec<Annotation> {
        let [width, height] = self.size.map(|side| side as f32);
        let part = Bounds::new([0.0, 0.0, width, height]);
        let scale = self.step.map(|step| (1.0 / step) as f32);
        let shift = self.corner.map(|pixels| -(pixels as f32));
        let cut = |annotation: &Annotation| {
            let area = annotation.area * scale[0] * scale[1];
            let bounds = annotation.bounds.mapped(scale, shift);
            let mut cut = Annotation { bounds, area, ..*annotation }.cut(&part)?;
            if self.mirrored {
                let Bounds { left, right, .. } = cut.bounds;
                cut.bounds = Bounds { left: width - right, right: width - left, ..cut.bounds };
            }
            Some(cut)
        };
        boxes.iter().filter_map(cut).collect()
    }

    /// Writes the ids of the window, whose rows are `width` long.
    fn cut_mask(&self, mask: &Mask, width: usize, ids: &mut [u8]) {
        ids.fill(IGNORE);
        // As the resize of the image computes the pixel under a center, to the bit.
        let nearest = |axis: usize, at: usize, side: usize| {
            let [start, length] =
                [self.corner[axis], self.size[axis]].map(|pixels| pixels as f64 * self.step[axis]);
            let center = start + (at as f64 + 0.5) * (length / self.size[axis] as f64);
            (center as usize).min(side - 1)
        };
        let columns: Vec<usize> = (0..self.size[0])
            .map(|x| if self.mirrored { self.size[0] - 1 - x } else { x })
            .map(|x| nearest(0, x, mask.width))
            .collect();
        for (y, row) in ids.chunks_exact_mut(width).take(self.size[1]).enumerate() {
            let y = nearest(1, y, mask.height);
            for (id, &x) in row.iter_mut().zip(&columns) {
                *id = mask.at(x, y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Purpose, stream};

    /// A scene whose red channel tells each pixel's id.
    fn scene(width: usize, height: usize) -> Scene {
        let ids: Vec<u8> = (0..width * height).map(|at| (at % 7 * 30) as u8).collect();
        let rgb = ids.iter().flat_map(|&id| [id, 0, 0]).collect();
        Scene { image: Image { width, height, rgb }, mask: Mask { width, height, ids } }
    }

    fn windows(augment: &Augment, scene: &Scene, size: [usize; 2]) -> Vec<(Vec<f32>, Vec<u8>)> {
        let preprocess = Preprocess {
            size,
            interpolation: crate::Interpolation::Nearest,
            mean: [0.0; 3],
            std: [1.0; 3],
            ..Preprocess::default()
        };
        (0..40)
            .map(|sample| {
                let mut rng = stream(1, Purpose::Augment, &[sample]);
                let pixels = size[0] * size[1];
                let (mut out, mut ids) = (vec![9.0; 3 * pixels], vec![9; pixels]);
                augment.window(scene, &preprocess, &mut rng, (&mut out, &mut ids));
                (out, ids)
            })
            .collect()
    }

    #[test]
    fn image_and_mask_are_scaled_cropped_and_flipped_together() {
        let scaled = RandomScale { range: [0.5, 2.0], step: 0.25 };
        for augment in [
            Augment { flip: 0.5, ..Augment::default() },
            Augment { flip: 0.5, random_scale: Some(scaled), ..Augment::default() },
        ] {
            let scene = scene(23, 17);
            let windows = windows(&augment, &scene, [12, 20]);
            let mut outside = 0;
            for (out, ids) in &windows {
                for (value, &id) in out.iter().zip(ids) {
                    let expected = if id == IGNORE { 0.0 } else { f32::from(id) / 255.0 };
                    assert!((value - expected).abs() < 1e-6, "{value} for id {id}");
                    outside += usize::from(id == IGNORE);
                }
            }
            assert!(windows.iter().any(|window| *window != windows[0]));
            // Half of 23 pixels does not fill 20.
            assert_eq!(outside > 0, augment.random_scale.is_some());
        }
    }

    #[test]
    fn boxes_stay_around_what_they_are_around() {
        // Bright rectangles on black: each box is the rectangle that is seen.
        let rectangles = [[3.0, 2.0, 11.0, 9.0], [14.0, 4.0, 22.0, 16.0], [2.0, 12.0, 9.0, 17.0]];
        let mut image = Image::filled(24, 18, [0; 3]);
        let boxes: Vec<Annotation> = rectangles
            .into_iter()
            .zip(0..)
            .map(|(bounds, class)| {
                let bounds = Bounds::new(bounds);
                for y in bounds.top as usize..bounds.bottom as usize {
                    for x in bounds.left as usize..bounds.right as usize {
                        let at = image.at(x, y);
                        image.rgb[at + class as usize] = 255;
                    }
                }
                Annotation { bounds, class, crowd: false, area: bounds.area() as f32 }
            })
            .collect();
        let boxed = Boxed { image, boxes };
        let preprocess = Preprocess {
            size: [16, 14],
            interpolation: crate::Interpolation::Nearest,
            mean: [0.0; 3],
            std: [1.0; 3],
            ..Preprocess::default()
        };
        let random_scale = Some(RandomScale { range: [0.5, 2.0], step: 0.5 });
        let augment = Augment { flip: 0.5, random_scale, ..Augment::default() };
        let (mut counted, mut left_out) = (0, 0);
        for sample in 0..60 {
            let mut rng = stream(1, Purpose::Augment, &[sample]);
            let mut out = vec![9.0; 3 * 16 * 14];
            let boxes = augment.boxes(&boxed, &preprocess, &mut rng, &mut out);
            for class in 0..3_usize {
                let plane = &out[class * 16 * 14..][..16 * 14];
                let seen: Vec<[usize; 2]> = (0..16 * 14)
                    .filter(|&at| plane[at] > 0.5)
                    .map(|at| [at % 14, at / 14])
                    .collect();
                let Some(found) = boxes.iter().find(|found| found.class as usize == class) else {
                    assert!(seen.is_empty(), "sample {sample}, class {class}");
                    continue;
                };
                let edge = |axis: usize| {
                    let along = || seen.iter().map(|pixel| pixel[axis] as f32);
                    [along().fold(f32::MAX, f32::min), along().fold(0.0, f32::max) + 1.0]
                };
                let [[left, right], [top, bottom]] = [edge(0), edge(1)];
                let Bounds { left: l, top: t, right: r, bottom: b } = found.bounds;
                // Half scales round sides of odd length by half a pixel.
                if !found.crowd {
                    for (got, want) in [(l, left), (t, top), (r, right), (b, bottom)] {
                        assert!((got - want).abs() <= 0.51, "{sample} {class}: {found:?}");
                    }
                }
                counted += usize::from(!found.crowd);
                left_out += usize::from(found.crowd);
            }
        }
        assert!(counted > 60 && left_out > 10, "{counted} {left_out}");
    }

    #[test]
    fn a_flip_mirrors_the_mask() {
        let scene = scene(6, 2);
        let augment = Augment { flip: 1.0, ..Augment::default() };
        let (_, ids) = &windows(&augment, &scene, [2, 6])[0];
        let mirrored: Vec<u8> =
            scene.mask.ids.chunks(6).flat_map(|row| row.iter().rev().copied()).collect();
        assert_eq!(*ids, mirrored);
    }

    #[test]
    fn colors_change_the_image_alone() {
        let plain = Augment::default();
        let colored = Augment { color: 0.4, ..plain };
        let scene = scene(8, 8);
        let (before, after) = (windows(&plain, &scene, [8, 8]), windows(&colored, &scene, [8, 8]));
        assert_ne!(before[0].0, after[0].0);
        assert_eq!(before[0].1, after[0].1);
    }

    #[test]
    fn factors_are_the_steps_of_the_range() {
        let scale = RandomScale::default();
        let mut rng = stream(1, Purpose::Augment, &[]);
        let drawn: std::collections::BTreeSet<u32> =
            (0..200).map(|_| (scale.draw(&mut rng) * 100.0) as u32).collect();
        assert_eq!(drawn, [50, 75, 100, 125, 150, 175, 200].into());
        let wrong = RandomScale { range: [2.0, 1.0], ..scale };
        let error = wrong.validate().unwrap_err().to_string();
        assert!(error.contains("random_scale.range") && error.contains("[2.0, 1.0]"), "{error}");
    }
}
