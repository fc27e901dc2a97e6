//! Evaluation of a task from its network, beside the raw-pixel nearest-neighbor baseline.

use crate::{Task, Training, detect, segment};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use ufo_data::{Batch, Dataset, Preprocess, eval_batches};
use ufo_eval::{Judgment, Outputs, nearest_labels};
use ufo_model::{Head, HeadConfig, Supernet, Vit, from_values, values};
use ufo_nas::Slice;

/// Images of an evaluation batch.
const BATCH: usize = 100;

/// Largest side of the images that the raw-pixel baseline compares: at full size the training split
/// of a large task would not fit memory.
const BASELINE_SIDE: usize = 32;

/// Images of a task in an evaluation during training.
const GLIMPSE: usize = 500;
/// The same of a segmentation or detection task, where an image is many windows.
const GLIMPSE_SCENES: usize = 16;

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
    /// Test images, or their pixels, by true (rows) and predicted class, for classification and segmentation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Vec<Vec<u64>>>,
}

/// A task's result on a split by a network and head, and the outputs for every image, row-major; none of a
/// segmentation or detection, whose outputs of all pixels would not fit memory.
///
/// # Errors
/// A broken image, since evaluation skips none; a wrong mask; outputs that are not finite.
pub fn result(
    (vit, head): (&Vit, &Head),
    task: &Task,
    split: &Dataset,
    preprocess: &Preprocess,
) -> Result<(TaskResult, Vec<f32>)> {
    result_by(task, split, preprocess, &mut |images, size| Ok(run(vit, head, images, size)))
}

/// The same by any function from images `[n, 3, height, width]` to outputs, row-major.
///
/// # Errors
/// As [`result`], and those of `run`.
pub fn result_by(
    task: &Task,
    split: &Dataset,
    preprocess: &Preprocess,
    run: &mut dyn FnMut(Vec<f32>, [usize; 4]) -> Result<Vec<f32>>,
) -> Result<(TaskResult, Vec<f32>)> {
    if task.config.head.segments() {
        return Ok((segment::judge(task, split, preprocess, run)?, Vec::new()));
    }
    if task.config.head.detects() {
        return Ok((detect::judge(task, split, preprocess, run)?, Vec::new()));
    }
    let rows = rows(split, preprocess, |batch| run(batch.images, batch.size))?;
    Ok((judge(task, split, &rows)?, rows))
}

/// Features of a network for every image of a split, row-major.
///
/// # Errors
/// A broken image.
pub fn eval_features(vit: &Vit, dataset: &Dataset, preprocess: &Preprocess) -> Result<Vec<f32>> {
    rows(dataset, preprocess, |batch| {
        let images = from_values(batch.images, batch.size, &vit.device());
        Ok(values(&vit.forward(images, None)))
    })
}

/// Outputs of `run` for every image of a split, row-major.
///
/// # Errors
/// A broken image, or that of `run`.
pub fn rows(
    dataset: &Dataset,
    preprocess: &Preprocess,
    mut run: impl FnMut(Batch) -> Result<Vec<f32>>,
) -> Result<Vec<f32>> {
    let mut rows = Vec::new();
    for batch in eval_batches(dataset, preprocess, BATCH) {
        rows.extend(run(batch?)?);
    }
    Ok(rows)
}

/// Output of a network and head for one batch of images.
pub fn run(vit: &Vit, head: &Head, images: Vec<f32>, size: [usize; 4]) -> Vec<f32> {
    values(&head.run(vit, from_values(images, size, &vit.device())))
}

/// The result of every trained task during training, on at most 500 validation images, or test images where a
/// task holds none out.
///
/// # Errors
/// A broken image, outputs that are not finite.
pub fn glimpse(training: &Training<'_>, supernet: &Supernet) -> Result<Vec<TaskResult>> {
    let slice = Slice::full(&supernet.arch);
    let preprocess = training.config.preprocess();
    let trained = training.config.trained();
    let results = training.workers.map(trained.len(), |position| {
        let index = trained.start + position;
        let task = &training.tasks[index];
        let whole = task.validation.as_deref().unwrap_or(&task.test);
        let part = whole.select(&few(task, whole));
        let vit = supernet.subnet(index, &supernet.path(index), &slice)?;
        Ok(result((&vit, &supernet.tasks[index].head), task, &part, &preprocess)?.0)
    });
    results.into_iter().collect()
}

/// Which images a glimpse looks at: spread over the classes, or whole identities, as many as fit.
pub(crate) fn few(task: &Task, split: &Dataset) -> Vec<usize> {
    let len = split.len();
    let most = if task.config.head.reads_tokens() { GLIMPSE_SCENES } else { GLIMPSE };
    let kept = len.min(most);
    match task.config.head {
        HeadConfig::Linear | HeadConfig::Segmentation { .. } | HeadConfig::Detection { .. } => {
            (0..kept).map(|i| i * len / kept).collect()
        }
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

/// The task's metrics by its protocol, from the outputs of the images of `split`.
///
/// # Errors
/// Outputs that are not finite, a split that the protocol cannot judge.
pub fn judge(task: &Task, split: &Dataset, rows: &[f32]) -> Result<TaskResult> {
    let protocol = task.config.protocol();
    let outputs = Outputs {
        rows,
        dim: rows.len() / split.len(),
        labels: split.labels(),
        cameras: split.cameras(),
    };
    let Judgment { metrics, confusion } =
        protocol.judge(&outputs).with_context(|| format!("task `{}`", task.config.name))?;
    let metric = protocol.headline();
    let metrics: Vec<(String, f64)> = metrics.into_iter().map(|m| (m.name, m.value)).collect();
    let named = metrics.iter().find(|(name, _)| *name == metric);
    let Some(&(_, value)) = named else {
        bail!("task `{}`: {metric} is not defined on this split", task.config.name);
    };
    Ok(TaskResult { name: task.config.name.clone(), metric, value, metrics, confusion })
}

/// The same metric by raw pixels, at most 32x32 of them: the nearest training image's class, or the
/// pixels as the embedding. Of a segmentation: logistic regression on each pixel's color; of a
/// detection: a sliding window of cells of colors.
///
/// # Errors
/// A broken image.
pub fn baseline(task: &Task, preprocess: &Preprocess) -> Result<f64> {
    if task.config.head.segments() {
        return segment::baseline(task, preprocess);
    }
    if task.config.head.detects() {
        return detect::baseline(task, preprocess);
    }
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
    let classes = task.train.classes().len();
    let mut logits = vec![0.0; task.test.len() * classes];
    let nearest = nearest_labels(&train, task.train.labels(), &test, dim)?;
    for (row, label) in logits.chunks_exact_mut(classes).zip(nearest) {
        row[label as usize] = 1.0;
    }
    Ok(judge(task, &task.test, &logits)?.value)
}
