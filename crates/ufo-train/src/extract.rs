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
use ufo_model::{Head, Named, Supernet, state_of};
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
    /// Multiply-accumulates of each task on one image.
    pub macs: Vec<u64>,
    /// Largest relative error of the ONNX file over tasks.
    pub onnx_max_rel_err: f64,
    /// The same of the 8-bit file, which is not bounded.
    pub int8_max_rel_err: Option<f64>,
}

/// A network to extract.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Its supernet.
    pub supernet: &'a Supernet,
    /// Index of the task in the supernet.
    pub task: usize,
    /// Name in the model; the task's, unless the model holds several slices of it.
    pub name: String,
    /// Experts.
    pub path: ExpertPath,
    /// Blocks, heads and FFN widths.
    pub slice: Slice,
    /// The head for that slice.
    pub head: Head,
    /// Class names of the head; empty for an embedding.
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
    /// Hash of each entry's weights.
    pub sources: &'a [String],
    /// Folder to make.
    pub out: &'a Path,
    /// Whether to write an ONNX file with 8-bit weights, too.
    pub int8: bool,
}

/// Writes `model.safetensors`, `config.json`, `model.onnx`, `manifest.json` and `README.md`; with
/// `int8` also `model.int8.onnx`, whose linear layers have 8-bit weights. Where all entries are one slice of one
/// supernet, modules that several use are written once.
///
/// # Errors
/// An existing folder, a file that cannot be written, copies that do not keep the promises, networks of
/// different shapes.
pub fn extract(
    entries: &[Entry<'_>],
    preprocess: &Preprocess,
    place: Place<'_>,
) -> Result<Extracted> {
    let Place { out, int8, .. } = place;
    if out.exists() {
        bail!("{}: exists already; remove it or choose another folder", out.display());
    }
    let described = describe(entries, preprocess)?;
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let beside = tempfile::tempdir_in(parent).context("making a folder beside")?;
    write_weights(entries, &described, beside.path(), int8)?;
    let errors = check(entries, beside.path(), int8)?;
    let macs = |entry: &Entry| ufo_nas::macs(&entry.supernet.arch, &entry.slice).total();
    let extracted = Extracted {
        tasks: described.tasks.iter().map(|task| task.name.clone()).collect(),
        params: counted(entries, described.apart)?,
        macs: entries.iter().map(macs).collect(),
        onnx_max_rel_err: errors.onnx,
        int8_max_rel_err: errors.int8,
    };
    write_papers(&described, &extracted, beside.path(), place)?;
    let kept = beside.keep();
    fs::rename(&kept, out).with_context(|| format!("renaming to {}", out.display()))?;
    Ok(extracted)
}

/// Parameters of the model.
fn counted(entries: &[Entry], apart: bool) -> Result<u64> {
    let count = |some: &[Entry]| -> Result<u64> {
        let chosen: Vec<_> = some.iter().map(|entry| (entry.task, &entry.path)).collect();
        let spec = some[0].supernet.spec();
        Ok(ufo_nas::extracted(&spec, &chosen, &some[0].slice)?.total_params)
    };
    if apart { entries.chunks(1).map(count).sum() } else { count(entries) }
}

pub(crate) fn describe(entries: &[Entry], preprocess: &Preprocess) -> Result<Described> {
    let Some(first) = entries.first() else { bail!("a model holds at least one task") };
    for (row, entry) in entries.iter().enumerate() {
        let Entry { name, supernet, .. } = entry;
        if entries[..row].iter().any(|earlier| earlier.name == *name) {
            bail!("`{name}` is named twice; every task of a model has a name of its own");
        }
        if supernet.arch != first.supernet.arch {
            bail!("task `{name}`: its run has another architecture than that of `{}`", first.name);
        }
        entry.slice.validate(&supernet.arch).with_context(|| format!("task `{name}`"))?;
    }
    let together =
        |entry: &Entry| std::ptr::eq(entry.supernet, first.supernet) && entry.slice == first.slice;
    let task = |entry: &Entry| {
        let spec = &entry.supernet.tasks[entry.task].spec;
        DescribedTask {
            name: entry.name.clone(),
            task: (entry.name != spec.name).then(|| spec.name.clone()),
            slice: entry.slice.clone(),
            head: spec.head.shape(spec.classes).extracted(),
            classes: entry.classes.clone(),
            path: entry.path.clone(),
        }
    };
    Ok(Described {
        arch: first.supernet.arch.clone(),
        preprocess: preprocess.clone(),
        apart: !entries.iter().all(together),
        tasks: entries.iter().map(task).collect(),
    })
}

/// Weights, ONNX and `config.json`.
fn write_weights(
    entries: &[Entry],
    described: &Described,
    folder: &Path,
    int8: bool,
) -> Result<()> {
    let (graph, state) = build(entries, described, Graph::new("ufo"))?;
    graph.save(&folder.join(ONNX))?;
    if int8 {
        let empty = Graph::new("ufo").with_int8();
        build(entries, described, empty)?.0.save(&folder.join(ONNX_INT8))?;
    }
    let bytes = ufo_weights::to_bytes(&state, &[("format", "pt".to_string())])?;
    write_atomic(&folder.join(WEIGHTS), &bytes)?;
    let config = serde_json::to_vec_pretty(&described.config())?;
    write_atomic(&folder.join(CONFIG), &config)
}

/// The networks in an empty graph, and their weights.
pub(crate) fn build(
    entries: &[Entry],
    described: &Described,
    mut graph: Graph,
) -> Result<(Graph, State)> {
    let arch = &described.arch;
    let [height, width] = arch.image_size;
    let batch = Dim::Named("batch".to_string());
    let sizes = [arch.channels, height, width].map(Dim::Fixed);
    let image = graph.input("image", &[std::slice::from_ref(&batch), &sizes[..]].concat());
    let mut state = State::new();
    for (index, entry) in entries.iter().enumerate() {
        let mut vit = entry.supernet.subnet(entry.task, &entry.path, &entry.slice)?;
        let (keys, head_key) = described.keys(index);
        state.extend(state_of(&mut Named { vit: &mut vit, keys: &keys }, ""));
        let head = entry.head.extracted();
        state.extend(state_of(&mut head.clone(), &head_key));
        // In a scope of its own, since a task may be named like an operator.
        let output = graph.scope(&format!("task.{}", entry.name), |graph| {
            head.run_onnx(graph, (&vit, &keys, &head_key), (&image, arch.image_size))
        })?;
        let sizes = head.output_sizes(arch.image_size, arch.grid()).into_iter().map(Dim::Fixed);
        let dims: Vec<Dim> = std::iter::once(batch.clone()).chain(sizes).collect();
        graph.output(&entry.name, &output, &dims);
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
fn check(entries: &[Entry], folder: &Path, int8: bool) -> Result<Errors> {
    let model = Model::open(folder, Precision::F32)?;
    let onnx = Onnx::open(&folder.join(ONNX))?;
    let bytes = int8.then(|| Onnx::open(&folder.join(ONNX_INT8))).transpose()?;
    let mut worst = Errors { onnx: 0.0, int8: int8.then_some(0.0) };
    for (index, entry) in entries.iter().enumerate() {
        let Entry { name, probe: Probe { images, size }, .. } = entry;
        let vit = entry.supernet.subnet(entry.task, &entry.path, &entry.slice)?;
        let expected = crate::evaluate::run(&vit, &entry.head, images.clone(), *size);
        if model.outputs(index, images)? != expected {
            bail!("task `{name}`: the extracted weights do not give the supernet's outputs");
        }
        let error = relative_error(&onnx.outputs(name, images, *size)?, &expected);
        if error.is_nan() || error > ONNX_TOLERANCE {
            bail!(
                "task `{name}`: the ONNX file differs from the network by {error:.1e} relative; allowed: {ONNX_TOLERANCE:.0e}"
            );
        }
        worst.onnx = worst.onnx.max(error);
        if let (Some(bytes), Some(worst)) = (&bytes, &mut worst.int8) {
            let error = relative_error(&bytes.outputs(name, images, *size)?, &expected);
            if error.is_nan() {
                bail!("task `{name}`: the 8-bit ONNX file gives values that are not finite");
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
    let manifest = json!({"source_blake3": place.sources, "tasks": described.tasks,
        "params": extracted.params,
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
    let row = |(task, macs): (&DescribedTask, &u64)| {
        let kind = match task.head {
            HeadShape::Linear { classes } => format!("{classes} classes"),
            HeadShape::Embedding { .. } => "embedding".to_string(),
            HeadShape::Segmentation { classes, .. } => format!("{classes} classes a pixel"),
            HeadShape::Detection { classes, .. } => format!("boxes of {classes} classes"),
        };
        // The bar before the final norm would end the table's cell.
        let path = task.path.to_string().replace('|', " norm ");
        let (name, millions) = (&task.name, *macs as f64 / 1e6);
        format!("| {name} | {kind} | {millions:.1} | `{}` | `{path}` |\n", task.slice)
    };
    let rows: String = described.tasks.iter().zip(&extracted.macs).map(row).collect();
    let [height, width] = described.preprocess.size;
    format!(
        "---\nlibrary_name: ufo\ntags: [vision-transformer, multi-task]\n---\n\n# {}\n\n\
         Extracted from a ufo supernet with no retraining: {} parameters, input {height}x{width}.\n\n\
         | task | output | million multiply-accumulates an image | slice (block:heads:ffn) | \
         path (attention and FFN of each block; s shared, t task) |\n|---|---|---|---|---|\n{rows}\n\
         `ufo predict FOLDER IMAGE…` runs it; `model.onnx` runs in any ONNX runtime (input `image`, \
         an output a task, preprocessing and labels in its metadata){}.\n",
        extracted.tasks.join(", "),
        extracted.params,
        extracted
            .int8_max_rel_err
            .map_or("", |_| "; `model.int8.onnx` the same with 8-bit weights"),
    )
}
