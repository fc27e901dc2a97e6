//! From measured sub-networks to predictions for all others: encoding, targets and one process a task.

use crate::boosting::Boosted;
use crate::parallel::map;
use crate::target::Target;
use crate::transfer::{Processes, TaskData};
use crate::{Encoding, Error, MOST_INPUTS, Matrix, Slice, Transform};
use serde::{Deserialize, Serialize};

/// Most tasks of a predictor.
pub const MOST_TASKS: usize = 256;

/// Samples of a task from which on boosted trees are asked, too: with fewer they know too little. Latencies
/// are sums, which a process learns better.
const MANY: usize = 200;
/// Weight of the trees' mean; the rest is the process'. Cross-validated on the public benchmark.
const TREES: f64 = 0.5;

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
    /// Hyperparameters of each task.
    pub hyper: Vec<TaskHyper>,
}

/// Logarithms of a task's hyperparameters, as [`crate::Kernel`] orders them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskHyper {
    /// Of its own process.
    pub own: Vec<f64>,
    /// Of the process that borrows from tasks with more samples; none if no task has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub borrowing: Vec<f64>,
    /// What its boosted trees add up to: a constant, effects of steps of choices and of pairs of them; none
    /// for a task of few samples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boosted: Vec<f64>,
}

/// What is predicted for the sub-networks that were asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskPrediction {
    /// Name of the task.
    pub task: String,
    /// Most likely value, in the task's unit.
    pub value: Vec<f64>,
    /// Its standard deviation in that unit, noise excluded: half of what lies between the values one
    /// deviation below and above.
    pub spread: Vec<f64>,
    /// Mean of the transformed value: of the process, or half of it and half of the trees.
    pub mean: Vec<f64>,
    /// Standard deviation of the transformed value by the process, noise excluded.
    pub deviation: Vec<f64>,
}

/// Predicts every task of any slice of a space.
#[derive(Debug, Clone)]
pub struct Predictor {
    file: PredictorFile,
    targets: Vec<Centered>,
    processes: Processes,
    /// Trees of the tasks with many samples.
    boosted: Vec<Option<Boosted>>,
}

/// A task's target, and its mean and deviation in training.
#[derive(Debug, Clone)]
struct Centered {
    target: Target,
    center: f64,
    scale: f64,
}

impl Predictor {
    /// Learns from samples; a task's slices may be others than another's.
    ///
    /// # Errors
    /// No task or too many, samples that are too few, equal or not finite, or a slice outside the space.
    pub fn fit(encoding: Encoding, tasks: Vec<TaskSamples>) -> Result<Self, Error> {
        let (targets, data): (Vec<_>, Vec<_>) = data(&encoding, &tasks)?.into_iter().unzip();
        let processes = Processes::fit(&encoding.groups(), &data)?;
        let boosted = boosted(&encoding, &tasks, &data)?;
        let mut hyper = processes.hyper();
        for (hyper, boosted) in hyper.iter_mut().zip(&boosted) {
            hyper.boosted = boosted.as_ref().map_or(Vec::new(), |trees| trees.effects().to_vec());
        }
        let file = PredictorFile { version: 1, encoding, tasks, hyper };
        Ok(Self { file, targets, processes, boosted })
    }

    /// A predictor that was written to a file.
    ///
    /// # Errors
    /// Another version, or contents that do not fit together.
    pub fn open(file: PredictorFile) -> Result<Self, Error> {
        if file.version != 1 {
            return Err(Error::value("version", file.version, "must be 1"));
        }
        let (targets, data): (Vec<_>, Vec<_>) =
            data(&file.encoding, &file.tasks)?.into_iter().unzip();
        let processes = Processes::open(&file.encoding.groups(), &data, &file.hyper)?;
        let steps = file.encoding.steps(&[])?.columns();
        let open = |hyper: &TaskHyper| {
            if hyper.boosted.is_empty() {
                return Ok(None);
            }
            Boosted::open(steps, hyper.boosted.clone()).map(Some)
        };
        let boosted = file.hyper.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { file, targets, processes, boosted })
    }

    /// What [`Predictor::open`] takes.
    pub fn file(&self) -> &PredictorFile {
        &self.file
    }

    /// Share of each task's variance that is noise, 0 to 1 and a little more: the part that no
    /// predictor of slices explains.
    pub fn noise(&self) -> Vec<f64> {
        (0..self.targets.len()).map(|task| self.processes.noise(task)).collect()
    }

    /// The same predictor without its trees, to tell what they bring.
    #[must_use]
    pub fn processes_alone(&self) -> Self {
        Self { boosted: vec![None; self.boosted.len()], ..self.clone() }
    }

    /// How many standard deviations, noise included, each measured value of each task is from what is
    /// predicted, in the transformed unit: within 1 in 68 % of cases where the deviations are right.
    ///
    /// # Shapes
    /// `values (tasks, n)`, n slices.
    ///
    /// # Errors
    /// A slice outside the space.
    pub fn surprises(&self, slices: &[Slice], values: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, Error> {
        let (predicted, noise) = (self.predict(slices)?, self.noise());
        let of = |(task, predicted): (usize, &TaskPrediction)| {
            let Centered { target, scale, .. } = &self.targets[task];
            let pairs = predicted.mean.iter().zip(&predicted.deviation).zip(&values[task]);
            let noise = noise[task] * scale * scale;
            let surprise = |((mean, deviation), value): ((&f64, &f64), &f64)| {
                (target.of(*value) - mean) / (deviation * deviation + noise).sqrt()
            };
            pairs.map(surprise).collect()
        };
        Ok(predicted.iter().enumerate().map(of).collect())
    }

    /// Names of the tasks that each task borrows from, those measured on at least twice as many slices.
    pub fn donors(&self) -> Vec<Vec<&str>> {
        let names = |donors: &[usize]| -> Vec<&str> {
            donors.iter().map(|&donor| self.file.tasks[donor].task.as_str()).collect()
        };
        (0..self.targets.len()).map(|task| names(self.processes.donors(task))).collect()
    }

    /// Every task of every slice.
    ///
    /// # Errors
    /// A slice outside the space.
    pub fn predict(&self, slices: &[Slice]) -> Result<Vec<TaskPrediction>, Error> {
        let inputs = self.file.encoding.matrix(slices)?;
        let steps = self.file.encoding.steps(slices)?;
        let predict = |task: usize| {
            let Centered { target, center, scale } = &self.targets[task];
            let mut predicted = self.processes.predict(task, &inputs);
            if let Some(trees) = &self.boosted[task] {
                let means = predicted.mean.iter_mut().zip(trees.mean(&steps));
                means.for_each(|(mean, trees)| *mean += TREES * (trees - *mean));
            }
            let mean: Vec<f64> = predicted.mean.iter().map(|mean| center + scale * mean).collect();
            let deviation: Vec<f64> =
                predicted.variance.iter().map(|variance| scale * variance.sqrt()).collect();
            let spread = |(mean, deviation): (&f64, &f64)| {
                (target.value(mean + deviation) - target.value(mean - deviation)) / 2.0
            };
            Ok(TaskPrediction {
                task: self.file.tasks[task].task.clone(),
                value: mean.iter().map(|&mean| target.value(mean)).collect(),
                spread: mean.iter().zip(&deviation).map(spread).collect(),
                deviation,
                mean,
            })
        };
        map(self.targets.len(), predict)
    }
}

/// Trees of the tasks with many samples.
fn boosted(
    encoding: &Encoding,
    tasks: &[TaskSamples],
    data: &[TaskData],
) -> Result<Vec<Option<Boosted>>, Error> {
    let many =
        |task: &TaskSamples| task.transform == Transform::NormalScores && task.values.len() >= MANY;
    let rich = tasks.iter().zip(data).filter(|(task, _)| many(task));
    let rich = rich.map(|(task, data)| Ok((encoding.steps(&task.slices)?, &data.targets[..])));
    let rich = rich.collect::<Result<Vec<(Matrix, &[f64])>, Error>>()?;
    let mut fitted = Boosted::fit(&rich)?.into_iter();
    Ok(tasks.iter().map(|task| many(task).then(|| fitted.next()).flatten()).collect())
}

/// Targets, inputs and transformed values of every task.
fn data(encoding: &Encoding, tasks: &[TaskSamples]) -> Result<Vec<(Centered, TaskData)>, Error> {
    if !(1..=MOST_TASKS).contains(&tasks.len()) {
        return Err(Error::value("tasks", tasks.len(), format!("must be 1 to {MOST_TASKS}")));
    }
    encoding.validate()?;
    let one = |samples: &TaskSamples| {
        if samples.slices.len() != samples.values.len() || samples.values.len() > MOST_INPUTS {
            let allowed =
                format!("must be {}, one a slice, {MOST_INPUTS} at most", samples.slices.len());
            return Err(Error::value(&samples.task, samples.values.len(), allowed));
        }
        let target = Target::new(&samples.task, samples.transform, &samples.values)?;
        let at = |error: Error| error.within(&samples.task);
        let inputs = encoding.matrix(&samples.slices).map_err(at)?;
        let scores: Vec<f64> = samples.values.iter().map(|&value| target.of(value)).collect();
        let count = scores.len() as f64;
        let center = scores.iter().sum::<f64>() / count;
        let square = scores.iter().map(|score| (score - center).powi(2)).sum::<f64>();
        let scale = (square / count).sqrt();
        let targets = scores.iter().map(|score| (score - center) / scale).collect();
        let slices = samples.slices.clone();
        Ok((Centered { target, center, scale }, TaskData { slices, inputs, targets }))
    };
    tasks.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
