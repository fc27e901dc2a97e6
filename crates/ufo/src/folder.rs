//! `ufo eval --model`: extracted folders and their ONNX files on the test images of a run's tasks.

use crate::run::Run;
use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use ufo_data::{Batch, Preprocess};
use ufo_runtime::{Described, Model, ONNX, ONNX_INT8};
use ufo_train::evaluate::{self, TaskResult};
use ufo_train::{Onnx, RunConfig, Task, open_tasks};

/// A model that gives a task's outputs.
enum Runner {
    Folder(Model),
    Onnx(Onnx),
}

impl Runner {
    fn open(place: &Path) -> Result<Self> {
        match place.extension() {
            Some(ending) if ending == "onnx" => Ok(Self::Onnx(Onnx::open(place)?)),
            _ => Ok(Self::Folder(Model::open(place)?)),
        }
    }

    fn outputs(&self, index: usize, task: &str, batch: &Batch) -> Result<Vec<f32>> {
        match self {
            Self::Folder(model) => Ok(model.outputs(index, &batch.images)?),
            Self::Onnx(onnx) => onnx.outputs(task, &batch.images, batch.size),
        }
    }
}

/// The folder of a model, which its ONNX files lie in.
fn folder_of(place: &Path) -> Result<PathBuf> {
    if place.extension().is_some_and(|ending| ending == "onnx") {
        let parent = place.parent().context("an ONNX file lies in a model folder")?;
        return Ok(parent.to_path_buf());
    }
    Ok(place.to_path_buf())
}

/// Each task of a folder, judged on the test images of the task of that name.
fn judge(tasks: &[Task], place: &Path) -> Result<Vec<TaskResult>> {
    let described = Described::read(&folder_of(place)?)?;
    let runner = Runner::open(place)?;
    let mut results = Vec::new();
    for (index, told) in described.tasks.iter().enumerate() {
        let Some(task) = tasks.iter().find(|task| task.config.name == told.name) else {
            let known: Vec<&str> = tasks.iter().map(|task| task.config.name.as_str()).collect();
            bail!(
                "{}: task `{}`, but the run has: {}",
                place.display(),
                told.name,
                known.join(", ")
            );
        };
        if !told.classes.is_empty() && told.classes != task.classes() {
            bail!("{}: task `{}` has other classes than the run", place.display(), told.name);
        }
        let preprocess: &Preprocess = &described.preprocess;
        let rows = evaluate::rows(&task.test, preprocess, |batch| {
            runner.outputs(index, &told.name, &batch)
        })?;
        results.push(evaluate::judge(task, &task.test, &rows)?);
    }
    Ok(results)
}

pub(crate) fn eval(run: &Path, place: &Path, as_json: bool) -> Result<ExitCode> {
    let tasks = open_tasks(&RunConfig::read(&run.join("config.toml"), &[])?)?;
    let results = judge(&tasks, place)?;
    if as_json {
        let rows: Vec<_> = results.iter().map(|result| json!({"result": result})).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        let mut table = plain(["task", "metric", "model"]);
        for TaskResult { name, metric, value, .. } in results {
            table.add_row([name, metric, percent(value)]);
        }
        println!("{table}");
    }
    Ok(ExitCode::SUCCESS)
}

/// What 8-bit weights cost: the folder's ONNX files on the test images.
pub(crate) fn drop_table(run: &Run, folder: &Path) -> Result<Table> {
    let files = [ONNX, ONNX_INT8].map(|file| folder.join(file));
    let judged: Vec<_> = files.iter().map(|file| judge(&run.tasks, file)).collect::<Result<_>>()?;
    let mut table = plain(["task", "metric", "f32", "int8", "points lost"]);
    for (whole, bytes) in judged[0].iter().zip(&judged[1]) {
        let lost = 100.0 * (whole.value - bytes.value);
        let (name, metric) = (whole.name.clone(), whole.metric.clone());
        table.add_row([
            name,
            metric,
            percent(whole.value),
            percent(bytes.value),
            format!("{lost:.1}"),
        ]);
    }
    Ok(table)
}

fn plain<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(header);
    table
}

fn percent(value: f64) -> String {
    format!("{:.1} %", 100.0 * value)
}
