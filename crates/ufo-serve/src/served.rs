//! A model that is served: an extracted folder, or an ONNX file.

mod modules;
mod papers;

use crate::config::ModelConfig;
use crate::onnx::{Library, Onnx};
use crate::{Error, Result};
pub use modules::Module;
pub use papers::{Front, FrontPoint, Papers, Scored};
use std::path::Path;
use ufo_data::{BOX_OUTPUTS, Preprocess};
use ufo_nas::HeadShape;
use ufo_runtime::{DescribedTask, Model, Precision};

/// A model ready to answer.
#[derive(Debug)]
pub struct Served {
    /// Its name in addresses.
    pub name: String,
    /// `ufo` for folders, `onnx` for ONNX files in rten, `onnxruntime` for those in its library.
    pub platform: &'static str,
    /// Numbers that layers multiply in; those of an ONNX file are its own.
    pub precision: Option<Precision>,
    /// Name of the input tensor.
    pub input: String,
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// From a decoded image to the input, where the model says it.
    pub preprocess: Option<Preprocess>,
    /// What it answers, each an output.
    pub tasks: Vec<ServedTask>,
    /// Parts of a folder's networks, each there once; empty for ONNX files.
    pub modules: Vec<Module>,
    /// What is known of it.
    pub papers: Papers,
    runner: Runner,
}

/// An output of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedTask {
    /// Name of the output.
    pub name: String,
    /// Sizes of an image's answer, such as `[classes]`.
    pub shape: Vec<usize>,
    /// Head, classes and path, where the model says them.
    pub described: Option<DescribedTask>,
}

/// What models are opened with.
#[derive(Debug, Clone)]
pub struct Runtimes {
    /// Threads that an ONNX file computes with.
    pub threads: usize,
    library: Option<Library>,
}

impl Runtimes {
    /// Loads the library of onnxruntime where one is named.
    ///
    /// # Errors
    /// One that is not there, too old, or no such library.
    pub fn new(threads: usize, library: Option<&Path>) -> Result<Self> {
        Ok(Self { threads, library: library.map(Library::load).transpose()? })
    }

    fn library(&self) -> Result<&Library> {
        let allowed = "the place of a library of onnxruntime in the server's configuration";
        self.library.as_ref().ok_or_else(|| Error::config("onnxruntime", "missing", allowed))
    }
}

#[derive(Debug)]
enum Runner {
    Folder(Box<Model>),
    Onnx(Box<Onnx>),
}

impl ServedTask {
    /// Numbers an image.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it gives embeddings.
    pub(crate) fn embeds(&self) -> bool {
        let head = self.described.as_ref().map(|told| told.head);
        matches!(head, Some(HeadShape::Embedding { .. }))
    }
}

impl Served {
    /// Opens a folder, or an ONNX file.
    ///
    /// # Errors
    /// Names the model, and what is wrong with which file.
    pub fn open(config: &ModelConfig, runtimes: &Runtimes) -> Result<Self> {
        let said = |reason: String| Error::Model { name: config.name.clone(), reason };
        let precision = config.precision().unwrap_or_default();
        if let Some(file) = config.onnx_file() {
            let own = if file == config.path { "an ONNX file" } else { "a folder's ONNX file" };
            if precision == Precision::Bf16 || (file == config.path && precision != Precision::F32)
            {
                return Err(said(format!("precision {}: {own} has its own", precision.name())));
            }
            let library = config.in_library().then(|| runtimes.library()).transpose()?;
            let onnx = Onnx::open(&file, runtimes.threads, library).map_err(said)?;
            let papers = Papers::read(&file, &config.precision);
            let platform = if library.is_some() { "onnxruntime" } else { "onnx" };
            let served = Self::from_onnx(config.name.clone(), onnx);
            return Ok(Self { platform, papers, ..served });
        }
        let model = Model::open(&config.path, precision).map_err(|e| said(e.to_string()))?;
        let papers = Papers::read(&config.path, &config.precision);
        Ok(Self { papers, ..Self::from_folder(config.name.clone(), model, precision) })
    }

    /// Serves a folder that is open.
    pub fn from_folder(name: String, model: Model, precision: Precision) -> Self {
        let described = &model.described;
        let [height, width] = described.arch.image_size;
        let task = |task: &DescribedTask| ServedTask {
            name: task.name.clone(),
            shape: match task.head {
                HeadShape::Linear { classes } => vec![classes],
                HeadShape::Embedding { dim: 0, .. } => vec![described.arch.dim],
                HeadShape::Embedding { dim, .. } => vec![dim],
                HeadShape::Segmentation { classes, .. } => vec![classes, height, width],
                HeadShape::Detection { classes, doublings, .. } => {
                    let [rows, columns] = described.arch.grid().map(|side| side << doublings);
                    vec![classes + BOX_OUTPUTS, rows, columns]
                }
            },
            described: Some(task.clone()),
        };
        Self {
            name,
            platform: "ufo",
            precision: Some(precision),
            input: "image".to_string(),
            image: [described.arch.channels, height, width],
            preprocess: Some(described.preprocess.clone()),
            tasks: described.tasks.iter().map(task).collect(),
            modules: modules::of(described),
            papers: Papers::default(),
            runner: Runner::Folder(Box::new(model)),
        }
    }

    fn from_onnx(name: String, onnx: Onnx) -> Self {
        Self {
            name,
            platform: "onnx",
            precision: None,
            input: onnx.input().to_string(),
            image: onnx.image(),
            preprocess: onnx.preprocess().cloned(),
            tasks: onnx.tasks().to_vec(),
            modules: Vec::new(),
            papers: Papers::default(),
            runner: Runner::Onnx(Box::new(onnx)),
        }
    }

    /// Numbers of an image's input.
    pub fn image_len(&self) -> usize {
        self.image.iter().product()
    }

    /// Names of the modules that ran where each task ran on so many images.
    pub(crate) fn modules_of(&self, per_task: &[usize]) -> String {
        let ran = |module: &&Module| module.tasks.iter().any(|task| per_task[*task] > 0);
        let names: Vec<&str> = self.modules.iter().filter(ran).map(|m| m.name.as_str()).collect();
        names.join(" ")
    }

    /// Index of a task.
    pub fn task(&self, name: &str) -> Option<usize> {
        self.tasks.iter().position(|task| task.name == name)
    }

    /// Outputs of a task, row-major, in the current rayon pool (an ONNX file: in its own threads).
    ///
    /// # Shapes
    /// `images` is `[n, channels, height, width]`, the result `[n, width of the task]`.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn run(&self, task: usize, images: &[f32]) -> Result<Vec<f32>> {
        let said = |reason: String| Error::Model { name: self.name.clone(), reason };
        let outputs = match &self.runner {
            Runner::Folder(model) => {
                model.outputs(task, images).map_err(|e| said(e.to_string()))?
            }
            Runner::Onnx(onnx) => onnx.outputs(task, images).map_err(said)?,
        };
        let expected = images.len() / self.image_len() * self.tasks[task].width();
        if outputs.len() != expected {
            let name = &self.tasks[task].name;
            let got = outputs.len();
            return Err(said(format!("output `{name}` has {got} numbers, not {expected}")));
        }
        Ok(outputs)
    }
}
