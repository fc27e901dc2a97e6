//! Extraction: the networks of any tasks copied out of a supernet, with no retraining (spec 5).
//!
//! A folder is only handed over after its promises are checked on real images: read back and run
//! without burn (`ufo-runtime`), it gives the supernet's outputs bit for bit, and the ONNX file, run by
//! a runtime that this project did not write (rten), gives them within [`ONNX_TOLERANCE`].

use crate::checkpoint::write_atomic;
use crate::onnx::{Onnx, relative_error};
use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use ufo_data::Preprocess;
use ufo_model::{Named, Supernet, state_of};
use ufo_nas::{HeadShape, Path as ExpertPath, Slice};
use ufo_onnx::{Dim, Graph};
use ufo_runtime::{CONFIG, Described, DescribedTask, Model, ONNX, ONNX_INT8, Precision, WEIGHTS};
use ufo_weights::State;

pub mod student;

/// Largest relative error of the ONNX file: the largest difference over the largest output.
pub const ONNX_TOLERANCE: f64 = 1e-4;

/// What was written.
#[derive(Debug, Clone)]
pub struct Extracted {
    /// Tasks of the model.
    pub tasks: Vec<String>,
    /// Parameters, heads included; a module used by several tasks counts once.
    pub params: u64,
    /// Multiply-accumulates of one task on one image.
    pub macs: u64,
    /// Largest relative error of the ONNX file over tasks.
    pub onnx_max_rel_err: f64,
    /// The same of the 8-bit file, which is not bounded.
    pub int8_max_rel_err: Option<f64>,
}

/// What to extract: a task, its path, and the class names of its head.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Index in the supernet.
    pub task: usize,
    /// Experts.
    pub path: ExpertPath,
    /// Class names; empty for an embedding.
    pub classes: Vec<String>,
    /// Images of the task on which the copies are compared with the supernet.
    pub probe: Probe,
}

/// Preprocessed images.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Values, row-major.
    pub images: Vec<f32>,
    /// Images, channels, height, width.
    pub size: [usize; 4],
}

/// Where an extraction reads and writes.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Hash of the supernet's weights file.
    pub source: &'a str,
    /// Folder to make.
    pub out: &'a Path,
}

/// What an extraction takes of the networks beside their paths.
#[derive(Debug, Clone, Copy)]
pub struct Cut<'a> {
    /// Blocks, heads and FFN widths, those of every task.
    pub slice: &'a Slice,
    /// Whether to write an ONNX file with 8-bit weights, too.
    pub int8: bool,
}

/// Writes `model.safetensors`, `config.json`, `model.onnx`, `manifest.json` and `README.md`; with
/// `int8` also `model.int8.onnx`, whose linear layers have 8-bit weights.
///
/// # Errors
/// An existing folder, a file that cannot be written, copies that do not keep the promises.
pub fn extract(
    supernet: &Supernet,
    choices: &[Choice],
    preprocess: &Preprocess,
    place: Place<'_>,
    Cut { slice, int8 }: Cut<'_>,
) -> Result<Extracted> {
    let out = place.out;
    if out.exists() {
        bail!("{}: exists already; remove it or choose another folder", out.display());
    }
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let beside = tempfile::tempdir_in(parent).context("making a folder beside")?;
    slice.validate(&supernet.arch)?;
    let described = describe(supernet, choices, preprocess, slice);
    write_weights(supernet, choices, &described, beside.path(), int8)?;
    let errors = check(supernet, choices, beside.path(), int8)?;
    let chosen: Vec<_> = choices.iter().map(|choice| (choice.task, &choice.path)).collect();
    let counted = ufo_nas::extracted(&supernet.spec(), &chosen, &described.slice)?;
    let extracted = Extracted {
        tasks: described.tasks.iter().map(|task| task.name.clone()).collect(),
        params: counted.total_params,
        macs: ufo_nas::macs(&supernet.arch, &described.slice).total(),
        onnx_max_rel_err: errors.onnx,
        int8_max_rel_err: errors.int8,
    };
    write_papers(&described, &extracted, beside.path(), place)?;
    let kept = beside.keep();
    fs::rename(&kept, out).with_context(|| format!("renaming to {}", out.display()))?;
    Ok(extracted)
}

pub(crate) fn describe(
    supernet: &Supernet,
    choices: &[Choice],
    preprocess: &Preprocess,
    slice: &Slice,
) -> Described {
    let task = |choice: &Choice| {
        let spec = &supernet.tasks[choice.task].spec;
        DescribedTask {
            name: spec.name.clone(),
            head: spec.head.shape(spec.classes),
            classes: choice.classes.clone(),
            path: choice.path.clone(),
        }
    };
    Described {
        arch: supernet.arch.clone(),
        slice: slice.clone(),
        preprocess: preprocess.clone(),
        tasks: choices.iter().map(task).collect(),
    }
}

/// Weights, ONNX and `config.json`.
fn write_weights(
    supernet: &Supernet,
    choices: &[Choice],
    described: &Described,
    folder: &Path,
    int8: bool,
) -> Result<()> {
    let (graph, state) = build(supernet, choices, described, Graph::new("ufo"))?;
    graph.save(&folder.join(ONNX))?;
    if int8 {
        let empty = Graph::new("ufo").with_int8();
        build(supernet, choices, described, empty)?.0.save(&folder.join(ONNX_INT8))?;
    }
    let bytes = ufo_weights::to_bytes(&state, &[("format", "pt".to_string())])?;
    write_atomic(&folder.join(WEIGHTS), &bytes)?;
    let config = serde_json::to_vec_pretty(&described.config())?;
    write_atomic(&folder.join(CONFIG), &config)
}

/// The networks in an empty graph, and their weights.
pub(crate) fn build(
    supernet: &Supernet,
    choices: &[Choice],
    described: &Described,
    mut graph: Graph,
) -> Result<(Graph, State)> {
    let [height, width] = supernet.arch.image_size;
    let batch = Dim::Named("batch".to_string());
    let sizes = [supernet.arch.channels, height, width].map(Dim::Fixed);
    let image = graph.input("image", &[std::slice::from_ref(&batch), &sizes[..]].concat());
    let mut state = State::new();
    for (index, choice) in choices.iter().enumerate() {
        let mut vit = supernet.subnet(choice.task, &choice.path, &described.slice)?;
        let task = &supernet.tasks[choice.task];
        let (keys, head_key) = described.keys(index);
        state.extend(state_of(&mut Named { vit: &mut vit, keys: &keys }, ""));
        state.extend(state_of(&mut task.head.clone(), &head_key));
        // In a scope of its own, since a task may be named like an operator.
        let output = graph.scope(&format!("task.{}", task.spec.name), |graph| {
            let features = vit.to_onnx(graph, &keys, &image)?;
            task.head.to_onnx(graph, &head_key, &features)
        })?;
        graph.output(&task.spec.name, &output, &[batch.clone(), Dim::Fixed(task.head.outputs())]);
    }
    graph.metadata("preprocess", &serde_json::to_string(&described.preprocess)?);
    graph.metadata("tasks", &serde_json::to_string(&described.tasks)?);
    Ok((graph, state))
}

/// Largest relative errors over tasks.
struct Errors {
    onnx: f64,
    int8: Option<f64>,
}

/// Runs the copies on the probes.
fn check(supernet: &Supernet, choices: &[Choice], folder: &Path, int8: bool) -> Result<Errors> {
    let model = Model::open(folder, Precision::F32)?;
    let onnx = Onnx::open(&folder.join(ONNX))?;
    let bytes = int8.then(|| Onnx::open(&folder.join(ONNX_INT8))).transpose()?;
    let slice = &model.described.slice;
    let mut worst = Errors { onnx: 0.0, int8: int8.then_some(0.0) };
    for (index, choice) in choices.iter().enumerate() {
        let task = &supernet.tasks[choice.task];
        let vit = supernet.subnet(choice.task, &choice.path, slice)?;
        let Probe { images, size } = &choice.probe;
        let expected = crate::evaluate::run(&vit, &task.head, images.clone(), *size);
        if model.outputs(index, images)? != expected {
            bail!(
                "task `{}`: the extracted weights do not give the supernet's outputs",
                task.spec.name
            );
        }
        let error = relative_error(&onnx.outputs(&task.spec.name, images, *size)?, &expected);
        if error.is_nan() || error > ONNX_TOLERANCE {
            bail!(
                "task `{}`: the ONNX file differs from the network by {error:.1e} relative; allowed: {ONNX_TOLERANCE:.0e}",
                task.spec.name
            );
        }
        worst.onnx = worst.onnx.max(error);
        if let (Some(bytes), Some(worst)) = (&bytes, &mut worst.int8) {
            let got = bytes.outputs(&task.spec.name, images, *size)?;
            let error = relative_error(&got, &expected);
            if error.is_nan() {
                bail!(
                    "task `{}`: the 8-bit ONNX file gives values that are not finite",
                    task.spec.name
                );
            }
            *worst = worst.max(error);
        }
    }
    Ok(worst)
}

/// Manifest and model card.
fn write_papers(
    described: &Described,
    extracted: &Extracted,
    folder: &Path,
    place: Place<'_>,
) -> Result<()> {
    let manifest = json!({"source_blake3": place.source, "tasks": described.tasks,
        "slice": described.slice, "params": extracted.params,
        "macs_per_task": extracted.macs, "preprocess": described.preprocess,
        "parity": {"weights": "bit-equal to the supernet", "onnx_runtime": "rten",
            "onnx_max_rel_err": extracted.onnx_max_rel_err,
            "int8_max_rel_err": extracted.int8_max_rel_err},
        "sha256": sums(folder)?});
    write_atomic(&folder.join("manifest.json"), &serde_json::to_vec_pretty(&manifest)?)?;
    write_atomic(&folder.join("README.md"), card(described, extracted).as_bytes())
}

/// SHA-256 of each file of a folder, by name.
fn sums(folder: &Path) -> Result<serde_json::Map<String, serde_json::Value>> {
    let mut sums = serde_json::Map::new();
    for entry in fs::read_dir(folder).context("listing the model folder")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let sum: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        sums.insert(name, json!(sum));
    }
    sums.sort_keys();
    Ok(sums)
}

/// Puts a whole folder in its place, that of an earlier one if there is one.
fn replace(beside: tempfile::TempDir, out: &Path) -> Result<()> {
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("removing {}", out.display()))?;
    }
    let kept = beside.keep();
    fs::rename(&kept, out).with_context(|| format!("renaming to {}", out.display()))
}

fn card(described: &Described, extracted: &Extracted) -> String {
    let rows: String = described
        .tasks
        .iter()
        .map(|task| {
            let kind = match task.head {
                HeadShape::Linear { classes } => format!("{classes} classes"),
                HeadShape::Embedding { .. } => "embedding".to_string(),
            };
            // The bar before the final norm would end the table's cell.
            let path = task.path.to_string().replace('|', " norm ");
            format!("| {} | {kind} | `{path}` |\n", task.name)
        })
        .collect();
    let [height, width] = described.preprocess.size;
    format!(
        "---\nlibrary_name: ufo\ntags: [vision-transformer, multi-task]\n---\n\n# {}\n\n\
         Extracted from a ufo supernet with no retraining: {} parameters, {:.1} million \
         multiply-accumulates a task and image, input {height}x{width}.\n\n\
         | task | output | path (attention and FFN of each block; s shared, t task) |\n|---|---|---|\n{rows}\n\
         `ufo predict FOLDER IMAGE…` runs it; `model.onnx` runs in any ONNX runtime (input `image`, \
         an output a task, preprocessing and labels in its metadata){}.\n",
        extracted.tasks.join(", "),
        extracted.params,
        extracted.macs as f64 / 1e6,
        extracted
            .int8_max_rel_err
            .map_or("", |_| "; `model.int8.onnx` the same with 8-bit weights"),
    )
}
