//! `config.json` of a model folder.
//!
//! It follows timm's layout (`architecture`, `model_args`, `pretrained_cfg`), so that
//! `timm.create_model("local-dir:FOLDER", pretrained=True)` reads a single classification task with
//! plain patches; the `ufo` section holds everything.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::path::Path as FilePath;
use ufo_data::Preprocess;
use ufo_nas::{
    Arch, Expert, HeadShape, Keys, Layout, Path, Slice, Stem, SupernetSpec, TaskShape, task_key,
};

/// The description's file in a model folder.
pub const CONFIG: &str = "config.json";
/// Weights file of a model folder.
pub const WEIGHTS: &str = "model.safetensors";
/// ONNX file of a model folder.
pub const ONNX: &str = "model.onnx";
/// ONNX file with 8-bit weights of a model folder, where there is one.
pub const ONNX_INT8: &str = "model.int8.onnx";

/// What a model folder holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// Shape of the network that it was cut from.
    pub arch: Arch,
    /// From an image to the input.
    pub preprocess: Preprocess,
    /// Whether each task's modules are stored under its name alone, as networks of different slices or
    /// supernets need it; else a module that several tasks use is stored once.
    #[serde(default)]
    pub apart: bool,
    /// Tasks, each an output.
    pub tasks: Vec<DescribedTask>,
}

/// A task of a model folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribedTask {
    /// Name, also of the ONNX output.
    pub name: String,
    /// The task of the run where that is not the name, as of several slices of one task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// What was kept of the network.
    pub slice: Slice,
    /// Kind and size of the head.
    pub head: HeadShape,
    /// Class names; empty for an embedding.
    pub classes: Vec<String>,
    /// Experts along its way.
    pub path: Path,
}

impl Described {
    /// Reads and checks the `config.json` of a folder.
    ///
    /// # Errors
    /// Names the file, and the key that is missing, unknown or out of range.
    pub fn read(folder: &FilePath) -> Result<Self> {
        let place = folder.join(CONFIG);
        let file = || place.display().to_string();
        let text = fs::read(&place).map_err(|source| Error::Read { file: file(), source })?;
        let wrong = |reason: String| Error::Config { file: file(), reason };
        let mut config: Value = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        let section = config.get_mut("ufo").map(Value::take).unwrap_or_default();
        let described: Self = serde_json::from_value(section)
            .map_err(|error| wrong(format!("section `ufo`: {error}")))?;
        described.validate().map_err(wrong)?;
        Ok(described)
    }

    /// Refuses what no extraction writes.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let said = |error: ufo_nas::Error| error.to_string();
        // Before what relies on its bounds.
        self.arch.validate().map_err(said)?;
        self.preprocess.validate().map_err(|error| error.to_string())?;
        if self.tasks.is_empty() {
            return Err("tasks: must be at least one".into());
        }
        if self.preprocess.size != self.arch.image_size || self.arch.channels != 3 {
            return Err(
                "preprocess.size and arch.image_size must agree, and arch.channels be 3".into()
            );
        }
        let shape = |task: &DescribedTask| TaskShape { name: task.name.clone(), head: task.head };
        let tasks = self.tasks.iter().map(shape).collect();
        SupernetSpec { arch: self.arch.clone(), tasks }.validate().map_err(said)?;
        for task in &self.tasks {
            task.path.validate(&self.arch).map_err(said)?;
            task.slice.validate(&self.arch).map_err(said)?;
            if !self.apart && task.slice != self.tasks[0].slice {
                return Err("tasks: one slice for all of them where `apart` is false".into());
            }
            let (named, classes) = (task.classes.len(), task.head.classes());
            let embeds = matches!(task.head, HeadShape::Embedding { .. });
            if !embeds && named != classes {
                let name = &task.name;
                return Err(format!(
                    "task `{name}`: head.classes is {classes}, but {named} classes are named"
                ));
            }
            if let HeadShape::Detection { doublings, .. } = task.head {
                let larger = self.arch.grid().map(|side| side << doublings);
                if (0..2).any(|axis| larger[axis] > self.arch.image_size[axis]) {
                    return Err(format!(
                        "task `{}`: head.doublings must not make the patches more than the image",
                        task.name
                    ));
                }
            }
            if let HeadShape::Segmentation { doublings, auxiliary, detail, .. } = task.head {
                let larger = self.arch.grid().map(|side| side << doublings);
                if detail && larger != self.arch.image_size {
                    return Err(format!(
                        "task `{}`: head.detail needs head.doublings that make the patches the image",
                        task.name
                    ));
                }
                if auxiliary || (0..2).any(|axis| larger[axis] > self.arch.image_size[axis]) {
                    let name = &task.name;
                    return Err(format!(
                        "task `{name}`: head.auxiliary must be false, and head.doublings not make the patches more than the image"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Names of task `index`'s network and head in the weights file: timm's for a task alone, the
    /// supernet's for several, so that a module used by several is there once, or, `apart`, the task's own.
    pub fn keys(&self, index: usize) -> (Keys, String) {
        let task = &self.tasks[index];
        if self.tasks.len() == 1 {
            return (Keys::plain(task.slice.blocks.len()), "head".to_string());
        }
        let keys = if self.apart {
            let own = Path::uniform(&self.arch, Expert::Task);
            Keys::supernet(&task.name, Layout::B, &own, &task.slice)
        } else {
            Keys::supernet(&task.name, self.arch.layout, &task.path, &task.slice)
        };
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
        let kept = task.slice.blocks.first()?;
        let even = task.slice.blocks.iter().all(|b| (b.heads, b.ffn) == (kept.heads, kept.ffn));
        let plain = even && size == stride && kept.heads * self.arch.head_dim == self.arch.dim;
        if !plain || !matches!(task.head, HeadShape::Linear { .. }) {
            return None;
        }
        let args = json!({"img_size": self.arch.image_size, "patch_size": size,
            "embed_dim": self.arch.dim, "depth": task.slice.blocks.len(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use ufo_nas::Preset;

    fn sound() -> Value {
        let arch = Preset::Demo.arch();
        let task = DescribedTask {
            name: "digits".to_string(),
            task: None,
            slice: Slice::full(&arch),
            head: HeadShape::Linear { classes: 2 },
            classes: vec!["0".to_string(), "1".to_string()],
            path: Path::from_sites(&arch, &vec![ufo_nas::Expert::Task; arch.routed_sites()])
                .unwrap(),
        };
        let preprocess = Preprocess { size: arch.image_size, ..Preprocess::default() };
        Described { arch, preprocess, apart: false, tasks: vec![task] }.config()
    }

    /// What reading says of a `config.json`.
    fn read(config: &str) -> Result<Described> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG), config).unwrap();
        Described::read(folder.path())
    }

    #[test]
    fn what_was_written_is_read_back() {
        let config = sound();
        assert_eq!(read(&config.to_string()).unwrap().config(), config);
    }

    #[test]
    fn wrong_descriptions_are_refused_with_file_and_key() {
        for (key, value, said) in [
            ("/ufo/arch/depth", json!(0), "depth = 0"),
            ("/ufo/arch/ffn", json!(1_u64 << 40), "ffn = 1099511627776"),
            ("/ufo/tasks/0/slice/blocks", json!([]), "slice.blocks"),
            ("/ufo/tasks/0/slice/blocks/0/heads", json!(9), "heads = 9"),
            ("/ufo/preprocess/size", json!([16, 16]), "preprocess.size and arch.image_size"),
            ("/ufo/tasks", json!([]), "at least one"),
            ("/ufo/tasks/0/head/classes", json!(3), "head.classes is 3, but 2 classes are named"),
            ("/ufo/tasks/0/path/attn", json!(["task"]), "attn"),
            ("/ufo/tasks/0/head/kind", json!("none"), "section `ufo`"),
        ] {
            let mut config = sound();
            *config.pointer_mut(key).unwrap() = value;
            let message = read(&config.to_string()).unwrap_err().to_string();
            assert!(message.contains(CONFIG) && message.contains(said), "{key}: {message}");
        }
        let missing = Described::read(FilePath::new("/nothing/here")).unwrap_err().to_string();
        assert!(missing.contains("/nothing/here/config.json"), "{missing}");
        assert!(read("{").unwrap_err().to_string().contains(CONFIG));
    }
}
