//! How a student learns from a teacher (spec 8).

use super::{ABOVE_0, FROM_0, check};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use ufo_model::StudentKind;
use ufo_model::losses::Divergence;

/// A small network of the one task, trained on the labels and on what a teacher says of the same
/// augmented images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// A run, or a model that was extracted from one.
    pub teacher: PathBuf,
    /// `mobilenet_v3_small`, `mobilenet_v3_large`, `resnet18`, `resnet50`, `vit_tiny` or `vit_small`.
    pub student: StudentKind,
    /// Weight of the task's own loss, at least 0; default 1.
    #[serde(default = "one")]
    pub task_loss: f32,
    /// Weight of the divergence from the teacher's probabilities, of classification, at least 0; default
    /// 1.
    #[serde(default = "one")]
    pub logits: f32,
    /// Temperature of these probabilities, above 0; default 4.
    #[serde(default = "four")]
    pub temperature: f32,
    /// `kl` (Kullback-Leibler) or `js` (Jensen-Shannon); default `kl`.
    #[serde(default)]
    pub divergence: Divergence,
    /// Weight of one less the cosine to the teacher's: of features through a projector, or of embeddings;
    /// at least 0, default 1.
    #[serde(default = "one")]
    pub features: f32,
    /// Weight of the difference between the cosines within a batch, the student's and the teacher's; at
    /// least 0, default 1.
    #[serde(default = "one")]
    pub relation: f32,
}

fn one() -> f32 {
    1.0
}

fn four() -> f32 {
    4.0
}

impl DistillConfig {
    /// The defaults.
    pub fn new(teacher: PathBuf, student: StudentKind) -> Self {
        Self {
            teacher,
            student,
            task_loss: one(),
            logits: one(),
            temperature: four(),
            divergence: Divergence::default(),
            features: one(),
            relation: one(),
        }
    }

    /// Whether the student learns from the labels alone.
    pub fn is_alone(&self) -> bool {
        self.logits + self.features + self.relation == 0.0
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub(super) fn validate(&self, tasks: usize) -> Result<()> {
        if tasks != 1 {
            bail!("distill: a student is of one task, but there are {tasks}");
        }
        check(&[
            ("distill.task_loss", f64::from(self.task_loss), FROM_0),
            ("distill.logits", f64::from(self.logits), FROM_0),
            ("distill.temperature", f64::from(self.temperature), ABOVE_0),
            ("distill.features", f64::from(self.features), FROM_0),
            ("distill.relation", f64::from(self.relation), FROM_0),
        ])?;
        if self.is_alone() && self.task_loss == 0.0 {
            bail!("distill: all weights are 0, the student would learn nothing");
        }
        Ok(())
    }
}
