//! `ufo train`, and what every training of the command line shares: Ctrl-C and how to go on.

use crate::run::Run;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use ufo_train::{Limits, RunConfig, Summary};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Configuration.
    #[arg(long)]
    config: PathBuf,
    /// Run folder.
    #[arg(long)]
    out: PathBuf,
    /// What to do with an earlier run in the folder.
    #[arg(long, value_enum, default_value_t = Resume::Auto)]
    resume: Resume,
    #[command(flatten)]
    overrides: crate::Overrides,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Resume {
    /// Go on from its newest sound checkpoint.
    Auto,
    /// Refuse to touch it.
    Never,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.resume == Resume::Never && args.out.join("checkpoints").exists() {
        bail!(
            "{}: holds a run already; choose another folder, or --resume auto",
            args.out.display()
        );
    }
    let mut run = Run::start(&args.out, RunConfig::read(&args.config, &args.overrides.sets())?)?;
    let summary = run.train(&interruptible()?)?;
    if let Some(code) = finished(&summary) {
        return Ok(code);
    }
    eprintln!("{} steps, {:.0} images/s", summary.steps, summary.images_per_s);
    Ok(ExitCode::SUCCESS)
}

/// Limits whose stop flag is set by Ctrl-C; once it is set, Ctrl-C ends the program.
pub(crate) fn interruptible() -> Result<Limits> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).context("catching Ctrl-C")?;
    Ok(Limits { stop, budget: None })
}

/// Exit code after training: 130 when it was interrupted, with a word on how to go on.
pub(crate) fn finished(summary: &Summary) -> Option<ExitCode> {
    summary.stopped.then(|| {
        let quoted = |word: String| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,".contains(c);
            if word.chars().all(plain) {
                word
            } else {
                format!("'{}'", word.replace('\'', "'\\''"))
            }
        };
        let words = std::env::args_os().map(|word| quoted(word.to_string_lossy().into_owned()));
        eprintln!(
            "stopped after step {}; the checkpoint is saved, continue with: {}",
            summary.steps,
            words.collect::<Vec<_>>().join(" ")
        );
        ExitCode::from(130)
    })
}
