//! A model folder ready to run.

use crate::described::WEIGHTS;
use crate::network::{Network, Scratches};
use crate::parts::{Built, Parts, Source};
use crate::{Described, Error, Precision, Result};
use std::fs::File;
use std::path::Path;
use ufo_kernels::Level;
use ufo_weights::{State, Stored};

/// A model folder ready to run. It computes in the rayon pool of the caller, and may be called from
/// several threads at the same time.
#[derive(Debug)]
pub struct Model {
    /// What it holds.
    pub described: Described,
    tasks: Vec<Network>,
    scratches: Scratches,
}

impl Model {
    /// Reads `config.json` and the weights of a folder.
    ///
    /// # Errors
    /// Names the file, and the key or tensor that is missing, unexpected or does not fit.
    pub fn open(folder: &Path, precision: Precision) -> Result<Self> {
        let described = Described::read(folder)?;
        let place = folder.join(WEIGHTS);
        let file = place.display().to_string();
        let opened =
            File::open(&place).map_err(|source| Error::Read { file: file.clone(), source })?;
        let stored = Stored::open(&opened, &file)?;
        Self::built(described, Source::File(&stored), &file, precision)
    }

    /// Builds the networks from named weights that came `from` a file.
    ///
    /// # Errors
    /// Names the key that is out of range, or the tensor that is missing, unexpected or of another shape.
    pub fn new(
        described: Described,
        state: &State,
        from: &str,
        precision: Precision,
    ) -> Result<Self> {
        Self::built(described, Source::Memory(state), from, precision)
    }

    fn built(
        described: Described,
        source: Source<'_>,
        from: &str,
        precision: Precision,
    ) -> Result<Self> {
        let wrong = |reason| Error::Config { file: from.to_string(), reason };
        described.validate().map_err(wrong)?;
        let level = Level::detect();
        let built = Built::default();
        let mut parts = Parts { described: &described, source, from, level, precision, built };
        let tasks = (0..described.tasks.len()).map(|index| parts.network(index));
        let tasks = tasks.collect::<Result<_>>()?;
        parts.finish()?;
        Ok(Self { described, tasks, scratches: Scratches::default() })
    }

    /// Features of `task` before its head, `[n, d]` row-major, of images `[n, channels, height,
    /// width]` that [`ufo_data::Preprocess`] made; of a segmentation the tokens `[n, t, d]`.
    ///
    /// # Errors
    /// Images of another size.
    pub fn features(&self, task: usize, images: &[f32]) -> Result<Vec<f32>> {
        Ok(self.checked(task, images)?.features(images, &self.scratches))
    }

    /// Outputs of `task`, row-major: logits or embeddings of images as for [`Model::features`].
    ///
    /// # Errors
    /// Images of another size.
    pub fn outputs(&self, task: usize, images: &[f32]) -> Result<Vec<f32>> {
        Ok(self.checked(task, images)?.outputs(images, &self.scratches))
    }

    /// [`Model::features`] and [`Model::outputs`] of one pass.
    ///
    /// # Errors
    /// Images of another size.
    pub fn both(&self, task: usize, images: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        Ok(self.checked(task, images)?.both(images, &self.scratches))
    }

    /// All tokens behind the final norm `[n, t, d]`, the class token first, and [`Model::outputs`] of one pass, of a
    /// task with logits or an embedding.
    ///
    /// # Errors
    /// Images of another size.
    pub fn tokens(&self, task: usize, images: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        Ok(self.checked(task, images)?.tokens_and_outputs(images, &self.scratches))
    }

    fn checked(&self, task: usize, images: &[f32]) -> Result<&Network> {
        let [height, width] = self.described.arch.image_size;
        let expected = [self.described.arch.channels, height, width];
        let (got, len) = (images.len(), expected.iter().product());
        if !got.is_multiple_of(len) {
            return Err(Error::Images { got, expected });
        }
        Ok(&self.tasks[task])
    }
}
