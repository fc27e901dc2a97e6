//! Training steps on fixed random images: a plain ViT, and the Task-MoE supernet with four tasks.

use super::Workload;
use anyhow::{Context, Result};
use rand::RngExt;
use ufo_data::{Batch, Purpose, stream};
use ufo_model::{HeadConfig, Supernet, TaskSpec};
use ufo_nas::{Arch, Expert, Path};
use ufo_train::{
    Optimizer, Precision, Rates, Rule, RunConfig, Workers, fresh_supernet, path_step, step_on,
};

/// A ViT of the comparison: side and patch in pixels, width, heads; 12 blocks of FFN ratio 4.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    image: usize,
    patch: usize,
    dim: usize,
    heads: usize,
}

/// 65 tokens of width 192.
pub(crate) const S: Size = Size { image: 64, patch: 8, dim: 192, heads: 3 };
/// 197 tokens of width 384.
pub(crate) const L: Size = Size { image: 224, patch: 16, dim: 384, heads: 6 };

impl Size {
    /// The same on images of another side.
    pub(crate) fn image(self, image: usize) -> Self {
        Self { image, ..self }
    }

    /// The same of another width, in heads as wide.
    pub(crate) fn width(self, dim: usize) -> Self {
        Self { dim, heads: self.heads * dim / self.dim, ..self }
    }

    fn config(self, tasks: usize, batch: usize) -> Result<RunConfig> {
        let Self { image, patch, dim, heads } = self;
        let mut text = format!(
            "preset = \"tiny\"\nimage_size = {image}\n[arch]\ndim = {dim}\nheads = {heads}\nffn = {}\nstem = {{ kind = \"patch\", size = {patch}, stride = {patch} }}\n[train]\nthreads = 0\n",
            4 * dim
        );
        let task = |index: usize| {
            format!(
                "[[task]]\nname = \"t{index}\"\nhead = {{ kind = \"linear\" }}\nbatch = {batch}\ndata = {{ format = \"idx\", train = \"-\", test = \"-\" }}\n"
            )
        };
        text.extend((0..tasks).map(task));
        RunConfig::parse(&text, &[]).context("in a benchmark's configuration")
    }
}

/// A supernet with fresh weights for the tasks of a configuration.
pub(crate) fn supernet(size: Size, tasks: usize, classes: usize) -> Result<(RunConfig, Supernet)> {
    let config = size.config(tasks, 1)?;
    let spec = |task: &ufo_train::TaskConfig| TaskSpec {
        name: task.name.clone(),
        head: HeadConfig::Linear,
        classes,
    };
    let specs: Vec<TaskSpec> = config.tasks.iter().map(spec).collect();
    let net = fresh_supernet(&config, &specs)?;
    Ok((config, net))
}

/// The path along the task's own experts.
pub(crate) fn own_path(arch: &Arch) -> Result<Path> {
    Ok(Path::from_sites(arch, &vec![Expert::Task; arch.routed_sites()])?)
}

/// Random images and labels.
pub(crate) fn batch(arch: &Arch, count: usize, classes: u32, task: u64) -> Batch {
    let mut rng = stream(1, Purpose::Subset, &[task]);
    let [height, width] = arch.image_size;
    let values = count * arch.channels * height * width;
    Batch {
        step: 0,
        size: [count, arch.channels, height, width],
        images: (0..values).map(|_| rng.random_range(-1.0..1.0)).collect(),
        labels: (0..count).map(|_| rng.random_range(0..classes)).collect(),
        masks: None,
        boxes: None,
        soft: None,
        indices: (0..count).collect(),
        skipped: 0,
    }
}

fn rates() -> Rates<'static> {
    Rates {
        rule: Rule::AdamW,
        momentum: 0.9,
        lr: 1e-3,
        router_lr: 2e-2,
        weight_decay: 0.05,
        clip: 0.0,
        task_scales: &[],
    }
}

/// Forward, cross entropy over 1000 classes, backward, AdamW of a network without routing.
pub(crate) struct Plain {
    config: RunConfig,
    supernet: Supernet,
    path: Path,
    batch: Batch,
    optimizer: Optimizer,
    workers: Workers,
}

impl Plain {
    pub(crate) fn new(
        size: Size,
        count: usize,
        precision: Precision,
        threads: usize,
    ) -> Result<Self> {
        let (mut config, supernet) = supernet(size, 1, 1000)?;
        config.train.precision = precision;
        Ok(Self {
            path: own_path(&supernet.arch)?,
            batch: batch(&supernet.arch, count, 1000, 0),
            optimizer: Optimizer::default(),
            workers: Workers::new(threads, 1)?,
            config,
            supernet,
        })
    }
}

impl Workload for Plain {
    fn step(&mut self) -> Result<()> {
        let Self { config, supernet, path, batch, .. } = self;
        let step =
            self.workers.map(1, |_| path_step(config, supernet, 0, path, batch)).remove(0)?;
        self.optimizer.step(&mut self.supernet, &step.grads, &rates());
        Ok(())
    }
}

/// One step of a supernet of tasks with ten classes each, as `ufo train` takes it.
pub(crate) struct TaskMoe {
    config: RunConfig,
    supernet: Supernet,
    batches: Vec<Batch>,
    optimizer: Optimizer,
    workers: Workers,
    at: u64,
}

impl TaskMoe {
    /// With `count` images for each of `tasks` tasks.
    pub(crate) fn new(
        [tasks, count]: [usize; 2],
        precision: Precision,
        threads: usize,
    ) -> Result<Self> {
        let (mut config, supernet) = supernet(S, tasks, 10)?;
        config.train.precision = precision;
        let drawn = |task: usize| batch(&supernet.arch, count, 10, task as u64);
        let batches = (0..tasks).map(drawn).collect();
        let workers = Workers::new(threads, tasks)?;
        Ok(Self { config, supernet, batches, optimizer: Optimizer::default(), workers, at: 0 })
    }
}

impl Workload for TaskMoe {
    fn step(&mut self) -> Result<()> {
        let at = (self.at, 0.5);
        self.at += 1;
        let step = step_on(&self.config, &self.workers, &self.supernet, &self.batches, at);
        self.optimizer.step(&mut self.supernet, &step.grads, &rates());
        Ok(())
    }
}
