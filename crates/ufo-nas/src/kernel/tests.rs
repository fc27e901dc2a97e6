use super::*;
use crate::matrix::testing::random;

fn kernel() -> Kernel {
    let groups = Groups { group: vec![0, 0, 1, 1, 2], level: vec![0, 1, 0, 1, 2] };
    Kernel::new(groups).unwrap()
}

fn hyper(kernel: &Kernel) -> Vec<f64> {
    (0..kernel.len()).map(|i| -1.0 + 0.3 * (i % 4) as f64).collect()
}

#[test]
fn two_points_by_hand() {
    let kernel = Kernel::new(Groups::separate(1)).unwrap();
    // noise, s = 2, v = 3 at level 1, w = 4
    let hyper = [0.0, 2_f64.ln(), 3_f64.ln(), 0.0, 4_f64.ln()];
    let (a, b) = (Matrix::from_rows(1, &[[0.5]]), Matrix::from_rows(1, &[[1.0]]));
    let covariance = kernel.matrix(&hyper, &a, &b);
    assert!((covariance.row(0)[0] - (1.0 + 1.5 + 2.0 * (-0.5_f64).exp())).abs() < 1e-15);
    assert!((kernel.diagonal(&hyper, &a)[0] - 3.75).abs() < 1e-15);
}

#[test]
fn the_diagonal_is_the_matrix_of_equal_inputs() {
    let (kernel, x) = (kernel(), random(6, 5, 1));
    let hyper = hyper(&kernel);
    let (matrix, diagonal) = (kernel.matrix(&hyper, &x, &x), kernel.diagonal(&hyper, &x));
    (0..6).for_each(|i| assert!((matrix.row(i)[i] - diagonal[i]).abs() < 1e-14));
}

#[test]
fn derivatives_equal_differences() {
    let (kernel, x, slope) = (kernel(), random(7, 5, 2), random(7, 7, 3));
    let slope = Matrix::from_fn(7, 7, |i, j| slope.row(i)[j] + slope.row(j)[i]);
    let hyper = hyper(&kernel);
    // A function whose derivative by the covariance is `slope`.
    let value = |hyper: &[f64]| {
        let (covariance, _) = kernel.covariance(hyper, &x);
        let row = |i| covariance.row(i).iter().zip(slope.row(i)).map(|(k, g)| k * g).sum::<f64>();
        (0..7).map(row).sum::<f64>()
    };
    let gradient = kernel.gradient(&hyper, &x, kernel.covariance(&hyper, &x).1, &slope);
    for i in 0..hyper.len() {
        let at = |step: f64| {
            let mut hyper = hyper.clone();
            hyper[i] += step;
            value(&hyper)
        };
        let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((difference - gradient[i]).abs() < 1e-7, "{i}: {difference} {}", gradient[i]);
    }
}

#[test]
fn groups_must_match() {
    let error = Kernel::new(Groups { group: vec![0, 1], level: vec![0] }).unwrap_err();
    let expected = "groups = 2 groups and 1 levels: must have one of both a feature";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_penalty_by_hand() {
    let prior = Prior { mean: vec![1.0, 0.0], deviation: vec![2.0, f64::INFINITY] };
    assert_eq!(prior.penalty(&[5.0, 9.0]), (2.0, vec![1.0, 0.0]));
}
