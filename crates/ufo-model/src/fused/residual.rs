//! The residual of a branch, scaled image by image (stochastic depth).

use std::borrow::Cow;
use std::sync::Arc;

/// What a branch adds to each image of a batch is multiplied by.
pub type Factors = Arc<[f32]>;

/// Scales what was added to `x` to give `y`; both hold `images` images.
pub(super) fn scale_added(factors: Option<&Factors>, images: usize, x: &[f32], y: &mut [f32]) {
    let (Some(factors), false) = (factors, x.is_empty()) else { return };
    let len = x.len() / images;
    for ((x, y), factor) in x.chunks(len).zip(y.chunks_mut(len)).zip(&factors[..]) {
        for (x, y) in x.iter().zip(y) {
            *y = x + factor * (*y - x);
        }
    }
}

/// The gradient of what the branch itself computed, from that of what it added.
pub(super) fn scaled<'a>(
    factors: Option<&Factors>,
    images: usize,
    dy: &'a [f32],
) -> Cow<'a, [f32]> {
    let (Some(factors), false) = (factors, dy.is_empty()) else { return Cow::Borrowed(dy) };
    let images = dy.chunks(dy.len() / images).zip(&factors[..]);
    images.flat_map(|(dy, factor)| dy.iter().map(move |dy| factor * dy)).collect()
}
