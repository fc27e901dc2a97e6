//! The router: two logits per (task, site), hard straight-through Gumbel choices (spec 1.3).
//!
//! Training draws, per (task, site, step) or per image, `h = argmax(a + g)` with Gumbel noise
//! `g = -ln(-ln u)`, `u` clipped to `[1e-5, 0.9999]`; the soft weights `softmax((a + g) / tau)`
//! carry the gradient. `P(share) = sigmoid(a_shared - a_task)` up to the clipping. Evaluation draws
//! nothing: shared only if `a_shared > a_task` strictly, so a tie (a fresh router) is the task's
//! own expert, as in the original and its extraction tool.

use crate::branch::{Branch, Site};
use crate::param::{from_values, values};
use burn_tensor::{Device, Tensor, activation};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use ufo_nas::Expert;

/// How a training step routes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterConfig {
    /// Temperature at the first step, above 0.
    pub tau_start: f32,
    /// Temperature at the last step, above 0; equal to `tau_start` for the original's constant 5.
    pub tau_end: f32,
    /// Draw per image, as the original did, in place of per (task, site, step).
    pub per_image: bool,
    /// Share of a batch's images, in (0, 1], on which the expert not chosen is evaluated.
    pub other_fraction: f32,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self { tau_start: 5.0, tau_end: 0.5, per_image: false, other_fraction: 1.0 }
    }
}

impl RouterConfig {
    /// Temperature at `progress` in 0..=1: geometric from `tau_start` to `tau_end`.
    pub fn tau(&self, progress: f64) -> f32 {
        let ratio = f64::from(self.tau_end / self.tau_start);
        (f64::from(self.tau_start) * ratio.powf(progress.clamp(0.0, 1.0))) as f32
    }
}

/// A task's draws of one step, by site.
#[derive(Debug, Clone)]
pub struct Draw {
    /// Straight-through material, site by site.
    sites: Vec<SiteDraw>,
    other_fraction: f32,
}

#[derive(Debug, Clone)]
enum SiteDraw {
    /// No draw: the expert is given.
    Fixed(Expert),
    /// One choice, with the soft weight of the chosen expert, `[1]`.
    Batch { chosen: Expert, weight: Tensor<1> },
    /// Straight-through weight of the shared expert, `[b]`.
    PerImage(Tensor<1>),
}

impl Draw {
    /// Draws every site of `logits_s2` (sites x {shared, task}) for a batch of `batch` images.
    pub fn new(
        logits_s2: &Tensor<2>,
        config: &RouterConfig,
        tau: f32,
        batch: usize,
        rng: &mut impl Rng,
    ) -> Self {
        let [sites, _] = logits_s2.dims();
        let host = values(logits_s2);
        let draws = if config.per_image { batch } else { 1 };
        let mut noise = |count: usize| -> Vec<f32> { (0..count).map(|_| gumbel(rng)).collect() };
        let mut draw_site = |site: usize| {
            let logits = logits_s2.clone().slice([site..site + 1]).expand([draws, 2]);
            let noise = noise(2 * draws);
            let shares: Vec<bool> = noise
                .chunks_exact(2)
                .map(|g| host[2 * site] + g[0] > host[2 * site + 1] + g[1])
                .collect();
            let noise = from_values(noise, [draws, 2], &logits_s2.device());
            let soft = activation::softmax((logits + noise) / tau, 1);
            if config.per_image {
                let soft_share = soft.slice([0..draws, 0..1]).reshape([draws]);
                SiteDraw::PerImage(straight_through(&shares, soft_share))
            } else {
                let (chosen, column) =
                    if shares[0] { (Expert::Shared, 0) } else { (Expert::Task, 1) };
                let weight = soft.slice([0..1, column..column + 1]).reshape([1]);
                SiteDraw::Batch { chosen, weight }
            }
        };
        Self {
            sites: (0..sites).map(&mut draw_site).collect(),
            other_fraction: config.other_fraction,
        }
    }
}

impl Draw {
    /// The draw with given experts at some sites, from which the router then gets no gradient.
    #[must_use]
    pub fn with_fixed(mut self, experts: impl IntoIterator<Item = (usize, Expert)>) -> Self {
        for (site, expert) in experts {
            self.sites[site] = SiteDraw::Fixed(expert);
        }
        self
    }

    /// The site `index` of a network under this draw.
    pub fn site<B: Branch + Clone>(&self, index: usize, shared: &B, own: &B) -> Site<B> {
        match &self.sites[index] {
            SiteDraw::Fixed(Expert::Shared) => Site::Fixed(shared.clone()),
            SiteDraw::Fixed(Expert::Task) => Site::Fixed(own.clone()),
            SiteDraw::Batch { chosen: Expert::Shared, weight } => {
                Site::routed(shared.clone(), own, weight.clone(), self.other_fraction)
            }
            SiteDraw::Batch { chosen: Expert::Task, weight } => {
                Site::routed(own.clone(), shared, weight.clone(), self.other_fraction)
            }
            SiteDraw::PerImage(share) => {
                Site::per_image(shared.clone(), own.clone(), share.clone())
            }
        }
    }

    /// 1 where site `index` took the shared expert, else 0: one entry, or one an image.
    pub fn shares(&self, index: usize) -> Vec<f32> {
        match &self.sites[index] {
            SiteDraw::Fixed(chosen) | SiteDraw::Batch { chosen, .. } => {
                vec![f32::from(u8::from(*chosen == Expert::Shared))]
            }
            SiteDraw::PerImage(share) => values(share),
        }
    }
}

/// `h - stopgrad(y) + y`: the hard value with the soft gradient.
fn straight_through(shares: &[bool], soft: Tensor<1>) -> Tensor<1> {
    let hard = shares.iter().map(|&share| f32::from(u8::from(share))).collect();
    let hard: Tensor<1> = from_values(hard, [shares.len()], &soft.device());
    hard + (soft.clone() - soft.detach())
}

/// Standard Gumbel noise in `[-2.4435, 9.2103]` (spec A6).
fn gumbel(rng: &mut impl Rng) -> f32 {
    let u = rng.random::<f32>().clamp(1e-5, 0.9999);
    -(-u.ln()).ln()
}

/// `P(share)` of every site.
pub fn share_probabilities(logits_s2: &Tensor<2>) -> Vec<f32> {
    let share = |pair: &[f32]| 1.0 / (1.0 + (pair[1] - pair[0]).exp());
    values(logits_s2).chunks_exact(2).map(share).collect()
}

/// The experts of every site by the evaluation rule: shared only if its logit is larger.
pub fn chosen_experts(logits_s2: &Tensor<2>) -> Vec<Expert> {
    let choose = |pair: &[f32]| if pair[0] > pair[1] { Expert::Shared } else { Expert::Task };
    values(logits_s2).chunks_exact(2).map(choose).collect()
}

/// Logits that choose `experts`, and leave a site open where there is none.
pub fn logits_for(experts: &[Option<Expert>], device: &Device) -> Tensor<2> {
    const SURE: f32 = 4.0;
    let row = |expert: &Option<Expert>| match expert {
        Some(Expert::Shared) => [SURE, -SURE],
        Some(Expert::Task) => [-SURE, SURE],
        None => [0.0; 2],
    };
    from_values(experts.iter().flat_map(row).collect(), [experts.len(), 2], device)
}

/// Fresh logits: 0, both experts equally likely.
pub(crate) fn init_logits(sites: usize, device: &Device) -> Tensor<2> {
    Tensor::zeros([sites, 2], device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    #[test]
    fn noise_keeps_to_the_range_of_vector_a6() {
        let ends = [1e-5_f32, 0.9999].map(|u| -(-u.ln()).ln());
        assert!((ends[0] + 2.443_47).abs() < 1e-5 && (ends[1] - 9.210_29).abs() < 1e-3, "{ends:?}");
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let draws: Vec<f32> = (0..100_000).map(|_| gumbel(&mut rng)).collect();
        assert!(draws.iter().all(|g| (ends[0]..=ends[1]).contains(g)));
        let mean = draws.iter().sum::<f32>() / draws.len() as f32;
        // The mean of the Gumbel distribution is Euler's constant; the clip takes little of it.
        assert!((mean - 0.577_2).abs() < 0.02, "{mean}");
    }
}
