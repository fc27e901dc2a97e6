//! A classical sliding window, the yardstick of a detection: logistic regression on the mean colors of 5x5 cells.
//!
//! Boxes of three common sizes of each class slide over the image, a quarter of their side at a time. The cells cover
//! the box and a frame of a quarter of its size around it. The regression is fitted to the true boxes of training
//! images, to boxes that slide there and overlap one well, and to some that overlap none. The best of those that
//! cover each other stay.

use super::{finding, result};
use crate::Task;
use anyhow::{Context, Result};
use ufo_data::{Annotation, Bounds, Boxed, Dataset, Detection, Image, Preprocess, suppressed};
use ufo_eval::{BoxMatches, Logistic};

/// Cells along a side.
const CELLS: usize = 5;
/// Values of a box: the mean of each channel in each cell.
const INPUTS: usize = 3 * CELLS * CELLS;
/// Boxes that the regression is fitted to, about.
const FITTED: usize = 6_000;
/// Parts of the training boxes of a class that are smaller than the boxes that slide.
const QUANTILES: [f64; 3] = [0.2, 0.5, 0.8];
/// Intersection over union from which a box that slides is an example of a class, and up to which of none.
const EXAMPLE: [f64; 2] = [0.6, 0.3];
/// Intersection over union above which the better box stays.
const NMS: f32 = 0.3;

/// The task's headline metric by the sliding window.
///
/// # Errors
/// A damaged image, one of another size than its boxes are given for.
pub(crate) fn baseline(task: &Task, preprocess: &Preprocess) -> Result<f64> {
    let classes = task.classes().len();
    let sizes = sizes(&task.train, classes);
    let model = fit(task, preprocess, &sizes)?;
    let most = finding(task).most;
    let mut matches = BoxMatches::new(classes, most);
    for index in 0..task.test.len() {
        let Boxed { image, boxes } = task.test.boxed(index)?;
        let sums = Sums::new(&image, preprocess);
        let mut found = Vec::new();
        for bounds in sizes.iter().flatten().flat_map(|size| slide(*size, sums.size)) {
            let probabilities = model.probabilities(&sums.cells(&bounds));
            found.extend(probabilities[1..].iter().zip(0..).map(|(probability, class)| {
                Detection { bounds, class, score: *probability as f32 }
            }));
        }
        matches.add(&boxes, &suppressed(found, (NMS, most)))?;
    }
    Ok(result(task, &matches)?.value)
}

/// Class 0 is no box.
fn fit(task: &Task, preprocess: &Preprocess, sizes: &[Vec<[usize; 2]>]) -> Result<Logistic> {
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    let len = task.train.len();
    let used = len.min(FITTED / 10);
    let each = FITTED.div_ceil(used);
    for index in (0..used).map(|image| image * len / used) {
        let Boxed { image, boxes } = task.train.boxed(index)?;
        let sums = Sums::new(&image, preprocess);
        let truth = boxes.iter().filter(|found| !found.crowd);
        let truth: Vec<(Bounds, u8)> = truth.map(|t| (t.bounds, t.class as u8 + 1)).collect();
        let slid = sizes.iter().flatten().flat_map(|size| slide(*size, sums.size));
        let known = slid.filter_map(|bounds| Some((bounds, example(&bounds, &boxes)?)));
        let (none, some): (Vec<_>, Vec<_>) = known.partition(|(_, label)| *label == 0);
        for (examples, most) in [(truth, each), (some, each / 4), (none, each / 2)] {
            let kept = examples.len().min(most);
            for (bounds, label) in (0..kept).map(|at| &examples[at * examples.len() / kept]) {
                rows.extend(sums.cells(bounds));
                labels.push(*label);
            }
        }
    }
    Logistic::fit(&rows, INPUTS, (&labels, task.classes().len() + 1))
        .with_context(|| format!("task `{}`: its training boxes", task.config.name))
}

/// What a box that slides is an example of, if it is one.
fn example(bounds: &Bounds, boxes: &[Annotation]) -> Option<u8> {
    let overlap = |found: &&Annotation| found.bounds.iou(bounds);
    let best = boxes.iter().max_by(|a, b| overlap(a).total_cmp(&overlap(b)));
    let Some(best) = best else { return Some(0) };
    let [some, none] = EXAMPLE;
    match overlap(&best) {
        iou if iou < none => Some(0),
        iou if iou >= some && !best.crowd => Some(best.class as u8 + 1),
        _ => None,
    }
}

/// Widths and heights that slide, of each class.
fn sizes(train: &Dataset, classes: usize) -> Vec<Vec<[usize; 2]>> {
    let mut sides = vec![[Vec::new(), Vec::new()]; classes];
    for index in 0..train.len() {
        for found in train.boxes(index).iter().filter(|found| !found.crowd) {
            let b = found.bounds;
            let [widths, heights] = &mut sides[found.class as usize];
            widths.push(b.right - b.left);
            heights.push(b.bottom - b.top);
        }
    }
    let of_class = |mut sides: [Vec<f32>; 2]| -> Vec<[usize; 2]> {
        if sides[0].is_empty() {
            return Vec::new();
        }
        for side in &mut sides {
            side.sort_by(f32::total_cmp);
        }
        let side = |side: &[f32], part: f64| {
            (side[((side.len() - 1) as f64 * part).round() as usize].round() as usize).max(1)
        };
        QUANTILES.iter().map(|&part| [0, 1].map(|axis| side(&sides[axis], part))).collect()
    };
    sides.into_iter().map(of_class).collect()
}

/// All boxes of a size in an image, a quarter of their side apart.
fn slide(size: [usize; 2], image: [usize; 2]) -> impl Iterator<Item = Bounds> {
    let size = [0, 1].map(|axis| size[axis].min(image[axis]));
    let step = (size[0].min(size[1]) / 4).max(1);
    (0..=image[1] - size[1]).step_by(step).flat_map(move |top| {
        (0..=image[0] - size[0]).step_by(step).map(move |left| {
            Bounds::new([left, top, left + size[0], top + size[1]].map(|edge| edge as f32))
        })
    })
}

/// Sums of normalized colors over all rectangles that begin in the upper left corner.
struct Sums {
    /// `[height + 1, width + 1, 3]`
    sums: Vec<f64>,
    /// Width and height of the image.
    size: [usize; 2],
}

impl Sums {
    fn new(image: &Image, preprocess: &Preprocess) -> Self {
        let line = 3 * (image.width + 1);
        let mut sums = vec![0.0; line * (image.height + 1)];
        for (y, pixels) in image.rgb.chunks_exact(3 * image.width).enumerate() {
            let mut row = [0.0; 3];
            for (at, value) in pixels.iter().enumerate() {
                let channel = at % 3;
                let [mean, std] =
                    [preprocess.mean, preprocess.std].map(|of| f64::from(of[channel]));
                row[channel] += (f64::from(*value) / 255.0 - mean) / std;
                sums[(y + 1) * line + 3 + at] = sums[y * line + 3 + at] + row[channel];
            }
        }
        Self { sums, size: [image.width, image.height] }
    }

    /// The mean colors of the cells of a box and its frame; those beyond the image are 0.
    fn cells(&self, bounds: &Bounds) -> Vec<f32> {
        let edges = |from: f32, to: f32, side: usize| {
            let frame = (to - from) / 4.0;
            let step = (to - from + 2.0 * frame) / CELLS as f32;
            (0..=CELLS)
                .map(|edge| (from - frame + edge as f32 * step).round().max(0.0) as usize)
                .map(|edge| edge.min(side))
                .collect::<Vec<_>>()
        };
        let columns = edges(bounds.left, bounds.right, self.size[0]);
        let rows = edges(bounds.top, bounds.bottom, self.size[1]);
        let mut cells = Vec::with_capacity(INPUTS);
        for down in rows.windows(2) {
            for across in columns.windows(2) {
                let area = ((down[1] - down[0]) * (across[1] - across[0])).max(1) as f64;
                for channel in 0..3 {
                    let at =
                        |x: usize, y: usize| self.sums[3 * (y * (self.size[0] + 1) + x) + channel];
                    let sum =
                        at(across[1], down[1]) - at(across[0], down[1]) - at(across[1], down[0])
                            + at(across[0], down[0]);
                    cells.push((sum / area) as f32);
                }
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_the_mean_colors_of_the_box_and_its_frame() {
        // A box of 12 pixels has cells of 18 / 5 pixels.
        let mut image = Image::filled(30, 24, [0; 3]);
        for y in 0..24 {
            for x in 10..30 {
                image.rgb[3 * (30 * y + x) + 1] = 255;
            }
        }
        let preprocess = Preprocess { mean: [0.0; 3], std: [1.0; 3], ..Preprocess::default() };
        let sums = Sums::new(&image, &preprocess);
        let cells = sums.cells(&Bounds::new([6.0, 4.0, 18.0, 16.0]));
        assert_eq!(cells.len(), INPUTS);
        // Edges at 3, 7, 10, 14, 17 and 21: the first two columns are black, the others green.
        for (at, value) in cells.iter().enumerate() {
            let expected = f32::from(u8::from(at % 3 == 1 && at / 3 % CELLS >= 2));
            assert!((value - expected).abs() < 1e-6, "{at}: {value}");
        }
        // In the corner the frame is beyond the image.
        let cells = sums.cells(&Bounds::new([0.0, 0.0, 8.0, 8.0]));
        assert!(cells[..3].iter().all(|value| *value == 0.0));
    }

    #[test]
    fn boxes_slide_over_all_of_the_image() {
        let slid: Vec<Bounds> = slide([8, 4], [17, 6]).collect();
        assert_eq!(slid.len(), 10 * 3);
        assert_eq!(slid[29], Bounds::new([9.0, 2.0, 17.0, 6.0]));
        assert_eq!(slide([40, 40], [17, 6]).count(), 1);
    }
}
