//! Models with a queue and a thread each, and one pool of threads in which they compute.

mod lane;

use crate::config::BatchConfig;
use crate::served::Served;
use crate::{Error, Result};
pub(crate) use lane::Ran;
pub use lane::{Failure, Lane, Outputs, Places, Request};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

/// Models ready to answer; one may be put in another's place while others answer. When it is dropped, what
/// waits is still answered.
#[derive(Debug)]
pub struct Engine {
    /// Replaced whole, so that a request sees either all of a change or nothing of it.
    lanes: RwLock<Arc<[Arc<Lane>]>>,
    /// Held while models change.
    changing: Mutex<()>,
    pool: Arc<ThreadPool>,
    batch: BatchConfig,
}

impl Engine {
    /// Runs every task of every model once on the smallest and the largest batch, so that the first
    /// requests find memory and caches warm, and starts the threads.
    ///
    /// # Errors
    /// Threads that cannot be started, or a model that fails.
    pub fn start(models: Vec<Served>, threads: usize, batch: &BatchConfig) -> Result<Self> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("ufo-compute-{index}"))
            .build()
            .map_err(|error| Error::Threads(error.to_string()))?;
        let engine = Self {
            lanes: RwLock::new(Arc::new([])),
            changing: Mutex::new(()),
            pool: Arc::new(pool),
            batch: batch.clone(),
        };
        for model in models {
            engine.put(model)?;
        }
        Ok(engine)
    }

    /// The models, in their order, as they are now. Who holds them asks them, whatever changes meanwhile.
    pub fn models(&self) -> Arc<[Arc<Lane>]> {
        Arc::clone(&self.lanes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Warms a model and puts it in the place of that of its name, or behind all others. Requests that are
    /// under way are answered by the one that they found.
    ///
    /// # Errors
    /// A thread that cannot be started, or a model that fails; nothing is changed then.
    pub fn put(&self, model: Served) -> Result<()> {
        self.put_with(model, |_| Ok(()))
    }

    /// The same, where `accept` may refuse the model when it is warm; what that gives is given when it is in its place.
    ///
    /// # Errors
    /// Those of `accept`, too.
    pub(crate) fn put_with<T>(
        &self,
        model: Served,
        accept: impl FnOnce(&Served) -> Result<T>,
    ) -> Result<T> {
        let started = Instant::now();
        self.pool.install(|| warm(&model, self.batch.max_images))?;
        let ms = started.elapsed().as_millis() as u64;
        tracing::info!(model = model.name, ms, "warm");
        let _alone = self.changing.lock();
        let mut lanes = self.models().to_vec();
        let place = lanes.iter().position(|lane| lane.model.name == model.name);
        let earlier = place.map(|place| &*lanes[place]);
        let lane = Arc::new(Lane::start(model, earlier, &self.batch, &self.pool)?);
        let accepted = accept(&lane.model)?;
        match place {
            Some(place) => lanes[place] = lane,
            None => lanes.push(lane),
        }
        self.set(lanes);
        Ok(accepted)
    }

    /// Takes a model out; whether there was one of the name. Requests that are under way are answered.
    pub fn remove(&self, name: &str) -> bool {
        let _alone = self.changing.lock();
        let mut lanes = self.models().to_vec();
        let before = lanes.len();
        lanes.retain(|lane| lane.model.name != name);
        let removed = lanes.len() < before;
        self.set(lanes);
        removed
    }

    fn set(&self, lanes: Vec<Arc<Lane>>) {
        *self.lanes.write().unwrap_or_else(PoisonError::into_inner) = lanes.into();
    }

    /// Runs work in the threads that models compute with.
    pub fn compute<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// Threads that models compute with.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Most images of a request.
    pub fn max_images(&self) -> usize {
        self.batch.max_images
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let lanes = self.models();
        lanes.iter().for_each(|lane| lane.close());
        lanes.iter().for_each(|lane| lane.join());
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
