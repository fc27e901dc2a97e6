//! `ufo profile`: how long slices of a chip supernet take on this machine.

use crate::run::Run;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::path::PathBuf;
use std::process::ExitCode;
use ufo_nas::{
    DeviceFile, Encoding, Predictor, Setting, Slice, TaskSamples, Timed, Transform, kendall_tau,
};
use ufo_runtime::Precision;
use ufo_train::latency::{Engine, Times, Timing, Whole, time};
use ufo_train::write_atomic;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    folder: crate::RunFolder,
    /// Device file to write.
    #[arg(long)]
    out: PathBuf,
    /// Random slices to time, beside the largest and the smallest.
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u32).range(0..=4096))]
    samples: u32,
    #[command(flatten)]
    how: How,
    /// Seed of the random slices.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// How slices are timed.
#[derive(clap::Args)]
pub(crate) struct How {
    /// Images that run at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// Threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// What runs the slices.
    #[arg(long, value_enum, default_value_t = Runtime::Ufo)]
    runtime: Runtime,
    /// Numbers that this program's layers multiply in.
    #[arg(long, default_value = "f32", value_parser = crate::folder::precision)]
    precision: Precision,
    /// Turns of each slice after three for warming up: a run, or as many as take a millisecond.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Runtime {
    /// This program, as in `ufo predict`.
    Ufo,
    /// The ONNX file in rten.
    Rten,
}

impl How {
    /// One image at a time on one thread in this program.
    pub(crate) fn plain() -> Self {
        let (runtime, precision) = (Runtime::Ufo, Precision::F32);
        Self { batch: 1, threads: 1, runtime, precision, rounds: 40 }
    }

    /// What times depend on beside the slice.
    pub(crate) fn setting(&self) -> Setting {
        Setting {
            cpu: cpu(),
            runtime: match self.runtime {
                Runtime::Ufo => {
                    format!("ufo {} {}", env!("CARGO_PKG_VERSION"), self.precision.name())
                }
                Runtime::Rten => "rten 0.27 f32".to_string(),
            },
            threads: self.threads as usize,
            batch: self.batch as usize,
        }
    }

    fn engine(&self) -> Result<Engine> {
        match (self.runtime, self.precision) {
            (Runtime::Ufo, precision) => Ok(Engine::Ufo(precision)),
            (Runtime::Rten, Precision::F32) => Ok(Engine::Rten),
            (Runtime::Rten, other) => {
                bail!("--precision {}: rten runs files of f32; --runtime ufo has it", other.name())
            }
        }
    }

    /// Times slices of a run's first task; see [`time`].
    pub(crate) fn time(
        &self,
        run: &Run,
        slices: &[Slice],
        whole_ms: Option<f64>,
        done: impl FnMut(usize),
    ) -> Result<Times> {
        let entry = run.entry(0, &Slice::full(&run.supernet.arch), self.batch as usize)?;
        let timing = Timing {
            engine: self.engine()?,
            threads: self.threads as usize,
            rounds: self.rounds as usize,
        };
        let preprocess = run.config.preprocess();
        let whole = Whole { entry: &entry, preprocess: &preprocess };
        time(whole, slices, timing, whole_ms, done)
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let run = Run::open(&args.folder.run)?;
    let space = run.chip_space()?;
    let arch = &run.supernet.arch;
    let slices = distinct(args, &run);
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} slices  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(slices.len() as u64).with_style(style);
    let done = |count: usize| bar.set_position(count as u64);
    let Times { whole_ms, rows, pinned } = args.how.time(&run, &slices, None, done)?;
    bar.finish_and_clear();
    let file = DeviceFile {
        version: DeviceFile::VERSION,
        setting: args.how.setting(),
        arch: arch.clone(),
        space: space.clone(),
        pinned: Some(pinned),
        whole_ms,
        rows,
    };
    write_atomic(&args.out, &serde_json::to_vec_pretty(&file)?)?;
    if !pinned {
        eprintln!(
            "threads did not stay on cores of their own: the cores are fewer, or the system does not let them"
        );
    }
    println!("{}", table(&file));
    match foretold(run.encoding(), &file.rows)? {
        Some(said) => println!("{said}"),
        None => println!("too few slices to tell how well others are predicted"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The largest, the smallest and random slices, each once.
fn distinct(args: &Args, run: &Run) -> Vec<Slice> {
    let arch = &run.supernet.arch;
    let space = run.space();
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let mut slices = vec![space.largest(arch), space.smallest(arch)];
    slices.dedup();
    // A small space may have fewer than were asked for.
    for _ in 0..20 * args.samples {
        let slice = space.random(arch, &mut rng);
        if slices.len() < args.samples as usize + 2 && !slices.contains(&slice) {
            slices.push(slice);
        }
    }
    slices
}

/// The processor's name, where the system tells.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    line.map_or_else(|| std::env::consts::ARCH.to_string(), |(_, name)| name.trim().to_string())
}

fn table(file: &DeviceFile) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["ms a batch", "10 to 90 %", "parameters", "slice (block:heads:ffn)"]);
    let mut rows: Vec<&Timed> = file.rows.iter().collect();
    rows.sort_by(|a, b| b.median_ms.total_cmp(&a.median_ms));
    let shown = rows.len().min(SHOWN);
    for place in 0..shown {
        let row = rows[place * (rows.len() - 1) / shown.max(2).saturating_sub(1)];
        table.add_row([
            format!("{:.3}", row.median_ms),
            format!("{:.3} to {:.3}", row.spread_ms[0], row.spread_ms[1]),
            ufo_nas::params(&file.arch, &row.slice).total().to_string(),
            row.slice.to_string(),
        ]);
    }
    table
}

/// Rows of the table, spread from the slowest slice to the fastest.
const SHOWN: usize = 9;
/// Every so manieth slice is kept from the predictor to judge it.
const KEPT: usize = 4;

/// How well the times of a quarter of the slices are predicted from the others.
fn foretold(encoding: Encoding, rows: &[Timed]) -> Result<Option<String>> {
    if rows.len() < 3 * KEPT {
        return Ok(None);
    }
    let part = |kept: bool| -> (Vec<Slice>, Vec<f64>) {
        let rows = rows.iter().enumerate().filter(|(i, _)| (i % KEPT == KEPT - 1) == kept);
        rows.map(|(_, row)| (row.slice.clone(), row.median_ms)).unzip()
    };
    let ((slices, values), (others, times)) = (part(false), part(true));
    let samples =
        TaskSamples { task: "latency_ms".to_string(), transform: Transform::Log, slices, values };
    let predictor = Predictor::fit(encoding, vec![samples]).context("learning the times")?;
    let predicted = predictor.predict(&others)?.remove(0).value;
    let pairs = predicted.iter().zip(&times);
    let mut errors: Vec<f64> = pairs.map(|(got, time)| (got / time - 1.0).abs()).collect();
    errors.sort_by(f64::total_cmp);
    let at = |share: f64| 100.0 * errors[(share * (errors.len() - 1) as f64).round() as usize];
    Ok(Some(format!(
        "predicted from {} slices, {} others are off by {:.1} % (half of them at most), {:.1} % (nine of ten); Kendall tau {:.3}",
        rows.len() - times.len(),
        times.len(),
        at(0.5),
        at(0.9),
        kendall_tau(&predicted, &times)?
    )))
}
