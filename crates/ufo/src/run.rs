//! A run folder held by this process.

use crate::expand;
use crate::search::Pareto;
use anyhow::{Context, Result, bail};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use ufo_data::{Dataset, Preprocess, eval_batches};
use ufo_model::{Head, Supernet, state_of};
use ufo_nas::{Coding, Encoding, Slice, Space};
use ufo_train::chip::calibrated;
use ufo_train::extract::{Entry, Probe};
use ufo_train::{
    Limits, RunConfig, Summary, Task, Workers, evaluate, identity, load_latest, new_supernet,
    open_tasks, write_atomic,
};

/// Every task's result.
pub(crate) type Results = Vec<Judged>;

/// What the test split of a task says.
pub(crate) struct Judged {
    pub(crate) result: evaluate::TaskResult,
    /// The same metric by raw pixels.
    pub(crate) baseline: f64,
    /// Output of every test image, row-major; none of a segmentation or detection.
    pub(crate) rows: Vec<f32>,
}

/// A run folder held by this process: its configuration, data and weights.
pub(crate) struct Run {
    pub(crate) folder: PathBuf,
    pub(crate) config: RunConfig,
    pub(crate) tasks: Vec<Task>,
    pub(crate) supernet: Supernet,
    _lock: File,
}

impl Run {
    /// Creates the folder, or takes up an earlier run of the same configuration.
    pub(crate) fn start(folder: &Path, mut config: RunConfig) -> Result<Self> {
        refuse_student(&config, folder)?;
        // So that the run can be opened from anywhere.
        config.make_paths_absolute()?;
        // Wrong data leave no folder behind.
        let tasks = open_tasks(&config)?;
        if !folder.join("config.toml").exists() {
            tasks.iter().try_for_each(ufo_train::segment::check)?;
            tasks.iter().try_for_each(ufo_train::detect::check)?;
        }
        let mut supernet = new_supernet(&config, &tasks)?;
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let lock = lock(folder)?;
        // An earlier run of another configuration must keep its own: refuse before writing.
        let before = load_latest(folder, &identity(&config, &tasks), &mut supernet.clone())?;
        if let (Some(file), None) = (&config.init, &before) {
            ufo_train::init_from(file, &mut supernet)?;
        }
        if let (Some(chip), None) = (&config.chip, &before) {
            let from = Self::open(&chip.from).context("chip.from")?;
            let name = chip.from.display().to_string();
            ufo_train::chip::start(&mut supernet, &from.supernet, &name)?;
        }
        if let Some(mut expand) = config.expand.take() {
            match before {
                None => supernet = expand::start(&config, &mut expand, &tasks)?,
                Some(_) => expand.stem = expand::earlier_stem(folder)?,
            }
            config.expand = Some(expand);
        }
        for task in tasks.iter().filter(|task| task.config.data.labels.is_some()) {
            let place = folder.join(format!("labels.{}.csv", task.config.name));
            write_atomic(&place, task.train.list().as_bytes())?;
        }
        let text = toml::to_string(&config)?;
        write_atomic(&folder.join("config.toml"), text.as_bytes())?;
        Ok(Self { folder: folder.to_path_buf(), config, tasks, supernet, _lock: lock })
    }

    /// Opens a finished or interrupted run with its newest checkpoint.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let config = RunConfig::read(&folder.join("config.toml"), &[])?;
        refuse_student(&config, folder)?;
        let lock = lock(folder)?;
        let tasks = open_tasks(&config)?;
        let mut supernet = new_supernet(&config, &tasks)?;
        let identity = identity(&config, &tasks);
        let Some(progress) = load_latest(folder, &identity, &mut supernet)? else {
            bail!("{}: no checkpoint; train first with `ufo train`", folder.display());
        };
        if let Some(ema) = progress.ema.filter(|_| config.train.ema > 0.0) {
            supernet = ema.applied(&supernet);
        }
        Ok(Self { folder: folder.to_path_buf(), config, tasks, supernet, _lock: lock })
    }

    /// Takes images of another size from now on.
    pub(crate) fn resize(&mut self, side: usize) -> Result<()> {
        let config = RunConfig { image_size: Some(side), ..self.config.clone() };
        config.validate()?;
        self.supernet = self.supernet.resized([side; 2])?;
        self.config = config;
        Ok(())
    }

    /// Trains to the end, the budget, or Ctrl-C.
    pub(crate) fn train(&mut self, limits: &Limits) -> Result<Summary> {
        eprintln!("computing with {}", self.config.train.precision.describe());
        let result =
            ufo_train::train(&self.folder, &self.config, &self.tasks, &mut self.supernet, limits);
        // From here on Ctrl-C ends the program at once: there is nothing left to save.
        limits.stop.store(true, Ordering::Relaxed);
        result
    }

    /// Every task's result with its baseline.
    pub(crate) fn evaluate(&self, slice: &Slice) -> Result<Results> {
        let preprocess = self.config.preprocess();
        let workers = Workers::new(self.config.train.threads, self.tasks.len())?;
        let results = workers.map(self.tasks.len(), |index| {
            let task = &self.tasks[index];
            let (result, rows) = self.judge(index, slice)?;
            Ok(Judged { result, baseline: evaluate::baseline(task, &preprocess)?, rows })
        });
        results.into_iter().collect()
    }

    /// A task's result on its test images along the router's path, cut to `slice`, and the outputs.
    pub(crate) fn judge(
        &self,
        index: usize,
        slice: &Slice,
    ) -> Result<(evaluate::TaskResult, Vec<f32>)> {
        self.judge_on(index, slice, &self.tasks[index].test)
    }

    /// The same on other images of the task.
    pub(crate) fn judge_on(
        &self,
        index: usize,
        slice: &Slice,
        images: &Dataset,
    ) -> Result<(evaluate::TaskResult, Vec<f32>)> {
        let (task, preprocess) = (&self.tasks[index], self.config.preprocess());
        let path = self.supernet.path(index);
        let vit = self.supernet.subnet(index, &path, slice)?;
        let head = self.head(index, &path, slice)?;
        evaluate::result((&vit, &head), task, images, &preprocess)
    }

    /// A task's head for a slice of its network.
    fn head(&self, index: usize, path: &ufo_nas::Path, slice: &Slice) -> Result<Head> {
        let head = &self.supernet.tasks[index].head;
        if slice.is_full(&self.supernet.arch) {
            return Ok(head.clone());
        }
        let vit = self.supernet.subnet(index, path, slice)?;
        calibrated(&self.config, &vit, head, &self.tasks[index])
    }

    /// The slices that the run was trained for.
    pub(crate) fn space(&self) -> Space {
        match &self.config.chip {
            Some(chip) => chip.space.clone(),
            None => Space::whole(&self.supernet.arch),
        }
    }

    /// The space of a chip supernet.
    ///
    /// # Errors
    /// When the run is none.
    pub(crate) fn chip_space(&self) -> Result<&Space> {
        let chip = self.config.chip.as_ref();
        let none =
            || format!("{}: no chip supernet; make one with `ufo chip`", self.folder.display());
        Ok(&chip.with_context(none)?.space)
    }

    /// How slices of the run become numbers for predictors.
    pub(crate) fn encoding(&self) -> Encoding {
        let arch = &self.supernet.arch;
        let (space, blocks, arch) = (self.space(), arch.depth, Some(arch.clone()));
        Encoding { space, blocks, arch, coding: Coding::default() }
    }

    /// A hash of the weights in use, whichever checkpoint or average they come from.
    pub(crate) fn weights_hash(&self) -> Result<String> {
        let state = state_of(&mut self.supernet.clone(), "");
        Ok(blake3::hash(&ufo_weights::to_bytes(&state, &[])?).to_hex().to_string())
    }

    /// A task's network along the router's path, cut to `slice`, with `images` of its test images.
    pub(crate) fn entry(&self, index: usize, slice: &Slice, images: usize) -> Result<Entry<'_>> {
        self.entry_along(index, self.supernet.path(index), slice, images)
    }

    /// The same along another path.
    pub(crate) fn entry_along(
        &self,
        index: usize,
        path: ufo_nas::Path,
        slice: &Slice,
        images: usize,
    ) -> Result<Entry<'_>> {
        let task = &self.tasks[index];
        Ok(Entry {
            supernet: &self.supernet,
            task: index,
            name: task.config.name.clone(),
            slice: slice.clone(),
            head: self.head(index, &path, slice)?,
            path,
            classes: task.classes().to_vec(),
            probe: probe(task, &self.config.preprocess(), images)?,
        })
    }

    /// A slice by its text; `smallest` and `largest` are those of a chip supernet's space, `chosen` and
    /// `pareto.N` what `ufo search` found.
    pub(crate) fn slice(&self, text: Option<&str>) -> Result<Slice> {
        let arch = &self.supernet.arch;
        let slice = match text {
            None => Slice::full(arch),
            Some("largest") => self.space().largest(arch),
            Some("smallest") => self.space().smallest(arch),
            Some("chosen") => {
                let chosen = self.found()?.chosen;
                let chosen = chosen.context(
                    "--slice chosen: the search had no limits; pareto.N names a point of its front",
                )?;
                chosen.point.slice.parse()?
            }
            Some(text) if text.starts_with("pareto.") => {
                let points = self.found()?.points;
                let number = text["pareto.".len()..].parse::<usize>().ok();
                let point = number.and_then(|number| points.get(number));
                let most = points.len().saturating_sub(1);
                let wrong = || format!("--slice {text}: must be pareto.0 to pareto.{most}");
                point.with_context(wrong)?.slice.parse()?
            }
            Some(text) => text.parse().context("--slice")?,
        };
        slice.validate(arch).context("--slice")?;
        Ok(slice)
    }

    /// What `ufo search` found of these weights.
    pub(crate) fn found(&self) -> Result<Pareto> {
        let place = self.folder.join("search/pareto.json");
        let found = Pareto::read(&place).context("run `ufo search` first")?;
        if found.checkpoint != self.weights_hash()? {
            bail!("{}: is of other weights than the run's; search again", place.display());
        }
        Ok(found)
    }
}

/// So many test images of a task, from the first on again where there are fewer.
pub(crate) fn probe(task: &Task, preprocess: &Preprocess, images: usize) -> Result<Probe> {
    let few: Vec<usize> = (0..images).map(|image| image % task.test.len()).collect();
    let few = task.test.select(&few);
    let batch = eval_batches(&few, preprocess, images).next();
    let batch = batch.context("a test split has at least one image")??;
    Ok(Probe { images: batch.images, size: batch.size })
}

/// A student is no supernet.
fn refuse_student(config: &RunConfig, folder: &Path) -> Result<()> {
    if config.distill.is_some() {
        bail!(
            "{}: a student's run, which `ufo distill` trains; its model is {}",
            folder.display(),
            folder.join("model").display()
        );
    }
    Ok(())
}

/// Images of a task on which an extracted model is compared with the supernet.
pub(crate) const PROBES: usize = 16;

pub(crate) fn lock(folder: &Path) -> Result<File> {
    let place = folder.join(".lock");
    let file = File::create(&place).with_context(|| format!("creating {}", place.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "{}: another ufo process works in this folder; wait for it or choose another",
                folder.display()
            )
        }
        Err(TryLockError::Error(error)) => Err(error).context(place.display().to_string()),
    }
}
