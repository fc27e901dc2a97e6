//! A teacher: an extracted model, or a task's network of a run, that only runs forward (`ufo-runtime`).

use crate::extract::{Entry, build, describe};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::Path;
use ufo_data::Preprocess;
use ufo_nas::HeadShape;
use ufo_onnx::Graph;
use ufo_runtime::{Described, DescribedTask, Model, Precision, WEIGHTS};
use ufo_weights::Stored;

/// A network of a task that a student learns from.
#[derive(Debug)]
pub struct Teacher {
    model: Model,
    index: usize,
    classifier: Classifier,
}

/// The weights of a teacher's classes: of a classification its last layer, of an embedding those that `CosFace`
/// trained it with.
#[derive(Debug, Clone)]
pub struct Classifier {
    /// `[classes, width]`, row-major.
    pub weight: Vec<f32>,
    /// `[classes]`, of a classification.
    pub bias: Option<Vec<f32>>,
    /// Classes and width.
    pub sizes: [usize; 2],
}

impl Classifier {
    /// That of a task whose weights `get` gives by name and shape.
    fn read(
        (described, index): (&Described, usize),
        get: impl Fn(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let (_, head) = described.keys(index);
        match described.tasks[index].head {
            HeadShape::Linear { classes } => {
                let sizes = [classes, described.arch.dim];
                let weight = get(&format!("{head}.weight"), &sizes)?;
                Ok(Self { weight, bias: Some(get(&format!("{head}.bias"), &sizes[..1])?), sizes })
            }
            HeadShape::Embedding { dim, classes } => {
                let sizes = [classes, if dim == 0 { described.arch.dim } else { dim }];
                let weight = get(&format!("{head}.classes.weight"), &sizes)?;
                Ok(Self { weight, bias: None, sizes })
            }
            HeadShape::Segmentation { .. } | HeadShape::Detection { .. } => {
                bail!("a teacher of a segmentation or a detection: neither has students")
            }
        }
    }
}

/// What a teacher says of some images.
#[derive(Debug, Clone)]
pub struct Said {
    /// Features before the head, `[n, d]`.
    pub features: Vec<f32>,
    /// Logits or embeddings, `[n, outputs]`.
    pub outputs: Vec<f32>,
    /// Tokens of the patches behind the last norm, `[n * patches, d]`, if they were asked for.
    pub tokens: Option<Vec<f32>>,
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
        let place = folder.join(WEIGHTS);
        let from = place.display().to_string();
        let file = File::open(&place).with_context(|| format!("reading {from}"))?;
        let stored = Stored::open(&file, &from)?;
        let get = |name: &str, shape: &[usize]| Ok(stored.get(name, shape)?.into_owned());
        let classifier = Classifier::read((&model.described, index), get)?;
        Ok(Self { model, index, classifier })
    }

    /// A task's network along a path of a supernet, cut to a slice.
    ///
    /// # Errors
    /// When path or slice do not fit the supernet.
    pub fn of_supernet(entry: &Entry<'_>, preprocess: &Preprocess) -> Result<Self> {
        let entries = std::slice::from_ref(entry);
        let described = describe(entries, preprocess)?;
        let (_, state) = build(entries, &described, Graph::new("ufo"))?;
        let from = "the teacher";
        let get =
            |name: &str, shape: &[usize]| Ok(ufo_weights::get(&state, name, shape, from)?.to_vec());
        let classifier = Classifier::read((&described, 0), get)?;
        let model = Model::new(described, &state, from, Precision::F32)?;
        Ok(Self { model, index: 0, classifier })
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

    /// Width of what a student is compared with: the features of a classifier, the embedding otherwise.
    pub fn compared(&self) -> usize {
        match self.task().head {
            HeadShape::Embedding { dim, .. } if dim > 0 => dim,
            _ => self.width(),
        }
    }

    /// The weights of its classes.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// Features and outputs of preprocessed images, and the `tokens` of their patches if they are asked for.
    ///
    /// # Errors
    /// Images of another size.
    pub fn look(&self, images: &[f32], tokens: bool) -> Result<Said> {
        if !tokens {
            let (features, outputs) = self.model.both(self.index, images)?;
            return Ok(Said { features, outputs, tokens: None });
        }
        let (all, outputs) = self.model.tokens(self.index, images)?;
        let (d, each) = (self.width(), self.model.described.arch.tokens() * self.width());
        let features = all.chunks_exact(each).flat_map(|image| &image[..d]).copied().collect();
        let patches = all.chunks_exact(each).flat_map(|image| &image[d..]).copied().collect();
        Ok(Said { features, outputs, tokens: Some(patches) })
    }
}
