//! `ufo predict`: runs an extracted model folder on images.

use crate::folder::Runner;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use ufo_data::decode;
use ufo_runtime::{DescribedTask, Precision};

/// Images of a batch.
const BATCH: usize = 32;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Model folder that `ufo extract` or `ufo distill` wrote.
    model: PathBuf,
    /// Images.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Print JSON, with the raw outputs of every task.
    #[arg(long)]
    json: bool,
    /// Numbers that layers multiply in.
    #[arg(long, default_value = "f32", value_parser = crate::folder::precision)]
    precision: Precision,
    /// Classes shown for an image.
    #[arg(long, default_value_t = 3)]
    top: usize,
    /// Give the features before the heads as well (with --json).
    #[arg(long, requires = "json")]
    features: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let model = Runner::open(&args.model, args.precision)?;
    let mut rows = Vec::new();
    let mut failed = false;
    for paths in args.images.chunks(BATCH) {
        let mut images = Vec::new();
        let mut read = Vec::new();
        for path in paths {
            match pixels(path, &model) {
                Ok(values) => {
                    images.extend(values);
                    read.push(path);
                }
                Err(error) => {
                    eprintln!("error: {error:#}");
                    failed = true;
                }
            }
        }
        if read.is_empty() {
            continue;
        }
        let mut per_image = vec![Vec::new(); read.len()];
        for (index, task) in model.tasks.iter().enumerate() {
            let outputs = model.outputs(index, &images)?;
            let features = args.features.then(|| model.features(index, &images)).transpose()?;
            for (image, said) in per_image.iter_mut().enumerate() {
                let row = |all: &[f32]| {
                    let width = all.len() / read.len();
                    all[image * width..][..width].to_vec()
                };
                let mut one = answer(task, &row(&outputs), args.top)?;
                if let Some(features) = &features {
                    one["features"] = json!(row(features));
                }
                said.push(one);
            }
        }
        for (path, tasks) in read.iter().zip(per_image) {
            rows.push(json!({"image": path.display().to_string(), "tasks": tasks}));
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        rows.iter().for_each(print);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn pixels(path: &PathBuf, model: &Runner) -> Result<Vec<f32>> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let image = decode(&bytes).with_context(|| format!("in {}", path.display()))?;
    Ok(model.preprocess.apply(&image))
}

/// What a task says of one image.
fn answer(task: &DescribedTask, outputs: &[f32], top: usize) -> Result<Value> {
    let mut said = json!({"name": task.name});
    if let (Value::Object(said), Value::Object(answer)) =
        (&mut said, serde_json::to_value(task.answer(outputs, top))?)
    {
        said.extend(answer);
    }
    Ok(said)
}

fn print(row: &Value) {
    println!("{}", row["image"].as_str().unwrap_or_default());
    for task in row["tasks"].as_array().into_iter().flatten() {
        let name = task["name"].as_str().unwrap_or_default();
        let said = match task["embedding"].as_array() {
            Some(embedding) => format!("embedding of {} numbers (see --json)", embedding.len()),
            None => task["top"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|best| {
                    let class = best["class"].as_str().unwrap_or_default();
                    let probability = best["probability"].as_f64().unwrap_or(f64::NAN);
                    format!("{class} {:.1} %", 100.0 * probability)
                })
                .collect::<Vec<_>>()
                .join(", "),
        };
        println!("  {name}: {said}");
    }
}
