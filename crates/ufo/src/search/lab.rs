//! Measurements of a run's slices, each taken once and kept.

use super::Plan;
use super::alone;
use super::budget::{Budget, each_in_time};
use super::outcome::Point;
use super::samples_file::SamplesFile;
use crate::profile::How;
use crate::run::Run;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ufo_data::Dataset;
use ufo_nas::{DeviceFile, Sample, Slice};
use ufo_train::{Workers, write_atomic};

/// Images that slices are judged on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Split {
    /// Those held out of training.
    Validation,
    /// The test images, which must then not tell how good the choice is.
    Test,
}

impl Split {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// A run's slices, what is known of them, and the means to know more.
pub(super) struct Lab<'a> {
    how: &'a How,
    budget: Budget,
    judge: Judge<'a>,
    samples: SamplesFile,
    held_out: Option<SamplesFile>,
    device: DeviceFile,
    /// Where times of this machine go; none with those of another.
    place: Option<PathBuf>,
}

impl<'a> Lab<'a> {
    /// Opens the folder's files; the budget begins here.
    ///
    /// # Errors
    /// Files of another run or another way of timing, a run without images to judge on.
    pub(super) fn open(run: &'a Run, plan: &'a Plan) -> Result<Self> {
        let budget = Budget::new(plan.budget);
        let judge = Judge::new(run, plan.split)?;
        let (device, place) = match plan.device_file {
            Some(file) => (device_file(run, file)?, None),
            None => (own_device(run, plan)?, Some(plan.out.join(DEVICE))),
        };
        let samples = SamplesFile::open(&plan.out.join("samples.jsonl"))?;
        let held_out = plan.out.join("held-out.jsonl");
        let held_out = (plan.held_out > 0 || held_out.exists())
            .then(|| SamplesFile::open(&held_out))
            .transpose()?;
        let strangers = samples.samples().len() - judge.known(&samples)?.len();
        if strangers > 0 {
            eprintln!(
                "{}: {strangers} samples are of other weights, images or tasks and are left out",
                samples.path().display()
            );
        }
        Ok(Self { how: plan.how, budget, judge, samples, held_out, device, place })
    }

    /// Whether the time to measure is over.
    pub(super) fn over(&self) -> bool {
        self.budget.over()
    }

    pub(super) fn run(&self) -> &'a Run {
        self.judge.run
    }

    /// File of the samples.
    pub(super) fn place(&self) -> &Path {
        self.samples.path()
    }

    /// Hash of the weights.
    pub(super) fn checkpoint(&self) -> &str {
        &self.judge.checkpoint
    }

    pub(super) fn device(&self) -> &DeviceFile {
        &self.device
    }

    /// Whether times are taken on this machine.
    pub(super) fn is_here(&self) -> bool {
        self.place.is_some()
    }

    /// Slices that were judged to learn from, with the task's metric.
    pub(super) fn accuracies(&self) -> Result<Vec<(Slice, f64)>> {
        self.judge.known(&self.samples)
    }

    /// Slices that were judged to be predicted.
    pub(super) fn held_out(&self) -> Result<Vec<(Slice, f64)>> {
        self.held_out.as_ref().map_or_else(|| Ok(Vec::new()), |file| self.judge.known(file))
    }

    /// Milliseconds of slices that were timed, those held out excluded.
    pub(super) fn latencies(&self) -> Vec<(Slice, f64)> {
        let held = self.held_out.iter().flat_map(SamplesFile::samples);
        let held: HashSet<&Slice> = held.map(|sample| &sample.slice).collect();
        let rows = self.device.rows.iter().filter(|row| !held.contains(&row.slice));
        rows.map(|row| (row.slice.clone(), row.median_ms)).collect()
    }

    /// Milliseconds of a slice, if it was timed.
    pub(super) fn latency(&self, slice: &Slice) -> Option<f64> {
        self.device.rows.iter().find(|row| row.slice == *slice).map(|row| row.median_ms)
    }

    /// Times the slices that were not, until the budget is over; nothing where times are another machine's.
    pub(super) fn time(&mut self, slices: &[Slice]) -> Result<()> {
        let Some(place) = self.place.clone() else { return Ok(()) };
        let new: Vec<Slice> =
            slices.iter().filter(|slice| self.latency(slice).is_none()).cloned().collect();
        for some in new.chunks(TOGETHER) {
            if self.over() {
                break;
            }
            let known = (!self.device.rows.is_empty()).then_some(self.device.whole_ms);
            let times = self.how.time(self.judge.run, some, known, |_| ())?;
            self.device.whole_ms = times.whole_ms;
            self.device.pinned = Some(times.pinned && self.device.pinned.unwrap_or(true));
            self.device.rows.extend(times.rows);
            write_atomic(&place, &serde_json::to_vec_pretty(&self.device)?)?;
        }
        Ok(())
    }

    /// Times slices as the machine is now, whatever was measured before; milliseconds.
    pub(super) fn time_again(&self, slices: &[Slice]) -> Result<Vec<f64>> {
        let times = self.how.time(self.judge.run, slices, None, |_| ())?;
        Ok(times.rows.into_iter().map(|row| row.median_ms).collect())
    }

    /// Judges the slices that were not, until the budget is over; `done` is told how many are.
    pub(super) fn judge(&mut self, slices: &[Slice], done: impl FnMut(usize)) -> Result<()> {
        self.judge.fill(&mut self.samples, slices, self.budget, done)
    }

    /// Judges the same slices of the network that the chip supernet began from, if its run can be opened.
    pub(super) fn judge_untrained(&self, points: &mut [Point]) -> Result<()> {
        let Judge { run, images, workers, .. } = &self.judge;
        let Some(chip) = &run.config.chip else { return Ok(()) };
        let from = match Run::open(&chip.from) {
            Ok(from) => from,
            Err(error) => {
                eprintln!("slices of the run it began from are not judged: {error:#}");
                return Ok(());
            }
        };
        let index = from.supernet.task_index(self.judge.task())?;
        let slices = points.iter().map(|point| Ok(point.slice.parse()?));
        let slices = slices.collect::<Result<Vec<Slice>>>()?;
        let judged = workers.map(slices.len(), |row| from.judge_on(index, &slices[row], images));
        for (point, judged) in points.iter_mut().zip(judged) {
            point.untrained = Some(judged?.0.value);
        }
        Ok(())
    }

    /// What networks trained alone score, with the slices of their size, which are measured, too.
    pub(super) fn judge_alone(&mut self, runs: &[PathBuf]) -> Result<Vec<(Slice, f64)>> {
        let judged = alone::judge(self.judge.run, runs, &self.judge.images)?;
        let slices: Vec<Slice> = judged.iter().map(|(slice, _)| slice.clone()).collect();
        self.time(&slices)?;
        self.judge(&slices, |_| ())?;
        Ok(judged)
    }

    /// The same of slices that nothing is learned of.
    pub(super) fn hold_out(&mut self, slices: &[Slice], done: impl FnMut(usize)) -> Result<()> {
        let file = self.held_out.as_mut().context("opened with held-out slices")?;
        self.judge.fill(file, slices, self.budget, done)
    }
}

/// Slices that are timed before the budget is looked at again.
pub(super) const TOGETHER: usize = 16;
/// Name of the file of this machine's times.
const DEVICE: &str = "device.json";

/// What judges slices.
struct Judge<'a> {
    run: &'a Run,
    split: Split,
    images: Arc<Dataset>,
    checkpoint: String,
    workers: Workers,
}

impl<'a> Judge<'a> {
    fn new(run: &'a Run, split: Split) -> Result<Self> {
        let task = &run.tasks[0];
        let images = match split {
            Split::Validation => task.validation.clone().context(
                "the run holds no images out; train with data.validation, or use --split test",
            )?,
            Split::Test => Arc::clone(&task.test),
        };
        let workers = Workers::new(run.config.train.threads, usize::MAX)?;
        Ok(Self { run, split, images, checkpoint: run.weights_hash()?, workers })
    }

    fn task(&self) -> &str {
        &self.run.tasks[0].config.name
    }

    /// What a measurement depends on.
    fn key(&self, slice: &Slice) -> String {
        let (split, images) = (self.split.name(), self.images.len());
        let mut all = json!([self.checkpoint, slice.to_string(), self.task(), split, images]);
        if self.run.config.chip.as_ref().is_some_and(|chip| !chip.recalibrate) {
            all = json!([all, "chip.recalibrate = false"]);
        }
        blake3::hash(all.to_string().as_bytes()).to_hex()[..32].to_string()
    }

    /// The file's slices of this run and split, with the task's metric.
    fn known(&self, file: &SamplesFile) -> Result<Vec<(Slice, f64)>> {
        let space = self.run.space();
        let mut known = Vec::new();
        for sample in file.samples().iter().filter(|one| self.key(&one.slice) == one.key) {
            if !space.contains(&self.run.supernet.arch, &sample.slice) {
                bail!(
                    "{}: slice = {}: must be of the run's space",
                    file.path().display(),
                    sample.slice
                );
            }
            known.extend(sample.accuracy.map(|accuracy| (sample.slice.clone(), accuracy)));
        }
        Ok(known)
    }

    fn fill(
        &self,
        file: &mut SamplesFile,
        slices: &[Slice],
        budget: Budget,
        mut done: impl FnMut(usize),
    ) -> Result<()> {
        let known = self.known(file)?;
        let known: HashSet<&Slice> = known.iter().map(|(slice, _)| slice).collect();
        let new: Vec<&Slice> = slices.iter().filter(|slice| !known.contains(slice)).collect();
        let mut failed = None;
        let judge = |index: usize| self.run.judge_on(0, new[index], &self.images);
        each_in_time(
            &self.workers,
            || budget.over(),
            new.len(),
            judge,
            |index, judged| {
                let sample = |value| Sample {
                    key: self.key(new[index]),
                    slice: new[index].clone(),
                    task: self.task().to_string(),
                    split: self.split.name().to_string(),
                    accuracy: Some(value),
                    latency_ms: None,
                };
                let kept = judged.and_then(|(result, _)| file.add(sample(result.value)));
                failed = failed.take().or(kept.err());
                done(known.len() + index + 1);
            },
        );
        failed.map_or(Ok(()), Err)
    }
}

/// Times of another machine, of slices of the run.
fn device_file(run: &Run, place: &Path) -> Result<DeviceFile> {
    let at = || place.display().to_string();
    let text = fs::read_to_string(place).with_context(|| format!("reading {}", at()))?;
    let file = DeviceFile::parse(&text).with_context(at)?;
    file.check(&run.supernet.arch, run.chip_space()?).with_context(at)?;
    Ok(file)
}

/// This machine's times so far.
fn own_device(run: &Run, plan: &Plan) -> Result<DeviceFile> {
    let (place, setting) = (plan.out.join(DEVICE), plan.how.setting());
    if place.exists() {
        let file = device_file(run, &place)?;
        if file.setting != setting {
            bail!(
                "{}: setting = {}: must be {}, as asked for; choose another --out, or remove the file",
                place.display(),
                json!(file.setting),
                json!(setting)
            );
        }
        return Ok(file);
    }
    Ok(DeviceFile {
        version: DeviceFile::VERSION,
        setting,
        arch: run.supernet.arch.clone(),
        space: run.chip_space()?.clone(),
        pinned: None,
        whole_ms: f64::NAN,
        rows: Vec::new(),
    })
}
