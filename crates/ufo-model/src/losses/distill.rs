//! What a student learns from a teacher's outputs (arXiv 1503.02531; relations: arXiv 1904.05068).

use super::cross_entropy;
use crate::head::normalized;
use burn_tensor::{Tensor, activation};

/// Mean over the rows of the cross entropy to the teacher's probabilities: the Kullback-Leibler
/// divergence plus a constant.
///
/// # Shapes
/// Both `[b, classes]`; the teacher's without a graph.
pub fn distill_logits(student_bc: Tensor<2>, teacher_bc: Tensor<2>) -> Tensor<1> {
    cross_entropy(student_bc, activation::softmax(teacher_bc, 1))
}

/// Of embeddings: the mean of `1 - cos` between a student's and the teacher's, plus the mean squared
/// difference of the cosines between images.
///
/// # Shapes
/// Both `[b, d]`; the teacher's without a graph.
pub fn distill_embeddings(student_bd: Tensor<2>, teacher_bd: Tensor<2>) -> Tensor<1> {
    let [student, teacher] = [normalized(student_bd, 1), normalized(teacher_bd, 1)];
    let relations = |unit: &Tensor<2>| unit.clone().matmul(unit.clone().transpose());
    let gap = relations(&student) - relations(&teacher).autodiff();
    let [b, _] = student.dims();
    let cosines = (student * teacher.autodiff()).sum() / b as f32;
    (gap.clone() * gap).mean() - cosines + 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values;
    use burn_tensor::Device;

    #[test]
    fn equal_outputs_teach_nothing_more_and_others_their_distance() {
        let device = Device::flex();
        let a = || Tensor::<2>::from_floats([[3.0, 0.0], [0.0, 2.0]], &device);
        let b = || Tensor::<2>::from_floats([[0.0, 5.0], [0.0, 1.0]], &device);
        let of = |student: Tensor<2>, teacher| {
            values(&distill_embeddings(student.autodiff(), teacher))[0]
        };
        assert!(of(a(), a()).abs() < 1e-6);
        // Cosines 0 and 1; relations 1 0 0 1 against all 1.
        assert!((of(a(), b()) - (0.5 + 0.5)).abs() < 1e-6);
        let x = a().autodiff().require_grad();
        let mut grads = distill_logits(x.clone(), a()).backward();
        let grad = values(&x.grad_remove(&mut grads).unwrap());
        assert!(grad.iter().all(|g| g.abs() < 1e-6), "{grad:?}");
    }
}
