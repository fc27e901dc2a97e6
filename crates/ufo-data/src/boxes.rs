//! Boxes around objects: how they overlap, what a window leaves of them, the best of many, and how they are shown.

use serde::{Deserialize, Serialize};

use crate::Image;

/// A true box of which a window leaves less than this part does not count.
const VISIBLE: f64 = 0.5;

/// A rectangle in pixels, x to the right and y down; pixel 0 lies between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Smallest x.
    pub left: f32,
    /// Smallest y.
    pub top: f32,
    /// Largest x.
    pub right: f32,
    /// Largest y.
    pub bottom: f32,
}

/// A true box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Annotation {
    /// Where it is.
    pub bounds: Bounds,
    /// Its class.
    pub class: u32,
    /// Whether it is a region that does not count: what is found in it is neither right nor wrong.
    pub crowd: bool,
    /// Square pixels of the object, by which COCO calls it small, medium or large; the box's unless the data
    /// say otherwise.
    pub area: f32,
}

/// A predicted box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Where it is.
    pub bounds: Bounds,
    /// Its class.
    pub class: u32,
    /// How sure it is, 0 to 1.
    pub score: f32,
}

impl Bounds {
    /// Left, top, right and bottom.
    pub fn new([left, top, right, bottom]: [f32; 4]) -> Self {
        Self { left, top, right, bottom }
    }

    /// Square pixels; 0 when it is turned inside out.
    pub fn area(&self) -> f64 {
        let side = |from: f32, to: f32| (f64::from(to) - f64::from(from)).max(0.0);
        side(self.left, self.right) * side(self.top, self.bottom)
    }

    /// What lies in both.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// Intersection over union, 0 to 1; 0 of two empty boxes.
    pub fn iou(&self, other: &Self) -> f64 {
        let common = self.within(other).area();
        let union = self.area() + other.area() - common;
        if union > 0.0 { common / union } else { 0.0 }
    }

    /// The same with x and y scaled, then moved.
    #[must_use]
    pub(crate) fn mapped(&self, scale: [f32; 2], shift: [f32; 2]) -> Self {
        let [x, y] = [0, 1].map(|axis| move |v: f32| v * scale[axis] + shift[axis]);
        Self::new([x(self.left), y(self.top), x(self.right), y(self.bottom)])
    }
}

impl Annotation {
    /// What a window leaves of it, none when that is nothing. A box of which less than half is left, or less
    /// than a pixel along a side, does not count.
    pub(crate) fn cut(&self, window: &Bounds) -> Option<Self> {
        let bounds = self.bounds.within(window);
        if bounds.area() == 0.0 {
            return None;
        }
        let share = bounds.area() / self.bounds.area();
        let thin = bounds.right - bounds.left < 1.0 || bounds.bottom - bounds.top < 1.0;
        let crowd = self.crowd || share < VISIBLE || thin;
        Some(Self { bounds, crowd, area: (f64::from(self.area) * share) as f32, ..*self })
    }
}

/// The detections that are left, best first, of equal scores the earlier: one that overlaps a better one of its
/// class by more than `threshold` is dropped, and what follows the first `most`.
pub fn suppressed(
    mut detections: Vec<Detection>,
    (threshold, most): (f32, usize),
) -> Vec<Detection> {
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::new();
    for found in detections {
        if kept.len() == most {
            break;
        }
        let covered = |better: &Detection| {
            better.class == found.class && better.bounds.iou(&found.bounds) > f64::from(threshold)
        };
        if !kept.iter().any(covered) {
            kept.push(found);
        }
    }
    kept
}

/// The image with a line of `thickness` pixels inside of each box, in its color.
#[must_use]
pub fn outlined(image: &Image, boxes: &[(Bounds, [u8; 3])], thickness: usize) -> Image {
    let mut image = image.clone();
    for (bounds, color) in boxes {
        let pixel = |v: f32, side: usize| (v.max(0.0).round() as usize).min(side);
        let (left, right) = (pixel(bounds.left, image.width), pixel(bounds.right, image.width));
        let (top, bottom) = (pixel(bounds.top, image.height), pixel(bounds.bottom, image.height));
        for y in top..bottom {
            let edge = y - top < thickness || bottom - y <= thickness;
            for x in left..right {
                if edge || x - left < thickness || right - x <= thickness {
                    let at = image.at(x, y);
                    image.rgb[at..at + 3].copy_from_slice(color);
                }
            }
        }
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bounds: [f32; 4], class: u32, score: f32) -> Detection {
        Detection { bounds: Bounds::new(bounds), class, score }
    }

    #[test]
    fn overlap_by_hand() {
        let a = Bounds::new([0.0, 0.0, 4.0, 2.0]);
        assert!((a.iou(&Bounds::new([2.0, 1.0, 6.0, 3.0])) - 2.0 / 14.0).abs() < 1e-12);
        assert!((a.iou(&a) - 1.0).abs() < 1e-12);
        for apart in [[4.0, 0.0, 8.0, 2.0], [9.0, 9.0, 5.0, 5.0], [1.0, 1.0, 1.0, 1.0]] {
            assert!(a.iou(&Bounds::new(apart)) == 0.0, "{apart:?}");
        }
    }

    #[test]
    fn the_better_of_boxes_that_overlap_stays() {
        let all = vec![
            found([0.0, 0.0, 10.0, 10.0], 0, 0.5),
            found([0.0, 1.0, 10.0, 11.0], 0, 0.9),
            found([0.0, 1.0, 10.0, 11.0], 1, 0.4),
            found([0.0, 6.0, 10.0, 16.0], 0, 0.7),
        ];
        let scores = |threshold, most| -> Vec<f32> {
            suppressed(all.clone(), (threshold, most)).iter().map(|found| found.score).collect()
        };
        assert_eq!(scores(0.5, 10), [0.9, 0.7, 0.4]);
        // Half of 0.9's box, a third of the union, is 0.7's.
        assert_eq!(scores(0.3, 10), [0.9, 0.4]);
        assert_eq!(scores(0.9, 10), [0.9, 0.7, 0.5, 0.4]);
        assert_eq!(scores(0.5, 2), [0.9, 0.7]);
    }

    #[test]
    fn a_window_cuts_boxes_and_those_of_less_than_half_do_not_count() {
        let bounds = Bounds::new([0.0, 0.0, 10.0, 4.0]);
        let whole = Annotation { bounds, class: 3, crowd: false, area: 20.0 };
        let window = |left: f32| Bounds::new([left, 0.0, left + 20.0, 20.0]);
        let cut = whole.cut(&window(4.0)).unwrap();
        assert_eq!(cut.bounds, Bounds::new([4.0, 0.0, 10.0, 4.0]));
        assert!(!cut.crowd && (cut.area - 12.0).abs() < 1e-6);
        assert!(whole.cut(&window(6.0)).unwrap().crowd);
        assert_eq!(whole.cut(&window(10.0)), None);
        assert_eq!(whole.cut(&window(-20.0)), None);
    }

    #[test]
    fn lines_lie_inside_of_their_boxes_and_of_the_image() {
        let image = Image::filled(6, 5, [0; 3]);
        let red = [255, 0, 0];
        let boxes = [([1.0, 1.0, 5.0, 4.0], red), ([4.0, -3.0, 99.0, 2.0], [0, 9, 0])];
        let boxes = boxes.map(|(bounds, color)| (Bounds::new(bounds), color));
        let drawn = outlined(&image, &boxes, 1);
        let row = |y: usize| -> Vec<u8> {
            let pixels = drawn.rgb[drawn.at(0, y)..][..18].as_chunks::<3>().0;
            pixels.iter().map(|pixel| pixel[0].max(pixel[1])).collect()
        };
        assert_eq!(row(0), [0, 0, 0, 0, 9, 9]);
        assert_eq!(row(1), [0, 255, 255, 255, 9, 9]);
        assert_eq!(row(2), [0, 255, 0, 0, 255, 0]);
        assert_eq!(row(3), [0, 255, 255, 255, 255, 0]);
        assert_eq!(row(4), [0; 6]);
    }
}
