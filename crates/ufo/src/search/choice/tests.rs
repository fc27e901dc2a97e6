use super::*;
use crate::search::outcome::Guesses;

/// A point of so many parameters, a thousandth of the accuracy and milliseconds.
fn point(slice: &str, params: u64, thousandth: u32, latency_ms: f64) -> Point {
    let accuracy = f64::from(thousandth) / 1000.0;
    Point {
        slice: slice.to_string(),
        params,
        macs: 10 * params,
        activation_bytes: 0,
        measured: Values { accuracy, latency_ms },
        predicted: Guesses { accuracy: [accuracy, 0.01], latency_ms: [latency_ms, 0.1] },
        untrained: None,
        alone: None,
    }
}

fn points() -> Vec<Point> {
    vec![point("small", 10, 700, 1.0), point("middle", 20, 800, 2.9), point("large", 40, 900, 5.0)]
}

/// What is taken where times are `again` of the first ones, and what is said.
fn decided(points: &[Point], limits: &Limits, again: f64) -> (Option<String>, String) {
    let mut times =
        |some: &[&Point]| Ok(some.iter().map(|p| again * p.measured.latency_ms).collect());
    let decision = decide(points, limits, Some(&mut times)).unwrap();
    let taken = decision.taken.map(|(point, ms)| {
        assert!((ms.unwrap() - again * point.measured.latency_ms).abs() < 1e-12);
        point.slice.clone()
    });
    (taken, nearest(points, limits, &decision, true))
}

fn within(max_latency_ms: f64) -> Limits {
    Limits { max_latency_ms: Some(max_latency_ms), ..Limits::default() }
}

#[test]
fn a_slice_that_is_too_slow_the_second_time_is_not_taken() {
    let points = points();
    assert_eq!(decided(&points, &within(3.0), 1.0).0.as_deref(), Some("middle"));
    assert_eq!(decided(&points, &within(3.0), 1.1).0.as_deref(), Some("small"));
    let (none, said) = decided(&points, &within(3.0), 3.5);
    assert_eq!(none, None);
    // The second time counts: the first one kept the bound.
    assert_eq!(said, "--max-latency-ms 3: the fastest takes 3.5000 ms");
}

#[test]
fn all_within_the_bounds_are_timed_until_one_keeps_them() {
    let points: Vec<Point> =
        (0..20).map(|i| point(&i.to_string(), 1, 500 + i, f64::from(100 - i) / 100.0)).collect();
    let mut calls = Vec::new();
    let mut times = |some: &[&Point]| {
        calls.push(some.len());
        Ok(some.iter().map(|p| if p.slice == "3" { 0.9 } else { 1.1 }).collect())
    };
    let decision = decide(&points, &within(1.0), Some(&mut times)).unwrap();
    assert_eq!(decision.taken.map(|(point, ms)| (&point.slice[..], ms)), Some(("3", Some(0.9))));
    assert_eq!(calls, [8, 8, 4]);
}

#[test]
fn with_a_bound_on_accuracy_alone_the_fastest_is_taken() {
    let limits = Limits { min_accuracy: Some(0.75), ..Limits::default() };
    assert_eq!(decided(&points(), &limits, 1.0).0.as_deref(), Some("middle"));
}

#[test]
fn times_of_another_machine_must_hold_with_two_deviations_to_spare() {
    let points = points();
    let taken = |most| {
        let taken = decide(&points, &within(most), None).unwrap().taken;
        taken.map(|(point, ms)| (point.slice.clone(), ms))
    };
    assert_eq!(taken(3.1), Some(("middle".to_string(), None)));
    assert_eq!(taken(3.09), Some(("small".to_string(), None)));
    assert_eq!(taken(1.19), None);
    let limits = within(1.19);
    let decision = decide(&points, &limits, None).unwrap();
    let said = nearest(&points, &limits, &decision, false);
    assert_eq!(said, "--max-latency-ms 1.19: the fastest takes 1.2000 ms");
}

#[test]
fn each_bound_has_its_nearest_value_beside_the_others() {
    let points = points();
    let limits = Limits { min_accuracy: Some(0.85), ..within(2.0) };
    let (taken, said) = decided(&points, &limits, 1.0);
    assert_eq!(taken, None);
    assert_eq!(
        said,
        "--min-accuracy 0.85: the best within the other bounds has 0.7000; \
         --max-latency-ms 2: the fastest within the other bounds takes 5.0000 ms"
    );
    // Each alone can be kept, no two together: what nothing keeps is said of all.
    let points = [point("a", 10, 600, 3.0), point("b", 20, 900, 4.0), point("c", 30, 700, 1.0)];
    let limits = Limits {
        max_params: Some(15),
        min_accuracy: Some(0.85),
        max_latency_ms: Some(2.0),
        ..Limits::default()
    };
    let (taken, said) = decided(&points, &limits, 1.0);
    assert_eq!(taken, None);
    assert_eq!(
        said,
        "--min-accuracy 0.85: the best of all (none keeps the other bounds) has 0.9000; \
         --max-latency-ms 2: the fastest of all (none keeps the other bounds) takes 1.0000 ms; \
         --max-params 15: the smallest of all (none keeps the other bounds) has 10"
    );
}

#[test]
fn bounds_on_size_alone_have_their_nearest_value_and_values_can_be_kept() {
    let mut points = points();
    let limits = Limits { max_params: Some(5), max_macs: Some(50), ..Limits::default() };
    let (taken, said) = decided(&points, &limits, 1.0);
    assert_eq!(taken, None);
    assert!(
        said.starts_with(
            "--max-params 5: the smallest of all (none keeps the other bounds) has 10;"
        ),
        "{said}"
    );
    let limits = Limits { max_params: Some(5), ..Limits::default() };
    assert_eq!(decided(&points, &limits, 1.0).1, "--max-params 5: the smallest has 10");
    // A bound at the value that is named is kept.
    (points[0].measured.accuracy, points[0].measured.latency_ms) = (0.123_46, 0.123_41);
    points.truncate(1);
    let high = Limits { min_accuracy: Some(0.9), ..Limits::default() };
    assert_eq!(decided(&points, &high, 1.0).1, "--min-accuracy 0.9: the best has 0.1234");
    let fast = decided(&points, &within(0.1), 1.0).1;
    assert_eq!(fast, "--max-latency-ms 0.1: the fastest takes 0.1235 ms");
}
