//! `ufo chip`: one task's path trained so that slices of it work by themselves.

use crate::run::Run;
use crate::train::{finished, interruptible};
use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use ufo_nas::{Slice, cost};
use ufo_train::{ChipConfig, RunConfig, write_atomic};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    folder: crate::RunFolder,
    /// Task whose path is trained.
    #[arg(long)]
    task: String,
    /// Run folder of the chip supernet; an earlier one of the same configuration goes on.
    #[arg(long)]
    out: PathBuf,
    /// Training time, such as 90s or 40m, in place of train.steps.
    #[arg(long, value_parser = crate::demo::duration)]
    budget: Option<Duration>,
    #[command(flatten)]
    overrides: crate::Overrides,
}

/// Share of the run's learning rate: the weights are trained already.
const RATE: f32 = 0.3;
/// Random slices that are judged beside the largest and the smallest.
const JUDGED: usize = 5;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let sets = args.overrides.sets();
    let mut run = Run::start(&args.out, config(&args.folder.run, &args.task, &sets)?)?;
    let mut limits = interruptible()?;
    limits.budget = args.budget;
    let summary = run.train(&limits)?;
    if let Some(code) = finished(&summary) {
        return Ok(code);
    }
    eprintln!("{} steps, {:.0} images/s", summary.steps, summary.images_per_s);
    let rows = judge(&run)?;
    let text = serde_json::to_vec_pretty(&json!({"task": args.task, "slices": rows}))?;
    write_atomic(&args.out.join("slices.json"), &text)?;
    println!("{}", table(&rows));
    Ok(ExitCode::SUCCESS)
}

/// A run's configuration with the one task and the slices to train.
pub(crate) fn config(from: &Path, task: &str, sets: &[String]) -> Result<RunConfig> {
    let mut config = RunConfig::read(&from.join("config.toml"), &[])?;
    let names: Vec<String> = config.tasks.iter().map(|task| task.name.clone()).collect();
    config.tasks.retain(|other| other.name == task);
    if config.tasks.is_empty() {
        anyhow::bail!("--task {task}: the run has {}", names.join(", "));
    }
    config.init = None;
    config.expand = None;
    config.train.lr *= RATE;
    let from = std::path::absolute(from).context("finding the working folder")?;
    config.chip = Some(ChipConfig::new(from, &config.arch()));
    RunConfig::parse(&toml::to_string(&config)?, sets)
}

/// What a slice costs and scores on the test images.
#[derive(serde::Serialize)]
struct Row {
    slice: String,
    params: u64,
    macs: u64,
    activation_bytes: u64,
    metric: String,
    value: f64,
    /// The same slice of the network that the chip supernet began from; none where that run cannot be opened.
    before: Option<f64>,
}

/// The largest, the smallest and random slices, by size.
fn judge(run: &Run) -> Result<Vec<Row>> {
    let chip = run.config.chip.as_ref().context("config.toml of a chip supernet has [chip]")?;
    let arch = &run.supernet.arch;
    let mut rng = ChaCha8Rng::seed_from_u64(run.config.seed);
    let mut slices = vec![chip.space.largest(arch), chip.space.smallest(arch)];
    slices.extend((0..JUDGED).map(|_| chip.space.random(arch, &mut rng)));
    let from = Run::open(&chip.from)
        .inspect_err(|error| eprintln!("slices of the run it began from are not judged: {error:#}"))
        .ok();
    let before = |slice: &Slice| -> Result<Option<f64>> {
        let Some(from) = &from else { return Ok(None) };
        let index = from.supernet.task_index(&run.tasks[0].config.name)?;
        Ok(Some(from.judge(index, slice)?.0.value))
    };
    let row = |slice: &Slice| -> Result<Row> {
        let (result, _) = run.judge(0, slice)?;
        let cost = cost(arch, slice);
        Ok(Row {
            slice: slice.to_string(),
            params: cost.params.total(),
            macs: cost.macs.total(),
            activation_bytes: cost.activation_bytes,
            metric: result.metric,
            value: result.value,
            before: before(slice)?,
        })
    };
    let mut rows = slices.iter().map(row).collect::<Result<Vec<_>>>()?;
    rows.sort_by_key(|row| std::cmp::Reverse(row.params));
    Ok(rows)
}

fn table(rows: &[Row]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
    let metric = rows.first().map_or("", |row| &row.metric);
    table.set_header([
        "parameters",
        "million MACs",
        "kB of activations",
        metric,
        "before",
        "slice (block:heads:ffn)",
    ]);
    let percent = |value: f64| format!("{:.1} %", 100.0 * value);
    for row in rows {
        table.add_row([
            row.params.to_string(),
            format!("{:.1}", row.macs as f64 / 1e6),
            format!("{:.0}", row.activation_bytes as f64 / 1e3),
            percent(row.value),
            row.before.map_or("–".to_string(), percent),
            row.slice.clone(),
        ]);
    }
    table
}
