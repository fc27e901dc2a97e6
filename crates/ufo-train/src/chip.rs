//! A step of the chip supernet: the slices of one task's path (spec 2.7).
//!
//! The largest slice learns the task's loss, smaller ones the largest's outputs and some of the task's
//! loss. Gradients are averaged over the slices. Blocks that a slice leaves out get no gradient and do
//! not move (the original let them decay; spec 2.4).

use crate::evaluate::eval_features;
use crate::optimizer::Grads;
use crate::step::{Scored, Step, add, score, take_grads};
use crate::{ChipConfig, RunConfig, Task, detect, segment};
use anyhow::{Context, Result};
use burn_tensor::Tensor;
use ufo_data::{Batch, Purpose, stream};
use ufo_model::losses::{distill_boxes, distill_embeddings, distill_logits};
use ufo_model::{
    DropPath, Head, HeadStatistics, Supernet, Vit, from_values, state_of, values, weights::load,
};
use ufo_nas::Slice;

/// Training images that a slice's neck statistics are measured on.
const CALIBRATION: usize = 1024;

/// Gives the weights of a task's run to a fresh chip supernet of that task.
///
/// # Errors
/// When the runs differ in shape; the error names the tensor.
pub fn start(chip: &mut Supernet, from: &Supernet, name: &str) -> Result<()> {
    let wanted = state_of(&mut chip.clone(), "");
    let mut state = state_of(&mut from.clone(), "");
    state.retain(|key, _| wanted.contains_key(key));
    load(chip, state, name).context("chip.from: the run must have the same task and architecture")
}

/// Forward and backward of one step's slices at `(step, progress)`.
///
/// # Errors
/// When the space does not fit the supernet.
pub fn chip_step(
    config: &RunConfig,
    chip: &ChipConfig,
    supernet: &Supernet,
    batch: &Batch,
    (step, progress): (u64, f64),
) -> Result<Step> {
    let slices = draw(config, chip, supernet, (step, progress));
    let share = 1.0 / slices.len() as f32;
    let mut rng = stream(config.seed, Purpose::DropPath, &[0, step]);
    let [n, ..] = batch.size;
    let drop = DropPath::draw(config.train.drop_path, supernet.arch.depth, n, &mut rng);
    let pass = Pass { config, supernet, batch };
    let mut largest = pass.learn(&slices[0], drop.as_ref(), |scored| scored.loss * share)?;
    let mut smaller = Grads::new();
    for slice in &slices[1..] {
        let learned = pass.learn(slice, None, |scored| {
            let mut loss = scored.loss * (chip.task_loss * share);
            if chip.distill > 0.0 {
                let taught = match &pass.head() {
                    Head::Linear(_) | Head::Segmentation(_) => {
                        distill_logits(scored.outputs, largest.outputs.clone())
                    }
                    Head::Detection(_) => distill_boxes(scored.outputs, largest.outputs.clone()),
                    Head::Embedding(_) => {
                        distill_embeddings(scored.outputs, largest.outputs.clone())
                    }
                };
                loss = loss + taught * (chip.distill * share);
            }
            loss
        })?;
        add(&mut smaller, learned.grads);
    }
    let gradient_cosine = cosine(&largest.grads, &smaller);
    if chip.project {
        project(&mut largest.grads, &smaller);
    }
    add(&mut largest.grads, smaller);
    Ok(Step {
        losses: vec![largest.loss],
        grads: largest.grads,
        heads: largest.measured.map(|statistics| (0, statistics)).into_iter().collect(),
        gradient_cosine,
        moments: Vec::new(),
    })
}

/// The largest slice, the smallest if wanted, and random ones.
fn draw(
    config: &RunConfig,
    chip: &ChipConfig,
    supernet: &Supernet,
    (step, progress): (u64, f64),
) -> Vec<Slice> {
    let (arch, space) = (&supernet.arch, chip.space_at(progress));
    let mut rng = stream(config.seed, Purpose::Slice, &[step]);
    let mut slices = vec![space.largest(arch)];
    slices.extend(chip.smallest.then(|| space.smallest(arch)));
    slices.extend((0..chip.random).map(|_| space.random(arch, &mut rng)));
    slices
}

struct Pass<'a> {
    config: &'a RunConfig,
    supernet: &'a Supernet,
    batch: &'a Batch,
}

/// What a slice learned.
struct Learned {
    loss: f32,
    outputs: Tensor<2>,
    grads: Grads,
    measured: Option<HeadStatistics>,
}

impl Pass<'_> {
    fn head(&self) -> &Head {
        &self.supernet.tasks[0].head
    }

    /// Forward and backward of one slice; `loss` weighs what it is trained by.
    fn learn(
        &self,
        slice: &Slice,
        drop: Option<&DropPath>,
        loss: impl Fn(Scored) -> Tensor<1>,
    ) -> Result<Learned> {
        let leaves = self.supernet.leaves(0);
        let mut vit = leaves.subnet(0, &self.supernet.path(0), slice)?;
        vit.mode = self.config.train.mode();
        let (arch, task) = (&leaves.arch, &self.config.tasks[0]);
        // Auxiliary heads read behind blocks of the whole network.
        let taps = if slice.is_full(arch) { task.head.taps(arch.depth) } else { Vec::new() };
        let scored = score(&leaves.tasks[0].head, &vit, (task, self.batch), (drop, &taps));
        let (value, measured) = (values(&scored.loss)[0], scored.measured.clone());
        let outputs = scored.outputs.clone().inner();
        let gradients = (loss(scored) * task.loss_weight).backward();
        Ok(Learned { loss: value, outputs, grads: take_grads(leaves, 0, gradients), measured })
    }
}

/// Pairs of gradients of the same tensors.
fn pairs<'a>(a: &'a Grads, b: &'a Grads) -> impl Iterator<Item = (&'a [f32], &'a [f32])> {
    a.iter().filter_map(|(name, a)| Some((a.as_slice(), b.get(name)?.as_slice())))
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The cosine between two gradients over the tensors that both have.
fn cosine(a: &Grads, b: &Grads) -> Option<f32> {
    let sum = |of: fn(&[f32], &[f32]) -> f64| pairs(a, b).map(|(a, b)| of(a, b)).sum::<f64>();
    let lengths = (sum(|a, _| dot(a, a)) * sum(|_, b| dot(b, b))).sqrt();
    (lengths > 0.0).then(|| (sum(dot) / lengths) as f32)
}

/// Takes out of each tensor of `a` its part against that of `b`.
fn project(a: &mut Grads, b: &Grads) {
    for (name, a) in a {
        let Some(b) = b.get(name) else { continue };
        let (along, square) = (dot(a, b), dot(b, b));
        if along < 0.0 && square > 0.0 {
            let factor = (along / square) as f32;
            a.iter_mut().zip(b).for_each(|(a, b)| *a -= factor * b);
        }
    }
}

/// The head for a slice: the statistics of its neck, or of its maps, are measured on training images through the slice
/// (spec 2.7), since those of the largest do not fit it; with `chip.recalibrate = false` the head as it is.
///
/// # Errors
/// A broken image.
pub fn calibrated(config: &RunConfig, vit: &Vit, head: &Head, task: &Task) -> Result<Head> {
    if config.chip.as_ref().is_some_and(|chip| !chip.recalibrate) {
        return Ok(head.clone());
    }
    let preprocess = &config.preprocess();
    let head = match head {
        Head::Linear(_) => return Ok(head.clone()),
        Head::Segmentation(head) => {
            return Ok(Head::Segmentation(segment::calibrated(vit, head, task, preprocess)?));
        }
        Head::Detection(head) => {
            return Ok(Head::Detection(detect::calibrated(vit, head, task, preprocess)?));
        }
        Head::Embedding(head) => head,
    };
    let len = task.train.len();
    let kept = len.min(CALIBRATION);
    let some: Vec<usize> = (0..kept).map(|i| i * len / kept).collect();
    let features = eval_features(vit, &task.train.select(&some), preprocess)?;
    let dim = features.len() / kept;
    let features = from_values(features, [kept, dim], &vit.device());
    let mut head = head.clone();
    let (_, statistics) = head.neck.train(head.project(features));
    head.neck.replace(&statistics);
    Ok(Head::Embedding(head))
}

#[cfg(test)]
mod tests;
