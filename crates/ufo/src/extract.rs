//! `ufo extract`: networks of runs copied into a model folder, with no retraining.

use crate::folder;
use crate::run::{PROBES, Run};
use crate::search::Point;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use ufo_nas::Slice;
use ufo_serve::{Front, FrontPoint};
use ufo_train::effect::{Candidate, by_effect};
use ufo_train::extract::{Entry, Extracted, Place};
use ufo_train::{Workers, write_atomic};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run folder.
    #[arg(long, required_unless_present = "part", requires = "tasks")]
    run: Option<PathBuf>,
    /// Tasks, comma separated.
    #[arg(long, value_delimiter = ',', requires = "run")]
    tasks: Vec<String>,
    /// Choose each path by its measured effect on the validation images, in place of the router's.
    #[arg(long, requires = "run")]
    by_effect: bool,
    /// Cut the networks to this slice; see `ufo eval --help`.
    #[arg(long, requires = "run")]
    slice: Option<String>,
    /// Points of the front that `ufo search` found, comma separated, each a task of the model.
    #[arg(long, value_delimiter = ',', requires = "run", conflicts_with = "slice")]
    pareto: Vec<usize>,
    /// A run's tasks cut to a slice (see `ufo eval --help`), such as runs/chip=chosen; several make one model.
    #[arg(long, value_name = "RUN=SLICE", conflicts_with = "run")]
    part: Vec<String>,
    /// Side of the images that the model takes, in place of the run's: its position embedding is resized.
    #[arg(long)]
    image_size: Option<usize>,
    /// Write an ONNX file with 8-bit weights, too, and print what it costs on the test images.
    #[arg(long)]
    quantize: Option<Quantize>,
    /// Model folder, new.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
pub(crate) enum Quantize {
    /// 8-bit integers, a scale for each output of a layer.
    Int8,
}

/// A network of a model to make.
pub(crate) struct Wanted<'a> {
    pub(crate) run: &'a Run,
    /// Index of the task.
    pub(crate) task: usize,
    pub(crate) slice: Slice,
    /// What tells it from other slices of the task.
    pub(crate) label: String,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let parts = args.parts()?;
    let mut folders: Vec<&PathBuf> = Vec::new();
    for (folder, _) in &parts {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    let mut runs = folders.iter().map(|folder| Run::open(folder)).collect::<Result<Vec<_>>>()?;
    let mut chosen = Vec::new();
    for (place, (folder, text)) in parts.iter().enumerate() {
        let at = folders.iter().position(|known| *known == folder);
        let at = at.context("every part's run is opened")?;
        let point = text.as_deref().and_then(|text| text.strip_prefix("pareto."));
        let label = point.map_or_else(|| place.to_string(), str::to_string);
        chosen.push((at, runs[at].slice(text.as_deref())?, label));
    }
    if let Some(side) = args.image_size {
        runs.iter_mut().try_for_each(|run| run.resize(side)).context("--image-size")?;
    }
    let mut wanted = Vec::new();
    for (at, slice, label) in chosen {
        let run = &runs[at];
        for task in args.indices(run)? {
            wanted.push(Wanted { run, task, slice: slice.clone(), label: label.clone() });
        }
    }
    let int8 = args.quantize.is_some();
    let extracted = extract(&wanted, How { by_effect: args.by_effect, int8 }, &args.out)?;
    println!(
        "{}: {} parameters in {}; ONNX within {:.1e} of the network",
        extracted.tasks.join(", "),
        extracted.params,
        args.out.display(),
        extracted.onnx_max_rel_err
    );
    if int8 {
        let tasks: Vec<_> = runs.iter().flat_map(|run| &run.tasks).collect();
        println!("{}", folder::drop_table(&tasks, &args.out)?);
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// Run and slice of each part.
    fn parts(&self) -> Result<Vec<(PathBuf, Option<String>)>> {
        if let Some(run) = &self.run {
            let points = self.pareto.iter().map(|point| Some(format!("pareto.{point}")));
            let mut slices: Vec<Option<String>> = points.collect();
            if slices.is_empty() {
                slices.push(self.slice.clone());
            }
            return Ok(slices.into_iter().map(|slice| (run.clone(), slice)).collect());
        }
        let part = |text: &String| {
            let wrong = || format!("--part {text}: must be RUN=SLICE, such as runs/chip=chosen");
            let (run, slice) = text.split_once('=').with_context(wrong)?;
            Ok((PathBuf::from(run), Some(slice.to_string())))
        };
        self.part.iter().map(part).collect()
    }

    /// The tasks that are wanted of a run.
    fn indices(&self, run: &Run) -> Result<Vec<usize>> {
        if self.run.is_none() {
            return Ok((0..run.tasks.len()).collect());
        }
        let mut indices = Vec::new();
        for name in &self.tasks {
            let index = run.supernet.task_index(name)?;
            if indices.contains(&index) {
                bail!("--tasks: `{name}` is named twice");
            }
            indices.push(index);
        }
        Ok(indices)
    }
}

/// What an extraction does beyond the plain one.
#[derive(Clone, Copy, Default)]
pub(crate) struct How {
    /// Choose paths by their measured effect.
    pub(crate) by_effect: bool,
    /// Write `model.int8.onnx`.
    pub(crate) int8: bool,
}

/// Writes one model of the networks, along the router's paths or along the best by measured effect on the
/// validation images.
pub(crate) fn extract(wanted: &[Wanted], how: How, out: &Path) -> Result<Extracted> {
    let mut entries = Vec::new();
    let mut sources = Vec::new();
    for Wanted { run, task, slice, label } in wanted {
        let of = |other: &&Wanted| {
            other.run.tasks[other.task].config.name == run.tasks[*task].config.name
        };
        let mut entry: Entry = if how.by_effect {
            let candidates = candidates(run, *task)?;
            eprintln!("{}", candidate_table(&run.tasks[*task].config.name, &candidates));
            run.entry_along(*task, candidates[0].path.clone(), slice, PROBES)?
        } else {
            run.entry(*task, slice, PROBES)?
        };
        if wanted.iter().filter(of).count() > 1 {
            entry.name = format!("{}-{label}", entry.name);
        }
        entries.push(entry);
        sources.push(run.weights_hash()?);
    }
    let preprocess =
        wanted.first().context("--tasks or --part: at least one")?.run.config.preprocess();
    if let Some(other) = wanted.iter().find(|one| one.run.config.preprocess() != preprocess) {
        bail!("{}: its images are normalized otherwise", other.run.folder.display());
    }
    let place = Place { sources: &sources, out, int8: how.int8 };
    let extracted = ufo_train::extract::extract(&entries, &preprocess, place)?;
    keep_fronts(wanted, out)?;
    Ok(extracted)
}

/// Writes the fronts of the runs that were searched (`fronts.json`), which `ufo serve` shows.
fn keep_fronts(wanted: &[Wanted], out: &Path) -> Result<()> {
    let mut fronts: Vec<Front> = Vec::new();
    for run in wanted.iter().map(|one| one.run) {
        if !run.folder.join("search/pareto.json").exists() {
            continue;
        }
        let found = run.found()?;
        let point = |point: &Point| FrontPoint {
            slice: point.slice.clone(),
            params: point.params,
            macs: point.macs,
            accuracy: point.measured.accuracy,
            latency_ms: point.measured.latency_ms,
        };
        let points = found.points.iter().map(point).collect();
        let front = Front { task: found.task, metric: found.metric, split: found.split, points };
        if !fronts.contains(&front) {
            fronts.push(front);
        }
    }
    if fronts.is_empty() {
        return Ok(());
    }
    write_atomic(&out.join("fronts.json"), &serde_json::to_vec_pretty(&fronts)?)
}

fn candidates(run: &Run, index: usize) -> Result<Vec<Candidate>> {
    let workers = Workers::new(run.config.train.threads, 2 * run.supernet.arch.depth)?;
    let preprocess = run.config.preprocess();
    by_effect(&run.supernet, index, &run.tasks[index], &preprocess, &workers)
}

fn candidate_table(task: &str, candidates: &[Candidate]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header([&format!("{task}: path of"), "validation", "experts (attention, FFN)"]);
    let plain = |candidate: &Candidate| !candidate.origin.contains("flip");
    let shown = candidates.iter().enumerate().filter(|(rank, c)| *rank < 5 || plain(c));
    for (_, candidate) in shown {
        table.add_row([
            candidate.origin.clone(),
            format!("{:.1} %", 100.0 * candidate.value),
            candidate.path.to_string(),
        ]);
    }
    table
}
