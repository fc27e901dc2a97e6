//! MixUp (arXiv:1710.09412) and CutMix (arXiv:1905.04899) over a batch.
//!
//! One share `lam ~ Beta(alpha, alpha)` and one permutation a batch; the targets become
//! `lam * onehot(own) + (1 - lam) * onehot(partner)`.

use rand::{Rng, RngExt, seq::SliceRandom};
use rand_distr::Beta;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Every pixel is a weighted mean.
    MixUp(f32),
    /// A rectangle comes from the partner.
    CutMix(f32),
}

/// Mixes a batch and gives its targets.
pub(super) fn apply(
    kind: Kind,
    images: &mut [f32],
    [height, width]: [usize; 2],
    (labels, classes): (&[u32], usize),
    rng: &mut impl Rng,
) -> Vec<f32> {
    let (Kind::MixUp(alpha) | Kind::CutMix(alpha)) = kind;
    let beta = Beta::new(alpha, alpha).expect("alpha is above 0, which validate checks");
    let mut lam: f32 = rng.sample(beta);
    let mut partners: Vec<usize> = (0..labels.len()).collect();
    partners.shuffle(rng);
    let original = images.to_vec();
    let length = 3 * height * width;
    let partner_of = |index: usize| &original[partners[index] * length..][..length];
    match kind {
        Kind::MixUp(_) => {
            for (index, image) in images.chunks_exact_mut(length).enumerate() {
                for (own, other) in image.iter_mut().zip(partner_of(index)) {
                    *own = lam * *own + (1.0 - lam) * other;
                }
            }
        }
        Kind::CutMix(_) => {
            let [top, bottom] = edges(height, lam, rng);
            let [left, right] = edges(width, lam, rng);
            for (index, image) in images.chunks_exact_mut(length).enumerate() {
                let rows = image.chunks_exact_mut(width).zip(partner_of(index).chunks_exact(width));
                for (at, (own, other)) in rows.enumerate() {
                    if (top..bottom).contains(&(at % height)) {
                        own[left..right].copy_from_slice(&other[left..right]);
                    }
                }
            }
            lam = 1.0 - ((bottom - top) * (right - left)) as f32 / (height * width) as f32;
        }
    }
    targets(labels, &partners, lam, classes)
}

/// Where the rectangle of `sqrt(1 - lam)` of the side begins and ends: the center is uniform, the
/// ends are clipped.
fn edges(side: usize, lam: f32, rng: &mut impl Rng) -> [usize; 2] {
    let half = (side as f32 * (1.0 - lam).max(0.0).sqrt()) as usize / 2;
    let center = rng.random_range(0..side);
    [center.saturating_sub(half), (center + half).min(side)]
}

fn targets(labels: &[u32], partners: &[usize], lam: f32, classes: usize) -> Vec<f32> {
    let mut targets = vec![0.0; labels.len() * classes];
    for (row, (&own, &partner)) in labels.iter().zip(partners).enumerate() {
        targets[row * classes + own as usize] += lam;
        targets[row * classes + labels[partner] as usize] += 1.0 - lam;
    }
    targets
}
