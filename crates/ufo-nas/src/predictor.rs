//! From measured sub-networks to predictions for all others: encoding, targets and one process a task.

use crate::target::Target;
use crate::{Encoding, Error, GaussianProcess, Kernel, Matrix, Slice, Transform};
use serde::{Deserialize, Serialize};
use std::num::NonZero;

/// Most tasks of a predictor.
pub const MOST_TASKS: usize = 256;

/// What was measured of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSamples {
    /// Name of the task.
    pub task: String,
    /// What is learned in the place of values.
    pub transform: Transform,
    /// Sub-networks.
    pub slices: Vec<Slice>,
    /// Value of each.
    pub values: Vec<f64>,
}

/// A predictor as it is written to a file: its samples and hyperparameters; the rest follows from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictorFile {
    /// Version of the format, 1.
    pub version: u32,
    /// How slices become numbers.
    pub encoding: Encoding,
    /// Samples.
    pub tasks: Vec<TaskSamples>,
    /// Logarithms of each task's hyperparameters.
    pub hyper: Vec<Vec<f64>>,
}

/// What is predicted for the sub-networks that were asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskPrediction {
    /// Name of the task.
    pub task: String,
    /// Most likely value, in the task's unit.
    pub value: Vec<f64>,
    /// Posterior mean of the transformed value.
    pub mean: Vec<f64>,
    /// Posterior standard deviation of the transformed value, noise excluded.
    pub deviation: Vec<f64>,
}

/// Predicts every task of any slice of a space.
#[derive(Debug, Clone)]
pub struct Predictor {
    file: PredictorFile,
    targets: Vec<Target>,
    processes: Vec<GaussianProcess>,
}

impl Predictor {
    /// Learns from samples; a task's slices may be others than another's.
    ///
    /// # Errors
    /// No task or too many, samples that are too few, equal or not finite, or a slice outside the space.
    pub fn fit(encoding: Encoding, tasks: Vec<TaskSamples>) -> Result<Self, Error> {
        let kernel = Kernel::new(encoding.kinds())?;
        let fit = |inputs, targets: &[f64], _: usize| {
            GaussianProcess::fit(kernel.clone(), kernel.start(), inputs, targets)
        };
        let (targets, processes) = each_task(&encoding, &tasks, fit)?;
        let hyper = processes.iter().map(|process| process.hyper().to_vec()).collect();
        let file = PredictorFile { version: 1, encoding, tasks, hyper };
        Ok(Self { file, targets, processes })
    }

    /// A predictor that was written to a file.
    ///
    /// # Errors
    /// Another version, or contents that do not fit together.
    pub fn open(file: PredictorFile) -> Result<Self, Error> {
        if file.version != 1 {
            return Err(Error::value("version", file.version, "must be 1"));
        }
        if file.hyper.len() != file.tasks.len() {
            let allowed = format!("must be {}, one a task", file.tasks.len());
            return Err(Error::value("hyper", file.hyper.len(), allowed));
        }
        let kernel = Kernel::new(file.encoding.kinds())?;
        let condition = |inputs, targets: &[f64], task: usize| {
            GaussianProcess::new(kernel.clone(), file.hyper[task].clone(), inputs, targets)
        };
        let (targets, processes) = each_task(&file.encoding, &file.tasks, condition)?;
        Ok(Self { file, targets, processes })
    }

    /// What [`Predictor::open`] takes.
    pub fn file(&self) -> &PredictorFile {
        &self.file
    }

    /// Share of each task's variance that is noise, 0 to 1 and a little more: the part that no
    /// predictor of slices explains.
    pub fn noise(&self) -> Vec<f64> {
        self.processes.iter().map(GaussianProcess::noise).collect()
    }

    /// Every task of every slice.
    ///
    /// # Errors
    /// A slice outside the space.
    pub fn predict(&self, slices: &[Slice]) -> Result<Vec<TaskPrediction>, Error> {
        let inputs = self.file.encoding.matrix(slices)?;
        let tasks = self.file.tasks.iter().zip(&self.targets).zip(&self.processes);
        let predict =
            |((samples, target), process): ((&TaskSamples, &Target), &GaussianProcess)| {
                let predicted = process.predict(&inputs);
                TaskPrediction {
                    task: samples.task.clone(),
                    value: predicted.mean.iter().map(|&mean| target.value(mean)).collect(),
                    deviation: predicted.variance.iter().map(|variance| variance.sqrt()).collect(),
                    mean: predicted.mean,
                }
            };
        Ok(tasks.map(predict).collect())
    }
}

/// Targets and a process for each task, computed on all cores.
fn each_task(
    encoding: &Encoding,
    tasks: &[TaskSamples],
    process: impl Fn(Matrix, &[f64], usize) -> Result<GaussianProcess, Error> + Sync,
) -> Result<(Vec<Target>, Vec<GaussianProcess>), Error> {
    if !(1..=MOST_TASKS).contains(&tasks.len()) {
        return Err(Error::value("tasks", tasks.len(), format!("must be 1 to {MOST_TASKS}")));
    }
    let one = |index: usize| {
        let samples = &tasks[index];
        let at = |error: Error| error.within(&samples.task);
        if samples.slices.len() != samples.values.len() {
            let allowed = format!("must be {}, one a slice", samples.slices.len());
            return Err(Error::value(&samples.task, samples.values.len(), allowed));
        }
        let target = Target::new(&samples.task, samples.transform, &samples.values)?;
        let inputs = encoding.matrix(&samples.slices).map_err(at)?;
        let targets: Vec<f64> = samples.values.iter().map(|&value| target.of(value)).collect();
        Ok((target, process(inputs, &targets, index).map_err(at)?))
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(tasks.len());
    let done: Vec<Vec<_>> = std::thread::scope(|scope| {
        let share = |first| (first..tasks.len()).step_by(threads).map(one).collect();
        let handles: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        let joined = handles.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|share| share.expect("a panic of a fit is a bug, told by its own message"))
            .collect()
    });
    let mut shares: Vec<_> = done.into_iter().map(Vec::into_iter).collect();
    (0..tasks.len()).filter_map(|task| shares[task % threads].next()).collect()
}

#[cfg(test)]
mod tests;
