//! One step of the task supernet: every task contributes, and each holds its activations only
//! while a thread works on it (spec 2.6, 3.2).

use crate::chip::chip_step;
use crate::expand::expand_step;
use crate::optimizer::Grads;
use crate::shards::{Net, in_shards};
use crate::{Compute, RunConfig, Task, TaskConfig, Workers, detect, segment};
use anyhow::{Context, Result};
use burn_tensor::{Gradients, Tensor};
use ufo_data::{Batch, Loader, Purpose, stream};
use ufo_model::cnn::Moments;
use ufo_model::losses::{cosface, cross_entropy, smooth_soft_targets, smooth_targets, triplet};
use ufo_model::{
    Draw, DropPath, Embedded, Head, HeadConfig, HeadStatistics, Supernet, Visitor, Vit,
    from_values, take_values, values,
};
use ufo_nas::{Expert, Path, Slice};

/// What a step needs besides the weights.
#[derive(Debug)]
pub struct Training<'a> {
    /// The run's configuration.
    pub config: &'a RunConfig,
    /// Tasks in configuration order.
    pub tasks: &'a [Task],
    /// Threads for the tasks.
    pub workers: Workers,
}

/// Losses and gradients of one step.
#[derive(Debug, Default)]
pub struct Step {
    /// Loss of each task, in task order.
    pub losses: Vec<f32>,
    /// Gradients, summed over tasks.
    pub grads: Grads,
    /// Batch statistics for the norms of heads, by task.
    pub heads: Vec<(usize, HeadStatistics)>,
    /// Of a chip supernet: the cosine between the largest slice's gradient and the smaller ones'.
    pub gradient_cosine: Option<f32>,
    /// Statistics of a student's batch norms.
    pub moments: Vec<Moments>,
}

/// Forward and backward of every task on its next batch. Gradients are added in task order: the
/// same bits for any number of threads.
///
/// # Errors
/// Those of the loaders, with the task's name.
pub fn one_step(
    training: &Training<'_>,
    supernet: &Supernet,
    loaders: &mut [Loader],
    at: (u64, f64),
) -> Result<Step> {
    let mut batches = Vec::new();
    for (loader, task) in loaders.iter_mut().zip(&training.tasks[training.config.trained()]) {
        let named = || format!("task `{}`", task.config.name);
        batches.push(loader.next_batch().with_context(named)?);
    }
    let Training { config, workers, .. } = training;
    let alone = |step: &(dyn Fn(&Batch) -> Result<Step> + Sync)| {
        workers.map(1, |_| step(&batches[0])).pop().context("one step was asked for")?
    };
    match (&config.chip, &config.expand) {
        (Some(chip), _) => alone(&|batch| chip_step(config, chip, supernet, batch, at)),
        (_, Some(expand)) => alone(&|batch| Ok(expand_step(config, expand, supernet, batch, at))),
        _ => Ok(step_on(config, workers, supernet, &batches, at)),
    }
}

/// The same on batches at hand, one a task.
pub fn step_on(
    config: &RunConfig,
    workers: &Workers,
    supernet: &Supernet,
    batches: &[Batch],
    at: (u64, f64),
) -> Step {
    let mut step = Step::default();
    workers.each(
        batches.len(),
        |index| task_step(config, supernet, index, &batches[index], at),
        |index, part| {
            step.losses.push(part.loss);
            step.heads.extend(part.measured.map(|statistics| (index, statistics)));
            add(&mut step.grads, part.grads);
        },
    );
    step
}

/// One task's share of a step.
#[derive(Debug)]
pub struct TaskStep {
    /// Loss before its weight.
    pub loss: f32,
    /// Gradients of the weighted loss.
    pub grads: Grads,
    /// Batch statistics of the head's norms.
    pub measured: Option<HeadStatistics>,
}

/// Forward and backward of task `index` at `(step, progress)`, on leaves of its own: threads share
/// no graph.
pub fn task_step(
    config: &RunConfig,
    supernet: &Supernet,
    index: usize,
    batch: &Batch,
    at: (u64, f64),
) -> TaskStep {
    let [n, ..] = batch.size;
    let drop = drop_path(config, supernet, (index, n), at.0);
    let vit = |leaves: &Supernet| routed(config, leaves, (index, &[]), n, at);
    let task = &config.tasks[index];
    // Draws an image belong to a whole batch, and a card is filled by whole batches.
    if config.router.per_image || config.train.device != Compute::Cpu {
        let leaves = supernet.leaves(index);
        let vit = vit(&leaves);
        return learn(leaves, &vit, (index, task), batch, drop.as_ref());
    }
    in_shards(&Net { supernet, index, vit: &vit }, task, batch, drop.as_ref())
}

/// The same on `leaves` in one piece, with given experts at some sites.
pub(crate) fn routed_step(
    config: &RunConfig,
    leaves: Supernet,
    (index, experts): (usize, &[(usize, Expert)]),
    batch: &Batch,
    at: (u64, f64),
) -> TaskStep {
    let [n, ..] = batch.size;
    let drop = drop_path(config, &leaves, (index, n), at.0);
    let vit = routed(config, &leaves, (index, experts), n, at);
    learn(leaves, &vit, (index, &config.tasks[index]), batch, drop.as_ref())
}

/// The network of task `index` as its router draws it for `n` images, with given experts at some sites.
fn routed(
    config: &RunConfig,
    leaves: &Supernet,
    (index, experts): (usize, &[(usize, Expert)]),
    n: usize,
    (step, progress): (u64, f64),
) -> Vit {
    let mut rng = stream(config.seed_of(index), Purpose::Router, &[index as u64, step]);
    let tau = config.router.tau(progress);
    let draw = Draw::new(&leaves.tasks[index].router, &config.router, tau, n, &mut rng);
    let draw = draw.with_fixed(experts.iter().copied());
    let mut vit = leaves.routed(index, &draw);
    vit.mode = config.train.mode();
    vit
}

/// Stochastic depth of `n` images of task `index`.
fn drop_path(
    config: &RunConfig,
    supernet: &Supernet,
    (index, n): (usize, usize),
    step: u64,
) -> Option<DropPath> {
    let mut rng = stream(config.seed_of(index), Purpose::DropPath, &[index as u64, step]);
    DropPath::draw(config.train.drop_path, supernet.arch.depth, n, &mut rng)
}

/// Forward and backward of task `index` along a given path: a network alone, without routing.
///
/// # Errors
/// When the path does not fit the supernet.
pub fn path_step(
    config: &RunConfig,
    supernet: &Supernet,
    index: usize,
    path: &Path,
    batch: &Batch,
) -> Result<TaskStep> {
    let slice = Slice::full(&supernet.arch);
    supernet.subnet(index, path, &slice)?;
    let vit = |leaves: &Supernet| {
        let mut vit = leaves.subnet(index, path, &slice).expect("it fitted above");
        vit.mode = config.train.mode();
        vit
    };
    let net = Net { supernet, index, vit: &vit };
    Ok(in_shards(&net, &config.tasks[index], batch, None))
}

/// Forward and backward of a batch in one piece.
pub(crate) fn learn(
    leaves: Supernet,
    vit: &Vit,
    (index, task): (usize, &TaskConfig),
    batch: &Batch,
    drop: Option<&DropPath>,
) -> TaskStep {
    let taps = task.head.taps(leaves.arch.depth);
    let head = &leaves.tasks[index].head;
    let Scored { loss, measured, .. } = score(head, vit, (task, batch), (drop, &taps));
    let value = values(&loss)[0];
    let grads = take_grads(leaves, index, (loss * task.loss_weight).backward());
    TaskStep { loss: value, grads, measured }
}

/// The training pass of a network and its head on a batch; auxiliary heads read behind the blocks `taps`.
pub(crate) fn score(
    head: &Head,
    vit: &Vit,
    (task, batch): (&TaskConfig, &Batch),
    (drop, taps): (Option<&DropPath>, &[usize]),
) -> Scored {
    let images = from_values(batch.images.clone(), batch.size, &vit.device()).autodiff();
    match head {
        Head::Segmentation(head) => {
            segment::loss(head, &vit.tokens(images, drop, taps), (task, batch), vit.mode)
        }
        Head::Detection(head) => {
            detect::loss(head, &vit.tokens(images, drop, &[]), (task, batch), vit.mode)
        }
        _ => task_loss(head, vit.forward(images, drop), task, batch),
    }
}

/// A head's training pass.
pub(crate) struct Scored {
    /// The task's loss.
    pub(crate) loss: Tensor<1>,
    /// Logits, of a segmentation a row a pixel, embeddings behind the neck, or the outputs of places, a row each.
    pub(crate) outputs: Tensor<2>,
    /// Batch statistics of the head's norms.
    pub(crate) measured: Option<HeadStatistics>,
}

/// A task's loss on the features of a batch.
pub(crate) fn task_loss(
    head: &Head,
    features: Tensor<2>,
    config: &TaskConfig,
    batch: &Batch,
) -> Scored {
    if let Head::Embedding(head) = head {
        let Embedded { before, after, cosines, statistics } = head.train(features);
        let mut loss = identity_loss(cosines, config, batch);
        if let Some(form) = config.triplet {
            loss = loss + triplet(before, &batch.labels, form);
        }
        return Scored { loss, outputs: after, measured: Some(HeadStatistics::Neck(statistics)) };
    }
    logits_loss(head.forward(features), config, batch)
}

/// The loss of an embedding on its cosines to the identities, `[b, identities]`.
pub(crate) fn identity_loss(cosines: Tensor<2>, config: &TaskConfig, batch: &Batch) -> Tensor<1> {
    let HeadConfig::Embedding { scale, margin, .. } = config.head else {
        unreachable!("an embedding has its configuration")
    };
    let size = cosines.dims();
    let targets = smooth_targets(&batch.labels, size[1], 0.0);
    let targets = from_values(targets, size, &cosines.device().inner());
    cosface(cosines, targets, scale, margin)
}

/// A classification task's loss on the logits of a batch.
pub(crate) fn logits_loss(logits: Tensor<2>, config: &TaskConfig, batch: &Batch) -> Scored {
    let [b, classes] = logits.dims();
    let rows = match &batch.soft {
        Some(soft) => {
            let mut soft = soft.clone();
            smooth_soft_targets(&mut soft, classes, config.label_smoothing);
            soft
        }
        None => smooth_targets(&batch.labels, classes, config.label_smoothing),
    };
    let targets = from_values(rows, [b, classes], &logits.device().inner());
    let loss = cross_entropy(logits.clone(), targets);
    Scored { loss, outputs: logits, measured: None }
}

/// The gradients of the leaves that the loss reached, by name.
pub(crate) fn take_grads(mut leaves: Supernet, index: usize, grads: Gradients) -> Grads {
    let mut take = TakeGrads::new(grads);
    leaves.visit_task(index, &mut take);
    take.found
}

/// Collects the gradients of the parameters that it visits.
pub(crate) struct TakeGrads {
    pub(crate) of: Gradients,
    pub(crate) found: Grads,
}

impl TakeGrads {
    pub(crate) fn new(of: Gradients) -> Self {
        Self { of, found: Grads::new() }
    }
}

impl Visitor for TakeGrads {
    fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
        // What is no leaf of the graph stays as it is.
        let grad = tensor.is_autodiff().then(|| tensor.grad_remove(&mut self.of)).flatten();
        if let Some(mut grad) = grad {
            self.found.insert(name.to_string(), take_values(&mut grad));
        }
    }

    fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {}
}

pub(crate) fn add(sum: &mut Grads, grads: Grads) {
    for (name, grad) in grads {
        match sum.get_mut(&name) {
            Some(total) => total.iter_mut().zip(&grad).for_each(|(total, g)| *total += g),
            None => {
                sum.insert(name, grad);
            }
        }
    }
}
