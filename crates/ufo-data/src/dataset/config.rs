//! A task's data as its configuration names it, and the split of what is held out.

use std::path::PathBuf;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{Dataset, Format, Labels};
use crate::{Error, Purpose, stream};

/// Where a task's images are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// The layout.
    pub format: Format,
    /// The training split: a folder, a file prefix (`idx`) or a file (`csv`).
    pub train: PathBuf,
    /// The test split.
    pub test: PathBuf,
    /// Keeps this many training images, drawn with the run's seed; default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Share of the training images held out to choose by, 0 to below 1; default 0.
    #[serde(default)]
    pub validation: f64,
    /// Keeps these of the training images that are not held out, drawn with the run's seed; default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// How many broken images training may skip; default 10.
    #[serde(default = "default_max_broken")]
    pub max_broken: usize,
}

fn default_max_broken() -> usize {
    10
}

/// What a validation split is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOut {
    /// Images of any class: classification.
    Images,
    /// All images of some classes: retrieval and verification, judged on identities not trained on.
    Classes,
}

impl DatasetConfig {
    /// Opens the training split: applies `limit`, then holds out `validation`, then keeps `labels`, all
    /// drawn with `seed`. Gives what is left to train on and what is held out.
    ///
    /// # Errors
    /// Those of [`Dataset::open`], and [`Error::Config`] for a limit of 0, a validation share out of
    /// range or one that leaves nothing on either side, and labels that leave a class without images.
    pub fn open_train(
        &self,
        seed: u64,
        hold_out: HoldOut,
    ) -> Result<(Dataset, Option<Dataset>), Error> {
        let (train, held) = self.open_whole(seed, hold_out)?;
        let Some(labels) = self.labels else { return Ok((train, held)) };
        let train = train.select(&labels.kept(&train, hold_out, seed)?);
        Ok(match hold_out {
            HoldOut::Images => (train, held),
            HoldOut::Classes => (train.with_used_classes(), held),
        })
    }

    /// The training split and what is held out, before `labels`.
    fn open_whole(
        &self,
        seed: u64,
        hold_out: HoldOut,
    ) -> Result<(Dataset, Option<Dataset>), Error> {
        let dataset = Dataset::open(self.format, &self.train)?;
        let dataset = match self.limit {
            None => dataset,
            Some(0) => return Err(Error::config("data.limit", 0, "1 or more")),
            Some(limit) => {
                let mut indices = shuffled(dataset.len(), seed, &[]);
                indices.truncate(limit);
                dataset.select(&indices)
            }
        };
        if !(0.0..1.0).contains(&self.validation) {
            return Err(Error::config("data.validation", self.validation, "0 to below 1"));
        }
        if self.validation == 0.0 {
            return Ok((dataset, None));
        }
        let (kept, held) = match hold_out {
            HoldOut::Images => self.cut(&shuffled(dataset.len(), seed, &[1])),
            HoldOut::Classes => {
                let (_, held) = self.cut(&shuffled(dataset.classes().len(), seed, &[1]));
                (0..dataset.len()).partition(|&i| !held.contains(&(dataset.label(i) as usize)))
            }
        };
        if kept.is_empty() || held.is_empty() {
            let allowed = "a share that leaves images to train on and images to hold out";
            return Err(Error::config("data.validation", self.validation, allowed));
        }
        let (kept, held) = (dataset.select(&kept), dataset.select(&held));
        Ok(match hold_out {
            HoldOut::Images => (kept, Some(held)),
            HoldOut::Classes => (kept.with_used_classes(), Some(held.with_used_classes())),
        })
    }

    /// `order` without its last `validation` share, in rising order, and that share.
    fn cut(&self, order: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let held = (order.len() as f64 * self.validation).round() as usize;
        let (kept, held) = order.split_at(order.len() - held);
        let sorted = |part: &[usize]| {
            let mut part = part.to_vec();
            part.sort_unstable();
            part
        };
        (sorted(kept), sorted(held))
    }

    /// Opens the test split: with the training split's `classes` for classification, with its own
    /// (`None`) for retrieval and verification, whose identities are not seen in training.
    ///
    /// # Errors
    /// Those of [`Dataset::open_with_classes`].
    pub fn open_test(&self, classes: Option<&[String]>) -> Result<Dataset, Error> {
        match classes {
            Some(classes) => Dataset::open_with_classes(self.format, &self.test, classes),
            None => Dataset::open(self.format, &self.test),
        }
    }
}

fn shuffled(count: usize, seed: u64, counters: &[u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut stream(seed, Purpose::Subset, counters));
    order
}
