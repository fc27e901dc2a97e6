//! A model, what waits for it, and the thread that answers.

use crate::config::BatchConfig;
use crate::metrics::Counts;
use crate::queue::{Queue, Waiting};
use crate::served::Served;
use crate::{Error, Result};
use rayon::ThreadPool;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Most sets of tasks whose first request is logged.
const MOST_TOLD: usize = 100;

/// A model with its queue. When the last holder drops it, its thread answers what waits, and ends.
#[derive(Debug)]
pub struct Lane {
    /// The model.
    pub model: Arc<Served>,
    pub(crate) counts: Arc<Counts>,
    queue: Arc<Queue<Job>>,
    /// As many as the queue takes images; one for each image that is not admitted.
    places: Arc<Semaphore>,
    queue_images: usize,
    worker: Mutex<Option<JoinHandle<()>>>,
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

impl Lane {
    /// Starts the thread of a model; its counts go on where those of an `earlier` one of the same tasks are.
    pub(super) fn start(
        model: Served,
        earlier: Option<&Self>,
        batch: &BatchConfig,
        pool: &Arc<ThreadPool>,
    ) -> Result<Self> {
        let queue =
            Arc::new(Queue::new(batch.max_images, Duration::from_millis(batch.max_delay_ms)));
        let going_on = earlier.map(|lane| &lane.counts).filter(|counts| counts.are_of(&model));
        let counts = going_on.map_or_else(|| Arc::new(Counts::new(&model)), Arc::clone);
        let model = Arc::new(model);
        let thread = {
            let (queue, model) = (Arc::clone(&queue), Arc::clone(&model));
            let (pool, counts) = (Arc::clone(pool), Arc::clone(&counts));
            move || {
                let mut told = BTreeSet::new();
                while let Some(jobs) = queue.take() {
                    pool.install(|| answer(&model, jobs, &counts, &mut told));
                }
            }
        };
        let worker = std::thread::Builder::new()
            .name(format!("ufo-{}", model.name))
            .spawn(thread)
            .map_err(|error| Error::Threads(error.to_string()))?;
        let queue_images = batch.queue_images;
        let places = Arc::new(Semaphore::new(queue_images));
        let worker = Mutex::new(Some(worker));
        Ok(Self { model, counts, queue, places, queue_images, worker })
    }

    /// Images admitted and not answered yet.
    pub fn waiting(&self) -> usize {
        self.queue_images - self.places.available_permits()
    }

    /// Images that a task ran on.
    pub fn task_images(&self, task: usize) -> u64 {
        self.counts.task_images(task)
    }

    /// Takes places for images in the queue, before work is spent on them.
    ///
    /// # Errors
    /// [`Failure::Full`].
    pub fn admit(&self, images: usize) -> std::result::Result<Places, Failure> {
        let places = Arc::clone(&self.places);
        let permit = places.try_acquire_many_owned(images as u32).map_err(|_| Failure::Full)?;
        Ok(Places(permit))
    }

    /// Asks the model. Nothing is computed for a request whose receiver is gone when its turn comes.
    pub fn ask(&self, request: Request) -> oneshot::Receiver<Outputs> {
        let (reply, answer) = oneshot::channel();
        let count = request.images.len() / self.model.image_len();
        let job = Job { request, count, since: Instant::now(), reply };
        if let Err(job) = self.queue.push(job) {
            // Nobody to tell is no failure.
            let _gone = job.reply.send(Err(Failure::Stopping));
        }
        answer
    }

    pub(super) fn close(&self) {
        self.queue.close();
    }

    /// Waits for the thread's end.
    pub(super) fn join(&self) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if worker.is_some_and(|worker| worker.join().is_err()) {
            tracing::error!(model = self.model.name, "the model's thread had panicked");
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.close();
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

/// Runs the tasks that are asked for, and replies. Sets of tasks that were asked for are in `told`.
fn answer(model: &Served, jobs: Vec<Job>, counts: &Counts, told: &mut BTreeSet<Vec<usize>>) {
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
    tracing::debug!(
        model = model.name,
        images,
        ?per_task,
        seconds,
        modules = model.modules_of(&per_task),
        "batch"
    );
    counts.batch(&Ran { images, per_task: &per_task, seconds });
    for job in &batch {
        tell_first(model, &job.request.tasks, told);
    }
    for (Job { request, reply, .. }, outputs) in batch.into_iter().zip(outputs) {
        // Its places are free before it is answered.
        drop(request);
        let _gone = reply.send(outputs);
    }
}

/// Logs which modules ran for a set of tasks, when these are asked for together for the first time.
fn tell_first(model: &Served, tasks: &[usize], told: &mut BTreeSet<Vec<usize>>) {
    let mut set = tasks.to_vec();
    set.sort_unstable();
    if told.len() == MOST_TOLD || told.contains(&set) {
        return;
    }
    let names: Vec<&str> = set.iter().map(|task| model.tasks[*task].name.as_str()).collect();
    let ran: Vec<usize> =
        (0..model.tasks.len()).map(|task| usize::from(set.contains(&task))).collect();
    let (tasks, modules) = (names.join(","), model.modules_of(&ran));
    tracing::info!(model = model.name, tasks, modules, "first request of these tasks");
    told.insert(set);
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
