//! The `ufo` command: one supernet for all image tasks, one model for each task and device.

mod bench;
mod chip;
mod data;
mod demo;
mod distill;
mod eval;
mod expand;
mod extract;
mod folder;
mod html_report;
mod init;
mod params;
mod predict;
mod predictor;
mod profile;
mod report;
mod resident;
mod run;
mod search;
mod serve;
mod studio;
mod train;

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
    /// Write a starting configuration for folders of images.
    #[command(
        after_help = "Example:\n  ufo init --task flowers=data/flowers --task faces=data/faces --out tasks.toml"
    )]
    Init(init::Args),
    /// Train a supernet; continues from the newest checkpoint of the run folder.
    #[command(after_help = "Example:\n  ufo train --config tasks.toml --out runs/first")]
    Train(train::Args),
    /// Train one task's path so that slices of it work by themselves; goes on from the newest checkpoint.
    #[command(
        after_help = "Example:\n  ufo chip --run runs/demo --task fashion --out runs/chip --budget 5m"
    )]
    Chip(chip::Args),
    /// Add a task to a trained run, with few labels and few trained parameters.
    #[command(
        after_help = "Examples:\n  ufo expand --run runs/demo --task birds.toml --labels 10% --out runs/birds\n  ufo expand --run runs/demo --task birds.toml --update expert --labels 5-per-class --out runs/birds --budget 2m"
    )]
    Expand(expand::Args),
    /// Train a small network, convolutional or not, on what a teacher says of a task's images.
    #[command(
        after_help = "Examples:\n  ufo distill --teacher runs/demo --task fashion --student mobilenet_v3_small --out runs/phone\n  ufo distill --teacher models/fashion --run runs/demo --task fashion --student resnet18 --out runs/resnet --set distill.temperature=2\n  ufo eval --run runs/demo --model runs/phone/model"
    )]
    Distill(distill::Args),
    /// Evaluate every task of a run from its one checkpoint.
    #[command(
        after_help = "Examples:\n  ufo eval --run runs/demo --json\n  ufo eval --run runs/demo --model runs/demo/models/fashion"
    )]
    Eval(eval::Args),
    /// Write the model of one or several tasks of a run, with no retraining.
    #[command(
        after_help = "Examples:\n  ufo extract --run runs/demo --tasks fashion,digits --out models/both\n  ufo extract --run runs/chip --tasks fashion --pareto 0,3 --out models/two-sizes\n  ufo extract --part runs/chip=chosen --part runs/chip-emoji=smallest --out models/phone"
    )]
    Extract(extract::Args),
    /// Show a run as one HTML page.
    #[command(after_help = "Example:\n  ufo report --run runs/demo")]
    Report(report::Args),
    /// Time slices of a chip supernet on this machine.
    #[command(after_help = "Example:\n  ufo profile --run runs/chip --threads 1 --out laptop.json")]
    Profile(profile::Args),
    /// Find the slices of a chip supernet that a device and its limits ask for.
    #[command(
        after_help = "Examples:\n  ufo search --run runs/chip --max-latency-ms 3 --max-params 400k\n  ufo search --run runs/chip --samples 200 --shard 0/4 --out part-0"
    )]
    Search(search::Args),
    /// Run an extracted model folder on images.
    #[command(after_help = "Example:\n  ufo predict runs/demo/models/fashion shoe.png --json")]
    Predict(predict::Args),
    /// Serve extracted models over HTTP.
    #[command(
        after_help = "Examples:\n  ufo serve runs/demo/models/*\n  ufo serve shoes=runs/demo/models/fashion --set listen=0.0.0.0:9000 --set api_keys=keys.txt\n  ufo serve --config serve.toml\n\nThen:\n  curl --data-binary @shoe.png http://127.0.0.1:8080/v1/predict/fashion"
    )]
    Serve(serve::Args),
    /// A page on which tasks are made of images: upload, train, choose a size, serve.
    #[command(
        after_help = "Example:\n  ufo studio --run runs/demo\n\nThen open http://127.0.0.1:8080/studio"
    )]
    Studio(studio::Args),
    /// Predict what sub-networks score, from few that were measured.
    #[command(subcommand)]
    Predictor(predictor::Command),
    /// Count parameters from shapes alone.
    #[command(after_help = "Example:\n  ufo params --preset ufo-17b --json")]
    Params(params::Args),
    /// Time training, inference and loading on this machine.
    Bench(bench::Args),
}

#[derive(clap::Args)]
pub(crate) struct RunFolder {
    /// Run folder.
    #[arg(long)]
    pub(crate) run: PathBuf,
}

/// Changes of a configuration.
#[derive(clap::Args)]
pub(crate) struct Overrides {
    /// Change one value of the configuration, such as train.lr=1e-3 or task.digits.batch=64.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Seed of every random stream.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

impl Overrides {
    fn sets(&self) -> Vec<String> {
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        self.set.iter().cloned().chain(seed).collect()
    }
}

fn main() -> ExitCode {
    ufo_serve::end_with_studio();
    ufo_kernels::keep_freed();
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Data(command) => data::run(&command),
        Command::Init(args) => init::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Chip(args) => chip::run(&args),
        Command::Expand(args) => expand::run(&args),
        Command::Distill(args) => distill::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Extract(args) => extract::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Studio(args) => studio::run(&args),
        Command::Predictor(command) => predictor::run(&command),
        Command::Params(args) => params::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
