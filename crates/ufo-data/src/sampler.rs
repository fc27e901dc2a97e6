//! Which samples form a batch: a pure function of (seed, task, step), so that a resumed run and a
//! run with other workers see the same batches (spec 3.3).

use crate::{Error, Purpose, stream};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How batches are formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SamplerConfig {
    /// An endless row of fresh permutations.
    #[default]
    Shuffled,
    /// `batch / per_identity` identities with `per_identity` images each.
    Identity {
        /// Images of an identity, K; divides the batch.
        per_identity: usize,
    },
}

/// Gives the samples of any step.
#[derive(Debug)]
pub struct Sampler {
    labels: Arc<[u32]>,
    config: SamplerConfig,
    batch: usize,
    seed: u64,
    task: u64,
    epoch: u64,
    epoch_start: u64,
    epoch_batches: Vec<Vec<usize>>,
    permutations: [Option<(u64, Vec<usize>)>; 2],
}

impl Sampler {
    /// A sampler of batches of `batch` samples.
    ///
    /// # Errors
    /// A batch of 0, one that is no multiple of K, or fewer identities than a batch needs.
    pub fn new(
        labels: Arc<[u32]>,
        config: SamplerConfig,
        batch: usize,
        seed: u64,
        task: u64,
    ) -> Result<Self, Error> {
        if batch == 0 {
            return Err(Error::config("batch", batch, "at least 1"));
        }
        if let SamplerConfig::Identity { per_identity } = config {
            if per_identity == 0 || !batch.is_multiple_of(per_identity) {
                let value = format!("{per_identity} with batch {batch}");
                return Err(Error::config("sampler.per_identity", value, "a divisor of the batch"));
            }
            let identities = by_identity(&labels).len();
            if identities < batch / per_identity {
                let allowed = format!(
                    "at most {}: there are {identities} identities",
                    identities * per_identity
                );
                return Err(Error::config("batch", batch, &allowed));
            }
        }
        Ok(Self {
            labels,
            config,
            batch,
            seed,
            task,
            epoch: 0,
            epoch_start: 0,
            epoch_batches: Vec::new(),
            permutations: [None, None],
        })
    }

    /// The samples of step `step`.
    pub fn batch(&mut self, step: u64) -> Vec<usize> {
        match self.config {
            SamplerConfig::Shuffled => {
                let first = step * self.batch as u64;
                (first..first + self.batch as u64).map(|at| self.shuffled(at)).collect()
            }
            SamplerConfig::Identity { per_identity } => self.identities(step, per_identity),
        }
    }

    fn shuffled(&mut self, at: u64) -> usize {
        let count = self.labels.len() as u64;
        let (epoch, within) = (at / count, (at % count) as usize);
        let slot = (epoch % 2) as usize;
        if self.permutations[slot].as_ref().is_none_or(|(held, _)| *held != epoch) {
            let mut order: Vec<usize> = (0..self.labels.len()).collect();
            order.shuffle(&mut stream(self.seed, Purpose::Sampler, &[self.task, epoch]));
            self.permutations[slot] = Some((epoch, order));
        }
        self.permutations[slot].as_ref().map_or(0, |(_, order)| order[within])
    }

    /// Walks epochs until the one that holds `step`.
    fn identities(&mut self, step: u64, per_identity: usize) -> Vec<usize> {
        if step < self.epoch_start || self.epoch_batches.is_empty() {
            (self.epoch, self.epoch_start) = (0, 0);
            self.epoch_batches = self.identity_epoch(0, per_identity);
        }
        while step >= self.epoch_start + self.epoch_batches.len() as u64 {
            self.epoch_start += self.epoch_batches.len() as u64;
            self.epoch += 1;
            self.epoch_batches = self.identity_epoch(self.epoch, per_identity);
        }
        self.epoch_batches[(step - self.epoch_start) as usize].clone()
    }

    /// One pass: while enough identities are left, draw some, take K images of each, and drop an
    /// identity when fewer than K of its images remain; one with fewer than K repeats images.
    fn identity_epoch(&self, epoch: u64, k: usize) -> Vec<Vec<usize>> {
        let mut rng = stream(self.seed, Purpose::Sampler, &[self.task, epoch]);
        let mut left: Vec<Vec<usize>> = by_identity(&self.labels)
            .into_values()
            .map(|mut images| {
                images.shuffle(&mut rng);
                let first = images.clone();
                images.extend(first.into_iter().cycle().take(k.saturating_sub(images.len())));
                images
            })
            .collect();
        let mut batches = Vec::new();
        while left.len() >= self.batch / k {
            let (drawn, _) = left.partial_shuffle(&mut rng, self.batch / k);
            let mut batch = Vec::with_capacity(self.batch);
            for images in drawn {
                batch.extend(images.drain(images.len() - k..));
            }
            batches.push(batch);
            left.retain(|images| images.len() >= k);
        }
        batches
    }
}

fn by_identity(labels: &[u32]) -> BTreeMap<u32, Vec<usize>> {
    let mut images: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, &label) in labels.iter().enumerate() {
        images.entry(label).or_default().push(index);
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_of_the_shuffled_sampler_is_a_permutation() {
        let labels: Arc<[u32]> = vec![0; 10].into();
        let mut sampler = Sampler::new(labels, SamplerConfig::Shuffled, 4, 7, 0).unwrap();
        let mut seen: Vec<usize> = (0..5).flat_map(|step| sampler.batch(step)).collect();
        assert_ne!(seen[..10], seen[10..]);
        seen[..10].sort_unstable();
        assert_eq!(seen[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn every_identity_of_a_batch_has_k_images_and_resuming_changes_nothing() {
        let labels: Arc<[u32]> = (0..60).map(|i| i % 13).collect();
        let config = SamplerConfig::Identity { per_identity: 4 };
        let make = || Sampler::new(Arc::clone(&labels), config, 12, 3, 1).unwrap();
        let mut sampler = make();
        for step in 0..20 {
            let batch = sampler.batch(step);
            let mut counts = BTreeMap::new();
            for &index in &batch {
                *counts.entry(labels[index]).or_insert(0) += 1;
            }
            assert!(counts.len() == 3 && counts.values().all(|&count| count == 4), "{counts:?}");
            assert_eq!(make().batch(step), batch);
        }
    }

    #[test]
    fn impossible_batches_are_errors() {
        let labels: Arc<[u32]> = vec![0, 0, 1, 1].into();
        let config = SamplerConfig::Identity { per_identity: 2 };
        let error = |batch| Sampler::new(Arc::clone(&labels), config, batch, 0, 0).unwrap_err();
        assert!(error(3).to_string().contains("divisor"));
        assert!(error(6).to_string().contains("2 identities"));
    }
}
