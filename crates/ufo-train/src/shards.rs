//! A task's batch in shards: threads that go through the network alone, and meet at the head.
//!
//! An operation that all threads share ends when the slowest of them does, dozens of times a step. Shards of
//! the images run through all blocks without waiting for each other, and their rows stay longer in the cache.
//! The head and its loss see the whole batch (statistics of a neck, pairs of a triplet loss); a segmentation or detection, whose head
//! reads tokens, takes it in one piece. The number of shards follows
//! from the sizes alone and their gradients are added in order: the same bits for any number of threads.

use crate::TaskConfig;
use crate::optimizer::Grads;
use crate::step::{Scored, TaskStep, learn, take_grads, task_loss};
use burn_tensor::Tensor;
use rayon::iter::{
    IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator,
    IntoParallelRefMutIterator, ParallelIterator,
};
use std::ops::Range;
use ufo_data::Batch;
use ufo_model::{DropPath, Supernet, Vit, from_values, values};

/// Rows (images times tokens) of a shard, at least.
const SHARD_ROWS: usize = 768;
/// Most shards; each has a copy of the gradients.
const MOST: usize = 4;

/// A network to be made on leaves of the graph.
pub(crate) struct Net<'a> {
    pub(crate) supernet: &'a Supernet,
    pub(crate) index: usize,
    /// The same network on any leaves.
    pub(crate) vit: &'a (dyn Fn(&Supernet) -> Vit + Sync),
}

/// A shard on its way back.
struct Shard {
    leaves: Supernet,
    features: Tensor<2>,
}

/// Forward and backward of a batch.
pub(crate) fn in_shards(
    net: &Net<'_>,
    task: &TaskConfig,
    batch: &Batch,
    drop: Option<&DropPath>,
) -> TaskStep {
    if task.head.reads_tokens() {
        // Its head reads all tokens, and those behind several blocks.
        let leaves = net.supernet.leaves(net.index);
        let vit = (net.vit)(&leaves);
        return learn(leaves, &vit, (net.index, task), batch, drop);
    }
    let arch = &net.supernet.arch;
    let parts = parts(batch.size[0], arch.tokens());
    let forward = |images: &Range<usize>| net.forward(batch, drop, images.clone());
    let shards: Vec<Shard> = parts.par_iter().map(forward).collect();
    let features: Vec<f32> = shards.iter().flat_map(|shard| values(&shard.features)).collect();
    let features = from_values(features, [batch.size[0], arch.dim], &shards[0].features.device());
    let features = features.autodiff().require_grad();
    let leaves = net.supernet.leaves(net.index);
    let head = &leaves.tasks[net.index].head;
    let Scored { loss, measured, .. } = task_loss(head, features.clone(), task, batch);
    let value = values(&loss)[0];
    let mut back = (loss * task.loss_weight).backward();
    let gradient = features.grad_remove(&mut back).expect("the loss depends on the features");
    let mut grads = take_grads(leaves, net.index, back);
    let backward = |(shard, images): (Shard, &Range<usize>)| {
        let gradient = gradient.clone().slice([images.clone()]).autodiff();
        take_grads(shard.leaves, net.index, (shard.features * gradient).sum().backward())
    };
    let found: Vec<Grads> = shards.into_par_iter().zip(&parts).map(backward).collect();
    for part in found {
        add(&mut grads, part);
    }
    TaskStep { loss: value, grads, measured }
}

/// Shards of a batch.
pub(crate) fn count(images: usize, tokens: usize) -> usize {
    (images * tokens / SHARD_ROWS).clamp(1, MOST.min(images))
}

/// Images of each shard.
fn parts(images: usize, tokens: usize) -> Vec<Range<usize>> {
    let count = count(images, tokens);
    (0..count).map(|part| images * part / count..images * (part + 1) / count).collect()
}

impl Net<'_> {
    fn forward(&self, batch: &Batch, drop: Option<&DropPath>, images: Range<usize>) -> Shard {
        let leaves = self.supernet.leaves(self.index);
        let vit = (self.vit)(&leaves);
        let [n, channels, height, width] = batch.size;
        let image = batch.images.len() / n;
        let pixels = batch.images[images.start * image..images.end * image].to_vec();
        let size = [images.len(), channels, height, width];
        let pixels = from_values(pixels, size, &vit.device()).autodiff();
        let drop = drop.map(|drop| drop.of(images));
        Shard { features: vit.forward(pixels, drop.as_ref()), leaves }
    }
}

/// Adds gradients, with all threads of the pool.
fn add(sum: &mut Grads, mut grads: Grads) {
    sum.par_iter_mut().for_each(|(name, total)| {
        if let Some(part) = grads.get(name) {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
    });
    grads.retain(|name, _| !sum.contains_key(name));
    sum.append(&mut grads);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_all_images_and_follow_from_sizes() {
        for (images, tokens, count) in [(64, 65, 4), (8, 197, 2), (16, 65, 1), (1, 5000, 1)] {
            let parts = parts(images, tokens);
            assert_eq!(parts.len(), count);
            let all: Vec<usize> = parts.into_iter().flatten().collect();
            assert_eq!(all, (0..images).collect::<Vec<_>>());
        }
    }

    #[test]
    fn shards_give_the_loss_and_the_gradients_of_the_batch_in_one_piece() {
        let text = "preset = \"tiny\"\nimage_size = 64\n[arch]\ndim = 96\nheads = 3\nhead_dim = 32\n\
            ffn = 384\ndepth = 2\nstem = { kind = \"patch\", size = 8, stride = 8 }\n[train]\nprecision = \"f32\"\n[[task]]\n\
            name = \"t\"\nhead = { kind = \"linear\" }\nbatch = 1\n\
            data = { format = \"idx\", train = \"-\", test = \"-\" }\n";
        let config = crate::RunConfig::parse(text, &[]).unwrap();
        let spec = ufo_model::TaskSpec {
            name: "t".into(),
            head: ufo_model::HeadConfig::Linear,
            classes: 5,
        };
        let supernet = crate::fresh_supernet(&config, &[spec]).unwrap();
        let n = 26;
        let batch = Batch {
            step: 0,
            size: [n, 3, 64, 64],
            images: (0..n * 3 * 64 * 64).map(|i| (i as f32 * 0.37).sin()).collect(),
            labels: (0..n as u32).map(|i| i % 5).collect(),
            soft: None,
            indices: (0..n).collect(),
            skipped: 0,
            masks: None,
            boxes: None,
        };
        assert_eq!(count(n, supernet.arch.tokens()), 2);
        let path = ufo_nas::Path::uniform(&supernet.arch, ufo_nas::Expert::Shared);
        let slice = ufo_nas::Slice::full(&supernet.arch);
        let leaves = supernet.leaves(0);
        let vit = leaves.subnet(0, &path, &slice).unwrap();
        let whole = learn(leaves, &vit, (0, &config.tasks[0]), &batch, None);
        let parts = crate::path_step(&config, &supernet, 0, &path, &batch).unwrap();
        assert!((whole.loss - parts.loss).abs() < 1e-5, "{} {}", whole.loss, parts.loss);
        assert!(whole.grads.keys().eq(parts.grads.keys()));
        for (name, want) in &whole.grads {
            let most = want.iter().fold(1e-6_f32, |most, v| most.max(v.abs()));
            for (want, got) in want.iter().zip(&parts.grads[name]) {
                assert!((want - got).abs() < 1e-4 * most, "{name}: {got}, not {want}");
            }
        }
    }
}
