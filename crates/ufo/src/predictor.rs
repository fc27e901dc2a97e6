//! `ufo predictor`: what sub-networks would score, learned from few that were measured.
//!
//! Files of networks are the public benchmark's (`ufo_nas::Benchmark`); files whose name ends in `.jsonl` are
//! measurements of a search (`ufo_nas::Sample`).

use anyhow::{Context, Result, bail};
use networks::{Asked, encoding, scored};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use ufo_nas::{Coding, Predictor, PredictorFile};
use ufo_train::write_atomic;

mod bench;
mod networks;

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
        /// architecture become features, which latencies follow closely, and any slice of a chip supernet's
        /// space can be predicted.
        #[arg(long)]
        config: Option<PathBuf>,
        /// How choices become bits.
        #[arg(long, value_enum, default_value_t = Bits::Overlapping)]
        encoding: Bits,
        /// Predictor to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Predict the networks of a file.
    #[command(
        after_help = "Examples:\n  ufo predictor predict --model predictor.json --archs test.json --out predicted.json\n  ufo predictor predict --model runs/chip/search/predictor.json --archs samples.jsonl --out predicted.json"
    )]
    Predict {
        /// Predictor that `fit` wrote.
        #[arg(long)]
        model: PathBuf,
        /// Networks, a file of the public benchmark or samples.jsonl; its scores are not looked at.
        #[arg(long)]
        archs: PathBuf,
        /// Predictions to write: in the benchmark's format, or for samples.jsonl by slice.
        #[arg(long)]
        out: PathBuf,
    },
    /// Measure how well networks that were not seen are put in order, and after how many samples.
    #[command(
        after_help = "Examples:\n  ufo predictor bench --train train.json --seeds 5\n  ufo predictor bench --train train.json --test test.json --json\n\nKeys of --json: see docs/predictor.md."
    )]
    Bench(bench::Args),
}

/// How a choice of heads or of an FFN width becomes bits.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Bits {
    /// Two bits, one of them shared with each neighbor.
    Overlapping,
    /// A bit of its own.
    OneHot,
}

impl Bits {
    fn coding(self) -> Coding {
        match self {
            Self::Overlapping => Coding::Overlapping,
            Self::OneHot => Coding::OneHot,
        }
    }
}

pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Fit { train, config, encoding, out } => {
            fit(train, (config.as_deref(), encoding.coding()), out)?;
        }
        Command::Predict { model, archs, out } => predict(model, archs, out)?,
        Command::Bench(args) => bench::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn fit(train: &Path, how: (Option<&Path>, Coding), out: &Path) -> Result<()> {
    let tasks = scored(train)?;
    let encoding = encoding(train, &tasks.iter().collect::<Vec<_>>(), how)?;
    let started = Instant::now();
    let predictor = Predictor::fit(encoding, tasks).with_context(|| train.display().to_string())?;
    let seconds = started.elapsed().as_secs_f64();
    write(predictor.file(), out)?;
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
    let networks = Asked::read(archs)?;
    let predicted =
        predictor.predict(networks.slices()).with_context(|| archs.display().to_string())?;
    write_atomic(out, serde_json::to_string(&networks.with(predicted))?.as_bytes())?;
    println!("{} networks: {}", networks.slices().len(), out.display());
    Ok(())
}

/// Writes a predictor.
pub(crate) fn write(predictor: &PredictorFile, out: &Path) -> Result<()> {
    write_atomic(out, serde_json::to_string(predictor)?.as_bytes())
}

fn read(path: &Path) -> Result<String> {
    let at = || format!("reading {}", path.display());
    let bytes = fs::metadata(path).with_context(at)?.len();
    if bytes > MOST_BYTES {
        bail!("{}: {bytes} bytes; must be at most {MOST_BYTES}", path.display());
    }
    fs::read_to_string(path).with_context(at)
}
