//! The losses of a detector without anchors, FCOS (arXiv 1904.01355, section 3.1 to 3.3).
//!
//! ```text
//! classes  focal loss of each place (arXiv 1708.02002, equation 5): alpha 0.25, gamma 2
//! box      1 - GIoU of the box of each place in one (arXiv 1902.09630), weighted by how central the place is
//! center   binary cross entropy of the center of each place in a box (equation 3)
//! ```
//! Classes and centers are divided by the number of places in a box, boxes by the sum of their weights, as
//! the authors' code does.

use crate::param::{from_values, values};
use burn_tensor::{Int, Tensor, TensorData, activation};

/// Weight of places in a box; the others have the rest.
const ALPHA: f32 = 0.25;
/// Largest output that `exp` is taken of, so that no loss becomes infinite.
const WIDEST: f32 = 12.0;

/// What the places of a batch should say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Places {
    /// 1 for the class of a place in a box, else 0, `[n, classes]`.
    pub classes: Vec<f32>,
    /// 1, or 0 where it does not count what the place says, `[n]`.
    pub counted: Vec<f32>,
    /// Those in a box, by rising place.
    pub inside: Vec<Inside>,
}

/// A place in a box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Inside {
    /// Which of the `n` it is.
    pub place: usize,
    /// How far left, top, right and bottom are, in distances between places, above 0.
    pub sides: [f32; 4],
    /// `sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))`, 1 in the middle.
    pub center: f32,
}

/// The sum of the three losses.
///
/// # Shapes
/// `[n, classes + 5]`: logits of the classes, logarithms of the four sides, the logit of the center.
pub fn fcos(outputs: Tensor<2>, places: &Places) -> Tensor<1> {
    let [n, width] = outputs.dims();
    let classes = width - 5;
    let device = outputs.device();
    let count = places.inside.len();
    let share = 1.0 / count.max(1) as f32;
    let targets: Tensor<2> = from_values(places.classes.clone(), [n, classes], &device);
    let counted: Tensor<2> = from_values(places.counted.clone(), [n, 1], &device);
    let logits = outputs.clone().slice([0..n, 0..classes]);
    let loss = (focal(logits, targets) * counted).sum() * share;
    if count == 0 {
        return loss;
    }
    let rows: Vec<i64> = places.inside.iter().map(|inside| inside.place as i64).collect();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device);
    let inside = outputs.select(0, rows);
    let sides: Vec<f32> = places.inside.iter().flat_map(|inside| inside.sides).collect();
    let sides: Tensor<2> = from_values(sides, [count, 4], &device);
    let centers: Vec<f32> = places.inside.iter().map(|inside| inside.center).collect();
    let whole = centers.iter().sum::<f32>();
    let centers: Tensor<2> = from_values(centers, [count, 1], &device);
    let said = inside.clone().slice([0..count, classes..classes + 4]).clamp_max(WIDEST).exp();
    let boxes = ((-giou(&said, &sides) + 1.0) * centers.clone()).sum() / whole;
    let logits = inside.slice([0..count, classes + 4..width]);
    let right = activation::log_sigmoid(logits.clone()) * centers.clone();
    let wrong = activation::log_sigmoid(-logits) * (-centers + 1.0);
    loss + boxes - (right + wrong).sum() * share
}

/// How far the outputs of places are from a teacher's: cross entropy of classes and centers, and differences of the
/// logarithms of the sides, these two weighted by how likely a box the teacher finds a place; divided by the sum of
/// these weights.
///
/// # Shapes
/// Both `[n, classes + 5]`; the teacher's without a graph.
#[allow(clippy::needless_pass_by_value, reason = "the signature of the other distances")]
pub fn distill_boxes(student: Tensor<2>, teacher: Tensor<2>) -> Tensor<1> {
    let [n, width] = student.dims();
    let classes = width - 5;
    let probability = activation::sigmoid(teacher.clone().slice([0..n, 0..classes]));
    let weight = probability.clone().max_dim(1);
    let share = 1.0 / values(&weight.clone().sum())[0].max(f32::MIN_POSITIVE);
    let entropy = |logits: Tensor<2>, targets: Tensor<2>| {
        let right = activation::log_sigmoid(logits.clone()) * targets.clone();
        -(right + activation::log_sigmoid(-logits) * (-targets + 1.0))
    };
    let part = |from: usize, to: usize| {
        let of = |tensor: &Tensor<2>| tensor.clone().slice([0..n, from..to]);
        (of(&student), of(&teacher))
    };
    let (logits, _) = part(0, classes);
    let ((sides, wanted), (center, sure)) = (part(classes, width - 1), part(width - 1, width));
    let weight = weight.autodiff();
    let sides = (sides - wanted.autodiff()).abs().sum_dim(1) * weight.clone();
    let center = entropy(center, activation::sigmoid(sure).autodiff()) * weight;
    (entropy(logits, probability.autodiff()).sum() + sides.sum() + center.sum()) * share
}

/// The focal loss of each logit.
fn focal(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
    let p = activation::sigmoid(logits.clone());
    let q = -p.clone() + 1.0;
    let log_p = activation::log_sigmoid(logits.clone());
    let log_q = activation::log_sigmoid(-logits);
    let inside = q.clone() * q * log_p * targets.clone() * -ALPHA;
    inside + p.clone() * p * log_q * (-targets + 1.0) * (ALPHA - 1.0)
}

/// Generalized intersection over union of boxes around the same place, `[n, 4]` sides each, to `[n, 1]`.
fn giou(a: &Tensor<2>, b: &Tensor<2>) -> Tensor<2> {
    let [n, _] = a.dims();
    // Left and right, top and bottom add up to width and height.
    let area = |sides: &Tensor<2>| {
        let side = |index: usize| sides.clone().slice([0..n, index..index + 1]);
        (side(0) + side(2)) * (side(1) + side(3))
    };
    let common = area(&a.clone().min_pair(b.clone()));
    let around = area(&a.clone().max_pair(b.clone()));
    let union = area(a) + area(b) - common.clone();
    common / union.clone() - (around.clone() - union) / around
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::random;
    use burn_tensor::Device;

    /// Seven places and two classes; the places 1, 4 and 5 are in boxes, 6 does not count.
    fn places() -> Places {
        let mut classes = vec![0.0; 14];
        for (place, class) in [(1, 0), (4, 1), (5, 1)] {
            classes[2 * place + class] = 1.0;
        }
        let counted = vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0];
        let sides = [[1.0, 2.0, 0.5, 1.5], [0.3, 0.3, 4.0, 0.9], [2.0, 2.0, 2.0, 2.0]];
        let inside = [1, 4, 5].into_iter().zip(sides).map(|(place, sides)| {
            let [l, t, r, b] = sides;
            let part = |a: f32, b: f32| a.min(b) / a.max(b);
            Inside { place, sides, center: (part(l, r) * part(t, b)).sqrt() }
        });
        Places { classes, counted, inside: inside.collect() }
    }

    /// The loss from its definitions, in double precision.
    fn by_hand(outputs: &[f64], places: &Places) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let count = places.inside.len() as f64;
        let mut loss = 0.0;
        for place in 0..7 {
            for class in 0..2 {
                let p = sigmoid(outputs[7 * place + class]);
                let cost = if places.classes[2 * place + class] > 0.5 {
                    -0.25 * (1.0 - p).powi(2) * p.ln()
                } else {
                    -0.75 * p.powi(2) * (1.0 - p).ln()
                };
                loss += cost * f64::from(places.counted[place]) / count;
            }
        }
        let weights: f64 = places.inside.iter().map(|inside| f64::from(inside.center)).sum();
        for Inside { place, sides, center } in &places.inside {
            let row = &outputs[7 * place..];
            // Corners around the place.
            let corners = |[l, t, r, b]: [f64; 4]| [-l, -t, r, b];
            let a = corners([2, 3, 4, 5].map(|at: usize| row[at].exp()));
            let b = corners(sides.map(f64::from));
            let area = |c: [f64; 4]| (c[2] - c[0]) * (c[3] - c[1]);
            let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
            let around = area([a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]);
            let union = area(a) + area(b) - common;
            let giou = common / union - (around - union) / around;
            let c = f64::from(*center);
            loss += (1.0 - giou) * c / weights;
            let p = sigmoid(row[6]);
            loss -= (c * p.ln() + (1.0 - c) * (1.0 - p).ln()) / count;
        }
        loss
    }

    #[test]
    fn the_loss_and_its_gradient_are_those_of_the_definitions() {
        let places = places();
        let outputs = random([7, 7], 3) * 2.0;
        let leaf = outputs.clone().autodiff().require_grad();
        let loss = fcos(leaf.clone(), &places);
        let at: Vec<f64> = values(&outputs).into_iter().map(f64::from).collect();
        let expected = by_hand(&at, &places);
        assert!((f64::from(values(&loss)[0]) - expected).abs() < 1e-4 * expected, "{expected}");
        let grad = values(&leaf.grad(&loss.backward()).unwrap());
        for index in 0..49 {
            let moved = |by: f64| {
                let mut at = at.clone();
                at[index] += by;
                by_hand(&at, &places)
            };
            let finite = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let got = f64::from(grad[index]);
            assert!((got - finite).abs() < 1e-4 * finite.abs().max(0.1), "{index}: {got} {finite}");
        }
    }

    #[test]
    fn without_a_box_only_the_classes_cost_and_right_answers_cost_nothing() {
        let none = Places { classes: vec![0.0; 14], counted: vec![1.0; 7], inside: Vec::new() };
        let leaf = random([7, 7], 4).autodiff().require_grad();
        let loss = fcos(leaf.clone(), &none);
        let grad = values(&leaf.grad(&loss.backward()).unwrap());
        assert!(grad.chunks(7).all(|row| row[0] > 0.0 && row[2..].iter().all(|g| *g == 0.0)));
        let places = Places {
            classes: vec![1.0, 0.0],
            counted: vec![1.0],
            inside: vec![Inside { place: 0, sides: [1.0, 2.0, 1.0, 2.0], center: 1.0 }],
        };
        let two = 2.0_f32.ln();
        let outputs = vec![20.0, -20.0, 0.0, two, 0.0, two, 20.0];
        let right: Tensor<2> = from_values(outputs, [1, 7], &Device::flex());
        assert!(values(&fcos(right.autodiff(), &places))[0] < 1e-6);
    }

    #[test]
    fn a_student_like_its_teacher_moves_no_side_and_no_logit() {
        let teacher = random([6, 7], 5);
        let grad = |student: Tensor<2>| {
            let leaf = student.autodiff().require_grad();
            let loss = distill_boxes(leaf.clone(), teacher.clone());
            (values(&loss)[0], values(&leaf.grad(&loss.backward()).unwrap()))
        };
        let (same, still) = grad(teacher.clone());
        assert!(still.iter().all(|g| g.abs() < 1e-6), "{still:?}");
        let (other, moved) = grad(random([6, 7], 6));
        assert!(other > same && moved.iter().all(|g| *g != 0.0), "{other} {same}");
    }
}
