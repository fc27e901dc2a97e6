//! `ufo bench`: how long one step of a workload takes, alone or beside another program.
//!
//! `serve` takes orders: it prints `ready {facts}` and then, for each line `step` on standard input, the
//! milliseconds of one step. A driver that alternates two such programs compares them on a noisy
//! machine (`scripts/bench-vs-pytorch.sh`).

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use ufo_model::cnn::CnnKind;
use ufo_runtime::Precision;
use ufo_train::Precision as Train;

mod conv;
mod inference;
mod kernels;
mod loading;
mod profile;
mod training;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Workloads, or groups of them: train-step, infer, loader, kernels, conv; default all.
    names: Vec<String>,
    /// Steps of each after two for warming up.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Show where the time of a step goes.
    #[command(after_help = "Example:\n  ufo bench profile train-step-S-f32 --svg profile.svg")]
    Profile {
        /// Workload.
        name: String,
        /// Steps after two for warming up.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// Also write a picture.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run one step of a workload for each line `step` on standard input.
    Serve {
        /// Workload.
        name: String,
    },
}

/// What is timed.
pub(crate) trait Workload {
    /// One step.
    fn step(&mut self) -> Result<()>;
}

/// Exit code of a name that is not known, for the driver.
const UNKNOWN: u8 = 3;

/// Makes a workload for so many threads.
type Make = fn(usize) -> Result<Box<dyn Workload>>;

const WORKLOADS: [(&str, Make); 32] = [
    ("train-step-S-f32", |threads| plain(training::S, 64, Train::F32, threads)),
    ("train-step-S-bf16", |threads| plain(training::S, 64, Train::Bf16, threads)),
    ("train-step-L-f32", |threads| plain(training::L, 8, Train::F32, threads)),
    ("train-step-L-bf16", |threads| plain(training::L, 8, Train::Bf16, threads)),
    ("train-step-S-96px", |threads| plain(training::S.image(96), 64, Train::F32, threads)),
    ("train-step-S-128px", |threads| plain(training::S.image(128), 64, Train::F32, threads)),
    ("train-step-S-dim-128", |threads| plain(training::S.width(128), 64, Train::F32, threads)),
    ("train-step-S-dim-384", |threads| plain(training::S.width(384), 64, Train::F32, threads)),
    ("supernet-step", |threads| routed([4, 16], Train::F32, threads)),
    ("supernet-step-bf16", |threads| routed([4, 16], Train::Bf16, threads)),
    ("supernet-step-1-tasks", |threads| routed([1, 16], Train::F32, threads)),
    ("supernet-step-2-tasks", |threads| routed([2, 16], Train::F32, threads)),
    ("supernet-step-8-tasks", |threads| routed([8, 16], Train::F32, threads)),
    ("supernet-step-16-tasks", |threads| routed([16, 16], Train::F32, threads)),
    ("supernet-step-32-images", |threads| routed([4, 32], Train::F32, threads)),
    ("supernet-step-64-images", |threads| routed([4, 64], Train::F32, threads)),
    ("infer-S-b1-f32", |threads| forward(training::S, 1, Precision::F32, threads)),
    ("infer-S-b1-bf16", |threads| forward(training::S, 1, Precision::Bf16, threads)),
    ("infer-S-b1-int8", |threads| forward(training::S, 1, Precision::Int8, threads)),
    ("infer-S-b64-f32", |threads| forward(training::S, 64, Precision::F32, threads)),
    ("infer-S-b64-bf16", |threads| forward(training::S, 64, Precision::Bf16, threads)),
    ("infer-S-b64-int8", |threads| forward(training::S, 64, Precision::Int8, threads)),
    ("infer-L-b1-f32", |threads| forward(training::L, 1, Precision::F32, threads)),
    ("infer-L-b1-bf16", |threads| forward(training::L, 1, Precision::Bf16, threads)),
    ("infer-L-b1-int8", |threads| forward(training::L, 1, Precision::Int8, threads)),
    ("conv-resnet50", |threads| student(CnnKind::ResNet50, 16, threads)),
    ("conv-mobilenetv3", |threads| student(CnnKind::MobileNetV3Large, 32, threads)),
    ("loader-jpeg", |threads| Ok(Box::new(loading::Epoch::jpeg(threads)?))),
    ("loader-idx", |threads| Ok(Box::new(loading::Epoch::idx(threads)?))),
    ("kernels-gemm-f32", |_| Ok(Box::new(kernels::Product::new(Precision::F32)))),
    ("kernels-gemm-bf16", |_| Ok(Box::new(kernels::Product::new(Precision::Bf16)))),
    ("kernels-gemm-int8", |_| Ok(Box::new(kernels::Product::new(Precision::Int8)))),
];

fn plain(
    size: training::Size,
    count: usize,
    precision: Train,
    threads: usize,
) -> Result<Box<dyn Workload>> {
    Ok(Box::new(training::Plain::new(size, count, precision, threads)?))
}

fn routed(sizes: [usize; 2], precision: Train, threads: usize) -> Result<Box<dyn Workload>> {
    Ok(Box::new(training::TaskMoe::new(sizes, precision, threads)?))
}

fn forward(
    size: training::Size,
    count: usize,
    precision: Precision,
    threads: usize,
) -> Result<Box<dyn Workload>> {
    Ok(Box::new(inference::Forward::new(size, count, precision, threads)?))
}

fn student(kind: CnnKind, count: usize, threads: usize) -> Result<Box<dyn Workload>> {
    Ok(Box::new(conv::Student::new(kind, count, threads)?))
}

fn find(name: &str) -> Option<Make> {
    WORKLOADS.iter().find(|(known, _)| *known == name).map(|(_, make)| *make)
}

fn unknown(name: &str) -> String {
    format!("unknown workload `{name}`; known: {}", WORKLOADS.map(|(name, _)| name).join(", "))
}

/// Whether `given` is the workload `name`, or, where it is none, a group that has it.
fn names(given: &str, name: &str) -> bool {
    let in_group = || name.strip_prefix(given).is_some_and(|rest| rest.starts_with('-'));
    given == name || (find(given).is_none() && in_group())
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        None => time(&args.names, args.rounds, args.json),
        Some(Command::Profile { name, rounds, svg, json }) => {
            explain(name, *rounds, svg.as_deref(), *json)
        }
        Some(Command::Serve { name }) => serve(name),
    }
}

/// Threads to use: `UFO_THREADS`, else one a core.
fn threads() -> Result<usize> {
    let Ok(text) = std::env::var("UFO_THREADS") else {
        return Ok(std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    };
    match text.parse() {
        Ok(threads @ 1..=4096) => Ok(threads),
        _ => bail!("UFO_THREADS = {text}: must be 1 to 4096"),
    }
}

fn facts(name: &str, threads: usize) -> Value {
    json!({"name": name, "program": "ufo", "version": env!("CARGO_PKG_VERSION"),
        "threads": threads, "device": "cpu"})
}

fn serve(name: &str) -> Result<ExitCode> {
    let threads = threads()?;
    let Some(make) = find(name) else {
        eprintln!("error: {}", unknown(name));
        return Ok(ExitCode::from(UNKNOWN));
    };
    let mut workload = make(threads)?;
    for _ in 0..2 {
        workload.step()?;
    }
    let mut out = io::stdout().lock();
    writeln!(out, "ready {}", facts(name, threads))?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        if line?.trim() != "step" {
            bail!("standard input: only lines `step` are understood");
        }
        writeln!(out, "{}", one(workload.as_mut())?)?;
        out.flush()?;
    }
    if let Some(peak) = crate::resident::peak_mb() {
        writeln!(out, "peak_mb {peak:.0}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(name: &str, rounds: u32, svg: Option<&Path>, json: bool) -> Result<ExitCode> {
    let Some(make) = find(name) else {
        eprintln!("error: {}", unknown(name));
        return Ok(ExitCode::from(2));
    };
    let threads = threads()?;
    let mut workload = make(threads)?;
    for _ in 0..2 {
        workload.step()?;
    }
    let shares = profile::shares(workload.as_mut(), rounds, threads)?;
    if let Some(file) = svg {
        fs::write(file, profile::svg(name, &shares))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if json {
        println!("{}", profile::json(name, &shares));
    } else {
        println!("{}", profile::table(&shares));
    }
    Ok(ExitCode::SUCCESS)
}

/// Milliseconds of one step.
fn one(workload: &mut dyn Workload) -> Result<f64> {
    let started = Instant::now();
    workload.step()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// Times the workloads named, or all; one that cannot be made is a row that says why, and a failure
/// only where it was named.
fn time(given: &[String], rounds: u32, json: bool) -> Result<ExitCode> {
    let is_none = |given: &&String| !WORKLOADS.iter().any(|(name, _)| names(given, name));
    if let Some(name) = given.iter().find(is_none) {
        eprintln!("error: {}", unknown(name));
        return Ok(ExitCode::from(2));
    }
    let threads = threads()?;
    let (mut rows, mut code) = (Vec::new(), ExitCode::SUCCESS);
    let chosen = |name: &str| given.is_empty() || given.iter().any(|given| names(given, name));
    for (name, make) in WORKLOADS.iter().filter(|(name, _)| chosen(name)) {
        match times(*make, threads, rounds) {
            Ok(times) => {
                let at = |share: f64| times[(share * (times.len() - 1) as f64).round() as usize];
                eprintln!("{name}: {:.1} ms ({:.1} to {:.1})", at(0.5), at(0.1), at(0.9));
                rows.push(json!({"name": name, "ours_ms": at(0.5), "spread": [at(0.1), at(0.9)],
                    "rounds": rounds, "ours": facts(name, threads)}));
            }
            Err(error) => {
                eprintln!("{name}: skipped: {error:#}");
                rows.push(json!({"name": name, "skipped": format!("{error:#}")}));
                if !given.is_empty() {
                    code = ExitCode::FAILURE;
                }
            }
        }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&json!({"rows": rows}))?);
    }
    Ok(code)
}

/// Milliseconds of each of `rounds` steps after two for warming up, in order of size.
fn times(make: Make, threads: usize, rounds: u32) -> Result<Vec<f64>> {
    let mut workload = make(threads)?;
    for _ in 0..2 {
        workload.step()?;
    }
    let mut times = (0..rounds).map(|_| one(workload.as_mut())).collect::<Result<Vec<_>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times)
}
