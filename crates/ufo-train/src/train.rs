//! The training loop: every task contributes to every step, task by task, so that the activations
//! of one task are in memory at a time (spec 2.6, 3.2).

use crate::checkpoint;
use crate::optimizer::{AdamW, Grads, Rates, global_norm};
use crate::{RunConfig, TaskConfig};
use anyhow::{Context, Result, bail};
use burn_tensor::{Device, Gradients, Tensor};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use ufo_data::{Batch, Dataset, Loader, LoaderConfig, Purpose, Sampler, stream};
use ufo_model::losses::{cosface_logits, cross_entropy, smooth_targets, triplet};
use ufo_model::{
    Draw, DropPath, Head, HeadConfig, NeckStatistics, Supernet, TaskSpec, Visit, Visitor,
    from_values, router, task_key, values,
};

/// A task ready to train and evaluate.
#[derive(Debug)]
pub struct Task {
    /// Its configuration.
    pub config: TaskConfig,
    /// Training split.
    pub train: Arc<Dataset>,
    /// Test split.
    pub test: Arc<Dataset>,
}

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
    /// Wall clock after which the run ends; the schedules follow it in place of the steps.
    pub budget: Option<Duration>,
}

/// Opens the data of every task.
///
/// # Errors
/// Names the task and the place.
pub fn open_tasks(config: &RunConfig) -> Result<Vec<Task>> {
    let open = |task: &TaskConfig| -> Result<Task> {
        let data = &task.data;
        let train = data.open_train(config.seed)?;
        let test = match task.head {
            HeadConfig::Linear => data.open_test(Some(train.classes()))?,
            HeadConfig::Embedding { .. } => data.open_test(None)?,
        };
        Ok(Task { config: task.clone(), train: Arc::new(train), test: Arc::new(test) })
    };
    let named = |task: &TaskConfig| open(task).with_context(|| format!("task `{}`", task.name));
    config.tasks.iter().map(named).collect()
}

/// A fresh supernet for the tasks.
///
/// # Errors
/// When the architecture is not valid.
pub fn new_supernet(config: &RunConfig, tasks: &[Task]) -> Result<Supernet> {
    let spec = |task: &Task| TaskSpec {
        name: task.config.name.clone(),
        head: task.config.head,
        classes: task.train.classes().len(),
    };
    let specs: Vec<TaskSpec> = tasks.iter().map(spec).collect();
    let mut rng = stream(config.seed, Purpose::Init, &[]);
    Ok(Supernet::init(&config.arch(), &specs, &mut rng, &Device::flex())?)
}

/// Hash of what shapes the weights and the data order; a checkpoint belongs to one.
pub fn fingerprint(config: &RunConfig, supernet: &Supernet) -> String {
    let specs: Vec<&TaskSpec> = supernet.tasks.iter().map(|task| &task.spec).collect();
    let text = json!([supernet.arch, specs, config.seed]).to_string();
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// Trains in `run`, from its newest checkpoint when there is one.
///
/// # Errors
/// A loss that is not finite (a checkpoint is saved first), data errors, a full disk.
pub fn train(
    run: &Path,
    config: &RunConfig,
    tasks: &[Task],
    supernet: &mut Supernet,
    limits: &Limits,
) -> Result<Summary> {
    let fingerprint = fingerprint(config, supernet);
    let (first, mut optimizer) =
        checkpoint::load_latest(run, &fingerprint, supernet)?.unwrap_or_default();
    supernet.require_grad();
    let mut loaders = start_loaders(config, tasks, first)?;
    let mut log = Log::open(run)?;
    let bar = progress_bar(config.train.steps, first);
    let started = Instant::now();
    let batch: usize = tasks.iter().map(|task| task.config.batch).sum();
    let save = |step, supernet: &Supernet, optimizer: &AdamW| {
        checkpoint::save(run, step, &fingerprint, supernet, optimizer)
    };
    let mut step = first;
    let mut stopped = false;
    while step < config.train.steps {
        let spent = limits.budget.map(|budget| started.elapsed().div_duration_f64(budget));
        stopped = limits.stop.load(Ordering::Relaxed);
        if stopped || spent.is_some_and(|spent| spent >= 1.0) {
            break;
        }
        let progress = spent.unwrap_or(step as f64 / config.train.steps as f64);
        let done = one_step(config, tasks, supernet, &mut loaders, (step, progress))?;
        if let Some((task, loss)) = done.losses.iter().find(|(_, loss)| !loss.is_finite()) {
            save(step, supernet, &optimizer)?;
            bail!(
                "step {step}: the loss of task `{task}` is {loss}; a checkpoint of the weights before this step is in {}",
                run.display()
            );
        }
        let scales: Vec<(String, f32)> = tasks
            .iter()
            .map(|task| (format!("{}.", task_key(&task.config.name)), task.config.lr_scale))
            .collect();
        let rates = rates(config, progress, &scales);
        optimizer.step(supernet, &done.grads, &rates);
        for (index, statistics) in done.necks {
            if let Head::Embedding(head) = &mut supernet.tasks[index].head {
                head.neck.update(&statistics);
            }
        }
        step += 1;
        if step.is_multiple_of(config.train.log_every) || step == config.train.steps {
            let speed = (step - first) as f64 * batch as f64 / started.elapsed().as_secs_f64();
            let norm = global_norm(&done.grads);
            log.train(step, &done.losses, (rates.lr, norm, speed), supernet)?;
            let shown: Vec<String> =
                done.losses.iter().map(|(name, loss)| format!("{name} {loss:.2}")).collect();
            bar.set_message(format!("{speed:.0} images/s  {}", shown.join("  ")));
        }
        bar.set_position(step);
        if step.is_multiple_of(config.train.checkpoint_every) && step < config.train.steps {
            save(step, supernet, &optimizer)?;
        }
    }
    save(step, supernet, &optimizer)?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    let images_per_s = (step - first) as f64 * batch as f64 / seconds;
    Ok(Summary { steps: step, seconds, images_per_s, stopped })
}

fn start_loaders(config: &RunConfig, tasks: &[Task], first_step: u64) -> Result<Vec<Loader>> {
    let start = |(index, task): (usize, &Task)| -> Result<Loader> {
        let labels = task.train.shared_labels();
        let c = &task.config;
        let sampler =
            || Sampler::new(Arc::clone(&labels), c.sampler, c.batch, config.seed, index as u64);
        let loader = LoaderConfig {
            workers: config.train.workers,
            queue: 2,
            seed: config.seed,
            task: index as u64,
            first_step,
            max_broken: c.data.max_broken,
        };
        Loader::train(&task.train, sampler, c.augment, &config.preprocess(), loader)
            .with_context(|| format!("task `{}`", c.name))
    };
    tasks.iter().enumerate().map(start).collect()
}

/// Linear warm-up, then cosine to `final_lr` (spec 3.6), by progress in 0..=1.
pub fn schedule(progress: f64, warmup: f64, final_lr: f64) -> f64 {
    if progress < warmup {
        return progress / warmup;
    }
    let along = ((progress - warmup) / (1.0 - warmup).max(f64::EPSILON)).min(1.0);
    final_lr + (1.0 - final_lr) * (1.0 + (std::f64::consts::PI * along).cos()) / 2.0
}

fn rates<'a>(config: &RunConfig, progress: f64, task_scales: &'a [(String, f32)]) -> Rates<'a> {
    let t = &config.train;
    let factor = schedule(progress, t.warmup, t.final_lr) as f32;
    Rates {
        lr: t.lr * factor,
        router_lr: t.router_lr * factor,
        weight_decay: t.weight_decay,
        clip: t.clip,
        task_scales,
    }
}

struct Step {
    losses: Vec<(String, f32)>,
    grads: Grads,
    necks: Vec<(usize, NeckStatistics)>,
}

fn one_step(
    config: &RunConfig,
    tasks: &[Task],
    supernet: &Supernet,
    loaders: &mut [Loader],
    (step, progress): (u64, f64),
) -> Result<Step> {
    let mut done = Step { losses: Vec::new(), grads: Grads::new(), necks: Vec::new() };
    let tau = config.router.tau(progress);
    for (index, (task, loader)) in tasks.iter().zip(loaders).enumerate() {
        let batch = loader.next_batch().with_context(|| format!("task `{}`", task.config.name))?;
        let [n, ..] = batch.size;
        let key = [index as u64, step];
        let mut rng = stream(config.seed, Purpose::Router, &key);
        let draw = Draw::new(&supernet.tasks[index].router, &config.router, tau, n, &mut rng);
        let mut rng = stream(config.seed, Purpose::DropPath, &key);
        let depth = supernet.arch.depth;
        let drop = DropPath::draw(config.train.drop_path, depth, n, &mut rng, &Device::flex());
        let vit = supernet.routed(index, &draw);
        let images = from_values(batch.images.clone(), batch.size, &Device::flex()).autodiff();
        let features = vit.forward(images, drop.as_ref());
        let (loss, statistics) =
            task_loss(&supernet.tasks[index].head, features, &task.config, &batch);
        done.losses.push((task.config.name.clone(), values(&loss)[0]));
        let grads = (loss * task.config.loss_weight).backward();
        add_grads(supernet, grads, &mut done.grads);
        done.necks.extend(statistics.map(|statistics| (index, statistics)));
    }
    Ok(done)
}

/// A task's loss on the features of a batch, and the neck's batch statistics of an embedding head.
pub fn task_loss(
    head: &Head,
    features: Tensor<2>,
    config: &TaskConfig,
    batch: &Batch,
) -> (Tensor<1>, Option<NeckStatistics>) {
    let device = Device::flex();
    let targets = |classes: usize, epsilon: f32| {
        let rows = smooth_targets(&batch.labels, classes, epsilon);
        from_values(rows, [batch.labels.len(), classes], &device)
    };
    match (head, config.head) {
        (Head::Embedding(head), HeadConfig::Embedding { scale, margin, .. }) => {
            let (before, cosines, statistics) = head.train(features);
            let targets = targets(cosines.dims()[1], 0.0);
            let logits = cosface_logits(cosines, targets.clone(), scale, margin);
            let loss = cross_entropy(logits, targets);
            let loss = match config.triplet {
                Some(form) => loss + triplet(before, &batch.labels, form),
                None => loss,
            };
            (loss, Some(statistics))
        }
        _ => {
            let logits = head.forward(features);
            let classes = logits.dims()[1];
            let targets = match &batch.soft {
                Some(soft) => from_values(soft.clone(), [batch.labels.len(), classes], &device),
                None => targets(classes, config.label_smoothing),
            };
            (cross_entropy(logits, targets), None)
        }
    }
}

/// Adds the gradients of one task to the step's.
pub fn add_grads(supernet: &Supernet, grads: Gradients, sum: &mut Grads) {
    struct Add<'a>(Gradients, &'a mut Grads);
    impl Visitor for Add<'_> {
        fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
            let Some(grad) = tensor.grad_remove(&mut self.0) else {
                return;
            };
            let grad = values(&grad);
            match self.1.get_mut(name) {
                Some(total) => total.iter_mut().zip(&grad).for_each(|(total, g)| *total += g),
                None => {
                    self.1.insert(name.to_string(), grad);
                }
            }
        }
        fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {}
    }
    supernet.clone().visit("", &mut Add(grads, sum));
}

fn progress_bar(steps: u64, first: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps  {eta} left  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps).with_style(style).with_position(first)
}

/// `metrics.jsonl`: a line of losses and one of routing at every log step.
struct Log(fs::File);

impl Log {
    fn open(run: &Path) -> Result<Self> {
        let place = run.join("metrics.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&place);
        Ok(Self(file.with_context(|| format!("opening {}", place.display()))?))
    }

    fn train(
        &mut self,
        step: u64,
        losses: &[(String, f32)],
        (lr, norm, speed): (f32, f32, f64),
        supernet: &Supernet,
    ) -> Result<()> {
        let losses: Map<String, Value> =
            losses.iter().map(|(name, loss)| (name.clone(), json!(loss))).collect();
        let shares: Map<String, Value> = supernet
            .tasks
            .iter()
            .map(|task| (task.spec.name.clone(), json!(router::share_probabilities(&task.router))))
            .collect();
        let train = json!({"step": step, "kind": "train", "loss": losses, "lr": lr,
            "grad_norm": norm, "images_per_s": speed});
        let routing = json!({"step": step, "kind": "router", "share": shares});
        writeln!(self.0, "{train}\n{routing}").context("writing metrics.jsonl")
    }
}
