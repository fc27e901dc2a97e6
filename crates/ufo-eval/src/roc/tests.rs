use super::*;
use proptest::prelude::*;

#[test]
fn five_pairs_by_hand() {
    let curve = roc(&[0.9, 0.8, 0.7, 0.7, 0.1], &[true, false, true, false, false]).unwrap();
    assert_eq!(curve.far, [0.0, 0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]);
    assert_eq!(curve.tar, [0.0, 0.5, 0.5, 1.0, 1.0]);
    assert_eq!(curve.thresholds, [f64::INFINITY, 0.9, 0.8, 0.7, 0.1]);
    // Of the two points without false accepts, the one that accepts more.
    let strict = curve.tar_at_far(0.0);
    assert_eq!(strict, OperatingPoint { far: 0.0, tar: 0.5, threshold: Some(0.9) });
    assert_eq!(curve.tar_at_far(0.6).threshold, Some(0.7));
    // From (1/3, 1/2) to (2/3, 1), FAR + TAR rises from 5/6 to 5/3: a fifth of the way to reach 1.
    assert!((curve.equal_error_rate() - 0.4).abs() < 1e-12);
}

#[test]
fn extremes_of_the_equal_error_rate() {
    let same = [true, true, false, false];
    let rate = |scores: [f64; 4]| roc(&scores, &same).unwrap().equal_error_rate();
    assert!(rate([4.0, 3.0, 2.0, 1.0]).abs() < 1e-15);
    assert!((rate([1.0, 2.0, 3.0, 4.0]) - 1.0).abs() < 1e-15);
    assert!((rate([1.0; 4]) - 0.5).abs() < 1e-15);
}

#[test]
fn errors_name_what_is_wrong() {
    let message = |scores: &[f64], same: &[bool]| roc(scores, same).unwrap_err().to_string();
    assert_eq!(message(&[0.0], &[]), "same: expected 1 values, got 0");
    let nan = message(&[0.0, f64::NAN], &[true, false]);
    assert_eq!(nan, "scores: row 1 holds NaN, must be finite");
    assert_eq!(message(&[0.0], &[true]), "ROC is undefined: there is no different pair");
    assert_eq!(message(&[], &[]), "ROC is undefined: there is no same pair");
}

proptest! {
    #[test]
    fn the_curve_climbs_and_ignores_order(
        mut pairs in prop::collection::vec((-5_i8..5, any::<bool>()), 2..60),
        turn in any::<prop::sample::Index>(),
    ) {
        pairs[0].1 = true;
        pairs[1].1 = false;
        let judge = |pairs: &[(i8, bool)]| {
            let scores: Vec<f64> = pairs.iter().map(|pair| pair.0.into()).collect();
            let same: Vec<bool> = pairs.iter().map(|pair| pair.1).collect();
            roc(&scores, &same).unwrap()
        };
        let curve = judge(&pairs);
        prop_assert!(curve.far.is_sorted() && curve.tar.is_sorted());
        prop_assert_eq!(curve.far.last(), Some(&1.0));
        prop_assert_eq!(curve.tar.last(), Some(&1.0));
        prop_assert!((0.0..=1.0).contains(&curve.equal_error_rate()));
        let turn = turn.index(pairs.len());
        pairs.rotate_left(turn);
        prop_assert_eq!(judge(&pairs), curve);
    }
}
