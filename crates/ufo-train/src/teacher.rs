//! A teacher: an extracted model, or a task's network of a run, that only runs forward (`ufo-runtime`).

use crate::extract::{Entry, build, describe};
use anyhow::{Result, bail};
use std::path::Path;
use ufo_data::Preprocess;
use ufo_onnx::Graph;
use ufo_runtime::{Described, DescribedTask, Model, Precision};

/// A network of a task that a student learns from.
#[derive(Debug)]
pub struct Teacher {
    model: Model,
    index: usize,
}

/// What a teacher says of some images.
#[derive(Debug, Clone)]
pub struct Said {
    /// Features before the head, `[n, d]`.
    pub features: Vec<f32>,
    /// Logits or embeddings, `[n, outputs]`.
    pub outputs: Vec<f32>,
}

impl Teacher {
    /// The network of `task` in a folder that `ufo extract` wrote.
    ///
    /// # Errors
    /// Names the file that is missing or wrong, or the tasks that the folder has.
    pub fn of_folder(folder: &Path, task: &str) -> Result<Self> {
        let model = Model::open(folder, Precision::F32)?;
        let names: Vec<&str> = model.described.tasks.iter().map(|t| t.name.as_str()).collect();
        let Some(index) = names.iter().position(|name| *name == task) else {
            bail!("{}: a teacher of {}, not of `{task}`", folder.display(), names.join(", "));
        };
        Ok(Self { model, index })
    }

    /// A task's network along a path of a supernet, cut to a slice.
    ///
    /// # Errors
    /// When path or slice do not fit the supernet.
    pub fn of_supernet(entry: &Entry<'_>, preprocess: &Preprocess) -> Result<Self> {
        let entries = std::slice::from_ref(entry);
        let described = describe(entries, preprocess)?;
        let (_, state) = build(entries, &described, Graph::new("ufo"))?;
        let model = Model::new(described, &state, "the teacher", Precision::F32)?;
        Ok(Self { model, index: 0 })
    }

    /// What its folder would say of it.
    pub fn described(&self) -> &Described {
        &self.model.described
    }

    /// Its task.
    pub fn task(&self) -> &DescribedTask {
        &self.model.described.tasks[self.index]
    }

    /// Width of its features.
    pub fn width(&self) -> usize {
        self.model.described.arch.dim
    }

    /// Features and outputs of preprocessed images.
    ///
    /// # Errors
    /// Images of another size.
    pub fn look(&self, images: &[f32]) -> Result<Said> {
        let (features, outputs) = self.model.both(self.index, images)?;
        Ok(Said { features, outputs })
    }
}
