//! Evaluation of a task from its network, beside the raw-pixel nearest-neighbor baseline.

use crate::{Task, Training};
use anyhow::{Context, Result};
use burn_tensor::Device;
use serde::Serialize;
use ufo_data::{Dataset, Preprocess, eval_batches};
use ufo_eval::{Distance, Metric, Sightings, classification, nearest_neighbor_accuracy, reid};
use ufo_model::{Head, HeadConfig, Supernet, Vit, from_values, values};
use ufo_nas::Slice;

/// Images of an evaluation batch.
const BATCH: usize = 100;

/// Largest side of the images that the raw-pixel baseline compares: at full size the training split
/// of a large task would not fit memory.
const BASELINE_SIDE: usize = 32;

/// Images of a task in an evaluation during training.
const GLIMPSE: usize = 500;

/// A task's result on its test split.
#[derive(Debug, Clone, Serialize)]
pub struct TaskResult {
    /// Task.
    pub name: String,
    /// Headline metric, a fraction.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// Every metric.
    pub metrics: Vec<(String, f64)>,
}

/// Outputs of a network and head for every image of a split, row-major.
///
/// # Errors
/// A broken image; evaluation skips none.
pub fn outputs(
    vit: &Vit,
    head: &Head,
    dataset: &Dataset,
    preprocess: &Preprocess,
) -> Result<Vec<f32>> {
    let mut rows = Vec::new();
    for batch in eval_batches(dataset, preprocess, BATCH) {
        let batch = batch?;
        rows.extend(run(vit, head, batch.images, batch.size));
    }
    Ok(rows)
}

/// Output of a network and head for one batch of images.
pub fn run(vit: &Vit, head: &Head, images: Vec<f32>, size: [usize; 4]) -> Vec<f32> {
    values(&head.forward(vit.forward(from_values(images, size, &Device::flex()), None)))
}

/// Every task's result during training, on at most 500 validation images, or test images where a
/// task holds none out.
///
/// # Errors
/// A broken image, outputs that are not finite.
pub fn glimpse(training: &Training<'_>, supernet: &Supernet) -> Result<Vec<TaskResult>> {
    let slice = Slice::full(&supernet.arch);
    let preprocess = training.config.preprocess();
    let results = training.workers.map(training.tasks.len(), |index| {
        let task = &training.tasks[index];
        let whole = task.validation.as_deref().unwrap_or(&task.test);
        let part = whole.select(&few(task, whole));
        let vit = supernet.subnet(index, &supernet.path(index), &slice)?;
        let rows = outputs(&vit, &supernet.tasks[index].head, &part, &preprocess)?;
        judge(task, &part, &rows)
    });
    results.into_iter().collect()
}

/// Which images a glimpse looks at: spread over the classes, or whole identities, as many as fit.
fn few(task: &Task, split: &Dataset) -> Vec<usize> {
    let len = split.len();
    let kept = len.min(GLIMPSE);
    match task.config.head {
        HeadConfig::Linear => (0..kept).map(|i| i * len / kept).collect(),
        HeadConfig::Embedding { .. } => {
            let mut order: Vec<usize> = (0..len).collect();
            order.sort_by_key(|&index| split.label(index));
            // The identity that the limit cuts through stays out, unless it is the first.
            let cut = order.get(kept).map(|&index| split.label(index));
            let whole = order[..kept].iter().position(|&index| Some(split.label(index)) == cut);
            order.truncate(whole.filter(|&start| start > 0).unwrap_or(kept));
            order
        }
    }
}

/// The task's metrics from the outputs of the images of `split`.
///
/// # Errors
/// Outputs that are not finite.
pub fn judge(task: &Task, split: &Dataset, rows: &[f32]) -> Result<TaskResult> {
    let (metric, metrics) = match task.config.head {
        HeadConfig::Linear => {
            let classes = task.train.classes().len();
            let result = classification(rows, classes, split.labels());
            ("top1", result.with_context(|| task.config.name.clone())?.metrics())
        }
        HeadConfig::Embedding { .. } => ("rank1", between_cameras(split, rows)?),
    };
    let metrics: Vec<(String, f64)> = metrics.into_iter().map(|m| (m.name, m.value)).collect();
    let value = metrics.iter().find(|(name, _)| name == metric).map_or(f64::NAN, |(_, v)| *v);
    Ok(TaskResult { name: task.config.name.clone(), metric: metric.to_string(), value, metrics })
}

/// ReID protocol with every image as query and as gallery: matches of the same camera do not count.
fn between_cameras(test: &Dataset, rows: &[f32]) -> Result<Vec<Metric>> {
    let cameras = test.cameras().map_or_else(|| (0..test.len() as u32).collect(), <[u32]>::to_vec);
    let all = Sightings { features: rows, ids: test.labels(), cameras: &cameras };
    let result = reid(&all, &all, rows.len() / test.len(), Distance::Cosine, 10)?;
    Ok(result.metrics())
}

/// The same metric by raw pixels, at most 32x32 of them: the nearest training image's class, or pixels as the embedding.
///
/// # Errors
/// A broken image.
pub fn baseline(task: &Task, preprocess: &Preprocess) -> Result<f64> {
    let size = preprocess.size.map(|side| side.min(BASELINE_SIDE));
    let preprocess = &Preprocess { size, ..preprocess.clone() };
    let pixels = |dataset: &Dataset| -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for batch in eval_batches(dataset, preprocess, BATCH) {
            all.extend(batch?.images);
        }
        Ok(all)
    };
    let test = pixels(&task.test)?;
    if let HeadConfig::Embedding { .. } = task.config.head {
        return Ok(judge(task, &task.test, &test)?.value);
    }
    let train = pixels(&task.train)?;
    let dim = test.len() / task.test.len();
    let labels = (task.train.labels(), task.test.labels());
    Ok(nearest_neighbor_accuracy(&train, labels.0, &test, labels.1, dim)?)
}
