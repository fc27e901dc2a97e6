use super::*;
use crate::{Arch, Preset, Space, macs};
use rand::{SeedableRng, rngs::ChaCha8Rng};

fn setting() -> (Arch, Encoding) {
    let arch = Preset::Demo.arch();
    let (heads, ffn) = (vec![1, 2, arch.heads], vec![arch.ffn / 4, arch.ffn / 2, arch.ffn]);
    let depths = vec![arch.depth - 2, arch.depth - 1, arch.depth];
    let space = Space { depths, heads, ffn, ..Space::whole(&arch) };
    let blocks = arch.depth;
    (arch, Encoding { space, blocks, arch: None, coding: crate::Coding::default() })
}

fn slices(arch: &Arch, space: &Space, count: usize, seed: u64) -> Vec<Slice> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| space.random(arch, &mut rng)).collect()
}

/// A latency of so many operations, and a score that falls with it.
fn tasks(arch: &Arch, slices: &[Slice]) -> Vec<TaskSamples> {
    let latency = |slice: &Slice| 1.0 + macs(arch, slice).total() as f64 / 1e6;
    let samples = |task: &str, transform, value: &dyn Fn(&Slice) -> f64| TaskSamples {
        task: task.into(),
        transform,
        slices: slices.to_vec(),
        values: slices.iter().map(value).collect(),
    };
    let score = |slice: &Slice| -latency(slice).sqrt();
    vec![
        samples("latency_ms", Transform::Log, &latency),
        samples("score", Transform::NormalScores, &score),
    ]
}

#[test]
fn unseen_slices_are_predicted_and_a_file_predicts_the_same() {
    let (arch, encoding) = setting();
    let train = slices(&arch, &encoding.space, 80, 1);
    let unseen = slices(&arch, &encoding.space, 50, 2);
    let predictor = Predictor::fit(encoding, tasks(&arch, &train)).unwrap();
    let predicted = predictor.predict(&unseen).unwrap();
    let truth = tasks(&arch, &unseen);
    for (value, expected) in predicted[0].value.iter().zip(&truth[0].values) {
        assert!((value / expected - 1.0).abs() < 0.05, "{value} {expected}");
    }
    let tau = crate::kendall_tau(&predicted[1].value, &truth[1].values).unwrap();
    assert!(tau > 0.9, "{tau}");
    let text = serde_json::to_string(predictor.file()).unwrap();
    let opened = Predictor::open(serde_json::from_str(&text).unwrap()).unwrap();
    // JSON's numbers are read back to the last bit but one.
    for (again, predicted) in opened.predict(&unseen).unwrap().iter().zip(&predicted) {
        for (again, value) in again.value.iter().zip(&predicted.value) {
            assert!((again / value - 1.0).abs() < 1e-9, "{again} {value}");
        }
    }
}

#[test]
fn errors_name_the_task() {
    let (arch, encoding) = setting();
    let train = slices(&arch, &encoding.space, 10, 1);
    let error = |change: fn(&mut TaskSamples)| {
        let mut tasks = tasks(&arch, &train);
        change(&mut tasks[1]);
        Predictor::fit(encoding.clone(), tasks).unwrap_err().to_string()
    };
    assert_eq!(error(|task| task.values[0] = f64::NAN), "score = NaN: must be finite");
    assert_eq!(
        error(|task| task.values.truncate(9)),
        "score = 9: must be 10, one a slice, 8192 at most"
    );
    let outside = error(|task| task.slices[0].blocks[1].heads = 99);
    assert!(outside.starts_with("score.blocks.1.heads = 99: must be one of"), "{outside}");
    let none = Predictor::fit(encoding.clone(), Vec::new()).unwrap_err().to_string();
    assert_eq!(none, "tasks = 0: must be 1 to 256");
    let mut file = Predictor::fit(encoding.clone(), tasks(&arch, &train)).unwrap().file().clone();
    file.hyper.pop();
    let error = Predictor::open(file).unwrap_err().to_string();
    assert_eq!(error, "hyper = 1: must be 2, one a task");
}

#[test]
fn a_task_with_few_samples_borrows_from_one_with_many() {
    let (arch, encoding) = setting();
    let (train, unseen) =
        (slices(&arch, &encoding.space, 80, 1), slices(&arch, &encoding.space, 60, 2));
    let tau = |predictor: &Predictor| {
        let predicted = predictor.predict(&unseen).unwrap().pop().unwrap();
        crate::kendall_tau(&predicted.value, &tasks(&arch, &unseen)[1].values).unwrap()
    };
    let mut both = tasks(&arch, &train);
    both[1].slices.truncate(12);
    both[1].values.truncate(12);
    let alone = Predictor::fit(encoding.clone(), vec![both[1].clone()]).unwrap();
    let borrows = Predictor::fit(encoding, both).unwrap();
    assert_eq!(borrows.donors(), [vec![], vec!["latency_ms"]]);
    let (alone, borrowed) = (tau(&alone), tau(&borrows));
    assert!(borrowed > alone + 0.1 && borrowed > 0.85, "{alone} {borrowed}");
    let opened = Predictor::open(borrows.file().clone()).unwrap();
    assert_eq!(opened.predict(&unseen).unwrap(), borrows.predict(&unseen).unwrap());
}

/// A score of single choices and a pair of them, which a process with one bell hardly sees.
#[test]
fn trees_join_where_samples_abound_and_come_back_from_a_file() {
    let (arch, encoding) = setting();
    let pair = |slice: &Slice| {
        let [first, second] = [&slice.blocks[0], &slice.blocks[2]];
        let pair = first.heads == arch.heads && second.ffn == arch.ffn;
        slice.blocks.len() as f64
            + first.ffn as f64 / arch.ffn as f64
            + 8.0 * f64::from(u8::from(pair))
    };
    let (train, unseen) =
        (slices(&arch, &encoding.space, 200, 1), slices(&arch, &encoding.space, 150, 2));
    let mut tasks = tasks(&arch, &train);
    tasks[1].values = train.iter().map(pair).collect();
    let truth: Vec<f64> = unseen.iter().map(pair).collect();
    let predictor = Predictor::fit(encoding.clone(), tasks.clone()).unwrap();
    let hyper = &predictor.file().hyper;
    assert!(hyper[0].boosted.is_empty() && !hyper[1].boosted.is_empty());
    let (with, alone) = (predictor.predict(&unseen).unwrap(), predictor.processes_alone());
    let alone = alone.predict(&unseen).unwrap();
    assert_eq!(with[0], alone[0]);
    assert_eq!(with[1].deviation, alone[1].deviation);
    let tau = |told: &[TaskPrediction]| crate::kendall_tau(&told[1].mean, &truth).unwrap();
    assert!(tau(&with) > tau(&alone) + 0.01, "{} {}", tau(&with), tau(&alone));
    let opened = Predictor::open(predictor.file().clone()).unwrap();
    assert_eq!(opened.predict(&unseen).unwrap(), with);
    let mut file = predictor.file().clone();
    file.hyper[1].boosted.pop();
    let error = Predictor::open(file).unwrap_err().to_string();
    assert!(error.starts_with("hyper.boosted = "), "{error}");

    tasks[1].slices.pop();
    tasks[1].values.pop();
    let few = Predictor::fit(encoding, tasks).unwrap();
    assert!(few.file().hyper[1].boosted.is_empty());
}

#[test]
fn surprises_are_counted_in_deviations_with_noise() {
    let (arch, encoding) = setting();
    let (train, unseen) =
        (slices(&arch, &encoding.space, 60, 1), slices(&arch, &encoding.space, 100, 2));
    let noisy = |slices: &[Slice], seed| {
        let noise = crate::matrix::testing::random(1, slices.len(), seed);
        let mut task = tasks(&arch, slices).remove(0);
        task.values.iter_mut().zip(noise.row(0)).for_each(|(v, noise)| *v *= (0.2 * noise).exp());
        task
    };
    let predictor = Predictor::fit(encoding, vec![noisy(&train, 3)]).unwrap();
    let truth = noisy(&unseen, 4).values;
    let surprises = predictor.surprises(&unseen, &[truth]).unwrap().remove(0);
    let square = surprises.iter().map(|z| z * z).sum::<f64>() / 100.0;
    assert!((0.4..2.0).contains(&square), "{square}");
}

/// Synthetic latencies, no measurements: a cost that grows with operations and blocks, times noise of 2 %.
#[test]
fn latencies_of_synthetic_cost_and_noise_are_within_bands() {
    let (arch, mut encoding) = setting();
    let (train, unseen) =
        (slices(&arch, &encoding.space, 40, 1), slices(&arch, &encoding.space, 100, 2));
    let clean = |slice: &Slice| {
        0.2 + 0.05 * slice.blocks.len() as f64 + (macs(&arch, slice).total() as f64 / 1e6).powf(0.9)
    };
    let noise = crate::matrix::testing::random(1, 40, 3);
    let values: Vec<f64> = train
        .iter()
        .zip(noise.row(0))
        .map(|(slice, noise)| clean(slice) * (0.02 * 3_f64.sqrt() * noise).exp())
        .collect();
    let truth: Vec<f64> = unseen.iter().map(clean).collect();
    let within = |encoding: &Encoding| {
        let transform = Transform::Log;
        let task = TaskSamples {
            task: "latency_ms".into(),
            transform,
            slices: train.clone(),
            values: values.clone(),
        };
        let predictor = Predictor::fit(encoding.clone(), vec![task]).unwrap();
        let predicted = predictor.predict(&unseen).unwrap().remove(0).value;
        let relative: Vec<f64> = predicted.iter().zip(&truth).map(|(p, t)| p / t).collect();
        crate::share_within(&relative, &vec![1.0; relative.len()], 0.02)
    };
    let bits = within(&encoding);
    encoding.arch = Some(arch.clone());
    let costs = within(&encoding);
    assert!(costs > bits && costs >= 0.9, "{bits} {costs}");
}
