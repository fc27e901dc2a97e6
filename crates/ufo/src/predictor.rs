//! `ufo predictor`: what sub-networks would score, learned from few that were measured.
//!
//! Files of networks are the public benchmark's (`ufo_nas::Benchmark`); files whose name ends in `.jsonl` are
//! measurements of a search (`ufo_nas::Sample`).

use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use ufo_nas::{Benchmark, Encoding, Predictor, Sample, Slice, TaskSamples, Transform};
use ufo_nas::{benchmark_arch, benchmark_space, parse_samples};
use ufo_train::{RunConfig, write_atomic};

mod bench;

/// Largest file that is read: ten times the public benchmark's 99,500 networks.
const MOST_BYTES: u64 = 256 << 20;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Learn from measured networks.
    #[command(
        after_help = "Examples:\n  ufo predictor fit --train train.json --out predictor.json\n  ufo predictor fit --train samples.jsonl --config tasks.toml --out predictor.json"
    )]
    Fit {
        /// Networks with scores: a file of the public benchmark, or samples.jsonl.
        #[arg(long)]
        train: PathBuf,
        /// Configuration of the run that samples.jsonl is of: operations and parameters of its
        /// architecture become features, which latencies follow closely.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Predictor to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Predict the networks of a file.
    #[command(
        after_help = "Example:\n  ufo predictor predict --model predictor.json --archs test.json --out predicted.json"
    )]
    Predict {
        /// Predictor that `fit` wrote.
        #[arg(long)]
        model: PathBuf,
        /// Networks, a file of the public benchmark; its scores are not looked at.
        #[arg(long)]
        archs: PathBuf,
        /// Predictions to write, in the same format.
        #[arg(long)]
        out: PathBuf,
    },
    /// Measure how well networks that were not seen are put in order, and after how many samples.
    #[command(
        after_help = "Examples:\n  ufo predictor bench --train train.json --seeds 5\n  ufo predictor bench --train train.json --test test.json --json\n\nKeys of --json: see docs/predictor.md."
    )]
    Bench(bench::Args),
}

pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Fit { train, config, out } => fit(train, config.as_deref(), out)?,
        Command::Predict { model, archs, out } => predict(model, archs, out)?,
        Command::Bench(args) => bench::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn fit(train: &Path, config: Option<&Path>, out: &Path) -> Result<()> {
    let text = read(train)?;
    let (mut encoding, tasks) = if train.extension().is_some_and(|end| end == "jsonl") {
        measured(&text).with_context(|| train.display().to_string())?
    } else {
        let networks = Benchmark::scored(&text).with_context(|| train.display().to_string())?;
        (benchmark_encoding(), networks.samples())
    };
    if let Some(file) = config {
        let arch = RunConfig::read(file, &[])?.arch();
        encoding = Encoding { blocks: arch.depth, arch: Some(arch), ..encoding };
    }
    let started = Instant::now();
    let predictor = Predictor::fit(encoding, tasks).with_context(|| train.display().to_string())?;
    let seconds = started.elapsed().as_secs_f64();
    write_atomic(out, serde_json::to_string(predictor.file())?.as_bytes())?;
    let learned = predictor.noise().into_iter().zip(predictor.donors());
    for (samples, (noise, donors)) in predictor.file().tasks.iter().zip(learned) {
        let borrows = match donors[..] {
            [] => String::new(),
            _ => format!(", borrows from {}", donors.join(", ")),
        };
        let count = samples.values.len();
        println!("{}: {count} samples, noise variance {noise:.3}{borrows}", samples.task);
    }
    println!("fitted in {seconds:.1} s: {}", out.display());
    Ok(())
}

fn predict(model: &Path, archs: &Path, out: &Path) -> Result<()> {
    let file = serde_json::from_str(&read(model)?)
        .with_context(|| format!("{}: not a predictor that `fit` wrote", model.display()))?;
    let predictor = Predictor::open(file).with_context(|| model.display().to_string())?;
    let networks =
        Benchmark::unscored(&read(archs)?).with_context(|| archs.display().to_string())?;
    let predicted =
        predictor.predict(&networks.slices).with_context(|| archs.display().to_string())?;
    let (tasks, values): (Vec<_>, Vec<_>) =
        predicted.into_iter().map(|task| (task.task, task.value)).unzip();
    let written = networks.with_scores(&tasks, &values);
    write_atomic(out, serde_json::to_string(&written)?.as_bytes())?;
    println!("{} networks: {}", networks.keys.len(), out.display());
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    let at = || format!("reading {}", path.display());
    let bytes = fs::metadata(path).with_context(at)?.len();
    if bytes > MOST_BYTES {
        bail!("{}: {bytes} bytes; must be at most {MOST_BYTES}", path.display());
    }
    fs::read_to_string(path).with_context(at)
}

fn benchmark_encoding() -> Encoding {
    let blocks = benchmark_arch().depth;
    Encoding { space: benchmark_space(), blocks, arch: None }
}

/// Accuracies and latencies of a search, each task and split one to learn.
fn measured(text: &str) -> Result<(Encoding, Vec<TaskSamples>)> {
    let samples = parse_samples(text)?;
    let slices: Vec<_> = samples.iter().map(|sample| sample.slice.clone()).collect();
    let encoding = Encoding::seen(&slices)?;
    one_network(&samples)?;
    let mut tasks: BTreeMap<String, TaskSamples> = BTreeMap::new();
    for sample in samples {
        let name = format!("{}.{}", sample.task, sample.split);
        for (what, transform, value) in [
            ("accuracy", Transform::NormalScores, sample.accuracy),
            ("latency_ms", Transform::Log, sample.latency_ms),
        ] {
            let Some(value) = value else { continue };
            let task = format!("{name}.{what}");
            let empty = || TaskSamples {
                task: task.clone(),
                transform,
                slices: Vec::new(),
                values: Vec::new(),
            };
            let samples = tasks.entry(task.clone()).or_insert_with(empty);
            samples.slices.push(sample.slice.clone());
            samples.values.push(value);
        }
    }
    Ok((encoding, tasks.into_values().collect()))
}

/// An error where a slice was measured twice: keys differ with the weights and images, so the file is of two networks, which
/// no predictor tells apart.
fn one_network(samples: &[Sample]) -> Result<()> {
    let mut seen: HashMap<(&Slice, &str, &str), &str> = HashMap::new();
    for Sample { key, slice, task, split, .. } in samples {
        if let Some(other) = seen.insert((slice, task, split), key) {
            bail!(
                "slice = {slice}: has two measurements of {task}.{split}, keys {other} and {key}; must have one: keep the lines of one network"
            );
        }
    }
    Ok(())
}
