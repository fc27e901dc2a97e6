use super::*;
use crate::Groups;
use crate::matrix::testing::random;
use proptest::prelude::*;

fn sample(n: usize) -> (Kernel, Matrix, Vec<f64>) {
    let x = random(n, 3, 5);
    let noise = random(n, 1, 6);
    let y = (0..n).map(|i| 2.0 * x.row(i)[0] + (3.0 * x.row(i)[1]).sin() + 0.1 * noise.row(i)[0]);
    let y = y.collect();
    (Kernel::new(Groups::separate(3)).unwrap(), x, y)
}

#[test]
fn the_gradient_of_the_likelihood_equals_differences() {
    let (kernel, x, y) = sample(30);
    let hyper = kernel.prior().mean;
    let (_, gradient) = likelihood(&kernel, &hyper, &x, &y).unwrap();
    for i in 0..hyper.len() {
        let at = |step: f64| {
            let mut hyper = hyper.clone();
            hyper[i] += step;
            likelihood(&kernel, &hyper, &x, &y).unwrap().0
        };
        let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((difference - gradient[i]).abs() < 1e-5, "{i}: {difference} {}", gradient[i]);
    }
}

#[test]
fn learns_what_matters_and_how_noisy_it_is() {
    let (kernel, x, y) = sample(150);
    let process = GaussianProcess::fit(kernel.clone(), &kernel.prior(), x, &y).unwrap();
    let unseen = random(200, 3, 7);
    let prediction = process.predict(&unseen);
    let error = |(i, mean): (usize, &f64)| {
        let row = unseen.row(i);
        (mean - 2.0 * row[0] - (3.0 * row[1]).sin()).powi(2)
    };
    let mse = prediction.mean.iter().enumerate().map(error).sum::<f64>() / 200.0;
    assert!(mse.sqrt() < 0.05, "{}", mse.sqrt());
    // Uniform noise of width 0.2 has variance 0.2^2 / 12.
    assert!((process.noise() / (0.04 / 12.0) - 1.0).abs() < 0.4, "{}", process.noise());
    assert!(process.hyper()[4] < process.hyper()[2] - 4.0, "{:?}", process.hyper());
}

#[test]
fn leaving_one_out_equals_fitting_without_it() {
    let (kernel, x, y) = sample(20);
    // Centering uses every target, so these are of mean 0 with any left out.
    let mean = y.iter().sum::<f64>() / 20.0;
    let y: Vec<f64> = y.iter().map(|y| y - mean).collect();
    let hyper = kernel.prior().mean;
    let all = GaussianProcess::new(kernel.clone(), hyper.clone(), x.clone(), &y).unwrap();
    let left: Vec<usize> = (1..20).collect();
    let mut rest = GaussianProcess::new(kernel, hyper, x.select(&left), &y[1..]).unwrap();
    rest.weights = rest.cholesky.solve_vector(&y[1..]);
    let mean = rest.predict(&x.select(&[0])).mean[0] - rest.center;
    assert!((all.leave_one_out(&y)[0] - mean).abs() < 1e-10);
}

proptest! {
    #[test]
    fn more_data_never_raises_a_variance(n in 2_usize..25, seed in 0_u64..50) {
        let (kernel, x, y) = sample(25);
        let at = random(5, 3, seed);
        let variance = |n: usize| {
            let rows: Vec<usize> = (0..n).collect();
            let hyper = kernel.prior().mean;
            let inputs = x.select(&rows);
            GaussianProcess::new(kernel.clone(), hyper, inputs, &y[..n]).unwrap().predict(&at).variance
        };
        for (fewer, more) in variance(n - 1).iter().zip(variance(n)) {
            prop_assert!(more <= fewer + 1e-9);
        }
    }
}

#[test]
fn bad_data_is_named() {
    let (kernel, x, mut y) = sample(5);
    let hyper = kernel.prior().mean;
    let new = |y: &[f64], hyper: Vec<f64>| {
        GaussianProcess::new(kernel.clone(), hyper, x.clone(), y).unwrap_err().to_string()
    };
    assert_eq!(new(&y[..4], hyper.clone()), "targets = 4: must be 5");
    assert_eq!(new(&y, vec![0.0]), "hyperparameters = 1: must be 9");
    y[2] = f64::NAN;
    assert_eq!(new(&y, hyper), "targets = NaN: must be finite");
}
