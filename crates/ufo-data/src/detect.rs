//! Boxes in an image of any size by a network of a fixed one: windows that overlap, of each the boxes around its
//! middle, and the best of those that cover each other.
//!
//! What the outputs of a place on the map mean is FCOS's (arXiv 1904.01355, section 3.1 and 3.3): with places
//! `stride` pixels apart, the first at half a stride,
//! ```text
//! class c   sigmoid(output c)
//! box       left, top, right and bottom are stride * exp(outputs classes.. classes + 4) away
//! center    sigmoid(output classes + 4), how much the place lies in the middle of the box
//! score     sqrt(class * center)
//! ```

use crate::windows::{BATCH, cut, starts};
use crate::{Bounds, Detection, Image, Preprocess, suppressed};

/// Outputs of a place besides those of the classes.
pub const BOX_OUTPUTS: usize = 5;
/// Least probability of a class; FCOS has the same.
const LEAST: f32 = 0.05;
/// Largest output that `exp` is taken of: no box of an image is wider.
const WIDEST: f32 = 12.0;

/// How boxes are found in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// Classes of the network.
    pub classes: usize,
    /// Part of their side that neighboring windows share, 0 to below 1.
    pub overlap: f32,
    /// Intersection over union above which the better of two boxes of a class stays.
    pub nms: f32,
    /// Most boxes of an image.
    pub most: usize,
}

/// The boxes of an image, best first. `run` gives the outputs `[n, classes + 5, rows, columns]` of inputs
/// `[n, 3, height, width]` of the size of `preprocess`. Of places that several windows see, that window speaks
/// in whose middle they are: boxes are not cut by windows that could hold them. What of a window lies beyond a
/// small image is the mean color. The image is not scaled.
///
/// # Errors
/// Those of `run`.
///
/// # Panics
/// When `run` gives outputs of another kind.
pub fn detect<E>(
    image: &Image,
    preprocess: &Preprocess,
    finding: &Finding,
    mut run: impl FnMut(Vec<f32>, [usize; 4]) -> Result<Vec<f32>, E>,
) -> Result<Vec<Detection>, E> {
    let [height, width] = preprocess.size;
    let stride =
        |side: usize| ((side as f32 * (1.0 - finding.overlap)).round() as usize).clamp(1, side);
    let rows = starts(image.height, height, stride(height));
    let columns = starts(image.width, width, stride(width));
    let windows: Vec<[usize; 2]> = (0..rows.len())
        .flat_map(|row| (0..columns.len()).map(move |column| [column, row]))
        .collect();
    let whole = Bounds::new([0.0, 0.0, image.width as f32, image.height as f32]);
    let mut all = Vec::new();
    for places in windows.chunks(BATCH) {
        let mut images = vec![0.0; places.len() * 3 * height * width];
        for (&[column, row], out) in places.iter().zip(images.chunks_exact_mut(3 * height * width))
        {
            cut(image, preprocess, [columns[column], rows[row]], out);
        }
        let outputs = run(images, [places.len(), 3, height, width])?;
        assert_eq!(outputs.len() % places.len(), 0, "as many outputs of each window");
        let each = outputs.len() / places.len();
        for (&[column, row], outputs) in places.iter().zip(outputs.chunks_exact(each)) {
            let corner = [columns[column] as f32, rows[row] as f32];
            let across = middle(&columns, column, width);
            let down = middle(&rows, row, height);
            for found in decoded(outputs, finding.classes, [height, width]) {
                let [x, y] = [found.place[0] + corner[0], found.place[1] + corner[1]];
                if !(across[0] <= x && x < across[1] && down[0] <= y && y < down[1]) {
                    continue;
                }
                let bounds = found.of.bounds.mapped([1.0; 2], corner).within(&whole);
                if bounds.area() > 0.0 {
                    all.push(Detection { bounds, ..found.of });
                }
            }
        }
    }
    Ok(suppressed(all, (finding.nms, finding.most)))
}

/// The boxes that the outputs `[classes + 5, rows, columns]` of one input of height and width `size` tell, in
/// its pixels, best first.
///
/// # Panics
/// As [`detect`].
pub fn found(outputs: &[f32], finding: &Finding, size: [usize; 2]) -> Vec<Detection> {
    let whole = Bounds::new([0.0, 0.0, size[1] as f32, size[0] as f32]);
    let inside = |found: Found| {
        let bounds = found.of.bounds.within(&whole);
        (bounds.area() > 0.0).then_some(Detection { bounds, ..found.of })
    };
    let all = decoded(outputs, finding.classes, size).into_iter().filter_map(inside).collect();
    suppressed(all, (finding.nms, finding.most))
}

/// From and to where window `index` speaks: up to the middles of what it shares with its neighbors.
fn middle(starts: &[usize], index: usize, window: usize) -> [f32; 2] {
    let between = |left: usize| (starts[left] + starts[left + 1] + window) as f32 / 2.0;
    let from = if index == 0 { f32::NEG_INFINITY } else { between(index - 1) };
    let to = if index + 1 == starts.len() { f32::INFINITY } else { between(index) };
    [from, to]
}

/// Rows and columns of a map of so many places on an input of height and width `size`: places are as far apart
/// both ways.
///
/// # Panics
/// When no map has so many.
pub(crate) fn map_size(places: usize, size: [usize; 2]) -> [usize; 2] {
    let rows = (places as f64 * size[0] as f64 / size[1] as f64).sqrt().round().max(1.0) as usize;
    assert_eq!(places % rows, 0, "{places} places are no map on {size:?} pixels");
    [rows, places / rows]
}

/// A box and the place on the map that tells it.
struct Found {
    place: [f32; 2],
    of: Detection,
}

fn decoded(outputs: &[f32], classes: usize, size: [usize; 2]) -> Vec<Found> {
    let places = outputs.len() / (classes + BOX_OUTPUTS);
    assert_eq!(outputs.len(), places * (classes + BOX_OUTPUTS), "as many outputs of each place");
    let [rows, columns] = map_size(places, size);
    let step = [size[1] as f32 / columns as f32, size[0] as f32 / rows as f32];
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let mut all = Vec::new();
    for at in 0..places {
        let output = |index: usize| outputs[index * places + at];
        let place = [at % columns, at / columns];
        let [x, y] = [0, 1].map(|axis| (place[axis] as f32 + 0.5) * step[axis]);
        for class in 0..classes {
            let probability = sigmoid(output(class));
            if probability < LEAST {
                continue;
            }
            let away = |side: usize| step[side % 2] * output(classes + side).min(WIDEST).exp();
            let bounds = Bounds::new([x - away(0), y - away(1), x + away(2), y + away(3)]);
            let score = (probability * sigmoid(output(classes + 4))).sqrt();
            all.push(Found { place: [x, y], of: Detection { bounds, class: class as u32, score } });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const FINDING: Finding = Finding { classes: 2, overlap: 0.5, nms: 0.5, most: 100 };

    #[test]
    fn outputs_by_hand() {
        // Two rows of three places on 4 x 6 pixels, 2 apart; one speaks.
        let mut outputs = vec![-20.0; 7 * 6];
        let mut set = |index: usize, value: f32| outputs[index * 6 + 4] = value;
        set(1, 2.0);
        set(2, 0.5_f32.ln());
        set(3, 0.25_f32.ln());
        set(4, 1.0_f32.ln());
        set(5, 9.0);
        set(6, -1.0);
        let boxes = found(&outputs, &FINDING, [4, 6]);
        assert_eq!(boxes.len(), 1);
        let Detection { bounds, class, score } = boxes[0];
        // The place is at x 3, y 3; the lower edge ends with the image.
        assert_eq!(bounds, Bounds::new([2.0, 2.5, 5.0, 4.0]));
        assert_eq!(class, 1);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        assert!((f64::from(score) - (sigmoid(2.0) * sigmoid(-1.0)).sqrt()).abs() < 1e-6);
        // Below 5 % there is nothing.
        outputs[6 + 4] = -3.0;
        assert!(found(&outputs, &FINDING, [4, 6]).is_empty());
    }

    #[test]
    fn maps_have_the_shape_of_their_inputs() {
        assert_eq!(map_size(6, [4, 6]), [2, 3]);
        assert_eq!(map_size(36, [64, 64]), [6, 6]);
        assert_eq!(map_size(8, [40, 20]), [4, 2]);
    }

    /// Squares of 4 pixels, white on black, and a network that sees those whose upper left corner is on a place:
    /// places are 2 pixels apart.
    fn squares(images: &[f32], [n, _, height, width]: [usize; 4]) -> Vec<f32> {
        let (rows, columns) = (height / 2, width / 2);
        let mut outputs = vec![-20.0; n * 7 * rows * columns];
        for image in 0..n {
            let red = &images[image * 3 * height * width..][..height * width];
            let white = |x: isize, y: isize| {
                let inside = x >= 0 && y >= 0 && x < width as isize && y < height as isize;
                inside && red[y as usize * width + x as usize] > 0.5
            };
            for at in 0..rows * columns {
                let (x, y) = (2 * (at % columns) as isize, 2 * (at / columns) as isize);
                if !white(x, y) || white(x - 1, y) || white(x, y - 1) {
                    continue;
                }
                // Only as far as is seen.
                let right = (x..width as isize).take_while(|&x| white(x, y)).count() as f32;
                let down = (y..height as isize).take_while(|&y| white(x, y)).count() as f32;
                let values = [4.0, -20.0, 0.5, 0.5, (right - 1.0) / 2.0, (down - 1.0) / 2.0];
                let out = &mut outputs[image * 7 * rows * columns..];
                for (index, value) in values.into_iter().enumerate() {
                    let value: f32 = if index < 2 { value } else { value.max(0.1).ln() };
                    out[index * rows * columns + at] = value;
                }
                out[6 * rows * columns + at] = 4.0;
            }
        }
        outputs
    }

    #[test]
    fn every_object_of_a_large_image_is_found_once_and_whole() {
        for (width, height) in [(16, 16), (46, 38), (10, 60)] {
            let mut image = Image::filled(width, height, [0; 3]);
            let mut truth = Vec::new();
            for top in (2..height.saturating_sub(4)).step_by(8) {
                for left in (2..width.saturating_sub(4)).step_by(6) {
                    for pixel in 0..16 {
                        let at = image.at(left + pixel % 4, top + pixel / 4);
                        image.rgb[at] = 255;
                    }
                    let [left, top] = [left as f32, top as f32];
                    truth.push(Bounds::new([left, top, left + 4.0, top + 4.0]));
                }
            }
            let preprocess = Preprocess {
                size: [16, 16],
                mean: [0.0; 3],
                std: [1.0; 3],
                ..Preprocess::default()
            };
            let run = |images: Vec<f32>, size| Ok::<_, Infallible>(squares(&images, size));
            let boxes = detect(&image, &preprocess, &FINDING, run).unwrap();
            assert_eq!(boxes.len(), truth.len(), "{width} x {height}");
            for bounds in &truth {
                let near = |found: &Detection| found.bounds.iou(bounds) > 0.99;
                assert!(boxes.iter().any(near), "{bounds:?} of {boxes:?}");
            }
        }
    }
}
