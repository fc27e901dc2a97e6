//! `ufo train`, `ufo eval`, `ufo extract`: the stages of a run folder.

use crate::RunFolder;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use ufo_model::{HeadConfig, Supernet};
use ufo_nas::Slice;
use ufo_train::extract::{Choice, Extracted};
use ufo_train::{
    Limits, RunConfig, Summary, Task, evaluate, fingerprint, load_latest, new_supernet, open_tasks,
    write_atomic,
};

#[derive(clap::Args)]
pub(crate) struct TrainArgs {
    /// Configuration.
    #[arg(long)]
    config: PathBuf,
    /// Run folder.
    #[arg(long)]
    out: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    folder: RunFolder,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(crate) struct ExtractArgs {
    #[command(flatten)]
    folder: RunFolder,
    /// Tasks, comma separated.
    #[arg(long, value_delimiter = ',', required = true)]
    tasks: Vec<String>,
    /// Model folder, new.
    #[arg(long)]
    out: PathBuf,
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
    pub(crate) fn start(folder: &Path, config: RunConfig) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let lock = lock(folder)?;
        let tasks = open_tasks(&config)?;
        let supernet = new_supernet(&config, &tasks)?;
        // An earlier run of another configuration must keep its own: refuse before writing.
        load_latest(folder, &fingerprint(&config, &supernet), &mut supernet.clone())?;
        let text = toml::to_string(&config)?;
        write_atomic(&folder.join("config.toml"), text.as_bytes())?;
        Ok(Self { folder: folder.to_path_buf(), config, tasks, supernet, _lock: lock })
    }

    /// Opens a finished or interrupted run with its newest checkpoint.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let config = RunConfig::read(&folder.join("config.toml"))?;
        let lock = lock(folder)?;
        let tasks = open_tasks(&config)?;
        let mut supernet = new_supernet(&config, &tasks)?;
        let print = fingerprint(&config, &supernet);
        if load_latest(folder, &print, &mut supernet)?.is_none() {
            bail!("{}: no checkpoint; train first with `ufo train`", folder.display());
        }
        Ok(Self { folder: folder.to_path_buf(), config, tasks, supernet, _lock: lock })
    }

    /// Trains to the end, the budget, or Ctrl-C.
    pub(crate) fn train(&mut self, limits: &Limits) -> Result<Summary> {
        let summary =
            ufo_train::train(&self.folder, &self.config, &self.tasks, &mut self.supernet, limits)?;
        self.supernet = ufo_model::without_grad(&self.supernet);
        Ok(summary)
    }

    /// Every task's result with its baseline.
    pub(crate) fn evaluate(&self) -> Result<Vec<(evaluate::TaskResult, f64)>> {
        let preprocess = self.config.preprocess();
        let slice = Slice::full(&self.supernet.arch);
        let mut results = Vec::new();
        for (index, task) in self.tasks.iter().enumerate() {
            let vit = self.supernet.subnet(index, &self.supernet.path(index), &slice)?;
            let head = &self.supernet.tasks[index].head;
            let rows = evaluate::outputs(&vit, head, &task.test, &preprocess)?;
            let result = evaluate::judge(task, &rows)?;
            results.push((result, evaluate::baseline(task, &preprocess)?));
        }
        Ok(results)
    }

    /// Extracts the paths that the router picked for `names`.
    pub(crate) fn extract(&self, names: &[String], out: &Path) -> Result<Extracted> {
        let mut choices = Vec::new();
        for (position, name) in names.iter().enumerate() {
            let task = self.supernet.task_index(name)?;
            if names[..position].contains(name) {
                bail!("--tasks: `{name}` is named twice");
            }
            let classes = match self.tasks[task].config.head {
                HeadConfig::Linear => self.tasks[task].train.classes().to_vec(),
                HeadConfig::Embedding { .. } => Vec::new(),
            };
            choices.push(Choice { task, path: self.supernet.path(task), classes });
        }
        let source = fs::read_to_string(self.folder.join("checkpoints/latest"))?;
        let file = self.folder.join("checkpoints").join(source).join("supernet.safetensors");
        let hash = blake3::hash(&fs::read(&file)?).to_hex().to_string();
        let preprocess = self.config.preprocess();
        ufo_train::extract::extract(&self.supernet, &choices, &preprocess, &hash, out)
    }
}

fn lock(folder: &Path) -> Result<File> {
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

/// Limits whose stop flag is set by Ctrl-C.
pub(crate) fn interruptible() -> Result<Limits> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("catching Ctrl-C")?;
    Ok(Limits { stop, budget: None })
}

/// Exit code after training: 130 when it was interrupted, with a word on how to go on.
pub(crate) fn finished(summary: &Summary, again: &str) -> Option<ExitCode> {
    summary.stopped.then(|| {
        eprintln!(
            "stopped after step {}; the checkpoint is saved, continue with: {again}",
            summary.steps
        );
        ExitCode::from(130)
    })
}

pub(crate) fn train(args: &TrainArgs) -> Result<ExitCode> {
    let mut run = Run::start(&args.out, RunConfig::read(&args.config)?)?;
    let summary = run.train(&interruptible()?)?;
    let again =
        format!("ufo train --config {} --out {}", args.config.display(), args.out.display());
    if let Some(code) = finished(&summary, &again) {
        return Ok(code);
    }
    eprintln!("{} steps, {:.0} images/s", summary.steps, summary.images_per_s);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn eval(args: &EvalArgs) -> Result<ExitCode> {
    let run = Run::open(&args.folder.run)?;
    let results = run.evaluate()?;
    if args.json {
        let rows: Vec<_> = results
            .iter()
            .map(|(result, baseline)| json!({"result": result, "baseline_1nn": baseline}))
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        println!("{}", table(&run, &results));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn extract(args: &ExtractArgs) -> Result<ExitCode> {
    let run = Run::open(&args.folder.run)?;
    let extracted = run.extract(&args.tasks, &args.out)?;
    println!(
        "{}: {} parameters in {}",
        extracted.tasks.join(", "),
        extracted.params,
        args.out.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// The results as a terminal table.
pub(crate) fn table(run: &Run, results: &[(evaluate::TaskResult, f64)]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["task", "metric", "ufo", "raw-pixel 1-NN", "path (attention, FFN)"]);
    for (index, (result, baseline)) in results.iter().enumerate() {
        table.add_row([
            result.name.clone(),
            result.metric.clone(),
            format!("{:.1} %", 100.0 * result.value),
            format!("{:.1} %", 100.0 * baseline),
            run.supernet.path(index).to_string(),
        ]);
    }
    table
}
