use super::*;
use proptest::prelude::*;

/// Same and different pairs in turn.
fn in_turn(pairs: usize) -> Vec<bool> {
    (0..pairs).map(|pair| pair % 2 == 0).collect()
}

/// Test vector A11 of the specification.
#[test]
fn constant_distances_are_right_half_the_time() {
    let same = in_turn(200);
    let result = verification(&[1.234; 200], &same).unwrap();
    assert!((result.accuracy - 0.5).abs() < 1e-12);
    // Every threshold is equally good, so the first is taken.
    assert!(result.threshold.abs() < 1e-12);
}

/// Test vector A11 of the specification.
#[test]
fn separated_distances_are_always_right_at_the_smallest_threshold() {
    let same = in_turn(60);
    let distances: Vec<f64> = same.iter().map(|&same| if same { 0.405 } else { 1.9 }).collect();
    let result = verification(&distances, &same).unwrap();
    assert!((result.accuracy - 1.0).abs() < 1e-12);
    assert!((result.threshold - 0.41).abs() < 1e-12);
    assert_eq!(result.fold_accuracies.len(), 10);
}

/// A pair is accepted if its distance is less than the threshold, not if equal.
#[test]
fn a_distance_on_the_grid_needs_the_next_threshold() {
    let same = in_turn(20);
    let distances: Vec<f64> = same.iter().map(|&same| if same { 0.5 } else { 2.0 }).collect();
    assert!((verification(&distances, &same).unwrap().threshold - 0.51).abs() < 1e-12);
}

#[test]
fn folds_are_contiguous_and_the_first_are_longer() {
    let lengths: Vec<usize> = folds(23).iter().map(ExactSizeIterator::len).collect();
    assert_eq!(lengths, [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]);
    assert_eq!(folds(23)[3], 9..11);
}

#[test]
fn distances_of_unit_vectors_by_hand() {
    let distances = pair_distances(&[3.0, 0.0, 0.0, 7.0, 1.0, 1.0, -2.0, -2.0], 2).unwrap();
    assert!((distances[0] - 2.0).abs() < 1e-6);
    assert!((distances[1] - 4.0).abs() < 1e-6);
}

#[test]
fn threshold_between_grid_points() {
    // Rates 0 up to threshold 1.000, then 1/2: a quarter is reached halfway to 1.001.
    let different = vec![1.0, 3.0];
    assert!((threshold_at_far(different.clone(), 0.25) - 1.0005).abs() < 1e-9);
    assert!((threshold_at_far(different.clone(), 0.5) - 3.0).abs() < 1e-9);
    assert!((threshold_at_far(different, 1.0) - 3.999).abs() < 1e-9);
    assert!(threshold_at_far(vec![4.0], 0.5).abs() < 1e-9);
}

#[test]
fn errors_name_what_is_wrong() {
    let message =
        |distances: &[f64], same: &[bool]| verification(distances, same).unwrap_err().to_string();
    assert_eq!(message(&[0.0; 9], &[true; 8]), "same: expected 9 values, got 8");
    assert_eq!(message(&[0.0; 9], &[true; 9]), "pairs = 9: must be at least 10, one a fold");
    let nan = message(&[f64::NAN; 10], &[true; 10]);
    assert_eq!(nan, "distances: row 0 holds NaN, must be finite");
    let odd = pair_distances(&[0.0; 6], 2).unwrap_err().to_string();
    assert_eq!(odd, "features: expected 8 values, got 6");
    let far = val_at_far(&[0.0; 10], &in_turn(10), 1.5).unwrap_err().to_string();
    assert_eq!(far, "far = 1.5: must be 0 to 1");
    let kind = val_at_far(&[0.0; 10], &[true; 10], 0.5).unwrap_err().to_string();
    assert_eq!(kind, "VAL at FAR is undefined: there is no different pair");
}

proptest! {
    #[test]
    fn rates_stay_within_bounds(pairs in prop::collection::vec((0.0..4.0, any::<bool>()), 10..80), far in 0.0..1.0) {
        let (distances, mut same): (Vec<f64>, Vec<bool>) = pairs.into_iter().unzip();
        same[0] = true;
        same[1] = false;
        let result = verification(&distances, &same).unwrap();
        prop_assert!((0.0..=1.0).contains(&result.accuracy));
        prop_assert!((0.0..4.0).contains(&result.threshold));
        let val = val_at_far(&distances, &same, far).unwrap();
        prop_assert!((0.0..=1.0).contains(&val.val) && (0.0..=1.0).contains(&val.far));
    }
}
