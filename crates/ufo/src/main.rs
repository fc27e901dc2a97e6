//! The `ufo` command: one supernet for all image tasks, one model for each task and device.

mod data;
mod demo;
mod params;
mod run;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(version, about, after_help = "Example:\n  ufo demo --out runs/demo")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a small supernet on the bundled tasks, evaluate, extract and export.
    #[command(after_help = "Example:\n  ufo demo --out runs/demo --budget 40m")]
    Demo(demo::Args),
    /// Look at a dataset, or make one from a fetched package.
    #[command(subcommand)]
    Data(data::Command),
    /// Train a supernet; continues from the newest checkpoint of the run folder.
    #[command(after_help = "Example:\n  ufo train --config tasks.toml --out runs/first")]
    Train(run::TrainArgs),
    /// Evaluate every task of a run from its one checkpoint.
    #[command(after_help = "Example:\n  ufo eval --run runs/demo --json")]
    Eval(run::EvalArgs),
    /// Write the model of one or several tasks of a run, with no retraining.
    #[command(
        after_help = "Example:\n  ufo extract --run runs/demo --tasks fashion,digits --out models/both"
    )]
    Extract(run::ExtractArgs),
    /// Count parameters from shapes alone.
    #[command(after_help = "Example:\n  ufo params --preset ufo-17b --json")]
    Params(params::Args),
}

#[derive(clap::Args)]
struct RunFolder {
    /// Run folder.
    #[arg(long)]
    run: PathBuf,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Data(command) => data::run(&command),
        Command::Train(args) => run::train(&args),
        Command::Eval(args) => run::eval(&args),
        Command::Extract(args) => run::extract(&args),
        Command::Params(args) => params::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
