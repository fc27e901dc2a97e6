//! What the places of a map should say of true boxes (FCOS, arXiv 1904.01355, section 3.1).
//!
//! A place belongs to the smallest box that it is in, near its middle: the middle of the box is at most `radius`
//! distances between places away, both ways (the authors' later center sampling, arXiv 2006.09214, section 2.1).
//! Others are background, but for those in boxes that do not count.

use ufo_data::Annotation;
use ufo_model::losses::{Inside, Places};

/// A map on an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Map {
    /// Rows and columns.
    pub(super) size: [usize; 2],
    /// Height and width of the image.
    pub(super) image: [usize; 2],
    pub(super) classes: usize,
    /// How far around their middle boxes are learned, in distances between places; 0 is everywhere in them.
    pub(super) radius: f32,
}

/// The places of a batch, image by image and row by row.
pub(super) fn places(boxes: &[Vec<Annotation>], map: &Map) -> Places {
    let [rows, columns] = map.size;
    let n = boxes.len() * rows * columns;
    let mut all =
        Places { classes: vec![0.0; n * map.classes], counted: vec![1.0; n], inside: Vec::new() };
    for (image, boxes) in boxes.iter().enumerate() {
        let mut order: Vec<&Annotation> = boxes.iter().collect();
        order.sort_by(|a, b| a.bounds.area().total_cmp(&b.bounds.area()));
        for at in 0..rows * columns {
            let place = image * rows * columns + at;
            let position = [at % columns, at / columns];
            let mut counting = order.iter().filter(|found| !found.crowd);
            let told =
                counting.find_map(|found| Some((found.class, map.inside(found, position, place)?)));
            let Some((class, inside)) = told else {
                let mut hiding = boxes.iter().filter(|found| found.crowd);
                let left_out = hiding.any(|found| map.sides(found, position).is_some());
                all.counted[place] = if left_out { 0.0 } else { 1.0 };
                continue;
            };
            all.classes[place * map.classes + class as usize] = 1.0;
            all.inside.push(inside);
        }
    }
    all
}

impl Map {
    /// Pixels between places, across and down.
    fn step(&self) -> [f32; 2] {
        [1, 0].map(|axis| self.image[axis] as f32 / self.size[axis] as f32)
    }

    /// How far the sides of a box around a place are, in distances between places.
    fn sides(&self, found: &Annotation, position: [usize; 2]) -> Option<[f32; 4]> {
        let step = self.step();
        let [x, y] = [0, 1].map(|axis| (position[axis] as f32 + 0.5) * step[axis]);
        let b = found.bounds;
        let pixels = [x - b.left, y - b.top, b.right - x, b.bottom - y];
        let sides = [0, 1, 2, 3].map(|side| pixels[side] / step[side % 2]);
        sides.iter().all(|side| *side > 0.0).then_some(sides)
    }

    /// The place in a box, near its middle.
    fn inside(&self, found: &Annotation, position: [usize; 2], place: usize) -> Option<Inside> {
        let sides = self.sides(found, position)?;
        let [l, t, r, b] = sides;
        let off = [(l - r).abs() / 2.0, (t - b).abs() / 2.0];
        if self.radius > 0.0 && off.iter().any(|off| *off > self.radius) {
            return None;
        }
        let even = |a: f32, b: f32| a.min(b) / a.max(b);
        Some(Inside { place, sides, center: (even(l, r) * even(t, b)).sqrt() })
    }
}
