//! `ufo eval`: every task of a run, or an extracted model, on the test images.

use crate::run::{Judged, Results, Run};
use crate::{RunFolder, folder};
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use ufo_runtime::Precision;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    folder: RunFolder,
    /// Judge this extracted folder, or an ONNX file of one, in place of the supernet.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Judge this slice of every task's network: smallest, largest, chosen or pareto.N (of `ufo search`), or
    /// block:heads:ffn of each kept block, such as 0:3:384,2:2:192.
    #[arg(long, conflicts_with = "model")]
    slice: Option<String>,
    /// Numbers that the folder's layers multiply in.
    #[arg(long, default_value = "f32", requires = "model", value_parser = folder::precision)]
    precision: Precision,
    /// Judge the folder in every form that it has (f32, int8, ONNX files), and keep the results in it for `ufo serve`.
    #[arg(long, requires = "model", conflicts_with = "precision")]
    keep: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(model) = args.model.as_ref().filter(|_| args.keep) {
        return folder::keep(&args.folder.run, model, args.json);
    }
    if let Some(model) = &args.model {
        return folder::eval(&args.folder.run, model, args.precision, args.json);
    }
    let run = Run::open(&args.folder.run)?;
    let results = run.evaluate(&run.slice(args.slice.as_deref())?)?;
    if args.json {
        let rows: Vec<_> = results
            .iter()
            .map(|judged| json!({"result": judged.result, "baseline_1nn": judged.baseline}))
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        println!("{}", table(&run, &results));
    }
    Ok(ExitCode::SUCCESS)
}

/// The results as a terminal table.
pub(crate) fn table(run: &Run, results: &Results) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["task", "metric", "ufo", "raw-pixel 1-NN", "path (attention, FFN)"]);
    for (index, Judged { result, baseline, .. }) in results.iter().enumerate() {
        table.add_row([
            result.name.clone(),
            result.metric.clone(),
            format!("{:.1} %", 100.0 * result.value),
            format!("{:.1} %", 100.0 * baseline),
            run.supernet.path(index).to_string(),
        ]);
    }
    table
}
