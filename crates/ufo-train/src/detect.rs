//! Detection tasks: loss, evaluation, what a wrong configuration is told, statistics of a slice's head.

use crate::evaluate::TaskResult;
use crate::segment::windows;
use crate::step::Scored;
use crate::{RunConfig, Task, TaskConfig};
use anyhow::{Context, Result, bail};
use ufo_data::{
    Annotation, Batch, Boxed, Dataset, Detection, Finding, Image, Preprocess, SamplerConfig,
    check_boxes, detect,
};
use ufo_eval::{BoxMatches, Protocol, detection};
use ufo_model::cnn::Moments;
use ufo_model::losses::fcos;
use ufo_model::{
    DetectionHead, HeadConfig, HeadStatistics, Mode, Tokens, Vit, from_values, values,
};

mod baseline;
mod places;

pub(crate) use baseline::baseline;
use places::{Map, places};

/// The loss of a batch: classes, boxes and centers of its places.
pub(crate) fn loss(
    head: &DetectionHead,
    tokens: &Tokens,
    (task, batch): (&TaskConfig, &Batch),
    mode: Mode,
) -> Scored {
    let given = head.train(tokens, mode);
    let boxes = batch.boxes.as_deref().expect("detection tasks have boxes, as validated");
    let HeadConfig::Detection { radius, .. } = task.head else {
        unreachable!("a detection head has its configuration")
    };
    let [_, width] = given.outputs.dims();
    let [_, _, rows, columns] = batch.size;
    let map = Map { size: given.map, image: [rows, columns], classes: width - 5, radius };
    let loss = fcos(given.outputs.clone(), &places(boxes, &map));
    let measured = Some(HeadStatistics::Maps(given.moments));
    Scored { loss, outputs: given.outputs, measured }
}

/// How the boxes of a task are found.
///
/// # Panics
/// For another task than a detection.
pub fn finding(task: &Task) -> Finding {
    let Protocol::Detection { overlap, nms, most } = task.config.protocol() else {
        unreachable!("a detection is judged by boxes, as validated")
    };
    Finding { classes: task.classes().len(), overlap, nms, most }
}

/// The boxes of an image, best first, by the outputs that `run` gives of windows.
///
/// # Errors
/// Those of `run`, and outputs that are not finite.
pub fn predict(
    image: &Image,
    preprocess: &Preprocess,
    finding: &Finding,
    run: &mut dyn FnMut(Vec<f32>, [usize; 4]) -> Result<Vec<f32>>,
) -> Result<Vec<Detection>> {
    detect(image, preprocess, finding, |images, size| {
        let outputs = run(images, size)?;
        if let Some(value) = outputs.iter().find(|value| !value.is_finite()) {
            bail!("the network gives {value} as an output of a box");
        }
        Ok(outputs)
    })
}

/// The boxes found in image `index` of a split, and the image with the true ones.
///
/// # Errors
/// As [`predict`], a damaged image, one of another size than its boxes are given for.
pub fn predict_boxed(
    task: &Task,
    (split, index): (&Dataset, usize),
    preprocess: &Preprocess,
    run: &mut dyn FnMut(Vec<f32>, [usize; 4]) -> Result<Vec<f32>>,
) -> Result<(Vec<Detection>, Boxed)> {
    let boxed = split.boxed(index)?;
    let found = predict(&boxed.image, preprocess, &finding(task), run)
        .with_context(|| format!("task `{}`, {}", task.config.name, split.name(index)))?;
    Ok((found, boxed))
}

/// The task's metrics over all images of `split`.
///
/// # Errors
/// As [`predict_boxed`]; a split without a box that counts.
pub(crate) fn judge(
    task: &Task,
    split: &Dataset,
    preprocess: &Preprocess,
    run: &mut dyn FnMut(Vec<f32>, [usize; 4]) -> Result<Vec<f32>>,
) -> Result<TaskResult> {
    let mut matches = BoxMatches::new(task.classes().len(), finding(task).most);
    for index in 0..split.len() {
        let (found, boxed) = predict_boxed(task, (split, index), preprocess, run)?;
        matches.add(&boxed.boxes, &found)?;
    }
    result(task, &matches)
}

fn result(task: &Task, matches: &BoxMatches) -> Result<TaskResult> {
    let name = task.config.name.clone();
    let judged = detection(matches).with_context(|| format!("task `{name}`"))?;
    let mut metrics: Vec<(String, f64)> =
        judged.metrics().into_iter().map(|metric| (metric.name, metric.value)).collect();
    if task.classes().len() > 1 {
        let classes = task.classes().iter().zip(&judged.ap_of_class);
        metrics.extend(classes.filter_map(|(class, ap)| Some((format!("ap.{class}"), (*ap)?))));
    }
    let metric = task.config.protocol().headline();
    Ok(TaskResult { name, metric, value: judged.ap, metrics, confusion: None })
}

/// The tokens of patches behind the final norm, a row each, with the class of the smallest box around the middle of
/// the patch, or one class more where there is none.
pub(crate) struct Patches {
    pub(crate) rows: Vec<f32>,
    pub(crate) labels: Vec<u32>,
}

/// The patches of some training windows.
///
/// # Errors
/// A damaged image, one of another size than its boxes are given for.
pub(crate) fn patches(vit: &Vit, task: &Task, preprocess: &Preprocess) -> Result<Patches> {
    let mut found = Patches { rows: Vec::new(), labels: Vec::new() };
    for batch in windows(task, preprocess)? {
        let [_, _, height, width] = batch.size;
        let images = from_values(batch.images, batch.size, &vit.device());
        let Tokens { last, grid: [rows, columns], .. } = vit.tokens(images, None, &[]);
        let [_, tokens, d] = last.dims();
        let boxes = batch.boxes.context("images with boxes give boxes")?;
        for (tokens, boxes) in values(&last).chunks_exact(tokens * d).zip(&boxes) {
            for (patch, row) in tokens[d..].chunks_exact(d).enumerate() {
                let middle = |at: usize, cells: usize, side: usize| {
                    (at as f32 + 0.5) * side as f32 / cells as f32
                };
                let place = [
                    middle(patch % columns, columns, width),
                    middle(patch / columns, rows, height),
                ];
                let class = smallest(boxes, place).map(|around| around.class);
                found.rows.extend_from_slice(row);
                found.labels.push(class.unwrap_or(task.classes().len() as u32));
            }
        }
    }
    Ok(found)
}

/// The smallest box around a place.
fn smallest(boxes: &[Annotation], [x, y]: [f32; 2]) -> Option<&Annotation> {
    let around = |found: &&Annotation| {
        let b = found.bounds;
        b.left <= x && x < b.right && b.top <= y && y < b.bottom
    };
    let size = |found: &&Annotation| found.bounds.area();
    boxes.iter().filter(around).min_by(|a, b| size(a).total_cmp(&size(b)))
}

/// The head for a slice: its batch norms' statistics are measured on training windows through the slice.
///
/// # Errors
/// A damaged image, one of another size than its boxes are given for.
pub(crate) fn calibrated(
    vit: &Vit,
    head: &DetectionHead,
    task: &Task,
    preprocess: &Preprocess,
) -> Result<DetectionHead> {
    let mut measured: Vec<Vec<Moments>> = Vec::new();
    for batch in windows(task, preprocess)? {
        let images = from_values(batch.images, batch.size, &vit.device());
        measured.push(head.train(&vit.tokens(images, None, &[]), vit.mode).moments);
    }
    let mut head = head.clone();
    head.replace(&measured);
    Ok(head)
}

/// Refuses boxes that are given for images of other sizes, and splits without a box of some class.
///
/// # Errors
/// Names the file of the boxes, or the class.
pub fn check(task: &Task) -> Result<()> {
    if !task.config.head.detects() {
        return Ok(());
    }
    let named = || format!("task `{}`", task.config.name);
    let counts = check_boxes(&task.train).with_context(named)?;
    check_classes(task, &counts)?;
    for split in task.validation.iter().chain([&task.test]) {
        let counts = check_boxes(split).with_context(named)?;
        if counts.iter().sum::<u64>() == 0 {
            bail!(
                "task `{}`: {}: no box that counts in a split that is judged; at least one is needed",
                task.config.name,
                split.name(0)
            );
        }
    }
    Ok(())
}

/// Refuses training boxes of which some class has none.
fn check_classes(task: &Task, counts: &[u64]) -> Result<()> {
    let Some((class, _)) = task.classes().iter().zip(counts).find(|(_, count)| **count == 0) else {
        return Ok(());
    };
    match task.config.data.labels {
        Some(labels) => bail!(
            "task `{}`: data.labels = {labels}: no box of class '{class}' is left; take a larger part",
            task.config.name
        ),
        None => bail!("task `{}`: no training box of class '{class}'", task.config.name),
    }
}

/// Refuses settings that a detection task does not take, and data without boxes; or boxes of another task.
pub(crate) fn validate(task: &TaskConfig) -> Result<()> {
    if task.data.format.has_boxes() != task.head.detects() {
        bail!("head, data.format: images with boxes (`coco`) are for a `detection` head");
    }
    let HeadConfig::Detection { channels, convolutions, doublings, radius, lr_scale } = task.head
    else {
        return Ok(());
    };
    let wrong = task.augment.unfit_for_masks();
    if !wrong.is_empty() {
        let wrong = wrong.join(", ");
        bail!("augment: {wrong}: a detection task takes flip, random_scale and color; remove them");
    }
    if !(1..=4096).contains(&channels) {
        bail!("head.channels = {channels}: must be 1 to 4096");
    }
    if !(1..=8).contains(&convolutions) {
        bail!("head.convolutions = {convolutions}: must be 1 to 8");
    }
    if doublings >= convolutions {
        bail!(
            "head.doublings = {doublings}: must be below head.convolutions = {convolutions}, between which the map is doubled"
        );
    }
    if !(radius >= 0.0 && radius.is_finite()) {
        bail!("head.radius = {radius}: must be at least 0");
    }
    if !(lr_scale > 0.0 && lr_scale.is_finite()) {
        bail!("head.lr_scale = {lr_scale}: must be above 0");
    }
    if task.label_smoothing > 0.0 || task.triplet.is_some() {
        bail!("label_smoothing, triplet: a detection task has none; remove them");
    }
    if task.sampler != SamplerConfig::default() {
        bail!("sampler: a detection task has no identities; remove it");
    }
    Ok(())
}

/// Refuses a head that does not fit the network.
pub(crate) fn validate_shape(config: &RunConfig, task: &TaskConfig) -> Result<()> {
    let HeadConfig::Detection { doublings, .. } = task.head else { return Ok(()) };
    let arch = config.arch();
    let ([rows, columns], [height, width]) = (arch.grid(), arch.image_size);
    if rows << doublings > height || columns << doublings > width {
        bail!(
            "head.doublings = {doublings}: must not make the {rows}x{columns} patches more than the image of {height}x{width}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
