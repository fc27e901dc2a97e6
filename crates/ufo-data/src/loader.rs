//! Batches made on worker threads, delivered in the order of steps.
//!
//! Each random draw is keyed by (seed, task, step, position), so any number of workers and any first
//! step give the same batches bit for bit.

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

mod memory;
mod pipeline;

use memory::zeros;
use pipeline::{Delivery, Pipeline};

use crate::{
    Annotation, Augment, Dataset, Error, Preprocess, Purpose, Sampler, stream, transform::Scratch,
};

/// How many following samples are tried in the place of a broken one.
const TRIES: usize = 10;

/// Samples on the host, ready for the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The step of training, or the number of the batch in evaluation.
    pub step: u64,
    /// Samples, channels, height, width.
    pub size: [usize; 4],
    /// Values in the order of `size`, normalized.
    pub images: Vec<f32>,
    /// The label of each sample.
    pub labels: Vec<u32>,
    /// The class of each pixel, samples x height x width, of images with masks in training.
    pub masks: Option<Vec<u8>>,
    /// The boxes of each sample, in pixels of `images`, of images with boxes in training.
    pub boxes: Option<Vec<Vec<Annotation>>>,
    /// Targets of MixUp or CutMix, samples x classes; none when the batch is not mixed.
    pub soft: Option<Vec<f32>>,
    /// The dataset's index of each sample.
    pub indices: Vec<usize>,
    /// How many samples stand in for a broken one.
    pub skipped: usize,
}

/// How a [`Loader`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Worker threads; 0 counts as 1.
    pub workers: usize,
    /// How many batches may be ready or in the making; at least one a worker.
    pub queue: usize,
    /// Seed of augmentation.
    pub seed: u64,
    /// The task's number, so that tasks draw differently.
    pub task: u64,
    /// The step of the first batch.
    pub first_step: u64,
    /// How many distinct broken images may be skipped.
    pub max_broken: usize,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self { workers: 2, queue: 4, seed: 0, task: 0, first_step: 0, max_broken: 10 }
    }
}

/// An endless stream of training batches; dropping it ends its threads.
#[derive(Debug)]
pub struct Loader {
    pipeline: Pipeline,
    failed: bool,
    max_broken: usize,
    /// Names and reasons of the broken images met so far, by index.
    broken: BTreeMap<usize, String>,
}

impl Loader {
    /// Starts the workers on the batches of `sampler`.
    ///
    /// # Errors
    /// [`Error::Config`] for a wrong augmentation or preprocessing, and the error of `sampler`.
    pub fn train(
        dataset: &Arc<Dataset>,
        sampler: impl FnOnce() -> Result<Sampler, Error>,
        augment: Augment,
        preprocess: &Preprocess,
        config: LoaderConfig,
    ) -> Result<Self, Error> {
        augment.validate()?;
        preprocess.validate()?;
        let mut sampler = sampler()?;
        let plan = move |step| Some(sampler.batch(step));
        let recipe = Recipe {
            dataset: Arc::clone(dataset),
            augment,
            preprocess: preprocess.clone(),
            seed: config.seed,
            task: config.task,
        };
        let build = move |step, indices, closed: &AtomicBool| recipe.build(step, indices, closed);
        let sizes = [config.workers.max(1), config.queue];
        Ok(Self {
            pipeline: Pipeline::start(sizes, config.first_step, plan, build),
            failed: false,
            max_broken: config.max_broken,
            broken: BTreeMap::new(),
        })
    }

    /// The next batch, waiting for it if need be.
    ///
    /// # Errors
    /// [`Error::TooManyBroken`] beyond `max_broken`, [`Error::Image`] for a broken image whose ten
    /// followers are broken too, [`Error::Stopped`] after either or when a worker died.
    pub fn next_batch(&mut self) -> Result<Batch, Error> {
        let step = self.pipeline.step();
        if self.failed {
            return Err(Error::Stopped { step, reason: "an earlier batch failed" });
        }
        let result = self.receive(step);
        self.failed = result.is_err();
        result
    }

    fn receive(&mut self, step: u64) -> Result<Batch, Error> {
        let built = match self.pipeline.receive() {
            Delivery::Built(built) => *built,
            Delivery::End | Delivery::Died => {
                return Err(Error::Stopped { step, reason: "a worker died" });
            }
        };
        self.broken.extend(built.broken);
        if self.broken.len() > self.max_broken {
            let first: Vec<&str> = self.broken.values().take(5).map(String::as_str).collect();
            return Err(Error::TooManyBroken {
                count: self.broken.len(),
                max: self.max_broken,
                first: first.join("; "),
            });
        }
        built.batch
    }
}

/// Every sample of a dataset in order, without augmentation; the last batch may be short.
///
/// The batches are made on as many threads as there are processors; dropping the iterator ends them.
/// A broken image is that batch's error and the last item: a metric over fewer samples would be
/// another metric.
pub fn eval_batches(
    dataset: &Dataset,
    preprocess: &Preprocess,
    batch: usize,
) -> impl Iterator<Item = Result<Batch, Error>> + use<> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    eval_batches_on(workers, dataset, preprocess, batch)
}

fn eval_batches_on(
    workers: usize,
    dataset: &Dataset,
    preprocess: &Preprocess,
    batch: usize,
) -> impl Iterator<Item = Result<Batch, Error>> + use<> {
    let mut invalid = preprocess.validate().err();
    if batch == 0 {
        invalid = Some(Error::config("batch", 0, "1 or more"));
    }
    let workers = if invalid.is_none() { workers } else { 0 };
    let (dataset, preprocess) = (dataset.clone(), preprocess.clone());
    let count = dataset.len();
    let plan = move |step: u64| {
        let start = (step as usize).checked_mul(batch).filter(|&start| start < count)?;
        Some((start..count.min(start + batch)).collect())
    };
    let build = move |step, indices, closed: &AtomicBool| {
        build_eval(&dataset, &preprocess, (step, indices), closed)
    };
    let mut pipeline = Pipeline::start([workers, 2 * workers], 0, plan, build);
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let step = pipeline.step();
        let item = match invalid.take() {
            Some(error) => Some(Err(error)),
            None => match pipeline.receive() {
                Delivery::Built(built) => Some(built.batch),
                Delivery::Died => Some(Err(Error::Stopped { step, reason: "a worker died" })),
                Delivery::End => None,
            },
        };
        done = !matches!(item, Some(Ok(_)));
        item
    })
}

/// What a worker makes of a step.
struct Built {
    batch: Result<Batch, Error>,
    /// Indices of broken images with names and reasons.
    broken: Vec<(usize, String)>,
}

struct Recipe {
    dataset: Arc<Dataset>,
    augment: Augment,
    preprocess: Preprocess,
    seed: u64,
    task: u64,
}

impl Recipe {
    /// The batch of a step; none when it was `closed` meanwhile.
    fn build(&self, step: u64, mut indices: Vec<usize>, closed: &AtomicBool) -> Option<Built> {
        let mut broken = Vec::new();
        let batch = self.batch(step, &mut indices, &mut broken, closed).transpose()?;
        Some(Built { batch, broken })
    }

    fn batch(
        &self,
        step: u64,
        indices: &mut Vec<usize>,
        broken: &mut Vec<(usize, String)>,
        closed: &AtomicBool,
    ) -> Result<Option<Batch>, Error> {
        let [height, width] = self.preprocess.size;
        let mut images = zeros(indices.len() * 3 * height * width);
        let (mut skipped, mut scratch) = (0, Scratch::default());
        let with_masks = self.dataset.has_masks();
        let mut masks = with_masks.then(|| vec![0; indices.len() * height * width]);
        let mut boxes = self.dataset.has_boxes().then(|| vec![Vec::new(); indices.len()]);
        let outs = images.chunks_exact_mut(3 * height * width);
        for ((position, index), out) in indices.iter_mut().enumerate().zip(outs) {
            if closed.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let counters = [self.task, step, position as u64];
            let mut rng = stream(self.seed, Purpose::Augment, &counters);
            let used = if let Some(masks) = &mut masks {
                let (used, scene) = self.readable(*index, broken, Dataset::scene)?;
                let ids = &mut masks[position * height * width..][..height * width];
                self.augment.window(&scene, &self.preprocess, &mut rng, (out, ids));
                used
            } else if let Some(boxes) = &mut boxes {
                let (used, boxed) = self.readable(*index, broken, Dataset::boxed)?;
                boxes[position] = self.augment.boxes(&boxed, &self.preprocess, &mut rng, out);
                used
            } else {
                let (used, image) = self.readable(*index, broken, Dataset::image)?;
                self.augment.apply_with(&image, &self.preprocess, &mut rng, (&mut scratch, out));
                used
            };
            skipped += usize::from(used != *index);
            *index = used;
        }
        let labels: Vec<u32> = indices.iter().map(|&index| self.dataset.label(index)).collect();
        let mut rng = stream(self.seed, Purpose::Mix, &[self.task, step]);
        let targets = (labels.as_slice(), self.dataset.classes().len());
        let soft = self.augment.mix(&mut images, [height, width], targets, &mut rng);
        let size = [labels.len(), 3, height, width];
        let indices = std::mem::take(indices);
        Ok(Some(Batch { step, size, images, labels, masks, boxes, soft, indices, skipped }))
    }

    /// What is at `index`, or the first readable one of those that follow.
    fn readable<T>(
        &self,
        index: usize,
        broken: &mut Vec<(usize, String)>,
        read: impl Fn(&Dataset, usize) -> Result<T, Error>,
    ) -> Result<(usize, T), Error> {
        let mut first = None;
        for ahead in 0..=TRIES {
            let at = (index + ahead) % self.dataset.len();
            match read(&self.dataset, at) {
                Ok(found) => return Ok((at, found)),
                Err(error @ (Error::Mask { .. } | Error::Boxes { .. })) => return Err(error),
                Err(error) => {
                    broken.push((at, error.to_string()));
                    first.get_or_insert(error);
                }
            }
        }
        let reason = match first {
            Some(Error::Image { reason, .. }) => reason,
            other => other.map_or_else(String::new, |error| error.to_string()),
        };
        let name = self.dataset.name(index);
        Err(Error::Image { name, reason: format!("{reason}; the next {TRIES} are broken too") })
    }
}

fn build_eval(
    dataset: &Dataset,
    preprocess: &Preprocess,
    (step, indices): (u64, Vec<usize>),
    closed: &AtomicBool,
) -> Option<Built> {
    let [height, width] = preprocess.size;
    let mut images = zeros(indices.len() * 3 * height * width);
    let mut scratch = Scratch::default();
    for (&index, out) in indices.iter().zip(images.chunks_exact_mut(3 * height * width)) {
        if closed.load(Ordering::Relaxed) {
            return None;
        }
        match dataset.image(index) {
            Ok(image) => {
                preprocess.write(image.view(), preprocess.target(&image), &mut scratch, out);
            }
            Err(error) => return Some(Built { batch: Err(error), broken: Vec::new() }),
        }
    }
    let labels: Vec<u32> = indices.iter().map(|&index| dataset.label(index)).collect();
    let size = [labels.len(), 3, height, width];
    let (masks, boxes, soft) = (None, None, None);
    let batch = Batch { step, size, images, labels, masks, boxes, soft, indices, skipped: 0 };
    Some(Built { batch: Ok(batch), broken: Vec::new() })
}

#[cfg(test)]
mod tests;
