//! One epoch of P identities with K samples each.

use rand::{
    Rng, RngExt,
    seq::{SliceRandom, index},
};

/// The batches of an epoch, one after the other.
#[derive(Debug)]
pub(super) struct IdentityEpoch {
    pub(super) number: u64,
    batch: usize,
    indices: Vec<usize>,
}

impl IdentityEpoch {
    /// While P identities have samples left, P of them are drawn without replacement and give their
    /// next K samples; an identity leaves when fewer than K of its samples remain. One with fewer
    /// than K samples gives K drawn with replacement.
    pub(super) fn draw(
        number: u64,
        samples: &[Vec<usize>],
        [identities, per_identity]: [usize; 2],
        rng: &mut impl Rng,
    ) -> Self {
        let mut left: Vec<Vec<usize>> = vec![Vec::new(); samples.len()];
        let mut available: Vec<usize> = (0..samples.len()).collect();
        let mut indices = Vec::new();
        while available.len() >= identities {
            let mut drawn = index::sample(rng, available.len(), identities).into_vec();
            for &position in &drawn {
                let identity = available[position];
                if left[identity].is_empty() {
                    left[identity] = order(&samples[identity], per_identity, rng);
                }
                let rest = left[identity].len() - per_identity;
                indices.extend(left[identity].drain(rest..));
            }
            drawn.sort_unstable();
            for position in drawn.into_iter().rev() {
                if left[available[position]].len() < per_identity {
                    available.swap_remove(position);
                }
            }
        }
        Self { number, batch: identities * per_identity, indices }
    }

    /// How many batches the epoch has, 1 or more.
    pub(super) fn batches(&self) -> u64 {
        (self.indices.len() / self.batch) as u64
    }

    pub(super) fn batch(&self, position: u64) -> &[usize] {
        let start = position as usize * self.batch;
        &self.indices[start..start + self.batch]
    }
}

/// The samples in a fresh order, at least `per_identity` of them.
fn order(samples: &[usize], per_identity: usize, rng: &mut impl Rng) -> Vec<usize> {
    if samples.len() < per_identity {
        let draw = |_| samples[rng.random_range(0..samples.len())];
        return (0..per_identity).map(draw).collect();
    }
    let mut samples = samples.to_vec();
    samples.shuffle(rng);
    samples
}
