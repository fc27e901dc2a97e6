//! Segmentation tasks: loss, evaluation, the baseline of single pixels, statistics of a slice's head.

use crate::evaluate::TaskResult;
use crate::step::Scored;
use crate::{RunConfig, Task, TaskConfig};
use anyhow::{Context, Result, bail};
use std::sync::Arc;
use ufo_data::{
    Augment, Batch, Dataset, IGNORE, Image, Loader, LoaderConfig, Mask, Preprocess, Sampler,
    SamplerConfig, check_masks, segment,
};
use ufo_eval::{Logistic, PixelCounts, Protocol, segmentation};
use ufo_model::cnn::Moments;
use ufo_model::losses::cross_entropy;
use ufo_model::{
    HeadConfig, HeadStatistics, Mode, SegmentationHead, Tokens, Vit, from_values, values,
};

/// Pixels that the baseline is fitted to.
const FITTED: usize = 20_000;
/// Windows that stems are compared on, and that statistics are measured on.
const WINDOWS: usize = 64;
/// Windows of a batch of these.
const BATCH: usize = 16;

/// The loss of a batch: the mean cross entropy of the pixels that count, and those of the auxiliary heads by
/// their weight.
pub(crate) fn loss(
    head: &SegmentationHead,
    tokens: &Tokens,
    (task, batch): (&TaskConfig, &Batch),
    mode: Mode,
) -> Scored {
    let given = head.train(tokens, mode);
    let [pixels, classes] = given.logits.dims();
    let masks = batch.masks.as_deref().expect("segmentation tasks have masks, as validated");
    let mut targets = vec![0.0; pixels * classes];
    let mut counted = 0;
    for (row, &id) in targets.chunks_exact_mut(classes).zip(masks) {
        if id != IGNORE {
            row[usize::from(id)] = 1.0;
            counted += 1;
        }
    }
    // A row of zeros has neither loss nor gradient; the mean is over the others.
    let share = if counted == 0 { 0.0 } else { pixels as f32 / counted as f32 };
    let targets = from_values(targets, [pixels, classes], &given.logits.device().inner());
    let HeadConfig::Segmentation { auxiliary: weight, .. } = task.head else {
        unreachable!("a segmentation head has its configuration")
    };
    let main = cross_entropy(given.logits.clone(), targets.clone()) * share;
    let loss = given
        .auxiliary
        .into_iter()
        .fold(main, |sum, logits| sum + cross_entropy(logits, targets.clone()) * (share * weight));
    let measured = Some(HeadStatistics::Maps(given.moments));
    Scored { loss, outputs: given.logits, measured }
}

/// The part of their side that windows of the task share.
fn overlap(task: &TaskConfig) -> f32 {
    match task.protocol() {
        Protocol::Segmentation { overlap } => overlap,
        _ => 0.0,
    }
}

/// The class of each pixel of an image, by the logits that `run` gives of windows.
///
/// # Errors
/// Those of `run`, and logits that are not finite.
pub fn predict(
    image: &Image,
    preprocess: &Preprocess,
    (classes, overlap): (usize, f32),
    run: &mut dyn FnMut(Vec<f32>, [usize; 4]) -> Result<Vec<f32>>,
) -> Result<Mask> {
    segment(image, preprocess, (classes, overlap), |images, size| {
        let logits = run(images, size)?;
        if let Some(value) = logits.iter().find(|value| !value.is_finite()) {
            bail!("the network gives {value} as a logit of a pixel");
        }
        Ok(logits)
    })
}

/// The class of each pixel of image `index` of a split, beside the truth.
///
/// # Errors
/// As [`predict`], a damaged image, a wrong mask.
pub fn predict_scene(
    task: &Task,
    (split, index): (&Dataset, usize),
    preprocess: &Preprocess,
    run: &mut dyn FnMut(Vec<f32>, [usize; 4]) -> Result<Vec<f32>>,
) -> Result<[Mask; 2]> {
    let scene = split.scene(index)?;
    let sizes = (task.classes().len(), overlap(&task.config));
    let predicted = predict(&scene.image, preprocess, sizes, run)
        .with_context(|| format!("task `{}`, {}", task.config.name, split.name(index)))?;
    Ok([predicted, scene.mask])
}

/// The task's metrics over all pixels of `split`.
///
/// # Errors
/// As [`predict_scene`].
pub(crate) fn judge(
    task: &Task,
    split: &Dataset,
    preprocess: &Preprocess,
    run: &mut dyn FnMut(Vec<f32>, [usize; 4]) -> Result<Vec<f32>>,
) -> Result<TaskResult> {
    let mut pixels = PixelCounts::new(task.classes().len());
    for index in 0..split.len() {
        let [predicted, truth] = predict_scene(task, (split, index), preprocess, run)?;
        pixels.add(&truth.ids, &predicted.ids)?;
    }
    result(task, &pixels)
}

fn result(task: &Task, pixels: &PixelCounts) -> Result<TaskResult> {
    let name = task.config.name.clone();
    let judged = segmentation(pixels).with_context(|| format!("task `{name}`"))?;
    let mut metrics: Vec<(String, f64)> =
        judged.metrics().into_iter().map(|metric| (metric.name, metric.value)).collect();
    let classes = task.classes().iter().zip(&judged.iou);
    metrics.extend(classes.filter_map(|(class, iou)| Some((format!("iou.{class}"), (*iou)?))));
    let metric = task.config.protocol().headline();
    let confusion = Some(judged.confusion);
    Ok(TaskResult { name, metric, value: judged.mean_iou, metrics, confusion })
}

/// The same by logistic regression on the color of each pixel alone, fitted to 20,000 training pixels.
///
/// # Errors
/// A damaged image, a wrong mask.
pub(crate) fn baseline(task: &Task, preprocess: &Preprocess) -> Result<f64> {
    let colors = |image: &Image| -> Vec<f32> {
        let scaled = |(channel, value): (usize, &u8)| {
            let channel = channel % 3;
            (f32::from(*value) / 255.0 - preprocess.mean[channel]) / preprocess.std[channel]
        };
        image.rgb.iter().enumerate().map(scaled).collect()
    };
    let each = FITTED.div_ceil(task.train.len());
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for index in 0..task.train.len().min(FITTED) {
        let scene = task.train.scene(index)?;
        let (colors, ids) = (colors(&scene.image), &scene.mask.ids);
        let kept = each.min(ids.len());
        for at in (0..kept).map(|pixel| pixel * ids.len() / kept).filter(|at| ids[*at] != IGNORE) {
            rows.extend_from_slice(&colors[3 * at..3 * at + 3]);
            labels.push(ids[at]);
        }
    }
    let classes = task.classes().len();
    let model = Logistic::fit(&rows, 3, (&labels, classes))
        .with_context(|| format!("task `{}`: its training pixels", task.config.name))?;
    let mut pixels = PixelCounts::new(classes);
    for index in 0..task.test.len() {
        let scene = task.test.scene(index)?;
        pixels.add(&scene.mask.ids, &model.predict(&colors(&scene.image)))?;
    }
    Ok(result(task, &pixels)?.value)
}

/// Training windows of a task, drawn evenly and not changed.
pub(crate) fn windows(task: &Task, preprocess: &Preprocess) -> Result<Vec<Batch>> {
    let labels = task.train.shared_labels();
    let sampler = || Sampler::new(labels, SamplerConfig::default(), BATCH, 0, 0);
    let loader =
        LoaderConfig { max_broken: task.config.data.max_broken, ..LoaderConfig::default() };
    let mut loader =
        Loader::train(&Arc::clone(&task.train), sampler, Augment::default(), preprocess, loader)?;
    (0..WINDOWS / BATCH).map(|_| Ok(loader.next_batch()?)).collect()
}

/// The tokens of patches behind the final norm, a row each, with the class that most pixels of the patch are of.
pub(crate) struct Patches {
    pub(crate) rows: Vec<f32>,
    pub(crate) labels: Vec<u32>,
}

/// The patches of some training windows; those where most pixels do not count are left out.
///
/// # Errors
/// A damaged image, a wrong mask.
pub(crate) fn patches(vit: &Vit, task: &Task, preprocess: &Preprocess) -> Result<Patches> {
    let mut found = Patches { rows: Vec::new(), labels: Vec::new() };
    for batch in windows(task, preprocess)? {
        let [_, _, height, width] = batch.size;
        let images = from_values(batch.images, batch.size, &vit.device());
        let Tokens { last, grid: [rows, columns], .. } = vit.tokens(images, None, &[]);
        let [_, tokens, d] = last.dims();
        let masks = batch.masks.context("images with masks give masks")?;
        let images = values(&last);
        for (tokens, mask) in
            images.chunks_exact(tokens * d).zip(masks.chunks_exact(height * width))
        {
            for (patch, row) in tokens[d..].chunks_exact(d).enumerate() {
                let side = |at: usize, cells: usize, side: usize| {
                    at * side / cells..(at + 1) * side / cells
                };
                let down = side(patch / columns, rows, height);
                let along = side(patch % columns, columns, width);
                let ids = down.flat_map(|y| &mask[y * width..][along.clone()]);
                if let Some(id) = most_frequent(ids) {
                    found.rows.extend_from_slice(row);
                    found.labels.push(id.into());
                }
            }
        }
    }
    Ok(found)
}

/// The id of most pixels, unless these do not count.
fn most_frequent<'a>(ids: impl Iterator<Item = &'a u8>) -> Option<u8> {
    let mut counts = [0_usize; 256];
    ids.for_each(|id| counts[usize::from(*id)] += 1);
    let most = (0..=255_u8).max_by_key(|id| (counts[usize::from(*id)], 255 - *id))?;
    (most != IGNORE).then_some(most)
}

/// The head for a slice: its batch norms' statistics are measured on training windows through the slice.
///
/// # Errors
/// A damaged image, a wrong mask.
pub(crate) fn calibrated(
    vit: &Vit,
    head: &SegmentationHead,
    task: &Task,
    preprocess: &Preprocess,
) -> Result<SegmentationHead> {
    let mut measured: Vec<Vec<Moments>> = Vec::new();
    for batch in windows(task, preprocess)? {
        let images = from_values(batch.images, batch.size, &vit.device());
        measured.push(head.train(&vit.tokens(images, None, &[]), vit.mode).moments);
    }
    let mut head = head.clone();
    head.replace(&measured);
    Ok(head)
}

/// Refuses masks that do not fit, and a subset of the labels without a pixel of some class.
///
/// # Errors
/// Names the mask, or the class.
pub fn check(task: &Task) -> Result<()> {
    if !task.config.head.segments() {
        return Ok(());
    }
    let named = || format!("task `{}`", task.config.name);
    let counts = check_masks(&task.train).with_context(named)?;
    for split in task.validation.iter().chain([&task.test]) {
        check_masks(split).with_context(named)?;
    }
    let missing = task.classes().iter().zip(counts).find(|(_, count)| *count == 0);
    match (missing, task.config.data.labels) {
        (Some((class, _)), Some(labels)) => bail!(
            "task `{}`: data.labels = {labels}: no pixel of class '{class}' is left; take a larger part",
            task.config.name
        ),
        _ => Ok(()),
    }
}

/// Refuses settings that a segmentation task does not take, and data without masks; or masks of another task.
pub(crate) fn validate(task: &TaskConfig) -> Result<()> {
    if task.head.detects() || task.data.format.has_boxes() {
        return Ok(());
    }
    let masks = task.data.format.has_masks();
    if masks != task.head.segments() {
        bail!(
            "head, data.format: images with masks (`masks`, `voc`, `cityscapes`) are for a `segmentation` head, others for `linear` and `embedding`"
        );
    }
    let (wrong, reason) = if masks {
        (task.augment.unfit_for_masks(), "a segmentation task takes flip, random_scale and color")
    } else {
        (task.augment.only_for_masks(), "only a segmentation or detection task takes them")
    };
    if !wrong.is_empty() {
        bail!("augment: {}: {reason}; remove them", wrong.join(", "));
    }
    let HeadConfig::Segmentation { channels, auxiliary, lr_scale, .. } = task.head else {
        return Ok(());
    };
    if !(1..=4096).contains(&channels) {
        bail!("head.channels = {channels}: must be 1 to 4096");
    }
    if task.label_smoothing > 0.0 || task.triplet.is_some() {
        bail!("label_smoothing, triplet: a segmentation task has none; remove them");
    }
    if task.sampler != SamplerConfig::default() {
        bail!("sampler: a segmentation task has no identities; remove it");
    }
    if !(auxiliary >= 0.0 && auxiliary.is_finite()) {
        bail!("head.auxiliary = {auxiliary}: must be at least 0");
    }
    if !(lr_scale > 0.0 && lr_scale.is_finite()) {
        bail!("head.lr_scale = {lr_scale}: must be above 0");
    }
    Ok(())
}

/// Refuses a head that does not fit the network.
pub(crate) fn validate_shape(config: &RunConfig, task: &TaskConfig) -> Result<()> {
    let HeadConfig::Segmentation { doublings, taps, detail, .. } = task.head else { return Ok(()) };
    let arch = config.arch();
    let ([rows, columns], [height, width]) = (arch.grid(), arch.image_size);
    if doublings > 6 || rows << doublings > height || columns << doublings > width {
        bail!(
            "head.doublings = {doublings}: must be 0 to 6 and not make the {rows}x{columns} patches more than the image of {height}x{width}"
        );
    }
    let map = [rows, columns].map(|side| side << doublings);
    if detail && map != [height, width] {
        bail!(
            "head.detail = true: the convolutions must end at the image's {height}x{width}, not {}x{}; choose other head.doublings or patches",
            map[0],
            map[1]
        );
    }
    let Some(taps) = taps else { return Ok(()) };
    if !taps.is_sorted() || taps[3] >= arch.depth {
        bail!("head.taps = {taps:?}: must be ascending and below {}, the blocks", arch.depth);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
