//! Segmentation of an image of any size by a network of a fixed one: windows that overlap, their logits
//! added up, and each pixel's class the largest.

use crate::{Image, Mask, Preprocess, transform::Target, transform::resize};

/// Windows that go through the network at a time.
pub(crate) const BATCH: usize = 16;

/// Where windows begin along a side: at most `stride` apart, the last one ends with the side.
pub(crate) fn starts(side: usize, window: usize, stride: usize) -> Vec<usize> {
    let last = side.saturating_sub(window);
    (0..=last.div_ceil(stride)).map(|step| (step * stride).min(last)).collect()
}

/// The class of each pixel. `run` gives the logits `[n, classes, height, width]` of inputs
/// `[n, 3, height, width]` of the size of `preprocess`; neighboring windows share the part `overlap` of
/// their side, 0 to below 1. What of a window lies beyond a small image is the mean color. The image is not
/// scaled.
///
/// # Errors
/// Those of `run`.
///
/// # Panics
/// When `run` gives another number of values.
pub fn segment<E>(
    image: &Image,
    preprocess: &Preprocess,
    (classes, overlap): (usize, f32),
    mut run: impl FnMut(Vec<f32>, [usize; 4]) -> Result<Vec<f32>, E>,
) -> Result<Mask, E> {
    let [height, width] = preprocess.size;
    let stride = |side: usize| ((side as f32 * (1.0 - overlap)).round() as usize).clamp(1, side);
    let rows = starts(image.height, height, stride(height));
    let columns = starts(image.width, width, stride(width));
    let mut band = Band::new(image, classes, height);
    for &top in &rows {
        band.move_to(top);
        for lefts in columns.chunks(BATCH) {
            let mut images = vec![0.0; lefts.len() * 3 * height * width];
            for (&left, out) in lefts.iter().zip(images.chunks_exact_mut(3 * height * width)) {
                cut(image, preprocess, [left, top], out);
            }
            let logits = run(images, [lefts.len(), 3, height, width])?;
            let each = classes * height * width;
            assert_eq!(logits.len(), lefts.len() * each, "logits of every pixel of every window");
            for (&left, logits) in lefts.iter().zip(logits.chunks_exact(each)) {
                band.add(left, logits, width);
            }
        }
    }
    Ok(band.finish())
}

/// Writes the window at `[left, top]`, normalized.
pub(crate) fn cut(
    image: &Image,
    preprocess: &Preprocess,
    [left, top]: [usize; 2],
    out: &mut [f32],
) {
    let [height, width] = preprocess.size;
    let size = [width.min(image.width - left), height.min(image.height - top)];
    let view = image.view().part([left, top], size);
    let filter = preprocess.interpolation;
    let part = resize(view, Target { part: None, size, filter, mirrored: false });
    let mut values = vec![0.0; 3 * size[0] * size[1]];
    preprocess.normalize_into(&part, &mut values);
    let planes = out.chunks_exact_mut(height * width).zip(values.chunks_exact(size[0] * size[1]));
    for (plane, values) in planes {
        for (row, values) in plane.chunks_exact_mut(width).zip(values.chunks_exact(size[0])) {
            row[..size[0]].copy_from_slice(values);
        }
    }
}

/// The sums of the logits of some rows of the image, and the classes of all rows above.
struct Band {
    /// Pixels a row, and rows, of the image.
    size: [usize; 2],
    classes: usize,
    /// First row of the band.
    top: usize,
    /// `[rows, width, classes]`
    sums: Vec<f32>,
    ids: Vec<u8>,
}

impl Band {
    fn new(image: &Image, classes: usize, rows: usize) -> Self {
        let size = [image.width, image.height];
        let sums = vec![0.0; rows.min(image.height) * image.width * classes];
        Self { size, classes, top: 0, sums, ids: Vec::with_capacity(image.width * image.height) }
    }

    /// Decides the rows above `top` and goes on from there.
    fn move_to(&mut self, top: usize) {
        let passed = ((top - self.top) * self.size[0] * self.classes).min(self.sums.len());
        self.decide(passed);
        self.sums.copy_within(passed.., 0);
        let kept = self.sums.len() - passed;
        self.sums[kept..].fill(0.0);
        self.top = top;
    }

    /// The classes of the first `count` sums.
    fn decide(&mut self, count: usize) {
        for sums in self.sums[..count].chunks_exact(self.classes) {
            let mut best = 0;
            for (class, sum) in sums.iter().enumerate() {
                if *sum > sums[best] {
                    best = class;
                }
            }
            self.ids.push(best as u8);
        }
    }

    /// Adds the logits `[classes, .., width]` of the window that begins at `left`.
    fn add(&mut self, left: usize, logits: &[f32], width: usize) {
        let row_len = self.size[0] * self.classes;
        let columns = width.min(self.size[0] - left);
        for (class, plane) in logits.chunks_exact(logits.len() / self.classes).enumerate() {
            for (sums, row) in self.sums.chunks_exact_mut(row_len).zip(plane.chunks_exact(width)) {
                let pixels = sums[left * self.classes..].chunks_exact_mut(self.classes);
                for (sums, logit) in pixels.zip(&row[..columns]) {
                    sums[class] += logit;
                }
            }
        }
    }

    fn finish(mut self) -> Mask {
        self.decide(self.sums.len());
        Mask { width: self.size[0], height: self.size[1], ids: self.ids }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn windows_cover_every_pixel_and_end_with_the_side() {
        assert_eq!(starts(10, 4, 2), [0, 2, 4, 6]);
        assert_eq!(starts(11, 4, 3), [0, 3, 6, 7]);
        assert_eq!(starts(4, 4, 2), [0]);
        assert_eq!(starts(3, 4, 4), [0]);
    }

    /// A network whose logits tell what it sees: class 0 where red is below 0.5, class 1 else; beyond a small
    /// image it sees the mean.
    fn by_red(images: &[f32], [n, _, height, width]: [usize; 4]) -> Vec<f32> {
        let pixels = height * width;
        let red = |image: usize| &images[image * 3 * pixels..][..pixels];
        (0..n)
            .flat_map(|image| [0.0_f32, 1.0].map(|class| (image, class)))
            .flat_map(|(image, class)| {
                red(image).iter().map(move |r| (2.0 * class - 1.0) * (r - 0.5))
            })
            .collect()
    }

    #[test]
    fn images_of_any_size_get_the_classes_of_their_pixels() {
        for (width, height) in [(8, 8), (21, 13), (5, 30), (3, 2)] {
            let ids: Vec<u8> = (0..width * height).map(|at| (at / 3 % 2) as u8).collect();
            let rgb = ids.iter().flat_map(|id| [255 * id, 0, 0]).collect();
            let image = Image { width, height, rgb };
            let preprocess =
                Preprocess { size: [8, 8], mean: [0.0; 3], std: [1.0; 3], ..Preprocess::default() };
            for overlap in [0.0, 0.5, 0.9] {
                let run = |images: Vec<f32>, size| Ok::<_, Infallible>(by_red(&images, size));
                let mask = segment(&image, &preprocess, (2, overlap), run).unwrap();
                assert_eq!([mask.width, mask.height], [width, height]);
                assert_eq!(mask.ids, ids, "{width} x {height}, overlap {overlap}");
            }
        }
    }

    #[test]
    fn logits_of_windows_that_overlap_add_up() {
        // Each window says class 1 in its left half, stronger than class 0 elsewhere.
        let image = Image::filled(12, 4, [0; 3]);
        let preprocess = Preprocess { size: [4, 8], ..Preprocess::default() };
        let run = |_: Vec<f32>, [n, _, h, w]: [usize; 4]| {
            let one = |at: usize| match at / (h * w) {
                0 => 1.0,
                _ if at % w < w / 2 => 3.0,
                _ => 0.0,
            };
            Ok::<_, Infallible>((0..n * 2 * h * w).map(|at| one(at % (2 * h * w))).collect())
        };
        let mask = segment(&image, &preprocess, (2, 0.5), run).unwrap();
        let row = [[1; 4], [1; 4], [0; 4]].concat();
        assert_eq!(mask.ids, row.repeat(4));
    }
}
