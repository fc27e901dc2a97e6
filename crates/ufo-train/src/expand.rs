//! A task added to a trained supernet (spec 7): it starts from the shared branch, and only what its
//! configuration names is trained.
//!
//! Frozen modules are constants of the graph: what comes before the first trained one runs forward only
//! and keeps nothing, weights behind it get no gradient and no optimizer state.

use crate::evaluate::eval_features;
use crate::step::{Step, TaskStep, routed_step};
use crate::{ExpandConfig, RunConfig, Task, detect, segment};
use anyhow::{Context, Result, bail};
use burn_tensor::Tensor;
use serde::Serialize;
use ufo_data::{Batch, Purpose, stream};
use ufo_model::{Supernet, Visit, Visitor, router, state_of};
use ufo_nas::{Expert, Path, Slice};

/// Training images that stems are compared on.
const COMPARED: usize = 1000;

/// How well the shared branch tells the new task's images apart behind a task's stem.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StemScore {
    /// The task that has the stem.
    pub task: String,
    /// Share of training images, or of a segmentation's or detection's patches, whose class has the nearest mean feature, each
    /// left out of its own; NaN when no class has two.
    pub accuracy: f64,
}

/// The supernet of `from` with the last task of `config` added, and the stems it could start with, the
/// chosen one first.
///
/// # Errors
/// When the other tasks are not those of `from`, or an image is broken.
pub fn start(
    config: &RunConfig,
    expand: &ExpandConfig,
    (from_config, from): (&RunConfig, &Supernet),
    tasks: &[Task],
) -> Result<(Supernet, Vec<StemScore>)> {
    let (new, others) = tasks.split_last().context("an expanded run has tasks")?;
    if config.seed != from_config.seed {
        bail!(
            "seed = {}: expand.from has {}, which its data were drawn with; the new task's own is task.{}.seed",
            config.seed,
            from_config.seed,
            new.config.name
        );
    }
    let specs = || others.iter().map(Task::spec);
    if from.arch != config.arch() || !from.tasks.iter().map(|task| task.spec.clone()).eq(specs()) {
        let name = |spec: ufo_model::TaskSpec| format!("{} ({} classes)", spec.name, spec.classes);
        bail!(
            "expand.from: must have the same architecture and, in this order, the tasks {}",
            specs().map(name).collect::<Vec<_>>().join(", ")
        );
    }
    let stems = match &expand.stem {
        Some(task) => vec![StemScore { task: task.clone(), accuracy: f64::NAN }],
        None => compare_stems(config, from, new)?,
    };
    let stem = from.tasks[from.task_index(&stems[0].task)?].stem.clone();
    let mut supernet = from.clone();
    let index = others.len();
    supernet.add_task(&new.spec(), stem, &mut stream(config.seed_of(index), Purpose::Init, &[1]));
    let added = &mut supernet.tasks[index];
    let experts = expand.update.experts(&from.arch);
    added.router = router::logits_for(&experts, &added.router.device());
    Ok((supernet, stems))
}

/// Every task's stem with the shared branch behind it on images of the new task, best first.
fn compare_stems(config: &RunConfig, from: &Supernet, new: &Task) -> Result<Vec<StemScore>> {
    let len = new.train.len();
    let kept = len.min(COMPARED);
    let images = new.train.select(&(0..kept).map(|i| i * len / kept).collect::<Vec<_>>());
    let (path, slice) = (Path::uniform(&from.arch, Expert::Shared), Slice::full(&from.arch));
    let score = |index: usize| -> Result<StemScore> {
        let vit = from.subnet(index, &path, &slice)?;
        let classes = new.train.classes().len();
        let accuracy = if new.config.head.segments() {
            let patches = segment::patches(&vit, new, &config.preprocess())?;
            nearest_mean(&patches.rows, &patches.labels, classes)
        } else if new.config.head.detects() {
            let patches = detect::patches(&vit, new, &config.preprocess())?;
            nearest_mean(&patches.rows, &patches.labels, classes + 1)
        } else {
            let features = eval_features(&vit, &images, &config.preprocess())?;
            nearest_mean(&features, images.labels(), classes)
        };
        Ok(StemScore { task: from.tasks[index].spec.name.clone(), accuracy })
    };
    let mut scores = (0..from.tasks.len()).map(score).collect::<Result<Vec<_>>>()?;
    scores.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy));
    Ok(scores)
}

/// Share of the rows whose class has the nearest mean by cosine, each row left out of its own class's;
/// rows without another of their class do not count.
fn nearest_mean(rows: &[f32], labels: &[u32], classes: usize) -> f64 {
    if labels.is_empty() {
        return f64::NAN;
    }
    let dim = rows.len() / labels.len();
    let unit = |row: &[f32]| -> Vec<f64> {
        let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        row.iter().map(|v| f64::from(*v) / length.max(1e-12)).collect()
    };
    let units: Vec<Vec<f64>> = rows.chunks_exact(dim).map(unit).collect();
    let mut sums = vec![vec![0.0; dim]; classes];
    let mut counts = vec![0_usize; classes];
    for (row, &label) in units.iter().zip(labels) {
        counts[label as usize] += 1;
        sums[label as usize].iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
    }
    let cosine = |row: &[f64], sum: &[f64], own: f64| {
        let (mut dot, mut square) = (0.0, 0.0);
        for (v, s) in row.iter().zip(sum) {
            let mean = s - own * v;
            dot += v * mean;
            square += mean * mean;
        }
        dot / square.sqrt().max(1e-12)
    };
    let (mut right, mut all) = (0_usize, 0_usize);
    for (row, &label) in units.iter().zip(labels) {
        let label = label as usize;
        if counts[label] < 2 {
            continue;
        }
        let own = cosine(row, &sums[label], 1.0);
        let nearer = (0..classes)
            .filter(|&class| class != label && counts[class] > 0)
            .any(|class| cosine(row, &sums[class], 0.0) >= own);
        (right, all) = (right + usize::from(!nearer), all + 1);
    }
    right as f64 / all as f64
}

/// Forward and backward of the new task, the last one, at `(step, progress)`.
pub fn expand_step(
    config: &RunConfig,
    expand: &ExpandConfig,
    supernet: &Supernet,
    batch: &Batch,
    at: (u64, f64),
) -> Step {
    let index = config.tasks.len() - 1;
    let (arch, name) = (&supernet.arch, &config.tasks[index].name);
    let leaves =
        supernet.leaves_where(index, |parameter| expand.update.trains(arch, name, parameter));
    let experts: Vec<(usize, Expert)> = expand
        .update
        .experts(arch)
        .into_iter()
        .enumerate()
        .filter_map(|(site, expert)| Some((site, expert?)))
        .collect();
    let TaskStep { loss, grads, measured } =
        routed_step(config, leaves, (index, &experts), batch, at);
    Step {
        losses: vec![loss],
        grads,
        heads: measured.map(|statistics| (index, statistics)).into_iter().collect(),
        ..Step::default()
    }
}

/// Parameters of an expanded supernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// Trained ones.
    pub trained: u64,
    /// Those that the new task runs with.
    pub path: u64,
    /// All of the supernet's.
    pub supernet: u64,
}

/// Counts the parameters of the supernet with the new task `index`.
pub fn parameters(expand: &ExpandConfig, supernet: &Supernet, index: usize) -> Parameters {
    struct Count<F>(F, u64);
    impl<F: Fn(&str) -> bool> Visitor for Count<F> {
        fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
            let values: usize = tensor.dims().iter().product();
            self.1 += if (self.0)(name) { values as u64 } else { 0 };
        }
        fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {}
    }
    let name = &supernet.tasks[index].spec.name;
    let mut count =
        Count(|parameter: &str| expand.update.trains(&supernet.arch, name, parameter), 0);
    supernet.clone().visit("", &mut count);
    let account = ufo_nas::accounting(&supernet.spec());
    Parameters {
        trained: count.1,
        path: account.per_task[index].activated_params,
        supernet: account.total_params,
    }
}

/// A hash of the bits of everything but task `index`: equal hashes are equal outputs of all others.
///
/// # Errors
/// When the weights cannot be serialized.
pub fn hash_of_others(supernet: &Supernet, index: usize) -> Result<String> {
    let mut others = supernet.clone();
    others.tasks.remove(index);
    hash_of(&others)
}

/// A hash of the bits of a supernet.
///
/// # Errors
/// When the weights cannot be serialized.
pub fn hash_of(supernet: &Supernet) -> Result<String> {
    let state = state_of(&mut supernet.clone(), "");
    Ok(blake3::hash(&ufo_weights::to_bytes(&state, &[])?).to_hex().to_string())
}

#[cfg(test)]
mod tests;
