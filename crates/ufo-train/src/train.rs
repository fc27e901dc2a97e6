//! The training loop (spec 3): steps, schedule, log, evaluations, checkpoints.

use crate::checkpoint::{self, Progress};
use crate::log::{Figures, Log};
use crate::optimizer::{Rates, global_norm};
use crate::step::{Step, Training};
use crate::{Identity, Learner, RunConfig, Task, TaskConfig, Workers, identity};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use ufo_data::{Loader, LoaderConfig, Sampler};
use ufo_model::HeadConfig;
use ufo_nas::task_key;

/// What a finished run reports.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Steps done in all.
    pub steps: u64,
    /// Training time of this process.
    pub seconds: f64,
    /// Training images a second.
    pub images_per_s: f64,
    /// Whether it was asked to stop before the end.
    pub stopped: bool,
}

/// When a run ends before its last step.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Set from outside, such as by Ctrl-C.
    pub stop: Arc<AtomicBool>,
    /// Training time after which the run ends, over all resumptions; the schedules follow it in
    /// place of the steps.
    pub budget: Option<Duration>,
}

/// Trains in `run`, from its newest checkpoint when there is one; `net` then holds the weights to
/// evaluate, the averaged ones if the run keeps them.
///
/// # Errors
/// A loss that is not finite (a checkpoint is saved first), data errors, a full disk.
pub fn train<L: Learner>(
    run: &Path,
    config: &RunConfig,
    tasks: &[Task],
    net: &mut L,
    limits: &Limits,
) -> Result<Summary> {
    let workers = Workers::new(config.train.threads, config.trained().len())?;
    let training = Training { config, tasks, workers };
    let mut run = Run::open(run, &training, net)?;
    let stopped = match run.steps(limits) {
        Ok(stopped) => stopped,
        Err(error) => {
            // What was learned so far stays, whatever stopped it.
            return Err(match run.save_new() {
                Ok(()) => error,
                Err(save) => error.context(format!("and no checkpoint could be saved: {save:#}")),
            });
        }
    };
    let summary = run.finish(stopped)?;
    if let Some(ema) = &run.at.ema {
        *net = ema.applied(net);
    }
    Ok(summary)
}

/// A run in progress.
struct Run<'a, L> {
    folder: &'a Path,
    training: &'a Training<'a>,
    net: &'a mut L,
    identity: Identity,
    loaders: Vec<Loader>,
    log: Log,
    bar: ProgressBar,
    at: Progress,
    first: u64,
    /// Step of the newest checkpoint.
    saved: Option<u64>,
    before_s: f64,
    started: Instant,
    evaluations: u32,
}

impl<'a, L: Learner> Run<'a, L> {
    fn open(folder: &'a Path, training: &'a Training<'a>, net: &'a mut L) -> Result<Self> {
        let config = training.config;
        let identity = identity(config, training.tasks);
        let before = checkpoint::load_latest(folder, &identity, net)?;
        let saved = before.as_ref().map(|progress| progress.step);
        let mut at = before.unwrap_or_default();
        if config.train.ema == 0.0 {
            at.ema = None;
        }
        let loaders = net.loaders(config, training.tasks, at.step)?;
        Ok(Self {
            folder,
            training,
            net,
            identity,
            loaders,
            log: Log::open(folder, at.step)?,
            bar: progress_bar(at.step, config.train.steps),
            first: at.step,
            saved,
            before_s: at.seconds,
            at,
            started: Instant::now(),
            evaluations: 0,
        })
    }

    /// Steps until the end or a limit; whether it was asked to stop.
    fn steps(&mut self, limits: &Limits) -> Result<bool> {
        let t = &self.training.config.train;
        if limits.budget.is_some() {
            self.bar.set_length(1000);
        }
        self.evaluations = (self.progress(limits) * f64::from(t.evaluations)) as u32;
        loop {
            let progress = self.progress(limits);
            if progress >= 1.0 || self.at.step >= t.steps {
                return Ok(false);
            }
            if limits.stop.load(Ordering::Relaxed) {
                return Ok(true);
            }
            self.step(progress)?;
            self.show(self.progress(limits));
            let due = (self.progress(limits) * f64::from(t.evaluations)) as u32;
            if due > self.evaluations && due < t.evaluations {
                self.evaluations = due;
                self.try_evaluate();
            }
            if self.at.step.is_multiple_of(t.checkpoint_every) && self.at.step < t.steps {
                self.save()?;
            }
        }
    }

    /// How far the run is, 0 to 1: by time under a budget, else by steps.
    fn progress(&self, limits: &Limits) -> f64 {
        match limits.budget {
            Some(budget) => self.seconds() / budget.as_secs_f64(),
            None => self.at.step as f64 / self.training.config.train.steps as f64,
        }
    }

    fn seconds(&self) -> f64 {
        self.before_s + self.started.elapsed().as_secs_f64()
    }

    fn step(&mut self, progress: f64) -> Result<()> {
        let config = self.training.config;
        let at = (self.at.step, progress);
        let step = self.net.step(self.training, &mut self.loaders, at)?;
        self.refuse_nan(&step)?;
        let scales: Vec<(String, f32)> = config.tasks.iter().flat_map(scales_of).collect();
        let rates = rates(config, progress, &scales);
        let grad_norm = self.at.optimizer.step(self.net, &step.grads, &rates);
        self.net.absorb(&step);
        if config.train.ema > 0.0 {
            self.at.ema.get_or_insert_default().update(self.net, config.train.ema);
        }
        self.at.step += 1;
        if self.at.step.is_multiple_of(config.train.log_every) || self.at.step == config.train.steps
        {
            let images_per_s = self.images_per_s();
            let figures = Figures {
                step: self.at.step,
                losses: &step.losses,
                lr: rates.lr,
                grad_norm,
                images_per_s,
                gradient_cosine: step.gradient_cosine,
            };
            let names = || config.tasks[config.trained()].iter().map(|task| task.name.as_str());
            let tasks: Vec<_> = names().zip(self.net.shares(self.training)).collect();
            self.log.train(&figures, &tasks)?;
            let shown: Vec<String> =
                names().zip(&step.losses).map(|(name, loss)| format!("{name} {loss:.2}")).collect();
            self.bar.set_message(format!("{images_per_s:.0} images/s  {}", shown.join("  ")));
        }
        Ok(())
    }

    /// Stops before weights are spoiled: the checkpoint that the error leaves is of sound weights.
    fn refuse_nan(&self, step: &Step) -> Result<()> {
        let at = self.at.step;
        let advice = format!(
            "checkpoints/step-{at:08} holds the weights before this step; try a smaller train.lr, and remove that checkpoint to go on from the one before"
        );
        if let Some(index) = step.losses.iter().position(|loss| !loss.is_finite()) {
            let config = self.training.config;
            let task = &config.tasks[config.trained()][index].name;
            bail!("step {at}: the loss of task `{task}` is {}; {advice}", step.losses[index]);
        }
        let norm = global_norm(&step.grads);
        if !norm.is_finite() {
            bail!("step {at}: the norm of the gradients is {norm}; {advice}");
        }
        Ok(())
    }

    fn images_per_s(&self) -> f64 {
        let config = self.training.config;
        let batch: usize = config.tasks[config.trained()].iter().map(|task| task.batch).sum();
        (self.at.step - self.first) as f64 * batch as f64 / self.started.elapsed().as_secs_f64()
    }

    fn show(&self, progress: f64) {
        match self.bar.length() {
            Some(length) => self.bar.set_position((progress.min(1.0) * length as f64) as u64),
            None => self.bar.tick(),
        }
        self.bar.set_prefix(self.at.step.to_string());
    }

    /// An evaluation that fails is worth a warning, not the run.
    fn try_evaluate(&mut self) {
        if let Err(error) = self.evaluate() {
            self.bar.println(format!("warning: not evaluated during training: {error:#}"));
        }
    }

    fn evaluate(&mut self) -> Result<()> {
        let averaged = self.at.ema.as_ref().map(|ema| ema.applied(&*self.net));
        let results = averaged.as_ref().unwrap_or(self.net).glimpse(self.training)?;
        self.log.eval(self.at.step, &results)
    }

    fn save(&mut self) -> Result<()> {
        let at = Progress { seconds: self.seconds(), ..self.at.clone() };
        checkpoint::save(self.folder, &self.identity, self.net, &at)?;
        self.saved = Some(self.at.step);
        Ok(())
    }

    /// Saves unless the newest checkpoint is of this step.
    fn save_new(&mut self) -> Result<()> {
        if self.saved == Some(self.at.step) { Ok(()) } else { self.save() }
    }

    fn finish(&mut self, stopped: bool) -> Result<Summary> {
        self.save_new()?;
        let last = !stopped && self.at.step > self.first;
        if last && self.training.config.train.evaluations > 0 {
            self.try_evaluate();
        }
        self.bar.finish_and_clear();
        Ok(Summary {
            steps: self.at.step,
            seconds: self.seconds(),
            images_per_s: self.images_per_s(),
            stopped,
        })
    }
}

/// A loader for each trained task.
pub(crate) fn start_loaders(
    config: &RunConfig,
    tasks: &[Task],
    first_step: u64,
) -> Result<Vec<Loader>> {
    let start = |index: usize| -> Result<Loader> {
        let (task, seed) = (&tasks[index], config.seed_of(index));
        let labels = task.train.shared_labels();
        let c = &task.config;
        let sampler = || Sampler::new(Arc::clone(&labels), c.sampler, c.batch, seed, index as u64);
        let loader = LoaderConfig {
            workers: config.train.workers,
            queue: 2,
            seed,
            task: index as u64,
            first_step,
            max_broken: c.data.max_broken,
        };
        Loader::train(&task.train, sampler, c.augment, &config.preprocess(), loader)
            .with_context(|| format!("task `{}`", c.name))
    };
    config.trained().map(start).collect()
}

/// Linear warm-up, then cosine to `final_lr` (spec 3.6), by progress in 0..=1.
pub fn schedule(progress: f64, warmup: f64, final_lr: f64) -> f64 {
    if progress < warmup {
        return progress / warmup;
    }
    let along = ((progress - warmup) / (1.0 - warmup).max(f64::EPSILON)).min(1.0);
    final_lr + (1.0 - final_lr) * (1.0 + (std::f64::consts::PI * along).cos()) / 2.0
}

/// Factors of the learning rate of a task's modules by the prefix of their names, the longer prefix first.
fn scales_of(task: &TaskConfig) -> Vec<(String, f32)> {
    let own = (format!("{}.", task_key(&task.name)), task.lr_scale);
    match task.head {
        HeadConfig::Segmentation { lr_scale, .. } | HeadConfig::Detection { lr_scale, .. } => {
            vec![(format!("{}head.", own.0), lr_scale * own.1), own]
        }
        _ => vec![own],
    }
}

fn rates<'a>(config: &RunConfig, progress: f64, task_scales: &'a [(String, f32)]) -> Rates<'a> {
    let t = &config.train;
    let factor = schedule(progress, t.warmup, t.final_lr) as f32;
    Rates {
        rule: t.optimizer,
        momentum: t.momentum,
        lr: t.lr * factor,
        router_lr: t.router_lr * factor,
        weight_decay: t.weight_decay,
        clip: t.clip,
        task_scales,
    }
}

fn progress_bar(done: u64, steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} step {prefix}  {eta} left  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps).with_style(style).with_position(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_follows_vector_a2() {
        let at = |step: f64| 0.2 * schedule(step / 60_000.0, 0.1, 0.02);
        for (step, lr) in [
            (0.0, 0.0),
            (3000.0, 0.1),
            (6000.0, 0.2),
            (12_000.0, 0.194_090),
            (33_000.0, 0.102),
            (50_000.0, 0.020_122),
            (60_000.0, 0.004),
        ] {
            assert!((at(step) - lr).abs() < 1e-6, "{step}: {} {lr}", at(step));
        }
    }
}
