//! The Gaussian process with scikit-learn's figures for the same hyperparameters
//! (`tests/reference/gp_process.py`).

use crate::benchmark::{json, numbers};
use ufo_nas::{GaussianProcess, Groups, Kernel, Matrix, likelihood};

const TOLERANCE: f64 = 1e-6;

fn matrix(value: &serde_json::Value) -> Matrix {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    Matrix::from_rows(rows[0].len(), &rows)
}

#[test]
fn means_deviations_and_likelihoods_are_scikit_learns() {
    let cases = json("gp_process.json");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let (inputs, targets) = (matrix(&case["inputs"]), numbers(&case["targets"]));
        let kernel = Kernel::new(Groups::separate(inputs.columns())).unwrap();
        let hyper = numbers(&case["hyper"]);
        let center = targets.iter().sum::<f64>() / targets.len() as f64;
        let centered: Vec<f64> = targets.iter().map(|target| target - center).collect();
        let (log_likelihood, _) = likelihood(&kernel, &hyper, &inputs, &centered).unwrap();
        let expected = case["log_likelihood"].as_f64().unwrap();
        assert!((log_likelihood - expected).abs() < TOLERANCE, "{log_likelihood} {expected}");
        let process = GaussianProcess::new(kernel, hyper, inputs, &targets).unwrap();
        let predicted = process.predict(&matrix(&case["unseen"]));
        let deviation: Vec<f64> = predicted.variance.iter().map(|v| v.sqrt()).collect();
        for (got, expected) in [(predicted.mean, "mean"), (deviation, "deviation")] {
            for (got, expected) in got.iter().zip(numbers(&case[expected])) {
                assert!((got - expected).abs() < TOLERANCE, "{got} {expected}");
            }
        }
    }
}
