//! Networks of a file: of the public benchmark, or of a search's `samples.jsonl`.

use super::read;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use ufo_nas::{Benchmark, Coding, Encoding, Sample, Slice, TaskPrediction, TaskSamples, Transform};
use ufo_nas::{benchmark_arch, benchmark_space, parse_samples};
use ufo_train::RunConfig;

/// Networks of which every task has a score.
#[derive(Clone)]
pub(super) struct Networks {
    pub(super) tasks: Vec<String>,
    transforms: Vec<Transform>,
    pub(super) slices: Vec<Slice>,
    /// Scores by task, one a network.
    pub(super) scores: Vec<Vec<f64>>,
}

impl Networks {
    /// Tasks that were measured on the same networks.
    ///
    /// # Errors
    /// A task that was measured on others than the first.
    pub(super) fn new(tasks: Vec<TaskSamples>) -> Result<Self> {
        let Some(first) = tasks.first() else { bail!("no sample; must have at least one") };
        let (name, slices) = (first.task.clone(), first.slices.clone());
        let mut all =
            Self { tasks: Vec::new(), transforms: Vec::new(), slices, scores: Vec::new() };
        for mut task in tasks {
            let places = task.slices.iter().zip(0..).collect::<HashMap<&Slice, usize>>();
            let order: Option<Vec<usize>> =
                all.slices.iter().map(|slice| places.get(slice).copied()).collect();
            let Some(order) = order.filter(|order| order.len() == task.slices.len()) else {
                let (task, count, wanted) = (&task.task, task.slices.len(), all.slices.len());
                bail!("{task}: is of {count} slices; must be of the {wanted} that {name} is of");
            };
            all.scores.push(order.into_iter().map(|place| task.values[place]).collect());
            all.tasks.push(std::mem::take(&mut task.task));
            all.transforms.push(task.transform);
        }
        Ok(all)
    }

    /// The samples of every task, to fit a predictor.
    pub(super) fn samples(&self) -> Vec<TaskSamples> {
        let all = self.tasks.iter().zip(&self.transforms).zip(&self.scores);
        let samples = |((task, transform), values): ((&String, &Transform), &Vec<f64>)| {
            let (slices, values) = (self.slices.clone(), values.clone());
            TaskSamples { task: task.clone(), transform: *transform, slices, values }
        };
        all.map(samples).collect()
    }

    /// The networks of these rows.
    pub(super) fn select(&self, rows: &[usize]) -> Self {
        let of = |all: &Vec<f64>| rows.iter().map(|&row| all[row]).collect();
        Self {
            tasks: self.tasks.clone(),
            transforms: self.transforms.clone(),
            slices: rows.iter().map(|&row| self.slices[row].clone()).collect(),
            scores: self.scores.iter().map(of).collect(),
        }
    }
}

/// What there is to learn in a file.
///
/// # Errors
/// What is wrong with the file or the configuration of its run.
pub(super) fn scored(path: &Path) -> Result<Vec<TaskSamples>> {
    let (text, at) = (read(path)?, || path.display().to_string());
    if is_samples(path) {
        return measured(&text).with_context(at);
    }
    Ok(Benchmark::scored(&text).with_context(at)?.samples())
}

/// How the networks of these tasks become numbers: as the benchmark's, or by the choices that they were seen with,
/// the configured ones of a chip supernet, and what they cost in the configured architecture.
///
/// # Errors
/// Slices of no one space, or outside the configured one.
pub(super) fn encoding(
    path: &Path,
    tasks: &[&TaskSamples],
    (config, coding): (Option<&Path>, Coding),
) -> Result<Encoding> {
    let (blocks, space) = (benchmark_arch().depth, benchmark_space());
    let mut encoding = Encoding { space, blocks, arch: None, coding };
    if is_samples(path) {
        let slices: Vec<Slice> = tasks.iter().flat_map(|task| task.slices.clone()).collect();
        encoding = Encoding::seen(&slices).with_context(|| path.display().to_string())?;
        encoding.coding = coding;
    }
    if let Some(file) = config {
        let config = RunConfig::read(file, &[])?;
        let arch = config.arch();
        let space = config.chip.map_or(encoding.space, |chip| chip.space);
        encoding = Encoding { space, blocks: arch.depth, arch: Some(arch), coding };
    }
    Ok(encoding)
}

/// Whether a file has the measurements of a search.
fn is_samples(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "jsonl")
}

/// Networks to predict, and what predictions are written under.
pub(super) enum Asked {
    Benchmark(Benchmark),
    /// Each once.
    Slices(Vec<Slice>),
}

impl Asked {
    /// The networks of a file; scores are not looked at.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let (text, at) = (read(path)?, || path.display().to_string());
        if !is_samples(path) {
            return Ok(Self::Benchmark(Benchmark::unscored(&text).with_context(at)?));
        }
        let mut seen = HashSet::new();
        let slices = parse_samples(&text).with_context(at)?.into_iter().map(|sample| sample.slice);
        Ok(Self::Slices(slices.filter(|slice| seen.insert(slice.clone())).collect()))
    }

    pub(super) fn slices(&self) -> &[Slice] {
        match self {
            Self::Benchmark(networks) => &networks.slices,
            Self::Slices(slices) => slices,
        }
    }

    /// The file of predictions: the benchmark's own format, or of each slice, `block:heads:ffn` of each kept block,
    /// the value of each task.
    pub(super) fn with(&self, predicted: Vec<TaskPrediction>) -> Value {
        match self {
            Self::Benchmark(networks) => {
                let (tasks, values): (Vec<_>, Vec<_>) =
                    predicted.into_iter().map(|task| (task.task, task.value)).unzip();
                networks.with_scores(&tasks, &values)
            }
            Self::Slices(slices) => {
                let values = |row: usize| -> Map<String, Value> {
                    predicted
                        .iter()
                        .map(|task| (task.task.clone(), task.value[row].into()))
                        .collect()
                };
                let all = slices.iter().enumerate();
                all.map(|(row, slice)| (slice.to_string(), Value::Object(values(row)))).collect()
            }
        }
    }
}

/// Accuracies and latencies of a search, each task and split one to learn.
fn measured(text: &str) -> Result<Vec<TaskSamples>> {
    let samples = parse_samples(text)?;
    one_network(&samples)?;
    let mut tasks: BTreeMap<String, TaskSamples> = BTreeMap::new();
    for sample in samples {
        let name = format!("{}.{}", sample.task, sample.split);
        for (what, transform, value) in [
            ("accuracy", Transform::NormalScores, sample.accuracy),
            ("latency_ms", Transform::Log, sample.latency_ms),
        ] {
            let Some(value) = value else { continue };
            let task = format!("{name}.{what}");
            let empty = || TaskSamples {
                task: task.clone(),
                transform,
                slices: Vec::new(),
                values: Vec::new(),
            };
            let samples = tasks.entry(task.clone()).or_insert_with(empty);
            samples.slices.push(sample.slice.clone());
            samples.values.push(value);
        }
    }
    Ok(tasks.into_values().collect())
}

/// An error where a slice was measured twice: keys differ with the weights and images, so the file is of two networks, which
/// no predictor tells apart.
fn one_network(samples: &[Sample]) -> Result<()> {
    let mut seen: HashMap<(&Slice, &str, &str), &str> = HashMap::new();
    for Sample { key, slice, task, split, .. } in samples {
        if let Some(other) = seen.insert((slice, task, split), key) {
            bail!(
                "slice = {slice}: has two measurements of {task}.{split}, keys {other} and {key}; must have one: keep the lines of one network"
            );
        }
    }
    Ok(())
}
