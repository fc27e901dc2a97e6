//! Random erasing (arXiv:1708.04896), timm's "pixel" mode: one rectangle of normal noise.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::between;

/// Range of the rectangle's area, as a fraction.
const AREA: [f32; 2] = [0.02, 1.0 / 3.0];
/// Range of its height over its width, drawn in the logarithm.
const RATIO: [f32; 2] = [0.3, 1.0 / 0.3];
const TRIES: usize = 10;

/// Erases a rectangle of an image of three planes; none when no try fits inside.
pub(super) fn apply(planes: &mut [f32], [height, width]: [usize; 2], rng: &mut impl Rng) {
    let Some([top, left, rows, columns]) = rectangle([height, width], rng) else { return };
    for plane in planes.chunks_exact_mut(height * width) {
        for row in plane.chunks_exact_mut(width).skip(top).take(rows) {
            row[left..left + columns].fill_with(|| rng.sample(StandardNormal));
        }
    }
}

/// Top, left, height and width.
fn rectangle([height, width]: [usize; 2], rng: &mut impl Rng) -> Option<[usize; 4]> {
    for _ in 0..TRIES {
        let area = between(AREA, rng) * (height * width) as f32;
        let ratio = between(RATIO.map(f32::ln), rng).exp();
        let rows = (area * ratio).sqrt().round() as usize;
        let columns = (area / ratio).sqrt().round() as usize;
        if rows < height && columns < width {
            let top = rng.random_range(0..=height - rows);
            let left = rng.random_range(0..=width - columns);
            return Some([top, left, rows, columns]);
        }
    }
    None
}
