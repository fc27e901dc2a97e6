//! Extraction: the networks of any tasks copied out of a supernet, with no retraining (spec 5).

use crate::checkpoint::write_atomic;
use anyhow::{Context, Result, bail};
use burn_tensor::Device;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use ufo_data::Preprocess;
use ufo_model::{
    Head, Keys, State, Supernet, Visit, Vit, from_values, state_of, task_key, values, weights,
};
use ufo_nas::{Path as ExpertPath, Slice};
use ufo_onnx::{Dim, Graph};

/// What was written.
#[derive(Debug, Clone)]
pub struct Extracted {
    /// Tasks of the model.
    pub tasks: Vec<String>,
    /// Parameters, heads included; a module used by several tasks counts once.
    pub params: usize,
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
}

/// Writes `model.safetensors`, `config.json`, `model.onnx`, `manifest.json` and `README.md`.
///
/// One task alone has timm's key names; several keep the supernet's, each module once.
///
/// # Errors
/// An existing folder, a task named twice, a file that cannot be written.
pub fn extract(
    supernet: &Supernet,
    choices: &[Choice],
    preprocess: &Preprocess,
    source: &str,
    out: &Path,
) -> Result<Extracted> {
    if out.exists() {
        bail!("{}: exists already; remove it or choose another folder", out.display());
    }
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let beside = tempfile::tempdir_in(parent).context("making a folder beside")?;
    let slice = Slice::full(&supernet.arch);
    let mut graph = Graph::new("ufo");
    let [height, width] = supernet.arch.image_size;
    let batch = Dim::Named("batch".to_string());
    let sizes = [3, height, width].map(Dim::Fixed);
    let image = graph.input("image", &[&[batch.clone()], &sizes[..]].concat());
    let mut state = State::new();
    for choice in choices {
        let mut vit = supernet.subnet(choice.task, &choice.path, &slice)?;
        let task = &supernet.tasks[choice.task];
        let mut head = task.head.clone();
        let (keys, head_key) = if choices.len() == 1 {
            (Keys::plain(supernet.arch.depth), "head".to_string())
        } else {
            let name = &task.spec.name;
            (Keys::supernet(name, &choice.path, &slice), format!("{}.head", task_key(name)))
        };
        state.extend(vit_state(&mut vit, &keys));
        state.extend(state_of(&mut head, &head_key));
        let features = vit.to_onnx(&mut graph, &keys, &image)?;
        let output = head.to_onnx(&mut graph, &head_key, &features)?;
        graph.output(&task.spec.name, &output, &[batch.clone(), Dim::Fixed(head.outputs())]);
    }
    let params = state.values().map(|tensor| tensor.values.len()).sum();
    let tasks: Vec<String> =
        choices.iter().map(|c| supernet.tasks[c.task].spec.name.clone()).collect();
    graph.metadata("preprocess", &serde_json::to_string(preprocess)?);
    let described: Vec<_> = choices
        .iter()
        .map(|choice| {
            let spec = &supernet.tasks[choice.task].spec;
            json!({"name": spec.name, "head": spec.head, "path": choice.path,
                "classes": choice.classes, "trained_classes": spec.classes})
        })
        .collect();
    graph.metadata("tasks", &json!(described).to_string());
    graph.save(&beside.path().join("model.onnx"))?;
    let bytes = weights::to_bytes(&state, &[("format", "pt".to_string())])?;
    write_atomic(&beside.path().join("model.safetensors"), &bytes)?;
    let config = json!({"architecture": "ufo_vit", "num_features": supernet.arch.dim,
        "arch": supernet.arch, "preprocess": preprocess, "tasks": described});
    write_atomic(&beside.path().join("config.json"), &serde_json::to_vec_pretty(&config)?)?;
    let card = format!(
        "---\nlibrary_name: ufo\ntags: [image-classification, vision-transformer]\n---\n# {}\n\nExtracted from a ufo supernet with no retraining: {params} parameters. Run it with `ufo predict FOLDER IMAGE`.\n",
        tasks.join(", ")
    );
    write_atomic(&beside.path().join("README.md"), card.as_bytes())?;
    let mut sums = serde_json::Map::new();
    for file in ["model.onnx", "model.safetensors", "config.json"] {
        let bytes = fs::read(beside.path().join(file))?;
        let sum: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        sums.insert(file.to_string(), json!(sum));
    }
    let macs = ufo_nas::macs(&supernet.arch, &slice).total();
    let manifest = json!({"source_blake3": source, "tasks": described, "slice": slice,
        "params": params, "macs_per_task": macs, "preprocess": preprocess, "sha256": sums});
    write_atomic(&beside.path().join("manifest.json"), &serde_json::to_vec_pretty(&manifest)?)?;
    let kept = beside.keep();
    fs::rename(&kept, out).with_context(|| format!("renaming to {}", out.display()))?;
    Ok(Extracted { tasks, params })
}

fn vit_state(vit: &mut Vit, keys: &Keys) -> State {
    struct Whole<'a>(&'a mut Vit, &'a Keys);
    impl Visit for Whole<'_> {
        fn visit(&mut self, _: &str, visitor: &mut impl ufo_model::Visitor) {
            self.0.visit(self.1, visitor);
        }
    }
    state_of(&mut Whole(vit, keys), "")
}

/// Output of a task's network and head for one batch of images, as the exported model gives it.
pub fn run(vit: &Vit, head: &Head, images: Vec<f32>, size: [usize; 4]) -> Vec<f32> {
    values(&head.forward(vit.forward(from_values(images, size, &Device::flex()), None)))
}
