use super::*;
use crate::Groups;
use crate::coregionalization::RANK;
use crate::matrix::testing::random;

fn setting() -> (MultiTaskKernel, Vec<TaskData>) {
    let groups = Groups { group: vec![0, 0, 1], level: vec![0, 1, 2] };
    let own = Kernel::new(groups.clone()).unwrap();
    let kernel =
        MultiTaskKernel { own, shared: Coregionalization::new(3, &groups, groups.clone()) };
    let data = |task: usize| {
        let rows = 12 + task;
        let inputs = random(rows, 3, task as u64);
        let targets = random(1, rows, 10 + task as u64).row(0).to_vec();
        TaskData { inputs, targets }
    };
    (kernel, (0..3).map(data).collect())
}

fn hyper(kernel: &MultiTaskKernel) -> Vec<f64> {
    let start = kernel.start(3);
    let moved = random(1, start.len(), 5);
    start.iter().zip(moved.row(0)).map(|(x, y)| x + 0.3 * y).collect()
}

/// The covariance of all tasks' rows at once, and of other rows of a task with them.
fn dense(kernel: &MultiTaskKernel, hyper: &[f64], data: &[TaskData]) -> Matrix {
    let places: Vec<(usize, usize)> = data
        .iter()
        .enumerate()
        .flat_map(|(task, data)| (0..data.targets.len()).map(move |row| (task, row)))
        .collect();
    let parts: Vec<(Matrix, Matrix)> = (0..data.len())
        .map(|task| {
            let [own, shared] = kernel.split(hyper, task, data.len());
            let design = kernel.shared.design(shared, task, &data[task].inputs);
            (kernel.own.covariance(own, &data[task].inputs).0, design)
        })
        .collect();
    Matrix::from_fn(places.len(), places.len(), |i, j| {
        let ((s, row), (t, column)) = (places[i], places[j]);
        let common = parts[s].1.row(row).iter().zip(parts[t].1.row(column));
        let own = if s == t { parts[s].0.row(row)[column] } else { 0.0 };
        own + common.map(|(a, b)| a * b).sum::<f64>()
    })
}

#[test]
fn the_likelihood_is_that_of_the_whole_covariance() {
    let (kernel, data) = setting();
    let hyper = hyper(&kernel);
    let whole = Cholesky::new(dense(&kernel, &hyper, &data)).unwrap();
    let targets: Vec<f64> = data.iter().flat_map(|data| data.targets.clone()).collect();
    let weights = whole.solve_vector(&targets);
    let fit: f64 = weights.iter().zip(&targets).map(|(a, y)| a * y).sum();
    let constant = targets.len() as f64 * (2.0 * PI).ln();
    let expected = -0.5 * (fit + whole.log_determinant() + constant);
    let model = MultiTask::new(kernel, hyper, &data).unwrap();
    assert!((model.log_likelihood() - expected).abs() < 1e-9);
    let of_tasks: Vec<f64> = model.tasks.iter().flat_map(|task| task.weights.clone()).collect();
    of_tasks.iter().zip(weights).for_each(|(a, b)| assert!((a - b).abs() < 1e-9));
}

#[test]
fn its_gradient_equals_differences() {
    let (kernel, data) = setting();
    let hyper = hyper(&kernel);
    let model = |hyper: &[f64]| MultiTask::new(kernel.clone(), hyper.to_vec(), &data).unwrap();
    let gradient = model(&hyper).gradient();
    assert_eq!(gradient.len(), 3 * kernel.own.len() + 3 * 2 * RANK + 5);
    for i in 0..hyper.len() {
        let at = |step: f64| {
            let mut hyper = hyper.clone();
            hyper[i] += step;
            model(&hyper).log_likelihood()
        };
        let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((difference - gradient[i]).abs() < 1e-6, "{i}: {difference} {}", gradient[i]);
    }
}

#[test]
fn predictions_are_those_of_the_whole_covariance() {
    let (kernel, data) = setting();
    let hyper = hyper(&kernel);
    let unseen = random(4, 3, 20);
    // The whole with the unseen rows as further rows of task 1.
    let mut more = data.clone();
    let rows: Vec<&[f64]> =
        (0..13).map(|i| data[1].inputs.row(i)).chain((0..4).map(|i| unseen.row(i))).collect();
    more[1] = TaskData { inputs: Matrix::from_rows(3, &rows), targets: vec![0.0; 17] };
    let both = dense(&kernel, &hyper, &more);
    let seen: Vec<usize> = (0..12 + 13).chain(12 + 17..both.rows()).collect();
    let train = both.select(&seen).transposed().select(&seen);
    let whole = Cholesky::new(train).unwrap();
    let targets: Vec<f64> = data.iter().flat_map(|data| data.targets.clone()).collect();
    let model = MultiTask::new(kernel, hyper, &data).unwrap();
    let predicted = model.predict(1, &unseen);
    for i in 0..4 {
        let row = both.row(12 + 13 + i);
        let covariance: Vec<f64> = seen.iter().map(|&j| row[j]).collect();
        let weights = whole.solve_vector(&covariance);
        let mean: f64 = weights.iter().zip(&targets).map(|(a, y)| a * y).sum();
        let explained: f64 = weights.iter().zip(&covariance).map(|(a, k)| a * k).sum();
        let variance = row[12 + 13 + i] - model.noise(1) - explained;
        assert!((predicted.mean[i] - mean).abs() < 1e-9);
        assert!((predicted.variance[i] - variance).abs() < 1e-9);
    }
}

#[test]
fn a_noisy_task_learns_from_another() {
    let (kernel, _) = setting();
    let inputs = random(60, 3, 1);
    let truth = |row: &[f64]| row[0] - 2.0 * row[1] + row[2];
    let noise = random(3, 60, 2);
    let data = |task: usize| {
        let scale = [0.0, 0.05, 6.0][task];
        let target = |i: usize| truth(inputs.row(i)) + scale * noise.row(task)[i];
        TaskData { inputs: inputs.clone(), targets: (0..60).map(target).collect() }
    };
    let all: Vec<TaskData> = (0..3).map(data).collect();
    let unseen = random(100, 3, 3);
    let expected: Vec<f64> = (0..100).map(|i| truth(unseen.row(i))).collect();
    let tau = |data: &[TaskData]| {
        let groups = Groups { group: vec![0, 0, 1], level: vec![0, 1, 2] };
        let shared = Coregionalization::new(data.len(), &groups, groups.clone());
        let kernel = MultiTaskKernel { own: kernel.own.clone(), shared };
        let model = MultiTask::fit(kernel, data).unwrap();
        let mean = model.predict(data.len() - 1, &unseen).mean;
        crate::kendall_tau(&mean, &expected).unwrap()
    };
    let (together, alone) = (tau(&all), tau(&all[2..]));
    assert!(together > 0.75 && together > alone + 0.05, "{together} {alone}");
}
