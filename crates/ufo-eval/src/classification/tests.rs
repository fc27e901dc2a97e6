use super::*;
use proptest::prelude::*;

#[test]
fn four_images_by_hand() {
    #[rustfmt::skip]
    let logits = [
        0.9, 0.1, 0.0,
        0.2, 0.1, 0.7,
        0.1, 0.8, 0.1,
        0.3, 0.3, 0.3,
    ];
    let result = classification(&logits, 3, &[0, 0, 1, 2]).unwrap();
    // Predictions 0, 2, 1 and, of equal logits, 0.
    assert_eq!(result.confusion.unwrap(), [[1, 0, 1], [0, 1, 0], [1, 0, 0]]);
    assert!((result.top1 - 0.5).abs() < 1e-15);
    assert!((result.mean_per_class - (0.5 + 1.0 + 0.0) / 3.0).abs() < 1e-15);
    assert!((result.top5 - 1.0).abs() < 1e-15);
    // Squared differences of the pairs, and of every prediction with every label, over 4.
    let chance = [0, 2, 1, 0].iter().flat_map(|p| [0, 0, 1, 2].map(|l| (p - l) * (p - l)));
    let expected = 1.0 - 8.0 / (f64::from(chance.sum::<i32>()) / 4.0);
    assert!((result.quadratic_kappa.unwrap() - expected).abs() < 1e-15);
}

#[test]
fn top5_counts_places() {
    let logits = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
    let top5 = |label| classification(&logits, 6, &[label]).unwrap().top5;
    assert!(top5(4) > 0.5);
    assert!(top5(5) < 0.5);
    // Of equal logits the lowest class comes first.
    let tied = |label| classification(&[1.0; 6], 6, &[label]).unwrap().top5;
    assert!(tied(4) > 0.5);
    assert!(tied(5) < 0.5);
}

#[test]
fn kappa_of_one_class_is_undefined() {
    assert_eq!(classification(&[1.0, 0.0], 2, &[0]).unwrap().quadratic_kappa, None);
    let apart = classification(&[1.0, 0.0], 2, &[1]).unwrap();
    assert!(apart.quadratic_kappa.unwrap().abs() < 1e-15);
}

#[test]
fn errors_name_what_is_wrong() {
    let message = |logits: &[f32], classes, labels: &[u32]| {
        classification(logits, classes, labels).unwrap_err().to_string()
    };
    let nan = message(&[0.0, 1.0, 0.0, f32::NAN], 2, &[0, 1]);
    assert_eq!(nan, "logits: row 1 holds NaN, must be a number");
    assert_eq!(message(&[0.0; 5], 2, &[0, 1]), "logits: expected 4 values, got 5");
    let label = message(&[0.0; 4], 2, &[0, 2]);
    assert_eq!(label, "labels: row 1 is 2, must be less than 2 classes");
    assert_eq!(message(&[], 2, &[]), "labels = []: must hold at least one image");
    assert_eq!(message(&[], 0, &[0]), "classes = 0: must be at least 1");
}

#[test]
fn infinite_logits_are_ordered() {
    let result = classification(&[f32::NEG_INFINITY, 0.0], 2, &[1]).unwrap();
    assert!((result.top1 - 1.0).abs() < 1e-15);
}

proptest! {
    #[test]
    fn the_order_of_images_does_not_count(
        images in prop::collection::vec((prop::array::uniform6(-3.0_f32..3.0), 0_u32..6), 1..40),
        turn in any::<prop::sample::Index>(),
    ) {
        let judge = |images: &[([f32; 6], u32)]| {
            let logits: Vec<f32> = images.iter().flat_map(|image| image.0).collect();
            let labels: Vec<u32> = images.iter().map(|image| image.1).collect();
            classification(&logits, 6, &labels).unwrap()
        };
        let mut turned = images.clone();
        turned.rotate_left(turn.index(images.len()));
        let (a, b) = (judge(&images), judge(&turned));
        prop_assert_eq!(&a.confusion, &b.confusion);
        prop_assert_eq!(a.metrics().len(), b.metrics().len());
        for (a, b) in a.metrics().iter().zip(b.metrics()) {
            prop_assert!((a.value - b.value).abs() < 1e-12, "{}", a.name);
        }
        prop_assert!(a.top1 <= a.top5);
    }
}
