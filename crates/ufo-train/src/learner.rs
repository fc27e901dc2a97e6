//! What the training loop asks of the weights that it trains.

use crate::evaluate::{self, TaskResult};
use crate::step::{Step, Training, one_step};
use crate::train::start_loaders;
use crate::{RunConfig, Task};
use anyhow::Result;
use ufo_data::Loader;
use ufo_model::{Supernet, Visit, router};

/// Weights that a run trains: a supernet, or a student.
pub trait Learner: Visit + Clone {
    /// File of the weights in a checkpoint.
    const FILE: &'static str;

    /// The loaders of the trained tasks' batches from a step on, and what else a step reads.
    ///
    /// # Errors
    /// A sampler that does not fit its data.
    fn loaders(&self, config: &RunConfig, tasks: &[Task], first_step: u64) -> Result<Vec<Loader>> {
        start_loaders(config, tasks, first_step)
    }

    /// Losses and gradients of the next batches at `(step, progress)`.
    ///
    /// # Errors
    /// Those of the loaders, with the task's name.
    fn step(&self, training: &Training<'_>, loaders: &mut [Loader], at: (u64, f64))
    -> Result<Step>;

    /// Takes up what a step measured besides gradients.
    fn absorb(&mut self, step: &Step);

    /// P(shared) of every routed site, by trained task; empty where nothing is routed.
    fn shares(&self, training: &Training<'_>) -> Vec<Vec<f32>>;

    /// The result of every trained task during training, on at most 500 validation images, or test images
    /// where a task holds none out.
    ///
    /// # Errors
    /// A broken image, outputs that are not finite.
    fn glimpse(&self, training: &Training<'_>) -> Result<Vec<TaskResult>>;
}

impl Learner for Supernet {
    const FILE: &'static str = "supernet.safetensors";

    fn step(
        &self,
        training: &Training<'_>,
        loaders: &mut [Loader],
        at: (u64, f64),
    ) -> Result<Step> {
        one_step(training, self, loaders, at)
    }

    fn absorb(&mut self, step: &Step) {
        for (index, statistics) in &step.heads {
            self.tasks[*index].head.absorb(statistics);
        }
    }

    fn shares(&self, training: &Training<'_>) -> Vec<Vec<f32>> {
        let tasks = &self.tasks[training.config.trained()];
        tasks.iter().map(|task| router::share_probabilities(&task.router)).collect()
    }

    fn glimpse(&self, training: &Training<'_>) -> Result<Vec<TaskResult>> {
        evaluate::glimpse(training, self)
    }
}
