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
    /// Weight of the task's loss on the student's features through the teacher's own classifier, which stays as it
    /// is: its last layer, or of embeddings its weights of the identities; at least 0, default 0.
    #[serde(default)]
    pub classifier: f32,
    /// Weight of one less the cosine of the student's map of features, resized and projected, to the teacher's
    /// tokens; at least 0, default 0.
    #[serde(default)]
    pub maps: f32,
    /// Images without labels, which the teacher tells of, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlabeled: Option<Unlabeled>,
}

/// Images that only the teacher says something of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unlabeled {
    /// A folder of images at any depth, or what IDX files begin with; labels are left out.
    pub path: PathBuf,
    /// Images of a step, beside the task's; 1 to 65,536.
    pub batch: usize,
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
            classifier: 0.0,
            maps: 0.0,
            unlabeled: None,
        }
    }

    /// Every weight of what a teacher says, 0.
    #[must_use]
    pub fn without_teacher(self) -> Self {
        Self {
            logits: 0.0,
            features: 0.0,
            relation: 0.0,
            classifier: 0.0,
            maps: 0.0,
            unlabeled: None,
            ..self
        }
    }

    /// Whether the student learns from the labels alone.
    pub fn is_alone(&self) -> bool {
        self.logits + self.features + self.relation + self.classifier + self.maps == 0.0
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
            ("distill.classifier", f64::from(self.classifier), FROM_0),
            ("distill.maps", f64::from(self.maps), FROM_0),
        ])?;
        if let Some(Unlabeled { batch, .. }) = self.unlabeled {
            if !(1..=65_536).contains(&batch) {
                bail!("distill.unlabeled.batch = {batch}: must be 1 to 65536");
            }
            if self.is_alone() {
                bail!("distill.unlabeled: only a teacher tells of them; remove it or give weights");
            }
        }
        if self.is_alone() && self.task_loss == 0.0 {
            bail!("distill: all weights are 0, the student would learn nothing");
        }
        Ok(())
    }
}
