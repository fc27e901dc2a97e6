//! Counter-based random streams: a draw depends on what it is for, never on when it is made.
//!
//! A stream is keyed by the run's seed, a [`Purpose`] and counters such as (task, step, sample), so
//! any number of workers and any resume point give the same draws.

use rand::{SeedableRng, rngs::ChaCha8Rng};

/// What a stream is drawn for; streams of different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights.
    Init = 1,
    /// Order of samples.
    Sampler = 2,
    /// Augmentation of one sample.
    Augment = 3,
    /// MixUp and CutMix of one batch.
    Mix = 4,
    /// Gumbel noise of the router.
    Router = 5,
    /// Stochastic depth.
    DropPath = 6,
    /// Subsets drawn for validation or inspection.
    Subset = 7,
    /// Slices of a chip supernet's step.
    Slice = 8,
}

/// The stream of `seed` for `purpose` and `counters`.
pub fn stream(seed: u64, purpose: Purpose, counters: &[u64]) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&(purpose as u64).to_le_bytes());
    for counter in counters {
        hasher.update(&counter.to_le_bytes());
    }
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_differ_by_every_part_of_their_key() {
        let first =
            |seed, purpose, counters: &[u64]| stream(seed, purpose, counters).random::<u64>();
        let base = first(1, Purpose::Augment, &[2, 3]);
        assert_eq!(base, first(1, Purpose::Augment, &[2, 3]));
        assert_ne!(base, first(2, Purpose::Augment, &[2, 3]));
        assert_ne!(base, first(1, Purpose::Mix, &[2, 3]));
        assert_ne!(base, first(1, Purpose::Augment, &[3, 2]));
    }
}
