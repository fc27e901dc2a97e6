//! Cross entropy with soft targets, label smoothing, and the CosFace margin (arXiv 1801.09414).

use crate::fused::{self, Input, MarginCrossEntropy};
use burn_tensor::{Tensor, activation};

/// Mean over the rows of `-sum(target * log_softmax(logits))`.
///
/// The original divides by the number of rows whose loss is not exactly 0 (spec 11.3 #12); here
/// the batch size divides.
///
/// # Shapes
/// Both `[b, classes]`.
pub fn cross_entropy(logits_bc: Tensor<2>, targets_bc: Tensor<2>) -> Tensor<1> {
    cosface(logits_bc, targets_bc, 1.0, 0.0)
}

/// [`cross_entropy`] of the logits `scale * (cos - margin)` on the target class and `scale * cos` on
/// the others.
///
/// # Shapes
/// Both `[b, classes]`; `one_hot_bc` holds 1 on each row's class.
pub fn cosface(cosines_bc: Tensor<2>, one_hot_bc: Tensor<2>, scale: f32, margin: f32) -> Tensor<1> {
    match (Input::new(&cosines_bc), fused::constant(&one_hot_bc)) {
        (Some(x), Some(targets)) => {
            fused::apply(&MarginCrossEntropy { targets, scale, margin }, [x])
        }
        _ => composed(cosines_bc, one_hot_bc, scale, margin),
    }
}

fn composed(x_bc: Tensor<2>, targets_bc: Tensor<2>, scale: f32, margin: f32) -> Tensor<1> {
    let [b, _] = x_bc.dims();
    let logits = (x_bc - targets_bc.clone() * margin) * scale;
    let log_probabilities = activation::log_softmax(logits, 1);
    -(log_probabilities * targets_bc).sum() / b as f32
}

/// Target rows of `labels`: `1 - epsilon` on the label, `epsilon / (classes - 1)` elsewhere.
pub fn smooth_targets(labels: &[u32], classes: usize, epsilon: f32) -> Vec<f32> {
    let off = if classes > 1 { epsilon / (classes - 1) as f32 } else { 0.0 };
    let mut targets = vec![off; labels.len() * classes];
    for (row, &label) in targets.chunks_exact_mut(classes).zip(labels) {
        row[label as usize] = 1.0 - epsilon;
    }
    targets
}

/// Smooths target rows of which each sums to 1, such as mixed ones: a one-hot row becomes what
/// [`smooth_targets`] gives.
pub fn smooth_soft_targets(targets: &mut [f32], classes: usize, epsilon: f32) {
    let off = if classes > 1 { epsilon / (classes - 1) as f32 } else { 0.0 };
    for target in targets {
        *target = *target * (1.0 - epsilon - off) + off;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::{assert_all_same, random};
    use crate::head::normalized;
    use crate::param::{from_values, values};
    use burn_tensor::Device;
    use std::f32::consts::FRAC_1_SQRT_2;

    #[test]
    fn smoothing_of_soft_targets_agrees_with_that_of_labels() {
        let mut soft = smooth_targets(&[2, 0], 4, 0.0);
        smooth_soft_targets(&mut soft, 4, 0.1);
        for (got, want) in soft.iter().zip(smooth_targets(&[2, 0], 4, 0.1)) {
            assert!((got - want).abs() < 1e-7, "{got} {want}");
        }
        let mut mixed = vec![0.7, 0.3, 0.0];
        smooth_soft_targets(&mut mixed, 3, 0.2);
        assert!((mixed.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{mixed:?}");
        assert!((mixed[2] - 0.1).abs() < 1e-7, "{mixed:?}");
    }

    #[test]
    fn cosface_follows_vector_a3() {
        let device = Device::flex();
        let features = Tensor::<2>::from_floats([[1.0, 2.0, 2.0], [2.0, -1.0, 0.0]], &device);
        let weights = Tensor::<2>::from_floats(
            [[1.0, 0.0, 1.0, -1.0], [0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 2.0]],
            &device,
        );
        let cosines = normalized(features, 1).matmul(normalized(weights, 0));
        let expected = [
            FRAC_1_SQRT_2,
            0.942_809,
            FRAC_1_SQRT_2,
            0.447_214,
            0.632_456,
            -0.316_228,
            0.316_228,
            -0.4,
        ];
        for (got, want) in values(&cosines).iter().zip(expected) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
        let one_hot = from_values(smooth_targets(&[1, 0], 4, 0.0), [2, 4], &device);
        let loss = values(&cosface(cosines.clone(), one_hot, 30.0, 0.2))[0];
        assert!((loss - 0.276_079).abs() < 1e-4, "{loss}");
        let smooth = from_values(smooth_targets(&[1, 0], 4, 0.1), [2, 4], &device);
        let loss = values(&cross_entropy(cosines, smooth))[0];
        assert!((loss - 1.086_867).abs() < 1e-5, "{loss}");
    }

    #[test]
    fn the_fused_loss_and_its_gradient_equal_burns() {
        let targets = from_values(smooth_targets(&[1, 0, 6], 7, 0.1), [3, 7], &Device::flex());
        let run = |fused: bool| {
            let x = random([3, 7], 5).autodiff().require_grad();
            let loss = if fused { cosface } else { composed };
            let loss = loss(x.clone(), targets.clone().autodiff(), 30.0, 0.2) * 1.5;
            let mut grads = loss.backward();
            [values(&loss), values(&x.grad_remove(&mut grads).unwrap())]
        };
        assert_all_same(&run(true), &run(false));
    }
}
