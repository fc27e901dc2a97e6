//! Which samples form the batch of a step.
//!
//! A batch is a pure function of (seed, task, step). `shuffled` cuts an endless stream of fresh
//! permutations; `identity` draws P identities with K samples each, for losses that compare samples
//! (In Defense of the Triplet Loss, arXiv:1703.07737).

use std::{collections::BTreeMap, sync::Arc};

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::Error;

mod identity;

use identity::IdentityEpoch;

/// How samples are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SamplerConfig {
    /// Every sample once an epoch, in a fresh order; batches cross the borders of epochs.
    #[default]
    Shuffled,
    /// Batches of P identities with `per_identity` samples each.
    Identity {
        /// Samples of one identity in a batch, 1 or more; it divides the batch.
        per_identity: usize,
    },
}

/// Gives the batch of any step.
#[derive(Debug)]
pub struct Sampler {
    batch: usize,
    key: Key,
    state: State,
}

/// What the draws depend on.
#[derive(Debug, Clone, Copy)]
struct Key {
    seed: u64,
    task: u64,
}

#[derive(Debug)]
enum State {
    Shuffled {
        count: usize,
        /// The epoch whose permutation is kept.
        epoch: Option<u64>,
        permutation: Vec<usize>,
    },
    Identity {
        samples: Vec<Vec<usize>>,
        per_identity: usize,
        /// The epoch at hand and the step it begins at.
        epoch: Option<(u64, IdentityEpoch)>,
    },
}

impl Sampler {
    /// A sampler over samples with `labels`; its draws are keyed by `seed` and `task`.
    ///
    /// # Errors
    /// [`Error::Config`] for no sample, an empty batch, a batch that is not a multiple of
    /// `per_identity`, or fewer identities than one batch takes.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over their share of the labels"
    )]
    pub fn new(
        labels: Arc<[u32]>,
        config: SamplerConfig,
        batch: usize,
        seed: u64,
        task: u64,
    ) -> Result<Self, Error> {
        if labels.is_empty() {
            return Err(Error::config("samples", 0, "1 or more"));
        }
        if batch == 0 {
            return Err(Error::config("batch", 0, "1 or more"));
        }
        let state = match config {
            SamplerConfig::Shuffled => {
                State::Shuffled { count: labels.len(), epoch: None, permutation: Vec::new() }
            }
            SamplerConfig::Identity { per_identity } => {
                let samples = samples_of_identities(&labels);
                check_identity(batch, per_identity, samples.len())?;
                State::Identity { samples, per_identity, epoch: None }
            }
        };
        Ok(Self { batch, key: Key { seed, task }, state })
    }

    /// The samples of a step. Steps in rising order are cheap; an identity sampler that goes back
    /// draws its epochs again from the first.
    pub fn batch(&mut self, step: u64) -> Vec<usize> {
        match &mut self.state {
            State::Shuffled { count, epoch, permutation } => (0..self.batch as u64)
                .map(|position| {
                    let at = step * self.batch as u64 + position;
                    let wanted = at / *count as u64;
                    if *epoch != Some(wanted) {
                        *permutation = (0..*count).collect();
                        permutation.shuffle(&mut self.key.stream(wanted));
                        *epoch = Some(wanted);
                    }
                    permutation[(at % *count as u64) as usize]
                })
                .collect(),
            State::Identity { samples, per_identity, epoch } => {
                let identities = self.batch / *per_identity;
                let draw = |number| {
                    let mut rng = self.key.stream(number);
                    IdentityEpoch::draw(number, samples, [identities, *per_identity], &mut rng)
                };
                let (mut start, mut current) = match epoch.take() {
                    Some((start, current)) if start <= step => (start, current),
                    _ => (0, draw(0)),
                };
                while step - start >= current.batches() {
                    start += current.batches();
                    current = draw(current.number + 1);
                }
                let batch = current.batch(step - start).to_vec();
                *epoch = Some((start, current));
                batch
            }
        }
    }
}

impl Key {
    fn stream(self, epoch: u64) -> impl rand::Rng {
        crate::stream(self.seed, crate::Purpose::Sampler, &[self.task, epoch])
    }
}

fn samples_of_identities(labels: &[u32]) -> Vec<Vec<usize>> {
    let mut samples = BTreeMap::<u32, Vec<usize>>::new();
    for (index, &label) in labels.iter().enumerate() {
        samples.entry(label).or_default().push(index);
    }
    samples.into_values().collect()
}

fn check_identity(batch: usize, per_identity: usize, identities: usize) -> Result<(), Error> {
    if per_identity == 0 {
        return Err(Error::config("sampler.per_identity", 0, "1 or more"));
    }
    if !batch.is_multiple_of(per_identity) {
        let allowed = format!("a multiple of per_identity, {per_identity}");
        return Err(Error::config("batch", batch, &allowed));
    }
    if identities < batch / per_identity {
        let allowed = format!(
            "up to {} for {identities} identities of {per_identity} samples",
            identities * per_identity
        );
        return Err(Error::config("batch", batch, &allowed));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
