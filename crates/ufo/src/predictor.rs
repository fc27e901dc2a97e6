//! `ufo predictor`: what sub-networks would score, learned from few that were measured.
//!
//! Files of networks are the public benchmark's (`ufo_nas::Benchmark`); files whose name ends in `.jsonl` are
//! measurements of a search (`ufo_nas::Sample`).

use anyhow::{Context, Result, bail};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use ufo_nas::{Benchmark, Coding, Encoding, Predictor, TaskSamples, Transform};
use ufo_nas::{benchmark_arch, benchmark_space, kendall_tau, parse_samples, spearman};
use ufo_train::write_atomic;

/// Largest file that is read: ten times the public benchmark's 99,500 networks.
const MOST_BYTES: u64 = 256 << 20;
/// Parts of a cross-validation.
const FOLDS: usize = 5;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Learn from measured networks.
    #[command(after_help = "Example:\n  ufo predictor fit --train train.json --out predictor.json")]
    Fit {
        /// Networks with scores: a file of the public benchmark, or samples.jsonl.
        #[arg(long)]
        train: PathBuf,
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
    /// Measure how well networks that were not seen are put in order.
    #[command(after_help = "Example:\n  ufo predictor bench --train train.json --json")]
    Bench {
        /// Networks with scores, a file of the public benchmark.
        #[arg(long)]
        train: PathBuf,
        /// Networks to predict; without it, five-fold cross-validation.
        #[arg(long)]
        test: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Fit { train, out } => fit(train, out)?,
        Command::Predict { model, archs, out } => predict(model, archs, out)?,
        Command::Bench { train, test, json } => bench(train, test.as_deref(), *json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn fit(train: &Path, out: &Path) -> Result<()> {
    let text = read(train)?;
    let (encoding, tasks) = if train.extension().is_some_and(|end| end == "jsonl") {
        measured(&text).with_context(|| train.display().to_string())?
    } else {
        let networks = Benchmark::scored(&text).with_context(|| train.display().to_string())?;
        (benchmark_encoding(), networks.samples())
    };
    let started = Instant::now();
    let predictor = Predictor::fit(encoding, tasks).with_context(|| train.display().to_string())?;
    let seconds = started.elapsed().as_secs_f64();
    write_atomic(out, serde_json::to_string(predictor.file())?.as_bytes())?;
    for (samples, noise) in predictor.file().tasks.iter().zip(predictor.noise()) {
        println!("{}: {} samples, noise variance {noise:.3}", samples.task, samples.values.len());
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

fn bench(train: &Path, test: Option<&Path>, json: bool) -> Result<()> {
    let read = |path: &Path| -> Result<Benchmark> {
        Benchmark::scored(&read(path)?).with_context(|| path.display().to_string())
    };
    let networks = read(train)?;
    let splits = match test {
        Some(path) => {
            let unseen = read(path)?;
            if unseen.tasks != networks.tasks {
                let (got, expected) = (unseen.tasks.join(", "), networks.tasks.join(", "));
                bail!("{}: its tasks are {got}; must be {expected}", path.display());
            }
            vec![(networks.clone(), unseen)]
        }
        None => folds(&networks)?,
    };
    let started = Instant::now();
    let mut figures = vec![(0.0, 0.0); networks.tasks.len()];
    for (seen, unseen) in &splits {
        let predictor = Predictor::fit(benchmark_encoding(), seen.samples())?;
        let predicted = predictor.predict(&unseen.slices)?;
        for ((sums, predicted), truth) in figures.iter_mut().zip(&predicted).zip(&unseen.scores) {
            sums.0 += kendall_tau(&predicted.mean, truth)? / splits.len() as f64;
            sums.1 += spearman(&predicted.mean, truth)? / splits.len() as f64;
        }
    }
    let seconds = started.elapsed().as_secs_f64() / splits.len() as f64;
    let mean = figures.iter().map(|sums| sums.0).sum::<f64>() / figures.len() as f64;
    if json {
        let task = |(task, (tau, rho)): (&String, &(f64, f64))| {
            (task.clone(), json!({"kendall_tau": tau, "spearman": rho}))
        };
        let tasks: serde_json::Map<_, _> = networks.tasks.iter().zip(&figures).map(task).collect();
        let report = json!({
            "splits": splits.len(), "tasks": tasks, "mean_kendall_tau": mean,
            "seconds_per_split": seconds,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["task", "Kendall tau", "Spearman rho"]);
    for (task, (tau, rho)) in networks.tasks.iter().zip(&figures) {
        table.add_row([task.clone(), format!("{tau:.4}"), format!("{rho:.4}")]);
    }
    table.add_row(["mean".to_string(), format!("{mean:.4}"), String::new()]);
    println!("{table}\n{seconds:.1} s a split");
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
    Encoding { coding: Coding::OneHot, space: benchmark_space(), blocks }
}

/// Accuracies and latencies of a search, each task and split one to learn.
fn measured(text: &str) -> Result<(Encoding, Vec<TaskSamples>)> {
    let samples = parse_samples(text)?;
    let slices: Vec<_> = samples.iter().map(|sample| sample.slice.clone()).collect();
    let encoding = Encoding::seen(Coding::OneHot, &slices)?;
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

/// Each network is held out once: those of rows k, k + 5, k + 10, ...
fn folds(networks: &Benchmark) -> Result<Vec<(Benchmark, Benchmark)>> {
    let count = networks.keys.len();
    if count < 2 * FOLDS {
        bail!("{count} networks; must be {} at least to hold some out", 2 * FOLDS);
    }
    let part = |fold: usize, held: bool| {
        let rows: Vec<usize> = (0..count).filter(|row| (row % FOLDS == fold) == held).collect();
        networks.select(&rows)
    };
    Ok((0..FOLDS).map(|fold| (part(fold, false), part(fold, true))).collect())
}
