//! A run's configuration: one TOML file, a task in a few lines.

use crate::{detect, segment};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use ufo_data::{Augment, DatasetConfig, Preprocess, SamplerConfig};
use ufo_eval::{ClassificationMetric, Distance, Protocol};
use ufo_model::losses::Triplet;
use ufo_model::{HeadConfig, RouterConfig};
use ufo_nas::{Arch, Layout, Preset};

mod arch;
mod chip;
mod device;
mod distill;
mod expand;
mod overrides;
mod train;

use arch::ArchChanges;
pub use chip::ChipConfig;
pub use device::Compute;
pub use distill::{DistillConfig, Unlabeled};
pub use expand::{ExpandConfig, Update};
pub use overrides::set_value;
pub use train::{Precision, TrainConfig};

/// Everything that defines a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Architecture by name.
    pub preset: Preset,
    /// Expert layout; default `b`.
    #[serde(default = "default_layout")]
    pub layout: Layout,
    /// Side of the square input in pixels; default the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// What differs from the preset.
    #[serde(default, skip_serializing_if = "ArchChanges::is_empty")]
    pub arch: ArchChanges,
    /// Subtracted from each color channel scaled to 0..1; default 0.5.
    #[serde(default = "half")]
    pub mean: [f32; 3],
    /// What each color channel is then divided by, above 0; default 0.5.
    #[serde(default = "half")]
    pub std: [f32; 3],
    /// timm ViT checkpoint (safetensors) that every expert starts from; default fresh weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// Seed of every random stream; default 0.
    #[serde(default)]
    pub seed: u64,
    /// The loop.
    pub train: TrainConfig,
    /// Routing.
    #[serde(default)]
    pub router: RouterConfig,
    /// Trains the slices of one task's path, which is fixed (`ufo chip`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chip: Option<ChipConfig>,
    /// Trains the last task alone, which is added to those of a run (`ufo expand`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand: Option<ExpandConfig>,
    /// Trains a student of the one task in the place of a supernet (`ufo distill`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillConfig>,
    /// Tasks, at least one.
    #[serde(rename = "task")]
    pub tasks: Vec<TaskConfig>,
}

fn default_layout() -> Layout {
    Layout::B
}

fn half() -> [f32; 3] {
    [0.5; 3]
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// Name: letters, digits, `-` and `_`.
    pub name: String,
    /// Head; `linear` is classification, `embedding` is retrieval between cameras, `segmentation` gives a class
    /// a pixel, `detection` gives boxes.
    pub head: HeadConfig,
    /// Images a step.
    pub batch: usize,
    /// Where the images are.
    pub data: DatasetConfig,
    /// How batches are formed.
    #[serde(default)]
    pub sampler: SamplerConfig,
    /// Random changes of training images.
    #[serde(default)]
    pub augment: Augment,
    /// Seed of the task's random streams; default the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Factor of the task's loss, above 0; default 1.
    #[serde(default = "one")]
    pub loss_weight: f32,
    /// Factor of the learning rate of the task's own modules, above 0; default 1.
    #[serde(default = "one")]
    pub lr_scale: f32,
    /// Label smoothing of classification, 0 to below 1.
    #[serde(default)]
    pub label_smoothing: f32,
    /// Batch-hard triplet loss added for an embedding head.
    #[serde(default)]
    pub triplet: Option<Triplet>,
    /// How the task is judged; default top-1 for a linear head, `reid` for an embedding, mean intersection over
    /// union for a segmentation, average precision for a detection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval: Option<Protocol>,
}

fn one() -> f32 {
    1.0
}

impl RunConfig {
    /// Reads and checks a file after the changes `KEY=VALUE` of `sets`.
    ///
    /// # Errors
    /// Names the file, the key, its value and what is allowed.
    pub fn read(path: &Path, sets: &[String]) -> Result<Self> {
        let file = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {file}"))?;
        Self::parse(&text, sets).with_context(|| format!("in {file}"))
    }

    /// Reads and checks TOML after the changes `KEY=VALUE` of `sets`: dotted keys, a task by its
    /// name, values in TOML's notation or plain words (`train.lr=1e-3`, `task.digits.batch=64`).
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn parse(text: &str, sets: &[String]) -> Result<Self> {
        let mut table: toml::Table = toml::from_str(text)?;
        for set in sets {
            set_value(&mut table, set).with_context(|| format!("--set {set}"))?;
        }
        // From text again where nothing was set, since its errors then show the line.
        let config: Self =
            if sets.is_empty() { toml::from_str(text)? } else { table.try_into()? };
        config.validate()?;
        Ok(config)
    }

    /// The architecture.
    pub fn arch(&self) -> Arch {
        let arch = self.preset.arch();
        let changes = &self.arch;
        Arch {
            layout: self.layout,
            image_size: self.image_size.map_or(arch.image_size, |side| [side; 2]),
            stem: changes.stem.clone().unwrap_or(arch.stem),
            dim: changes.dim.unwrap_or(arch.dim),
            depth: changes.depth.unwrap_or(arch.depth),
            heads: changes.heads.unwrap_or(arch.heads),
            head_dim: changes.head_dim.unwrap_or(arch.head_dim),
            ffn: changes.ffn.unwrap_or(arch.ffn),
            ..arch
        }
    }

    /// Makes every path independent of the working folder.
    ///
    /// # Errors
    /// When the working folder is gone.
    pub fn make_paths_absolute(&mut self) -> Result<()> {
        let data = self.tasks.iter_mut().flat_map(|t| [&mut t.data.train, &mut t.data.test]);
        let chip = self.chip.as_mut().map(|chip| &mut chip.from);
        let expand = self.expand.as_mut().map(|expand| &mut expand.from);
        let distill = self.distill.as_mut().into_iter().flat_map(|distill| {
            let images = distill.unlabeled.as_mut().map(|unlabeled| &mut unlabeled.path);
            std::iter::once(&mut distill.teacher).chain(images)
        });
        for path in data.chain(&mut self.init).chain(chip).chain(expand).chain(distill) {
            *path = std::path::absolute(&*path).context("finding the working folder")?;
        }
        Ok(())
    }

    /// The tasks that are trained: all of them, or the one that is added.
    pub fn trained(&self) -> Range<usize> {
        let count = self.tasks.len();
        if self.expand.is_some() { count - 1..count } else { 0..count }
    }

    /// Seed of the random streams of task `index`.
    pub fn seed_of(&self, index: usize) -> u64 {
        self.tasks[index].seed.unwrap_or(self.seed)
    }

    /// How images become inputs.
    pub fn preprocess(&self) -> Preprocess {
        let size = self.arch().image_size;
        Preprocess { size, mean: self.mean, std: self.std, ..Preprocess::default() }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        self.arch().validate()?;
        self.preprocess().validate()?;
        let t = &self.train;
        check(&[
            ("train.lr", f64::from(t.lr), ABOVE_0),
            ("train.router_lr", f64::from(t.router_lr), FROM_0),
            ("train.warmup", t.warmup, UP_TO_1),
            ("train.final_lr", t.final_lr, UP_TO_1),
            ("train.weight_decay", f64::from(t.weight_decay), FROM_0),
            ("train.clip", f64::from(t.clip), FROM_0),
            ("train.drop_path", f64::from(t.drop_path), BELOW_1),
            ("train.momentum", f64::from(t.momentum), BELOW_1),
            ("train.ema", f64::from(t.ema), BELOW_1),
            ("train.workers", t.workers as f64, COUNT),
            ("train.threads", t.threads as f64, (|v| v <= 4096.0, "at most 4096")),
            ("train.log_every", t.log_every as f64, ABOVE_0),
            ("train.checkpoint_every", t.checkpoint_every as f64, ABOVE_0),
            ("router.tau_start", f64::from(self.router.tau_start), ABOVE_0),
            ("router.tau_end", f64::from(self.router.tau_end), ABOVE_0),
            ("router.other_fraction", f64::from(self.router.other_fraction), ABOVE_0_TO_1),
        ])?;
        if let Some(chip) = &self.chip {
            chip.validate(&self.arch(), self.tasks.len())?;
        }
        let kinds = [self.chip.is_some(), self.expand.is_some(), self.distill.is_some()];
        if kinds.iter().filter(|kind| **kind).count() > 1 {
            bail!("chip, expand, distill: a run has one of these sections; remove the others");
        }
        if let Some(expand) = &self.expand {
            expand.validate(&self.arch(), &self.tasks)?;
        }
        if let Some(distill) = &self.distill {
            distill.validate(self.tasks.len())?;
        }
        if self.tasks.is_empty() {
            bail!("no [[task]]: at least one is needed");
        }
        for (index, task) in self.tasks.iter().enumerate() {
            let named = || format!("task `{}`", task.name);
            task.validate().with_context(named)?;
            segment::validate_shape(self, task).with_context(named)?;
            detect::validate_shape(self, task).with_context(named)?;
            if self.distill.is_some() && task.head.reads_tokens() {
                bail!(
                    "task `{}`: a student learns classes or embeddings, not masks or boxes",
                    task.name
                );
            }
            if self.tasks[..index].iter().any(|other| other.name == task.name) {
                bail!("task `{}`: its name is used twice; names must differ", task.name);
            }
        }
        Ok(())
    }
}

impl TaskConfig {
    /// How the task is judged.
    pub fn protocol(&self) -> Protocol {
        self.eval.clone().unwrap_or(match self.head {
            HeadConfig::Linear => Protocol::Classification { metric: ClassificationMetric::Top1 },
            HeadConfig::Embedding { .. } => {
                Protocol::ReId { distance: Distance::Cosine, most_rank: 50 }
            }
            HeadConfig::Segmentation { .. } => Protocol::Segmentation { overlap: 0.5 },
            HeadConfig::Detection { .. } => {
                Protocol::Detection { overlap: 0.5, nms: 0.6, most: 100 }
            }
        })
    }

    fn validate(&self) -> Result<()> {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(letter) {
            bail!("name = `{}`: must be letters, digits, - and _", self.name);
        }
        if ["image", "cls_token", "pos_embed"].contains(&&*self.name) {
            bail!("name = `{}`: is a name inside the exported graph; choose another", self.name);
        }
        self.augment.validate()?;
        let protocol = self.protocol();
        protocol.validate().context("eval")?;
        let fits = match self.head {
            HeadConfig::Linear => matches!(protocol, Protocol::Classification { .. }),
            HeadConfig::Embedding { .. } => protocol.judges_features(),
            HeadConfig::Segmentation { .. } => matches!(protocol, Protocol::Segmentation { .. }),
            HeadConfig::Detection { .. } => matches!(protocol, Protocol::Detection { .. }),
        };
        if !fits {
            bail!(
                "eval: a linear head is judged by `classification`, an embedding by `retrieval`, `reid` or `verification`, a segmentation by `segmentation`, a detection by `detection`"
            );
        }
        segment::validate(self)?;
        detect::validate(self)?;
        match self.head {
            HeadConfig::Linear => {
                if self.triplet.is_some() {
                    bail!("triplet: only an embedding head has one; remove it");
                }
            }
            HeadConfig::Embedding { scale, margin, .. } => {
                self.validate_embedding(scale, margin)?;
            }
            HeadConfig::Segmentation { .. } | HeadConfig::Detection { .. } => {}
        }
        check(&[
            ("loss_weight", f64::from(self.loss_weight), ABOVE_0),
            ("lr_scale", f64::from(self.lr_scale), ABOVE_0),
            ("label_smoothing", f64::from(self.label_smoothing), BELOW_1),
            ("batch", self.batch as f64, COUNT),
        ])
    }

    fn validate_embedding(&self, scale: f32, margin: f32) -> Result<()> {
        if self.augment.mixup > 0.0 || self.augment.cutmix > 0.0 || self.label_smoothing > 0.0 {
            bail!(
                "augment.mixup, augment.cutmix, label_smoothing: only a linear head has soft targets; set them to 0"
            );
        }
        check(&[
            ("head.scale", f64::from(scale), ABOVE_0),
            ("head.margin", f64::from(margin), UP_TO_1),
            ("batch", self.batch as f64, (|v| v >= 2.0, "at least 2 for an embedding")),
        ])?;
        let Some(triplet) = self.triplet else { return Ok(()) };
        check(&[("triplet.margin", f64::from(triplet.margin), FROM_0)])?;
        match self.sampler {
            SamplerConfig::Identity { per_identity } if per_identity < self.batch => Ok(()),
            _ => bail!(
                "triplet: every batch needs two identities; set sampler = {{ kind = \"identity\", per_identity = K }} with K below batch = {}",
                self.batch
            ),
        }
    }
}

/// A range of values and its name.
type Allowed = (fn(f64) -> bool, &'static str);

const ABOVE_0: Allowed = (|v| v > 0.0 && v.is_finite(), "above 0");
const COUNT: Allowed = (|v| (1.0..=4096.0).contains(&v), "1 to 4096");
const FROM_0: Allowed = (|v| v >= 0.0 && v.is_finite(), "at least 0");
const UP_TO_1: Allowed = (|v| (0.0..=1.0).contains(&v), "0 to 1");
const BELOW_1: Allowed = (|v| (0.0..1.0).contains(&v), "0 to below 1");
const ABOVE_0_TO_1: Allowed = (|v| v > 0.0 && v <= 1.0, "above 0, at most 1");

/// Refuses the first value that is out of its range.
fn check(values: &[(&str, f64, Allowed)]) -> Result<()> {
    for (key, value, (fits, allowed)) in values {
        if !fits(*value) {
            bail!("{key} = {value}: must be {allowed}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_configurations_name_the_key() {
        let good = "preset = \"demo\"\n[train]\nsteps = 5\n[[task]]\nname = \"a\"\nbatch = 2\nhead = { kind = \"linear\" }\ndata = { format = \"idx\", train = \"x\", test = \"y\" }\n";
        let parse = |text: &str| RunConfig::parse(text, &[]);
        parse(good).unwrap();
        for (from, to, key) in [
            ("steps = 5", "stesp = 5", "stesp"),
            ("steps = 5", "steps = -1", "steps"),
            ("batch = 2", "batch = 0", "batch"),
            ("name = \"a\"", "name = \"a/b\"", "a/b"),
            ("[train]", "[train]\nlr = -1.0", "train.lr"),
        ] {
            let error = format!("{:#}", parse(&good.replace(from, to)).unwrap_err());
            assert!(error.contains(key), "{error}");
        }
    }

    /// Every key of a resolved configuration stands in the documentation.
    #[test]
    fn every_key_is_documented() {
        let text = "preset = \"demo\"\nimage_size = 32\ninit = \"x\"\narch = { dim = 96, depth = 3, heads = 3, head_dim = 32, ffn = 192, stem = { kind = \"patch\", size = 4, stride = 4 } }\n[train]\n[router]\n[[task]]\nname = \"a\"\nseed = 3\nbatch = 2\nhead = { kind = \"embedding\" }\ntriplet = {}\neval = { kind = \"reid\" }\nsampler = { kind = \"identity\", per_identity = 1 }\ndata = { format = \"idx\", train = \"x\", test = \"y\", limit = 5, labels = \"10%\" }\naugment = { random_resized_crop = {} }\n";
        let resolved = toml::Table::try_from(RunConfig::parse(text, &[]).unwrap()).unwrap();
        let document = include_str!("../../../docs/configuration.md");
        let mut keys = Vec::new();
        let tasks = resolved["task"].as_array().unwrap()[0].as_table().unwrap();
        for table in [&resolved, tasks] {
            for (key, value) in table {
                keys.push(key.clone());
                keys.extend(value.as_table().into_iter().flat_map(|inner| inner.keys().cloned()));
            }
        }
        assert!(keys.len() > 40, "{keys:?}");
        for key in keys {
            let named =
                document.contains(&format!("`{key}`")) || document.contains(&format!("{key} ="));
            assert!(named || ["task", "train", "router"].contains(&&*key), "{key}");
        }
    }
}
