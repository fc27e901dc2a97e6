//! An extracted model folder, read back: what `ufo predict` runs.
//!
//! `config.json` follows timm's layout (`architecture`, `model_args`, `pretrained_cfg`), so that
//! `timm.create_model("local-dir:FOLDER", pretrained=True)` reads a single classification task with
//! plain patches; the `ufo` section holds everything.

use anyhow::{Context, Result, bail};
use burn_tensor::Device;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use ufo_data::Preprocess;
use ufo_model::{
    Head, HeadConfig, Keys, Named, State, Vit, from_values, task_key, values, weights,
};
use ufo_nas::{Arch, Path as ExpertPath, Slice, Stem, SupernetSpec, TaskShape};

/// Weights file of a model folder.
pub const WEIGHTS: &str = "model.safetensors";
/// ONNX file of a model folder.
pub const ONNX: &str = "model.onnx";

/// What a model folder holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// Shape of the network that it was cut from.
    pub arch: Arch,
    /// What was kept of it.
    pub slice: Slice,
    /// From an image to the input.
    pub preprocess: Preprocess,
    /// Tasks, each an output.
    pub tasks: Vec<DescribedTask>,
}

/// A task of a model folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribedTask {
    /// Name, also of the ONNX output.
    pub name: String,
    /// Kind of head.
    pub head: HeadConfig,
    /// Classes, or training identities of an embedding.
    pub trained_classes: usize,
    /// Class names; empty for an embedding.
    pub classes: Vec<String>,
    /// Experts along its way.
    pub path: ExpertPath,
}

impl Described {
    /// Refuses what no extraction writes.
    fn validate(&self) -> Result<()> {
        self.arch.validate()?;
        self.slice.validate(&self.arch)?;
        self.preprocess.validate()?;
        if self.preprocess.size != self.arch.image_size || self.arch.channels != 3 {
            bail!("preprocess.size and arch.image_size must agree, and arch.channels be 3");
        }
        let shape = |task: &DescribedTask| TaskShape {
            name: task.name.clone(),
            head: task.head.shape(task.trained_classes),
        };
        let tasks = self.tasks.iter().map(shape).collect();
        SupernetSpec { arch: self.arch.clone(), tasks }.validate()?;
        for task in &self.tasks {
            task.path.validate(&self.arch)?;
            let named = task.classes.len() == task.trained_classes;
            if task.head == HeadConfig::Linear && !named {
                bail!(
                    "task `{}`: trained_classes is {}, but {} classes are named",
                    task.name,
                    task.trained_classes,
                    task.classes.len()
                );
            }
        }
        Ok(())
    }

    /// Names of task `index`'s network and head in the weights file: timm's for a task alone, the
    /// supernet's for several, so that a module used by several is there once.
    pub fn keys(&self, index: usize) -> (Keys, String) {
        let task = &self.tasks[index];
        if self.tasks.len() == 1 {
            return (Keys::plain(self.slice.blocks.len()), "head".to_string());
        }
        let keys = Keys::supernet(&task.name, self.arch.layout, &task.path, &self.slice);
        (keys, format!("{}.head", task_key(&task.name)))
    }

    /// The content of `config.json`.
    pub fn config(&self) -> Value {
        let mut config = json!({"architecture": "ufo_vit", "num_features": self.arch.dim});
        if let Some((args, cfg)) = self.timm() {
            config["architecture"] = json!("vit_base_patch16_224");
            config["num_classes"] = json!(self.tasks[0].classes.len());
            config["label_names"] = json!(self.tasks[0].classes);
            config["model_args"] = args;
            config["pretrained_cfg"] = cfg;
        }
        config["ufo"] = json!(self);
        config
    }

    /// timm's arguments for its `VisionTransformer`, when it can express the network.
    fn timm(&self) -> Option<(Value, Value)> {
        let [task] = &self.tasks[..] else { return None };
        let Stem::Patch { size, stride } = self.arch.stem else { return None };
        let kept = self.slice.blocks.first()?;
        let even = self.slice.blocks.iter().all(|b| (b.heads, b.ffn) == (kept.heads, kept.ffn));
        let plain = even && size == stride && kept.heads * self.arch.head_dim == self.arch.dim;
        if !plain || task.head != HeadConfig::Linear {
            return None;
        }
        let args = json!({"img_size": self.arch.image_size, "patch_size": size,
            "embed_dim": self.arch.dim, "depth": self.slice.blocks.len(),
            "num_heads": kept.heads, "mlp_ratio": kept.ffn as f64 / self.arch.dim as f64,
            "qkv_bias": self.arch.qkv_bias});
        let [height, width] = self.arch.image_size;
        let cfg = json!({"input_size": [self.arch.channels, height, width],
            "fixed_input_size": true, "pool_size": Value::Null, "crop_pct": 1.0,
            "mean": self.preprocess.mean, "std": self.preprocess.std,
            "first_conv": "patch_embed.proj", "classifier": "head"});
        Some((args, cfg))
    }
}

/// A model folder ready to run.
#[derive(Debug)]
pub struct Package {
    /// What it holds.
    pub described: Described,
    tasks: Vec<(Vit, Head)>,
}

impl Package {
    /// Reads `config.json` and the weights of a folder.
    ///
    /// # Errors
    /// Names the file, and the key or tensor that is missing, unexpected or does not fit.
    pub fn open(folder: &Path) -> Result<Self> {
        let place = folder.join("config.json");
        let text = fs::read(&place).with_context(|| {
            format!("reading {}; a folder that `ufo extract` wrote is needed", place.display())
        })?;
        let mut config: Value =
            serde_json::from_slice(&text).with_context(|| format!("in {}", place.display()))?;
        let section = config.get_mut("ufo").map(Value::take).unwrap_or_default();
        let described: Described = serde_json::from_value(section)
            .with_context(|| format!("in section `ufo` of {}", place.display()))?;
        described.validate().with_context(|| format!("in {}", place.display()))?;
        let place = folder.join(WEIGHTS);
        let bytes = fs::read(&place).with_context(|| format!("reading {}", place.display()))?;
        let from = place.display().to_string();
        Self::load(described, &weights::from_bytes(&bytes, &from)?, &from)
    }

    /// Builds the networks from named weights.
    ///
    /// # Errors
    /// Names the tensor that is missing, unexpected or of another shape.
    pub fn load(described: Described, state: &State, from: &str) -> Result<Self> {
        let device = Device::flex();
        let Described { arch, slice, .. } = &described;
        described.validate()?;
        let held: u64 = state.values().map(|tensor| tensor.values.len() as u64).sum();
        let mut used = BTreeSet::new();
        let mut tasks = Vec::new();
        for (index, task) in described.tasks.iter().enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            // Before anything is allocated for it.
            let head = task.head.shape(task.trained_classes);
            let needed = ufo_nas::params(arch, slice).total() + head.params(arch.dim);
            if needed > held {
                bail!(
                    "{from}: {held} values, but task `{}` needs {needed} by config.json",
                    task.name
                );
            }
            let mut vit = Vit::init(arch, slice, &mut rng, &device)?;
            let (keys, head_key) = described.keys(index);
            let classes = task.trained_classes;
            let mut head = Head::init(&task.head, arch.dim, classes, &mut rng, &device);
            used.extend(weights::fill(&mut Named { vit: &mut vit, keys: &keys }, "", state, from)?);
            used.extend(weights::fill(&mut head, &head_key, state, from)?);
            tasks.push((vit, head));
        }
        if let Some(name) = state.keys().find(|name| !used.contains(*name)) {
            bail!("{from}: unexpected tensor `{name}`");
        }
        Ok(Self { described, tasks })
    }

    /// Features of `task` before its head, row-major: images are `[n, channels, height, width]`.
    pub fn features(&self, task: usize, images: Vec<f32>, size: [usize; 4]) -> Vec<f32> {
        values(&self.tasks[task].0.forward(from_values(images, size, &Device::flex()), None))
    }

    /// Outputs of `task`, row-major: logits or embeddings.
    pub fn outputs(&self, task: usize, images: Vec<f32>, size: [usize; 4]) -> Vec<f32> {
        let (vit, head) = &self.tasks[task];
        let images = from_values(images, size, &Device::flex());
        values(&head.forward(vit.forward(images, None)))
    }
}
