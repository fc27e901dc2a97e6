//! What a student learns from a teacher's outputs (arXiv 1503.02531; relations: arXiv 1904.05068).

use super::cross_entropy;
use crate::head::normalized;
use burn_tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

/// Mean over the rows of the cross entropy to the teacher's probabilities: the Kullback-Leibler
/// divergence plus a constant.
///
/// # Shapes
/// Both `[b, classes]`; the teacher's without a graph.
pub fn distill_logits(student_bc: Tensor<2>, teacher_bc: Tensor<2>) -> Tensor<1> {
    cross_entropy(student_bc, activation::softmax(teacher_bc, 1))
}

/// How far a student's probabilities are from its teacher's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Divergence {
    /// Kullback-Leibler, from the teacher's to the student's (arXiv 1503.02531).
    #[default]
    Kl,
    /// Jensen-Shannon, which neither side's surest classes dominate (SSLD, arXiv 2103.05959).
    Js,
}

/// Mean over the rows of the divergence of the probabilities at `temperature`, times its square, so that
/// gradients keep their size.
///
/// # Shapes
/// Both `[b, classes]`; the teacher's without a graph.
pub fn distill_soft(
    student_bc: Tensor<2>,
    teacher_bc: Tensor<2>,
    (divergence, temperature): (Divergence, f32),
) -> Tensor<1> {
    let [b, _] = student_bc.dims();
    let log_p = activation::log_softmax(teacher_bc / temperature, 1);
    let p = log_p.clone().exp();
    let student = student_bc / temperature;
    let sum = match divergence {
        Divergence::Kl => {
            let entropy = -(p.clone() * log_p).sum() / b as f32;
            cross_entropy(student, p) - entropy.autodiff()
        }
        Divergence::Js => {
            let (p, log_p) = (p.autodiff(), log_p.autodiff());
            let log_q = activation::log_softmax(student, 1);
            let q = log_q.clone().exp();
            // Where both are 0 the products are 0, not 0 times infinity.
            let log_m = ((p.clone() + q.clone()) * 0.5).clamp_min(f32::MIN_POSITIVE).log();
            (p * (log_p - log_m.clone()) + q * (log_q - log_m)).sum() * (0.5 / b as f32)
        }
    };
    sum * (temperature * temperature)
}

/// Of embeddings: [`cosine_gap`] plus [`relation_gap`].
///
/// # Shapes
/// Both `[b, d]`; the teacher's without a graph.
pub fn distill_embeddings(student_bd: Tensor<2>, teacher_bd: Tensor<2>) -> Tensor<1> {
    relation_gap(student_bd.clone(), teacher_bd.clone()) + cosine_gap(student_bd, teacher_bd)
}

/// Mean over the rows of `1 - cos` between a student's and the teacher's.
///
/// # Shapes
/// Both `[b, d]`; the teacher's without a graph.
pub fn cosine_gap(student_bd: Tensor<2>, teacher_bd: Tensor<2>) -> Tensor<1> {
    let [b, _] = student_bd.dims();
    let [student, teacher] = [normalized(student_bd, 1), normalized(teacher_bd, 1)];
    -(student * teacher.autodiff()).sum() / b as f32 + 1.0
}

/// Mean squared difference of the cosines between the rows.
///
/// # Shapes
/// `[b, d]` and `[b, any]`; the teacher's without a graph.
pub fn relation_gap(student_bd: Tensor<2>, teacher_be: Tensor<2>) -> Tensor<1> {
    let relations = |x: Tensor<2>| {
        let unit = normalized(x, 1);
        unit.clone().matmul(unit.transpose())
    };
    let gap = relations(student_bd) - relations(teacher_be).autodiff();
    (gap.clone() * gap).mean()
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

    #[test]
    fn far_apart_logits_give_finite_losses_and_gradients() {
        let device = Device::flex();
        let student = Tensor::<2>::from_floats([[30.0, -30.0, 0.0]], &device);
        let teacher = Tensor::<2>::from_floats([[-30.0, -30.0, 30.0]], &device);
        for divergence in [Divergence::Kl, Divergence::Js] {
            let x = student.clone().autodiff().require_grad();
            let loss = distill_soft(x.clone(), teacher.clone(), (divergence, 0.1));
            let mut grads = loss.backward();
            let grad = values(&x.grad_remove(&mut grads).unwrap());
            assert!(values(&loss)[0].is_finite(), "{divergence:?}");
            assert!(grad.iter().all(|g| g.is_finite()), "{divergence:?}: {grad:?}");
        }
    }

    /// `torch.nn.functional.kl_div` and its symmetric form by hand in double precision.
    #[test]
    fn soft_targets_follow_the_formula_and_vanish_for_equal_logits() {
        let device = Device::flex();
        let student = Tensor::<2>::from_floats([[1.0, 2.0, -1.0], [0.5, 0.0, 0.0]], &device);
        let teacher = Tensor::<2>::from_floats([[3.0, -1.0, 0.0], [0.0, 0.0, 1.0]], &device);
        let temperature = 2.0;
        let soft = |row: &[f32]| -> Vec<f64> {
            let exps: Vec<f64> = row.iter().map(|v| (f64::from(*v) / 2.0).exp()).collect();
            exps.iter().map(|e| e / exps.iter().sum::<f64>()).collect()
        };
        let kl =
            |p: &[f64], q: &[f64]| -> f64 { p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum() };
        let (mut expected_kl, mut expected_js) = (0.0, 0.0);
        for (q, p) in values(&student).chunks(3).zip(values(&teacher).chunks(3)) {
            let (p, q) = (soft(p), soft(q));
            let m: Vec<f64> = p.iter().zip(&q).map(|(p, q)| (p + q) / 2.0).collect();
            expected_kl += 4.0 * kl(&p, &q) / 2.0;
            expected_js += 4.0 * (kl(&p, &m) + kl(&q, &m)) / 2.0 / 2.0;
        }
        for (divergence, expected) in [(Divergence::Kl, expected_kl), (Divergence::Js, expected_js)]
        {
            let of = |student: Tensor<2>| {
                let form = (divergence, temperature);
                let x = student.autodiff().require_grad();
                let loss = distill_soft(x.clone(), teacher.clone(), form);
                let mut grads = loss.backward();
                (values(&loss)[0], values(&x.grad_remove(&mut grads).unwrap()))
            };
            let (loss, _) = of(student.clone());
            assert!((f64::from(loss) - expected).abs() < 1e-5, "{divergence:?} {loss} {expected}");
            let (none, grad) = of(teacher.clone());
            assert!(none.abs() < 1e-6 && grad.iter().all(|g| g.abs() < 1e-6), "{divergence:?}");
        }
    }
}
