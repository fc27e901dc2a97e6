//! A training step of a convolutional student alone, on labels.

use crate::optimizer::Grads;
use crate::step::TakeGrads;
use burn_tensor::{Device, Tensor};
use ufo_data::{Batch, Purpose, stream};
use ufo_model::cnn::{Cnn, CnnKind, Moments};
use ufo_model::losses::{cross_entropy, smooth_targets};
use ufo_model::{Visit, from_values, require_grad, values};

/// What a step of a student found.
#[derive(Debug, Clone)]
pub struct StudentStep {
    /// Mean cross entropy, in nats.
    pub loss: f32,
    /// Gradients of all parameters.
    pub grads: Grads,
    /// For [`Cnn::update`].
    pub moments: Vec<Moments>,
}

/// A network on the CPU with fresh weights, drawn from `seed`.
pub fn fresh_student(kind: CnnKind, classes: usize, seed: u64) -> Cnn {
    Cnn::init(kind, classes, &mut stream(seed, Purpose::Init, &[]), &Device::flex())
}

/// Forward and backward of the cross entropy of a batch with its labels, with dropout drawn from `seed`
/// and the batch's step.
pub fn student_step(net: &Cnn, batch: &Batch, seed: u64) -> StudentStep {
    let device = Device::flex();
    let mut leaves = net.clone();
    require_grad(&mut leaves);
    let images = from_values(batch.images.clone(), batch.size, &device);
    let (features, moments) = leaves.train(images);
    let mut rng = stream(seed, Purpose::DropPath, &[batch.step]);
    let dropout = leaves.dropout(batch.labels.len(), &mut rng).map(Tensor::autodiff);
    let logits = leaves.classify(features, dropout);
    let classes = logits.dims()[1];
    let targets = smooth_targets(&batch.labels, classes, 0.0);
    let targets = from_values(targets, [batch.labels.len(), classes], &device);
    let loss = cross_entropy(logits, targets.autodiff());
    let value = values(&loss)[0];
    let mut take = TakeGrads::new(loss.backward());
    leaves.visit("", &mut take);
    StudentStep { loss: value, grads: take.found, moments }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Optimizer, Rates, Rule};
    use rand::RngExt;

    #[test]
    fn a_batch_is_learned() {
        let mut rng = stream(1, Purpose::Subset, &[]);
        let batch = Batch {
            step: 0,
            size: [6, 3, 32, 32],
            images: (0..6 * 3 * 32 * 32).map(|_| rng.random_range(-1.0..1.0)).collect(),
            labels: vec![0, 1, 2, 0, 1, 2],
            masks: None,
            boxes: None,
            soft: None,
            indices: (0..6).collect(),
            skipped: 0,
        };
        let rates = Rates {
            rule: Rule::Sgd,
            momentum: 0.9,
            lr: 0.02,
            router_lr: 0.0,
            weight_decay: 0.0,
            clip: 0.0,
            task_scales: &[],
        };
        for kind in [CnnKind::ResNet18, CnnKind::MobileNetV3Small] {
            let mut net = fresh_student(kind, 3, 1);
            let mut optimizer = Optimizer::default();
            let mut losses = Vec::new();
            for _ in 0..12 {
                let step = student_step(&net, &batch, 1);
                optimizer.step(&mut net, &step.grads, &rates);
                net.update(&step.moments);
                losses.push(step.loss);
            }
            let (first, last) = (losses[0], losses[11]);
            assert!(last < 0.5 * first, "{kind:?}: {losses:?}");
        }
    }
}
