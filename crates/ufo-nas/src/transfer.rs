//! Gaussian processes of several tasks, of which those with few samples borrow from those with many.
//!
//! Each task has a process of its own. A task whose donors were measured on at least [`RICHER`] times as
//! many sub-networks then gets another, with the donors' predictions as further features: the linear part
//! of its covariance learns how far it follows each, the rest is its own (the linear model of
//! Kennedy and O'Hagan, 2000, for codes of different cost). Where a donor was measured itself, its
//! prediction is the one that leaves this sub-network out, as it will be for new ones.

use crate::parallel::map;
use crate::{Error, GaussianProcess, Groups, Kernel, Matrix, Prediction, Slice, TaskHyper};
use std::collections::HashMap;

/// How many times the samples of a task a donor has at least. With as many for each, borrowing changed
/// nothing on the public benchmark.
const RICHER: usize = 2;

/// What is known of a task.
#[derive(Debug, Clone)]
pub(crate) struct TaskData {
    pub(crate) slices: Vec<Slice>,
    /// Features of the slices.
    pub(crate) inputs: Matrix,
    /// Of mean 0 and variance 1.
    pub(crate) targets: Vec<f64>,
}

/// A process a task, and one that borrows where there are donors.
#[derive(Debug, Clone)]
pub(crate) struct Processes {
    own: Vec<GaussianProcess>,
    borrowing: Vec<Option<Borrowing>>,
}

#[derive(Debug, Clone)]
struct Borrowing {
    donors: Vec<usize>,
    process: GaussianProcess,
}

impl Processes {
    /// Learns every task; a feature's group and level are those of `groups`.
    pub(crate) fn fit(groups: &Groups, data: &[TaskData]) -> Result<Self, Error> {
        let own = map(data.len(), |task| learn(groups.clone(), &data[task]))?;
        let learn = |task: usize, donors: &[usize], inputs: Matrix| {
            let TaskData { slices, targets, .. } = data[task].clone();
            learn(with_donors(groups, donors.len()), &TaskData { slices, inputs, targets })
        };
        Self::borrow(own, data, learn)
    }

    /// Conditions on the data with hyperparameters as they were learned.
    pub(crate) fn open(
        groups: &Groups,
        data: &[TaskData],
        hyper: &[TaskHyper],
    ) -> Result<Self, Error> {
        if hyper.len() != data.len() {
            let allowed = format!("must be {}, one a task", data.len());
            return Err(Error::value("hyper", hyper.len(), allowed));
        }
        let new = |groups: Groups, hyper: &[f64], inputs: Matrix, targets: &[f64]| {
            GaussianProcess::new(Kernel::new(groups)?, hyper.to_vec(), inputs, targets)
        };
        let own = map(data.len(), |task| {
            let TaskData { inputs, targets, .. } = &data[task];
            new(groups.clone(), &hyper[task].own, inputs.clone(), targets)
        })?;
        let conditioned = |task: usize, donors: &[usize], inputs: Matrix| {
            let groups = with_donors(groups, donors.len());
            new(groups, &hyper[task].borrowing, inputs, &data[task].targets)
        };
        Self::borrow(own, data, conditioned)
    }

    fn borrow(
        own: Vec<GaussianProcess>,
        data: &[TaskData],
        process: impl Fn(usize, &[usize], Matrix) -> Result<GaussianProcess, Error> + Sync,
    ) -> Result<Self, Error> {
        let borrowing = map(data.len(), |task| {
            let count = data[task].targets.len();
            let rich = |&donor: &usize| data[donor].targets.len() >= RICHER * count;
            let donors: Vec<usize> = (0..data.len()).filter(rich).collect();
            if donors.is_empty() {
                return Ok(None);
            }
            let columns: Vec<Vec<f64>> = donors
                .iter()
                .map(|&donor| unseen(&own[donor], &data[donor], &data[task]))
                .collect();
            let inputs = beside(&data[task].inputs, &columns);
            let process = process(task, &donors, inputs)?;
            Ok(Some(Borrowing { donors, process }))
        })?;
        Ok(Self { own, borrowing })
    }

    /// Hyperparameters of every task.
    pub(crate) fn hyper(&self) -> Vec<TaskHyper> {
        let hyper = |(own, borrowing): (&GaussianProcess, &Option<Borrowing>)| TaskHyper {
            own: own.hyper().to_vec(),
            borrowing: borrowing.as_ref().map_or(Vec::new(), |b| b.process.hyper().to_vec()),
            boosted: Vec::new(),
        };
        self.own.iter().zip(&self.borrowing).map(hyper).collect()
    }

    /// Variance of the noise of a task.
    pub(crate) fn noise(&self, task: usize) -> f64 {
        self.borrowing[task].as_ref().map_or(&self.own[task], |b| &b.process).noise()
    }

    /// Tasks that a task borrows from.
    pub(crate) fn donors(&self, task: usize) -> &[usize] {
        self.borrowing[task].as_ref().map_or(&[], |b| &b.donors)
    }

    /// Predictions of a task for every row of `inputs`.
    pub(crate) fn predict(&self, task: usize, inputs: &Matrix) -> Prediction {
        let Some(Borrowing { donors, process }) = &self.borrowing[task] else {
            return self.own[task].predict(inputs);
        };
        let columns: Vec<_> = donors.iter().map(|&donor| self.own[donor].mean(inputs)).collect();
        process.predict(&beside(inputs, &columns))
    }
}

fn learn(groups: Groups, data: &TaskData) -> Result<GaussianProcess, Error> {
    let kernel = Kernel::new(groups)?;
    let prior = kernel.prior();
    GaussianProcess::fit(kernel, &prior, data.inputs.clone(), &data.targets)
}

/// A donor's means at the slices of a task, without what it knows of each itself.
fn unseen(process: &GaussianProcess, donor: &TaskData, task: &TaskData) -> Vec<f64> {
    let left_out = process.leave_one_out(&donor.targets);
    let rows: HashMap<&Slice, usize> =
        donor.slices.iter().enumerate().map(|(row, slice)| (slice, row)).collect();
    let means = process.mean(&task.inputs);
    let of = |(slice, mean): (&Slice, f64)| rows.get(slice).map_or(mean, |&row| left_out[row]);
    task.slices.iter().zip(means).map(of).collect()
}

/// The donors' features in a group and of a level of their own.
fn with_donors(groups: &Groups, donors: usize) -> Groups {
    let [group, level] = groups.counts();
    let mut groups = groups.clone();
    groups.group.extend(vec![group; donors]);
    groups.level.extend(vec![level; donors]);
    groups
}

fn beside(inputs: &Matrix, columns: &[Vec<f64>]) -> Matrix {
    let width = inputs.columns();
    Matrix::from_fn(inputs.rows(), width + columns.len(), |i, j| {
        inputs.row(i).get(j).copied().unwrap_or_else(|| columns[j - width][i])
    })
}
