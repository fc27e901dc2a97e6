//! Models with a queue and a thread each, and one pool of threads in which they compute.

use crate::config::BatchConfig;
use crate::metrics::Metrics;
use crate::queue::{Queue, Waiting};
use crate::served::Served;
use crate::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Models ready to answer. When it is dropped, what waits is still answered.
#[derive(Debug)]
pub struct Engine {
    lanes: Vec<Lane>,
    threads: usize,
    max_images: usize,
    queue_images: usize,
}

#[derive(Debug)]
struct Lane {
    model: Arc<Served>,
    queue: Arc<Queue<Job>>,
    /// As many as the queue takes images; one for each image that is not admitted.
    places: Arc<Semaphore>,
    worker: Option<JoinHandle<()>>,
}

/// Places for images in the queue of a model; they are free again when this is dropped.
#[derive(Debug)]
pub struct Places(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit);

/// Images for some tasks of a model.
#[derive(Debug)]
pub struct Request {
    /// `[n, channels, height, width]`, n at least 1 and no more than the engine's `max_images`.
    pub images: Vec<f32>,
    /// Indices of tasks, each once.
    pub tasks: Vec<usize>,
    /// After which it need not be computed.
    pub deadline: Instant,
    /// Places for its images.
    pub places: Places,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The queue of the model is full.
    Full,
    /// The deadline passed before the turn came.
    Late,
    /// The engine stops.
    Stopping,
    /// The model failed.
    Model(String),
}

/// Outputs of each task that was asked for, in that order, row-major.
pub type Outputs = std::result::Result<Vec<Vec<f32>>, Failure>;

#[derive(Debug)]
struct Job {
    request: Request,
    count: usize,
    since: Instant,
    reply: oneshot::Sender<Outputs>,
}

impl Waiting for Job {
    fn images(&self) -> usize {
        self.count
    }
    fn since(&self) -> Instant {
        self.since
    }
}

impl Engine {
    /// Runs every task of every model once on the smallest and the largest batch, so that the first
    /// requests find memory and caches warm, and starts the threads.
    ///
    /// # Errors
    /// Threads that cannot be started, or a model that fails.
    pub fn start(
        models: Vec<Served>,
        threads: usize,
        batch: &BatchConfig,
        metrics: &Arc<Metrics>,
    ) -> Result<Self> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("ufo-compute-{index}"))
            .build()
            .map_err(|error| Error::Threads(error.to_string()))?;
        let pool = Arc::new(pool);
        for model in &models {
            let started = Instant::now();
            pool.install(|| warm(model, batch.max_images))?;
            let ms = started.elapsed().as_millis() as u64;
            tracing::info!(model = model.name, ms, "warm");
        }
        let lane = |(index, model)| Lane::start(index, model, batch, (&pool, metrics));
        let lanes = models.into_iter().enumerate().map(lane).collect::<Result<_>>()?;
        let BatchConfig { max_images, queue_images, .. } = *batch;
        Ok(Self { lanes, threads, max_images, queue_images })
    }

    /// The models, in their order.
    pub fn models(&self) -> impl ExactSizeIterator<Item = &Arc<Served>> {
        self.lanes.iter().map(|lane| &lane.model)
    }

    /// A model by its place in [`Engine::models`].
    pub fn model(&self, index: usize) -> &Arc<Served> {
        &self.lanes[index].model
    }

    /// Images admitted to each model and not answered yet.
    pub fn waiting(&self) -> Vec<usize> {
        let free = |lane: &Lane| lane.places.available_permits();
        self.lanes.iter().map(|lane| self.queue_images - free(lane)).collect()
    }

    /// Threads that models compute with.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Most images of a request.
    pub fn max_images(&self) -> usize {
        self.max_images
    }

    /// Takes places for images in the queue of a model, before work is spent on them.
    ///
    /// # Errors
    /// [`Failure::Full`].
    pub fn admit(&self, model: usize, images: usize) -> std::result::Result<Places, Failure> {
        let places = Arc::clone(&self.lanes[model].places);
        let permit = places.try_acquire_many_owned(images as u32).map_err(|_| Failure::Full)?;
        Ok(Places(permit))
    }

    /// Asks a model. Nothing is computed for a request whose receiver is gone when its turn comes.
    pub fn ask(&self, model: usize, request: Request) -> oneshot::Receiver<Outputs> {
        let lane = &self.lanes[model];
        let (reply, answer) = oneshot::channel();
        let count = request.images.len() / lane.model.image_len();
        let job = Job { request, count, since: Instant::now(), reply };
        if let Err(job) = lane.queue.push(job) {
            // Nobody to tell is no failure.
            let _gone = job.reply.send(Err(Failure::Stopping));
        }
        answer
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.queue.close());
        for worker in self.lanes.iter_mut().filter_map(|lane| lane.worker.take()) {
            if worker.join().is_err() {
                tracing::error!("a model's thread had panicked");
            }
        }
    }
}

fn warm(model: &Served, max_images: usize) -> Result<()> {
    for count in [1, max_images] {
        let images = vec![0.0; count * model.image_len()];
        for task in 0..model.tasks.len() {
            model.run(task, &images)?;
        }
    }
    Ok(())
}

impl Lane {
    fn start(
        index: usize,
        model: Served,
        batch: &BatchConfig,
        (pool, metrics): (&Arc<ThreadPool>, &Arc<Metrics>),
    ) -> Result<Self> {
        let delay = Duration::from_millis(batch.max_delay_ms);
        let queue = Arc::new(Queue::new(batch.max_images, delay));
        let model = Arc::new(model);
        let thread = {
            let (queue, model) = (Arc::clone(&queue), Arc::clone(&model));
            let (pool, metrics) = (Arc::clone(pool), Arc::clone(metrics));
            move || {
                while let Some(jobs) = queue.take() {
                    pool.install(|| answer(&model, jobs, |run| metrics.batch(index, run)));
                }
            }
        };
        let worker = std::thread::Builder::new()
            .name(format!("ufo-batch-{index}"))
            .spawn(thread)
            .map_err(|error| Error::Threads(error.to_string()))?;
        let places = Arc::new(Semaphore::new(batch.queue_images));
        Ok(Self { model, queue, places, worker: Some(worker) })
    }
}

/// What a batch computed.
#[derive(Debug)]
pub(crate) struct Ran<'a> {
    /// Images in it.
    pub(crate) images: usize,
    /// Images that each task of the model ran on; 0 where it did not run.
    pub(crate) per_task: &'a [usize],
    /// How long it took.
    pub(crate) seconds: f64,
}

/// Runs the tasks that are asked for, and replies.
fn answer(model: &Served, jobs: Vec<Job>, note: impl Fn(&Ran<'_>)) {
    let started = Instant::now();
    let mut batch = Vec::new();
    for job in jobs {
        if job.request.deadline <= started {
            let Job { request, reply, .. } = job;
            drop(request);
            let _gone = reply.send(Err(Failure::Late));
        } else if !job.reply.is_closed() {
            batch.push(job);
        }
    }
    if batch.is_empty() {
        return;
    }
    let images = batch.iter().map(|job| job.count).sum();
    let mut outputs: Vec<Outputs> =
        batch.iter().map(|job| Ok(vec![Vec::new(); job.request.tasks.len()])).collect();
    let per_task: Vec<usize> =
        (0..model.tasks.len()).map(|task| task_rows(model, task, &batch, &mut outputs)).collect();
    let seconds = started.elapsed().as_secs_f64();
    tracing::debug!(model = model.name, images, ?per_task, seconds, "batch");
    note(&Ran { images, per_task: &per_task, seconds });
    for (Job { request, reply, .. }, outputs) in batch.into_iter().zip(outputs) {
        // Its places are free before it is answered.
        drop(request);
        let _gone = reply.send(outputs);
    }
}

/// Runs a task on the images of the jobs that ask for it, puts its rows into their outputs, and says
/// how many images these were.
fn task_rows(model: &Served, task: usize, batch: &[Job], outputs: &mut [Outputs]) -> usize {
    let place = |job: &Job| job.request.tasks.iter().position(|asked| *asked == task);
    let asking: Vec<(usize, usize)> =
        batch.iter().enumerate().filter_map(|(i, job)| Some((i, place(job)?))).collect();
    let mut images = Vec::new();
    for (i, _) in &asking {
        images.extend_from_slice(&batch[*i].request.images);
    }
    if images.is_empty() {
        return 0;
    }
    let rows = run(model, task, &images);
    if let Err(reason) = &rows {
        tracing::error!(model = model.name, task = model.tasks[task].name, reason);
    }
    let mut start = 0;
    for (i, place) in asking {
        let end = start + batch[i].count * model.tasks[task].width();
        match (&rows, &mut outputs[i]) {
            (Ok(rows), Ok(outputs)) => outputs[place] = rows[start..end].to_vec(),
            (Err(reason), outputs) => *outputs = Err(Failure::Model(reason.clone())),
            (Ok(_), Err(_)) => {}
        }
        start = end;
    }
    images.len() / model.image_len()
}

/// A panic of one request may not end the thread that answers all others.
fn run(model: &Served, task: usize, images: &[f32]) -> std::result::Result<Vec<f32>, String> {
    catch_unwind(AssertUnwindSafe(|| model.run(task, images)))
        .unwrap_or_else(|_| {
            let reason = "the runtime panicked".to_string();
            Err(Error::Model { name: model.name.clone(), reason })
        })
        .map_err(|error| error.to_string())
}
