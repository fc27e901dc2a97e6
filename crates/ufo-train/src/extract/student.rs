//! A student as a model folder.
//!
//! A transformer's folder is one like others. A convolutional network's has torchvision's parameter names
//! and a section [`STUDENT`] in its `config.json`; its ONNX file runs it.

use super::{Errors, ONNX_TOLERANCE, Probe, replace, sums};
use crate::checkpoint::write_atomic;
use crate::distill::run;
use crate::onnx::{Onnx, relative_error};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use ufo_data::Preprocess;
use ufo_model::{Student, StudentKind, weights};
use ufo_nas::{Expert, Path as ExpertPath, Slice};
use ufo_onnx::{Dim, Graph};
use ufo_runtime::{CONFIG, Described, DescribedTask, Model, ONNX, ONNX_INT8, Precision, WEIGHTS};

/// Section of `config.json` that describes a convolutional student.
pub const STUDENT: &str = "ufo_student";

/// A relative change of the input about as large as what rounding adds up to: 1e-7 a product, some tens of
/// times that in a sum of hundreds, some times that in fifty layers.
const ROUNDING: f32 = 1e-5;
/// Largest relative error of an ONNX file of any network.
const WORST: f64 = 1e-2;

/// What the folder of a convolutional student holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribedStudent {
    /// Which network.
    pub kind: StudentKind,
    /// From an image to the input.
    pub preprocess: Preprocess,
    /// Its one task; the path has no blocks.
    pub tasks: Vec<DescribedTask>,
}

impl DescribedStudent {
    /// The section of a folder's `config.json`; none where it is another kind of model.
    ///
    /// # Errors
    /// Names the file, and the key that is missing or unknown.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let place = folder.join(CONFIG);
        let text = fs::read(&place).with_context(|| format!("reading {}", place.display()))?;
        let mut config: Value =
            serde_json::from_slice(&text).with_context(|| format!("in {}", place.display()))?;
        let Some(section) = config.get_mut(STUDENT) else { return Ok(None) };
        let told: Self = serde_json::from_value(section.take())
            .with_context(|| format!("{}, section `{STUDENT}`", place.display()))?;
        told.preprocess.validate().with_context(|| format!("in {}", place.display()))?;
        Ok(Some(told))
    }
}

/// A student and what its folder says of it.
#[derive(Debug, Clone, Copy)]
pub struct Graduate<'a> {
    /// The network.
    pub student: &'a Student,
    /// Which one.
    pub kind: StudentKind,
    /// Name, head and classes.
    pub task: &'a DescribedTask,
    /// From an image to the input.
    pub preprocess: &'a Preprocess,
    /// Images on which its copies are compared with it.
    pub probe: &'a Probe,
    /// Parameters of its teacher.
    pub teacher_params: u64,
    /// Whether to write `model.int8.onnx` as well.
    pub int8: bool,
}

/// What was written.
#[derive(Debug, Clone, Serialize)]
pub struct StudentFolder {
    /// Parameters of the student.
    pub params: u64,
    /// Those of its teacher.
    pub teacher_params: u64,
    /// The teacher's over the student's.
    pub compression: f64,
    /// Largest relative error of the ONNX file.
    pub onnx_max_rel_err: f64,
    /// That of the ONNX file with 8-bit weights, if there is one.
    pub int8_max_rel_err: Option<f64>,
}

/// Writes the folder `out`, in the place of an earlier one, after checking its copies: weights read back
/// give the same bits, the ONNX file the same outputs within [`ONNX_TOLERANCE`], or within what rounding of
/// the input alone makes of them where that is more.
///
/// # Errors
/// When a check fails or a file cannot be written; an earlier folder then stays.
pub fn write(graduate: Graduate<'_>, out: &Path) -> Result<StudentFolder> {
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = tempfile::tempdir_in(parent).context("making a folder beside")?;
    let folder = beside.path();
    graph(graduate, Graph::new("ufo"))?.save(&folder.join(ONNX))?;
    if graduate.int8 {
        graph(graduate, Graph::new("ufo").with_int8())?.save(&folder.join(ONNX_INT8))?;
    }
    let bytes = ufo_weights::to_bytes(&graduate.student.state(), &[("format", "pt".into())])?;
    write_atomic(&folder.join(WEIGHTS), &bytes)?;
    let config = serde_json::to_vec_pretty(&config(graduate))?;
    write_atomic(&folder.join(CONFIG), &config)?;
    let errors = check(graduate, folder)?;
    let params = graduate.student.params();
    let written = StudentFolder {
        params,
        teacher_params: graduate.teacher_params,
        compression: graduate.teacher_params as f64 / params as f64,
        onnx_max_rel_err: errors.onnx,
        int8_max_rel_err: errors.int8,
    };
    papers(graduate, &written, folder)?;
    replace(beside, out)?;
    Ok(written)
}

fn graph(graduate: Graduate<'_>, mut graph: Graph) -> Result<Graph> {
    let Graduate { student, task, preprocess, .. } = graduate;
    let batch = Dim::Named("batch".to_string());
    let [height, width] = preprocess.size;
    let image = [batch.clone(), 3.into(), height.into(), width.into()];
    let image = graph.input("image", &image);
    let (output, outputs) =
        graph.scope(&format!("task.{}", task.name), |graph| student.to_onnx(graph, &image))?;
    graph.output(&task.name, &output, &[batch, Dim::Fixed(outputs)]);
    graph.metadata("preprocess", &serde_json::to_string(preprocess)?);
    graph.metadata("tasks", &serde_json::to_string(&[task])?);
    Ok(graph)
}

/// The content of `config.json`.
fn config(graduate: Graduate<'_>) -> Value {
    let Graduate { kind, task, preprocess, .. } = graduate;
    if let Some(arch) = kind.arch(preprocess.size[0]) {
        let path = ExpertPath::uniform(&arch, Expert::Shared);
        let slice = Slice::full(&arch);
        let tasks = vec![DescribedTask { path, slice, ..task.clone() }];
        return Described { arch, preprocess: preprocess.clone(), apart: false, tasks }.config();
    }
    let told = DescribedStudent { kind, preprocess: preprocess.clone(), tasks: vec![task.clone()] };
    let [height, width] = preprocess.size;
    json!({
        "architecture": kind, "num_classes": task.classes.len(), "label_names": task.classes,
        "pretrained_cfg": {"input_size": [3, height, width], "mean": preprocess.mean,
            "std": preprocess.std},
        STUDENT: told,
    })
}

/// Reads the copies back and runs them on the probe.
fn check(graduate: Graduate<'_>, folder: &Path) -> Result<Errors> {
    let Graduate { student, kind, task, probe, .. } = graduate;
    let expected = run(student, probe.images.clone(), probe.size);
    let again = if matches!(kind, StudentKind::Vit(_)) {
        Model::open(folder, Precision::F32)?.outputs(0, &probe.images)?
    } else {
        let place = folder.join(WEIGHTS);
        let bytes = fs::read(&place).with_context(|| format!("reading {}", place.display()))?;
        let from = place.display().to_string();
        let mut copy = student.graduated();
        weights::load(&mut copy, ufo_weights::from_bytes(&bytes, &from)?, &from)?;
        run(&copy, probe.images.clone(), probe.size)
    };
    if again != expected {
        bail!("task `{}`: the extracted weights do not give the student's outputs", task.name);
    }
    let onnx = Onnx::open(&folder.join(ONNX))?;
    let error = relative_error(&onnx.outputs(&task.name, &probe.images, probe.size)?, &expected);
    let moved = probe.images.iter().map(|value| value * (1.0 + ROUNDING)).collect();
    let allowed = allowed(relative_error(&run(student, moved, probe.size), &expected));
    if error.is_nan() || error > allowed {
        bail!(
            "task `{}`: the ONNX file differs from the student by {error:.1e} relative; allowed: {allowed:.1e}",
            task.name
        );
    }
    let int8 = if graduate.int8 {
        let onnx = Onnx::open(&folder.join(ONNX_INT8))?;
        let got = onnx.outputs(&task.name, &probe.images, probe.size)?;
        let error = relative_error(&got, &expected);
        if error.is_nan() {
            bail!("task `{}`: the ONNX file with 8-bit weights gives no numbers", task.name);
        }
        Some(error)
    } else {
        None
    };
    Ok(Errors { onnx: error, int8 })
}

/// Largest relative error of an ONNX file whose network moves by `sensitivity`, relative, when its input moves by
/// [`ROUNDING`]. Batch norms of channels that hardly vary (images of one color) magnify what is rounded, and a
/// runtime rounds otherwise than another.
fn allowed(sensitivity: f64) -> f64 {
    if sensitivity.is_nan() { ONNX_TOLERANCE } else { sensitivity.clamp(ONNX_TOLERANCE, WORST) }
}

/// Manifest and model card.
fn papers(graduate: Graduate<'_>, written: &StudentFolder, folder: &Path) -> Result<()> {
    let Graduate { kind, task, preprocess, .. } = graduate;
    let manifest = json!({"student": kind, "tasks": [task], "params": written.params,
        "teacher_params": written.teacher_params, "compression": written.compression,
        "preprocess": preprocess,
        "parity": {"weights": "bit-equal to the trained student", "onnx_runtime": "rten",
            "onnx_max_rel_err": written.onnx_max_rel_err,
            "int8_max_rel_err": written.int8_max_rel_err},
        "sha256": sums(folder)?});
    write_atomic(&folder.join("manifest.json"), &serde_json::to_vec_pretty(&manifest)?)?;
    let [height, width] = preprocess.size;
    let card = format!(
        "---\nlibrary_name: ufo\ntags: [distillation]\n---\n\n# {}: {kind}\n\n\
         A {kind} of {} parameters that learned from a teacher of {} ({:.1} times as many), input {height}x{width}.\n\n\
         `ufo predict FOLDER IMAGE…` runs it; `model.onnx` runs in any ONNX runtime (input `image`, an output a task, \
         preprocessing and labels in its metadata).\n",
        task.name, written.params, written.teacher_params, written.compression
    );
    write_atomic(&folder.join("README.md"), card.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounding_moves_is_allowed_up_to_a_bound() {
        let bounds = [1e-7, 3e-4, 1.0, f64::NAN].map(|moved| allowed(moved).to_bits());
        let expected = [ONNX_TOLERANCE, 3e-4, WORST, ONNX_TOLERANCE].map(f64::to_bits);
        assert_eq!(bounds, expected);
    }
}
