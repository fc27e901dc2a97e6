//! `ufo expand`: one more task for a trained run.

use crate::resident;
use crate::run::Run;
use crate::train::{finished, interruptible};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use ufo_data::Labels;
use ufo_model::Supernet;
use ufo_train::expand::{StemScore, hash_of, hash_of_others, parameters};
use ufo_train::memory::{Share, expand_bytes};
use ufo_train::{ExpandConfig, Limits, RunConfig, Summary, Task, TaskConfig, Update, write_atomic};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) folder: crate::RunFolder,
    /// TOML file with one `[[task]]` section, as in a run's configuration.
    #[arg(long)]
    pub(crate) task: PathBuf,
    /// What of the new task is trained: head, expert, expert+router, norms, last-K (K blocks) or all.
    #[arg(long, default_value = "last-1")]
    pub(crate) update: Update,
    /// Labels that training sees, such as 10% or 5-per-class; default data.labels of the task.
    #[arg(long)]
    pub(crate) labels: Option<Labels>,
    /// Run folder of the supernet with the new task; an earlier one of the same configuration goes on.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Training time, such as 90s or 40m, in place of train.steps.
    #[arg(long, value_parser = crate::demo::duration)]
    pub(crate) budget: Option<Duration>,
    /// Change one value of the configuration, such as train.lr=1e-3.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Seed of the new task: its label subset, head and batches.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// Steps of training unless set or under a budget.
const STEPS: u64 = 500;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    Ok(match expand(args, &mut interruptible()?)? {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(130),
    })
}

/// Adds the task, prints what it took and gives, and returns that; none when it was interrupted.
pub(crate) fn expand(args: &Args, limits: &mut Limits) -> Result<Option<Value>> {
    let mut run = Run::start(&args.out, config(args)?)?;
    limits.budget = args.budget;
    let new = run.tasks.len() - 1;
    let from = run.config.expand.as_ref().context("config.toml of this run has [expand]")?;
    let others = hash_of_source(&from.from)?;
    let summary = run.train(limits)?;
    if finished(&summary).is_some() {
        return Ok(None);
    }
    let kept = hash_of_others(&run.supernet, new)? == others;
    let report = report(&run, &summary, kept)?;
    write_atomic(&args.out.join("expand.json"), &serde_json::to_vec_pretty(&report)?)?;
    print(&report);
    Ok(Some(report))
}

/// The hash of all tasks of the run that was expanded.
fn hash_of_source(folder: &Path) -> Result<String> {
    let source = Run::open(folder).context("expand.from")?;
    hash_of(&source.supernet)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTask {
    task: Vec<TaskConfig>,
}

/// The run's configuration with the new task, which alone is trained.
fn config(args: &Args) -> Result<RunConfig> {
    let place = args.task.display();
    let text = fs::read_to_string(&args.task).with_context(|| format!("reading {place}"))?;
    let new: NewTask = toml::from_str(&text).with_context(|| format!("in {place}"))?;
    let [mut task] = <[TaskConfig; 1]>::try_from(new.task).map_err(|tasks| {
        anyhow::anyhow!("{place}: {} [[task]] sections, must be 1", tasks.len())
    })?;
    task.data.labels = args.labels.or(task.data.labels);
    task.seed = args.seed.or(task.seed);
    let mut config = RunConfig::read(&args.folder.run.join("config.toml"), &[])?;
    if config.chip.is_some() {
        bail!(
            "--run {}: a chip supernet; expand the run that it was made from",
            args.folder.run.display()
        );
    }
    let names: Vec<&str> = config.tasks.iter().map(|task| task.name.as_str()).collect();
    if names.contains(&&*task.name) {
        bail!(
            "{place}: name = `{}`: the run has {}; a new task needs another name",
            task.name,
            names.join(", ")
        );
    }
    config.tasks.push(task);
    config.init = None;
    config.train.ema = 0.0;
    config.train.lr *= args.update.rate();
    config.train.steps = STEPS;
    config.train.checkpoint_every = STEPS;
    let from = std::path::absolute(&args.folder.run).context("finding the working folder")?;
    config.expand = Some(ExpandConfig { from, update: args.update, stem: None });
    RunConfig::parse(&toml::to_string(&config)?, &args.set)
}

/// The supernet of a run that starts, and says in `expand` which stem it starts with.
pub(crate) fn start(
    config: &RunConfig,
    expand: &mut ExpandConfig,
    tasks: &[Task],
) -> Result<Supernet> {
    let from = Run::open(&expand.from).context("expand.from")?;
    let given = (&from.config, &from.supernet);
    let (supernet, stems) = ufo_train::expand::start(config, expand, given, tasks)?;
    eprintln!("{}", stem_line(&stems));
    expand.stem = Some(stems[0].task.clone());
    Ok(supernet)
}

fn stem_line(stems: &[StemScore]) -> String {
    let scored = |stem: &StemScore| {
        if stem.accuracy.is_nan() {
            stem.task.clone()
        } else {
            format!("{} {:.1} %", stem.task, 100.0 * stem.accuracy)
        }
    };
    let all: Vec<String> = stems.iter().map(scored).collect();
    format!("starting with the stem of {} (nearest mean: {})", stems[0].task, all.join(", "))
}

/// What the expansion took and gives.
fn report(run: &Run, summary: &Summary, kept: bool) -> Result<Value> {
    let new = run.tasks.len() - 1;
    let expand = run.config.expand.as_ref().context("config.toml of this run has [expand]")?;
    let slice = run.slice(None)?;
    let (result, _) = run.judge(new, &slice)?;
    let task = &run.tasks[new];
    let parameters = parameters(expand, &run.supernet, new);
    let share =
        Share::new(task.config.batch, run.config.router.other_fraction, run.config.train.mode());
    let bytes = |update, trained| expand_bytes(&run.supernet.arch, share, update, trained);
    // The formula knows no maps of a head.
    let known = !task.config.head.reads_tokens();
    let mb = |bytes: u64| known.then(|| bytes as f64 / f64::from(1 << 20));
    Ok(json!({
        "task": result.name, "update": expand.update, "stem": expand.stem,
        "labels": task.config.data.labels, "images": task.train.len(),
        "classes": task.train.classes().len(),
        "parameters": parameters,
        "seconds": summary.seconds, "steps": summary.steps, "images_per_s": summary.images_per_s,
        "training_mb": mb(bytes(expand.update, parameters.trained)),
        "training_mb_of_all": mb(bytes(Update::All, parameters.path)),
        "peak_mb": resident::peak_mb(),
        "others_unchanged": kept,
        "metric": result.metric, "value": result.value,
        "path": run.supernet.path(new).to_string(),
    }))
}

fn print(report: &Value) {
    let number = |key: &str| report[key].as_f64().unwrap_or(f64::NAN);
    let parameters = |key: &str| report["parameters"][key].as_u64().unwrap_or_default();
    let text = |key: &str| report[key].as_str().unwrap_or_default();
    println!(
        "{}: {} {:.1} % on the test images, trained on {} images of {} classes",
        text("task"),
        text("metric"),
        100.0 * number("value"),
        report["images"],
        report["classes"]
    );
    println!(
        "{}: {} of {} parameters trained, {} steps in {:.1} s ({:.0} images/s){}{}",
        text("update"),
        parameters("trained"),
        parameters("path"),
        report["steps"],
        number("seconds"),
        number("images_per_s"),
        report["training_mb"].as_f64().map_or(String::new(), |mb| {
            let all = number("training_mb_of_all");
            format!(", {mb:.1} MB for training (all: {all:.1} MB)")
        }),
        report["peak_mb"].as_f64().map_or(String::new(), |mb| format!(", the process {mb:.0} MB"))
    );
    let kept = report["others_unchanged"].as_bool() == Some(true);
    let kept = if kept {
        "keep every bit"
    } else {
        "have changed, since layout a shares what was trained"
    };
    println!("path {}; all other tasks {kept}", text("path"));
}

/// The stem that an earlier start of the run in `folder` chose.
pub(crate) fn earlier_stem(folder: &Path) -> Result<Option<String>> {
    let config = RunConfig::read(&folder.join("config.toml"), &[])?;
    Ok(config.expand.and_then(|expand| expand.stem))
}
