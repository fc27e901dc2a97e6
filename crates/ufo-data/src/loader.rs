//! Batches made ahead on worker threads, delivered in step order.

use crate::{Augment, Dataset, Error, Preprocess, Purpose, Sampler, stream};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// A normalized batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Step it belongs to.
    pub step: u64,
    /// Images, channels, height, width.
    pub size: [usize; 4],
    /// Values, NCHW.
    pub images: Vec<f32>,
    /// Label of each image.
    pub labels: Vec<u32>,
    /// Sample indices of the dataset.
    pub indices: Vec<usize>,
    /// Broken images met, replaced by the next sample.
    pub broken: Vec<String>,
}

/// How a loader works; none of it but `seed` and `task` changes what it delivers.
#[derive(Debug, Clone, Copy)]
pub struct LoaderConfig {
    /// Threads, at least 1.
    pub workers: usize,
    /// Batches made ahead by each worker, at least 1.
    pub queue: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Number of the task in the run.
    pub task: u64,
    /// First step delivered.
    pub first_step: u64,
    /// Distinct broken images allowed.
    pub max_broken: usize,
}

/// Delivers training batches.
#[derive(Debug)]
pub struct Loader {
    queues: Vec<Receiver<Result<Batch, Error>>>,
    next: u64,
    first: u64,
    broken: BTreeSet<String>,
    max_broken: usize,
}

impl Loader {
    /// Starts the workers; they end when the loader is dropped. `sampler` makes one for each.
    ///
    /// # Errors
    /// When `sampler` fails.
    pub fn train(
        dataset: &Arc<Dataset>,
        sampler: impl Fn() -> Result<Sampler, Error>,
        augment: Augment,
        preprocess: &Preprocess,
        config: LoaderConfig,
    ) -> Result<Self, Error> {
        let workers = config.workers.max(1) as u64;
        let mut queues = Vec::new();
        for worker in 0..workers {
            let (sender, receiver) = sync_channel(config.queue.max(1));
            let (dataset, preprocess) = (Arc::clone(dataset), preprocess.clone());
            let mut sampler = sampler()?;
            thread::spawn(move || {
                let mut step = config.first_step + worker;
                loop {
                    let indices = sampler.batch(step);
                    let key = Key { seed: config.seed, task: config.task, step };
                    let batch = batch(&dataset, &indices, Some(&augment), &preprocess, key);
                    if sender.send(batch).is_err() {
                        return;
                    }
                    step += workers;
                }
            });
            queues.push(receiver);
        }
        let (next, first) = (config.first_step, config.first_step);
        Ok(Self { queues, next, first, broken: BTreeSet::new(), max_broken: config.max_broken })
    }

    /// The batch of the next step.
    ///
    /// # Errors
    /// More broken images than allowed, or a worker that died.
    pub fn next_batch(&mut self) -> Result<Batch, Error> {
        let queue = ((self.next - self.first) % self.queues.len() as u64) as usize;
        let stopped = Error::Stopped { step: self.next, reason: "a worker thread died" };
        let batch = self.queues[queue].recv().map_err(|_| stopped)??;
        self.next += 1;
        self.broken.extend(batch.broken.iter().cloned());
        if self.broken.len() > self.max_broken {
            let first: Vec<&str> = self.broken.iter().take(5).map(String::as_str).collect();
            return Err(Error::TooManyBroken {
                count: self.broken.len(),
                max: self.max_broken,
                first: first.join("; "),
            });
        }
        Ok(batch)
    }
}

/// All images of a split in order, in batches of `batch`, the last maybe shorter.
pub fn eval_batches<'a>(
    dataset: &'a Dataset,
    preprocess: &'a Preprocess,
    batch_size: usize,
) -> impl Iterator<Item = Result<Batch, Error>> + 'a {
    let starts = (0..dataset.len()).step_by(batch_size.max(1));
    starts.map(move |start| {
        let end = (start + batch_size.max(1)).min(dataset.len());
        let indices: Vec<usize> = (start..end).collect();
        let key = Key { seed: 0, task: 0, step: start as u64 };
        batch(dataset, &indices, None, preprocess, key)
    })
}

struct Key {
    seed: u64,
    task: u64,
    step: u64,
}

/// A broken training image gives way to the next sample, ten tries; in evaluation it is an error.
fn batch(
    dataset: &Dataset,
    indices: &[usize],
    augment: Option<&Augment>,
    preprocess: &Preprocess,
    key: Key,
) -> Result<Batch, Error> {
    let [height, width] = preprocess.size;
    let each = 3 * height * width;
    let mut images = vec![0.0; indices.len() * each];
    let (mut taken, mut broken) = (Vec::with_capacity(indices.len()), Vec::new());
    for (position, (&index, out)) in indices.iter().zip(images.chunks_exact_mut(each)).enumerate() {
        let Some(augment) = augment else {
            out.copy_from_slice(&preprocess.apply(&dataset.image(index)?));
            taken.push(index);
            continue;
        };
        let mut tries = (0..10).map(|offset| (index + offset) % dataset.len());
        let found = loop {
            let Some(candidate) = tries.next() else {
                let count = broken.len();
                return Err(Error::TooManyBroken { count, max: 9, first: broken.join("; ") });
            };
            match dataset.image(candidate) {
                Ok(image) => break (candidate, image),
                Err(error) => broken.push(error.to_string()),
            }
        };
        let counters = [key.task, key.step, position as u64];
        let mut rng = stream(key.seed, Purpose::Augment, &counters);
        augment.apply(&found.1, preprocess, &mut rng, out);
        taken.push(found.0);
    }
    let labels = taken.iter().map(|&index| dataset.labels()[index]).collect();
    let size = [indices.len(), 3, height, width];
    Ok(Batch { step: key.step, size, images, labels, indices: taken, broken })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, SamplerConfig, encode_png};
    use std::fs;

    fn folder(broken: bool) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..12_u8 {
            let class = folder.path().join(if index % 2 == 0 { "a" } else { "b" });
            fs::create_dir_all(&class).unwrap();
            let image = crate::Image::filled(8, 8, [index * 20, 10, 200]);
            fs::write(class.join(format!("{index}.png")), encode_png(&image).unwrap()).unwrap();
        }
        if broken {
            fs::write(folder.path().join("a/0.png"), b"not an image").unwrap();
        }
        folder
    }

    fn run(
        folder: &tempfile::TempDir,
        workers: usize,
        first_step: u64,
        max_broken: usize,
    ) -> Vec<Result<Batch, Error>> {
        let dataset = Arc::new(Dataset::open(Format::ImageFolder, folder.path()).unwrap());
        let labels = dataset.shared_labels();
        let sampler = || Sampler::new(Arc::clone(&labels), SamplerConfig::Shuffled, 5, 3, 1);
        let augment = Augment { pad_crop: 2, flip: 0.5, erase: 0.5 };
        let preprocess = Preprocess { size: [8, 8], ..Preprocess::default() };
        let config = LoaderConfig { workers, queue: 2, seed: 3, task: 1, first_step, max_broken };
        let mut loader = Loader::train(&dataset, sampler, augment, &preprocess, config).unwrap();
        (first_step..8).map(|_| loader.next_batch()).collect()
    }

    #[test]
    fn workers_and_resuming_do_not_change_the_batches() {
        let folder = folder(false);
        let one: Vec<Batch> = run(&folder, 1, 0, 0).into_iter().map(Result::unwrap).collect();
        let three: Vec<Batch> = run(&folder, 3, 0, 0).into_iter().map(Result::unwrap).collect();
        let resumed: Vec<Batch> = run(&folder, 2, 3, 0).into_iter().map(Result::unwrap).collect();
        assert_eq!(one, three);
        assert_eq!(one[3..], resumed);
        assert_ne!(one[0].images, one[1].images);
    }

    #[test]
    fn broken_images_are_counted_up_to_the_limit() {
        let folder = folder(true);
        assert!(run(&folder, 2, 0, 1).iter().all(Result::is_ok));
        let error = run(&folder, 2, 0, 0).into_iter().find_map(Result::err).unwrap();
        assert!(error.to_string().contains("0.png"), "{error}");
    }
}
