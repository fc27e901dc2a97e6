//! Labelled images of one split: where they lie and how one is read.

mod idx;
mod image_folder;

use crate::{Error, Image, decode};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Layout of a dataset on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `split/class/image`; classes are sorted by name.
    ImageFolder,
    /// MNIST's format, plain or gzip; the path is a folder or a prefix such as `data/digits/train`.
    Idx,
}

/// A task's data, as in its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// Layout on disk.
    pub format: Format,
    /// Training split.
    pub train: PathBuf,
    /// Test split.
    pub test: PathBuf,
    /// Broken images that are skipped before training stops; default 10.
    #[serde(default = "default_max_broken")]
    pub max_broken: usize,
}

fn default_max_broken() -> usize {
    10
}

/// Labelled images of one split.
#[derive(Debug, Clone)]
pub struct Dataset {
    source: Source,
    labels: Arc<[u32]>,
    cameras: Option<Arc<[u32]>>,
    classes: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum Source {
    Files(Arc<[PathBuf]>),
    Idx(Arc<idx::Images>),
}

/// What a reader found.
pub(crate) struct Parts {
    source: Source,
    labels: Vec<u32>,
    cameras: Option<Vec<u32>>,
    classes: Vec<String>,
}

impl Dataset {
    /// Opens a split; image files are not read yet.
    ///
    /// # Errors
    /// A missing folder, an empty class, a label out of range, a damaged file; each names the place.
    pub fn open(format: Format, path: &Path) -> Result<Self, Error> {
        Self::read(format, path, None)
    }

    /// As [`Dataset::open`] with the class order of another split.
    ///
    /// # Errors
    /// Also when the split has a class that `classes` lacks.
    pub fn open_with_classes(
        format: Format,
        path: &Path,
        classes: &[String],
    ) -> Result<Self, Error> {
        Self::read(format, path, Some(classes))
    }

    fn read(format: Format, path: &Path, classes: Option<&[String]>) -> Result<Self, Error> {
        let parts = match format {
            Format::ImageFolder => image_folder::read(path, classes)?,
            Format::Idx => idx::read(path)?,
        };
        if parts.labels.is_empty() {
            return Err(Error::layout(path, "it has no images; at least one is needed"));
        }
        Ok(Self {
            source: parts.source,
            labels: parts.labels.into(),
            cameras: parts.cameras.map(Into::into),
            classes: parts.classes,
        })
    }

    /// Images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none; an opened dataset never is.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Class names by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Labels by image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Labels by image, shared.
    pub fn shared_labels(&self) -> Arc<[u32]> {
        Arc::clone(&self.labels)
    }

    /// Cameras by image, where the split has them.
    pub fn cameras(&self) -> Option<&[u32]> {
        self.cameras.as_deref()
    }

    /// What to call image `index` in a message.
    pub fn name(&self, index: usize) -> String {
        match &self.source {
            Source::Files(files) => files[index].display().to_string(),
            Source::Idx(images) => images.name(index),
        }
    }

    /// Reads and decodes image `index`.
    ///
    /// # Errors
    /// Names the image and the reason.
    pub fn image(&self, index: usize) -> Result<Image, Error> {
        match &self.source {
            Source::Idx(images) => Ok(images.image(index)),
            Source::Files(files) => {
                let bytes = fs::read(&files[index]).map_err(Error::io(&files[index]))?;
                decode(&bytes).map_err(|error| Error::Image {
                    name: files[index].display().to_string(),
                    reason: error.to_string(),
                })
            }
        }
    }
}
