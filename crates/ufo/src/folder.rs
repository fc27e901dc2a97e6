//! `ufo eval --model`: extracted folders and their ONNX files on the test images of a run's tasks.

use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use ufo_data::Preprocess;
use ufo_runtime::{CONFIG, Described, DescribedTask, Model, ONNX, ONNX_INT8, Precision};
use ufo_train::evaluate::{self, TaskResult};
use ufo_train::extract::student::DescribedStudent;
use ufo_train::{Onnx, RunConfig, Task, open_tasks, write_atomic};

/// A model folder, or an ONNX file in one, ready to run.
pub(crate) struct Runner {
    pub(crate) preprocess: Preprocess,
    pub(crate) tasks: Vec<DescribedTask>,
    engine: Engine,
}

/// What gives a task's outputs.
enum Engine {
    Folder(Box<Model>),
    Onnx(Box<Onnx>),
}

impl Engine {
    fn onnx(file: &Path) -> Result<Self> {
        Ok(Self::Onnx(Box::new(Onnx::open(file)?)))
    }
}

impl Runner {
    pub(crate) fn open(place: &Path, precision: Precision) -> Result<Self> {
        let folder = folder_of(place)?;
        let described = folder.join(CONFIG).exists();
        let student = if described { DescribedStudent::read(&folder)? } else { None };
        let is_file = place.extension().is_some_and(|ending| ending == "onnx");
        let name = precision.name();
        if is_file && precision != Precision::F32 {
            let folder = folder.display();
            bail!("--precision {name}: an ONNX file has its own; name the folder {folder}");
        }
        if let Some(DescribedStudent { kind, preprocess, tasks }) = student {
            // A convolutional student runs as an ONNX file of its folder.
            let file = match precision {
                Precision::F32 if is_file => place.to_path_buf(),
                Precision::F32 => folder.join(ONNX),
                Precision::Int8 if folder.join(ONNX_INT8).is_file() => folder.join(ONNX_INT8),
                _ => bail!(
                    "--precision {name}: {} is a {kind}, in f32, and in int8 where `ufo distill --quantize int8` wrote {ONNX_INT8}",
                    folder.display()
                ),
            };
            return Ok(Self { preprocess, tasks, engine: Engine::onnx(&file)? });
        }
        let (described, engine) = if is_file {
            (Described::read(&folder)?, Engine::onnx(place)?)
        } else {
            let model = Model::open(place, precision)?;
            (model.described.clone(), Engine::Folder(Box::new(model)))
        };
        let Described { preprocess, tasks, .. } = described;
        Ok(Self { preprocess, tasks, engine })
    }

    /// Outputs of task `index`, row-major, of preprocessed images.
    pub(crate) fn outputs(&self, index: usize, images: &[f32]) -> Result<Vec<f32>> {
        match &self.engine {
            Engine::Folder(model) => Ok(model.outputs(index, images)?),
            Engine::Onnx(onnx) => {
                let [height, width] = self.preprocess.size;
                let size = [images.len() / (3 * height * width), 3, height, width];
                onnx.outputs(&self.tasks[index].name, images, size)
            }
        }
    }

    /// Features before the head of task `index`.
    pub(crate) fn features(&self, index: usize, images: &[f32]) -> Result<Vec<f32>> {
        match &self.engine {
            Engine::Folder(model) => Ok(model.features(index, images)?),
            Engine::Onnx(_) => bail!("--features: an ONNX file gives outputs alone"),
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

/// A precision by its name.
pub(crate) fn precision(name: &str) -> Result<Precision, String> {
    let known = || Precision::ALL.map(Precision::name).join(", ");
    let found = Precision::ALL.into_iter().find(|precision| precision.name() == name);
    found.ok_or_else(|| format!("must be one of {}", known()))
}

/// Each task of a folder, judged on the test images of the task of that name.
fn judge(tasks: &[&Task], place: &Path, precision: Precision) -> Result<Vec<TaskResult>> {
    let runner = Runner::open(place, precision)?;
    let mut results = Vec::new();
    for (index, told) in runner.tasks.iter().enumerate() {
        let name = told.task.as_ref().unwrap_or(&told.name);
        let Some(task) = tasks.iter().find(|task| task.config.name == *name) else {
            let known: Vec<&str> = tasks.iter().map(|task| task.config.name.as_str()).collect();
            bail!("{}: task `{}`, but the run has: {}", place.display(), name, known.join(", "));
        };
        if !told.classes.is_empty() && told.classes != task.classes() {
            bail!("{}: task `{}` has other classes than the run", place.display(), told.name);
        }
        let (judged, _) =
            evaluate::result_by(task, &task.test, &runner.preprocess, &mut |images, _| {
                runner.outputs(index, &images)
            })?;
        results.push(TaskResult { name: told.name.clone(), ..judged });
    }
    Ok(results)
}

pub(crate) fn eval(
    run: &Path,
    place: &Path,
    precision: Precision,
    as_json: bool,
) -> Result<ExitCode> {
    let tasks = open_tasks(&RunConfig::read(&run.join("config.toml"), &[])?)?;
    let results = judge(&tasks.iter().collect::<Vec<_>>(), place, precision)?;
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

/// File of a folder's results, which `ufo serve` shows.
const RESULTS: &str = "results.json";

/// Writes what the tasks of a folder scored in its forms.
pub(crate) fn write_results(folder: &Path, forms: &[(&str, &[TaskResult])]) -> Result<()> {
    let row = |how: &str, one: &TaskResult| json!({"as": how, "task": one.name, "metric": one.metric, "value": one.value});
    let rows: Vec<_> =
        forms.iter().flat_map(|(how, all)| all.iter().map(|one| row(how, one))).collect();
    write_atomic(&folder.join(RESULTS), &serde_json::to_vec_pretty(&rows)?)
}

/// Judges a folder in every form that it has, and keeps the results in it.
pub(crate) fn keep(run: &Path, folder: &Path, as_json: bool) -> Result<ExitCode> {
    let tasks = open_tasks(&RunConfig::read(&run.join("config.toml"), &[])?)?;
    let tasks: Vec<&Task> = tasks.iter().collect();
    let mut forms: Vec<(&str, PathBuf, Precision)> = Vec::new();
    if DescribedStudent::read(folder)?.is_none() {
        for precision in [Precision::F32, Precision::Int8] {
            forms.push((precision.name(), folder.to_path_buf(), precision));
        }
    }
    for file in [ONNX, ONNX_INT8].into_iter().filter(|file| folder.join(file).is_file()) {
        forms.push((file, folder.join(file), Precision::F32));
    }
    let mut results = Vec::new();
    for (how, place, precision) in &forms {
        results.push((*how, judge(&tasks, place, *precision)?));
    }
    let by_form: Vec<(&str, &[TaskResult])> =
        results.iter().map(|(how, results)| (*how, results.as_slice())).collect();
    write_results(folder, &by_form)?;
    if as_json {
        println!("{}", fs::read_to_string(folder.join(RESULTS))?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = plain(["runs as", "task", "metric", "model"]);
    for (how, results) in results {
        for TaskResult { name, metric, value, .. } in results {
            table.add_row([how.to_string(), name, metric, percent(value)]);
        }
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

/// What 8-bit weights cost: the folder's ONNX files on the test images.
pub(crate) fn drop_table(tasks: &[&Task], folder: &Path) -> Result<Table> {
    let files = [ONNX, ONNX_INT8].map(|file| folder.join(file));
    let whole = judge(tasks, &files[0], Precision::F32)?;
    let bytes = judge(tasks, &files[1], Precision::F32)?;
    let own = judge(tasks, folder, Precision::Int8)?;
    let mut table = plain(["task", "metric", "f32", "int8 ONNX", "int8 of `ufo predict`"]);
    for (index, whole) in whole.iter().enumerate() {
        let lost = |int8: &TaskResult| {
            let lost = 100.0 * (whole.value - int8.value);
            format!("{} ({lost:.1} points lost)", percent(int8.value))
        };
        table.add_row([
            whole.name.clone(),
            whole.metric.clone(),
            percent(whole.value),
            lost(&bytes[index]),
            lost(&own[index]),
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
