//! `ufo studio`: a page on which tasks are made of images, by this program's own commands.

use crate::serve;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::ExitCode;
use ufo_serve::StudioConfig;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Trained run whose shared branch new tasks start from.
    #[arg(long, default_value = "runs/demo")]
    run: PathBuf,
    /// Folder of the tasks that are made, with their images, runs and models.
    #[arg(long, default_value = "runs/studio")]
    out: PathBuf,
    #[command(flatten)]
    serve: serve::Args,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let program = std::env::current_exe().context("finding this program")?;
    let studio = StudioConfig::new(args.out.clone(), args.run.clone(), program);
    serve::start(&args.serve, Some(studio))
}
