//! What a teacher adds to a student's loss.

use crate::step::{identity_loss, logits_loss};
use crate::teacher::{Classifier, Said};
use crate::{DistillConfig, TaskConfig};
use burn_tensor::Tensor;
use ufo_data::Batch;
use ufo_model::losses::{cosine_gap, distill_soft, relation_gap};
use ufo_model::{HeadConfig, Linear, Student, from_values, unit_rows};

/// The first rows of a matrix.
pub(super) fn first(rows: Tensor<2>, count: usize) -> Tensor<2> {
    let [all, width] = rows.dims();
    if count == all { rows } else { rows.slice([0..count, 0..width]) }
}

/// What a student computes of a batch.
pub(super) struct Own {
    pub(super) features: Tensor<2>,
    pub(super) outputs: Tensor<2>,
    pub(super) tokens: Option<Tensor<2>>,
}

/// How the teacher's words become terms of the loss; the labels are those of the first images.
pub(super) struct Taught<'a> {
    pub(super) distill: &'a DistillConfig,
    pub(super) task: &'a TaskConfig,
    pub(super) batch: &'a Batch,
    pub(super) classifier: &'a Classifier,
}

impl Taught<'_> {
    /// The weighted terms.
    pub(super) fn of(&self, student: &Student, own: Own, said: &Said) -> Vec<Tensor<1>> {
        let distill = self.distill;
        let [b, _] = own.outputs.dims();
        let device = own.outputs.device().inner();
        let rows = |values: &[f32], rows: usize| -> Tensor<2> {
            from_values(values.to_vec(), [rows, values.len() / rows], &device)
        };
        let answers = rows(&said.outputs, b);
        let mut terms = Vec::new();
        let embeds = matches!(self.task.head, HeadConfig::Embedding { .. });
        if distill.logits > 0.0 && !embeds {
            let form = (distill.divergence, distill.temperature);
            let gap = distill_soft(own.outputs.clone(), answers.clone(), form);
            terms.push(gap * distill.logits);
        }
        let (compared, target) =
            if embeds { (own.outputs, answers) } else { (own.features, rows(&said.features, b)) };
        if distill.features + distill.classifier > 0.0 {
            let projected = match &student.projector {
                Some(projector) => projector.forward(compared.clone()),
                None => compared.clone(),
            };
            if distill.classifier > 0.0 {
                terms.push(self.classified(projected.clone()) * distill.classifier);
            }
            if distill.features > 0.0 {
                terms.push(cosine_gap(projected, target.clone()) * distill.features);
            }
        }
        if distill.relation > 0.0 {
            terms.push(relation_gap(compared, target) * distill.relation);
        }
        if let (Some(own), Some(said)) = (own.tokens, &said.tokens) {
            let [patches, _] = own.dims();
            terms.push(cosine_gap(own, rows(said, patches)) * distill.maps);
        }
        terms
    }

    /// The task's loss on features of the teacher's width through its classifier, which gets no gradient.
    pub(super) fn classified(&self, features: Tensor<2>) -> Tensor<1> {
        let device = features.device().inner();
        let [classes, width] = self.classifier.sizes;
        let weight_oi: Tensor<2> =
            from_values(self.classifier.weight.clone(), [classes, width], &device).autodiff();
        let bias = self.classifier.bias.clone();
        let bias = bias.map(|bias| from_values(bias, [classes], &device).autodiff());
        let features = first(features, self.batch.size[0]);
        if bias.is_some() {
            let linear = Linear { weight_io: weight_oi.transpose(), bias };
            return logits_loss(linear.forward(features), self.task, self.batch).loss;
        }
        let linear = Linear { weight_io: unit_rows(weight_oi).transpose(), bias };
        identity_loss(linear.forward(unit_rows(features)), self.task, self.batch)
    }
}
