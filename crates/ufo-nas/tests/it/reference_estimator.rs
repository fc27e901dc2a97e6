//! The public estimator on its own demo data and on the benchmark.

use crate::benchmark::{json, networks, numbers};
use ufo_nas::{Coding, Encoding, GpNas, GpNasKernel, Matrix, Update};
use ufo_nas::{benchmark_space, kendall_tau};

/// The third entry of each block's four, and the accuracy in percent.
fn demo(name: &str) -> (Matrix, Vec<f64>) {
    let file = json(name);
    let networks: Vec<_> = file.as_object().unwrap().values().collect();
    let blocks = |network: &serde_json::Value| -> Vec<f64> {
        let blocks = network["arch"].as_array().unwrap();
        blocks.iter().map(|block| block[2].as_f64().unwrap()).collect()
    };
    let rows: Vec<Vec<f64>> = networks.iter().map(|network| blocks(network)).collect();
    let accuracies = networks.iter().map(|network| 100.0 * network["acc"].as_f64().unwrap());
    (Matrix::from_rows(16, &rows), accuracies.collect())
}

fn every(first: usize, step: usize, of: &(Matrix, Vec<f64>)) -> (Matrix, Vec<f64>) {
    let rows: Vec<usize> = (first..of.1.len()).step_by(step).collect();
    (of.0.select(&rows), rows.iter().map(|&row| of.1[row]).collect())
}

fn rmse(a: &[f64], b: &[f64]) -> f64 {
    (a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

/// The table of spec 6.4.
#[test]
fn errors_on_paddleslims_demo() {
    let stage1 = demo("nasbench/cvpr21_track2_stage1.json");
    let stage2 = demo("nasbench/cvpr21_track2_stage2.json");
    let initial = every(1, 1, &stage1);
    let (train, test) = (every(0, 2, &stage2), every(1, 2, &stage2));
    for (kernel, update, joint_error, mean_error) in [
        (GpNasKernel::Square, Update::Gain, 0.264_376, 0.265_701),
        (GpNasKernel::Square, Update::Information, 0.311_365, 0.318_498),
        (GpNasKernel::Distance, Update::Gain, 0.293_639, 0.303_209),
        (GpNasKernel::Distance, Update::Information, 0.304_571, 0.292_461),
    ] {
        let mut model = GpNas::new(kernel, update, &initial.0, &initial.1).unwrap();
        let before = rmse(&model.predict(&test.0), &test.1);
        assert!((before - 2.207_498).abs() < 1e-5, "{before}");
        for first in [0, 1] {
            let (inputs, targets) = every(first, 3, &train);
            model.observe(&inputs, &targets).unwrap();
        }
        let joint = model.predict_joint(&test.0, &train.0, &train.1).unwrap();
        let joint = rmse(&joint, &test.1);
        assert!((joint - joint_error).abs() < 1e-5, "{kernel:?} {update:?}: {joint}");
        let mean = rmse(&model.predict(&test.0), &test.1);
        assert!((mean - mean_error).abs() < 1e-5, "{kernel:?} {update:?}: {mean}");
    }
}

/// The first 320 networks in two halves, the last 80 to predict: numpy's figures.
#[test]
fn ranks_of_the_benchmark() {
    let (read, figures) = (networks(), json("gp_reference.json"));
    let encoding =
        Encoding { space: benchmark_space(), blocks: 12, arch: None, coding: Coding::Overlapping };
    let inputs = encoding.matrix(&read.slices).unwrap();
    let rows = |from: usize, to: usize| inputs.select(&(from..to).collect::<Vec<_>>());
    let (first, second, all, test) = (rows(0, 160), rows(160, 320), rows(0, 320), rows(320, 400));
    for (name, kernel, update) in [
        ("1,1", GpNasKernel::Square, Update::Gain),
        ("1,2", GpNasKernel::Square, Update::Information),
        ("2,1", GpNasKernel::Distance, Update::Gain),
        ("2,2", GpNasKernel::Distance, Update::Information),
    ] {
        for (task, scores) in read.tasks.iter().zip(&read.scores) {
            let expected = &figures["estimator"][name][task];
            let mut model = GpNas::new(kernel, update, &first, &scores[..160]).unwrap();
            model.observe(&second, &scores[160..320]).unwrap();
            let fast = model.predict(&test);
            let joint = model.predict_joint(&test, &all, &scores[..320]).unwrap();
            for (mode, got) in [("fast", fast), ("joint", joint)] {
                let off = got.iter().zip(numbers(&expected[mode])).map(|(x, y)| (x - y).abs());
                let worst = off.fold(0.0, f64::max);
                assert!(worst < 1e-6 * 500.0, "{name} {task} {mode}: {worst}");
                let tau = kendall_tau(&got, &scores[320..]).unwrap();
                let expected = expected[format!("{mode}_tau")].as_f64().unwrap();
                assert!((tau - expected).abs() < 1e-6, "{name} {task} {mode}: {tau} {expected}");
            }
        }
    }
}
