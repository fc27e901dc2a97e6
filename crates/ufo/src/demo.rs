//! `ufo demo`: the whole way on the bundled data, from training to one task's model for a device; with `--full` also a
//! task that comes later, and a small network.

use crate::eval::table;
use crate::extract::{How, Quantize, Wanted, extract};
use crate::folder::write_results;
use crate::run::{Judged, Results, Run};
use crate::search::{Plan, Split, search};
use crate::train::{finished, interruptible};
use crate::{chip, distill, expand, report};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use ufo_model::StudentKind;
use ufo_model::cnn::CnnKind;
use ufo_train::{Limits, RunConfig, TaskConfig, Update, write_atomic};

macro_rules! bundled {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../../data/", $name)).as_slice())),*]
    };
}

/// The bundled files; the demo unpacks them, so that it runs from anywhere.
const FILES: [(&str, &[u8]); 21] = bundled![
    "fashion/train-images.idx.gz",
    "fashion/train-labels.idx.gz",
    "fashion/test-images.idx.gz",
    "fashion/test-labels.idx.gz",
    "fashion/classes.txt",
    "digits/train-images.idx.gz",
    "digits/train-labels.idx.gz",
    "digits/test-images.idx.gz",
    "digits/test-labels.idx.gz",
    "digits/classes.txt",
    "animals/train-images.idx.gz",
    "animals/train-labels.idx.gz",
    "animals/test-images.idx.gz",
    "animals/test-labels.idx.gz",
    "animals/classes.txt",
    "emoji/train-images.idx.gz",
    "emoji/train-labels.idx.gz",
    "emoji/train-cameras.idx.gz",
    "emoji/test-images.idx.gz",
    "emoji/test-labels.idx.gz",
    "emoji/test-cameras.idx.gz",
];

const CONFIG: &str = include_str!("demo.toml");

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run folder.
    #[arg(long, default_value = "runs/demo")]
    out: PathBuf,
    /// Training time, such as 90s or 40m.
    #[arg(long, default_value = "7m", value_parser = duration)]
    budget: Duration,
    /// Keep the digits out of the supernet, add them to it with a tenth of their labels, and teach a small network.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    overrides: crate::Overrides,
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("`{text}`: allowed are whole seconds, minutes or hours such as 90s, 40m, 2h");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    match number.parse::<u64>() {
        Ok(number @ 1..=1_000_000) => Ok(Duration::from_secs(number * scale)),
        _ => Err(wrong()),
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    if args.out.join("summary.json").exists() {
        bail!(
            "{}: holds a finished demo; remove it or choose another with --out",
            args.out.display()
        );
    }
    unpack(&args.out.join("data"))?;
    let mut config = config(&args.out.join("data"), &args.overrides.sets())?;
    let mut later = None;
    if args.full {
        let held_out = config.tasks.iter().position(|task| task.name == LATER);
        later = held_out.map(|index| config.tasks.remove(index));
    }
    let mut run = Run::start(&args.out, config)?;
    let mut limits = interruptible()?;
    limits.budget = Some(args.budget);
    let count = run.tasks.len();
    eprintln!("training {count} tasks together for {} s", args.budget.as_secs());
    let trained = run.train(&limits)?;
    if let Some(code) = finished(&trained) {
        return Ok(code);
    }
    let evaluating = Instant::now();
    let results = run.evaluate(&run.slice(None)?)?;
    let eval_s = evaluating.elapsed().as_secs_f64();
    let extracting = Instant::now();
    let extracted = extract_models(&run, &results)?;
    let extract_s = extracting.elapsed().as_secs_f64();
    report::write(&run, &results)?;
    let tasks = judged(&run, &results);
    println!("{}", table(&run, &results));
    println!(
        "{} steps, {:.0} images/s; models in {}, pictures in {}",
        trained.steps,
        trained.images_per_s,
        args.out.join("models").display(),
        args.out.join("report.html").display()
    );
    let name = run.tasks[0].config.name.clone();
    // The chip supernet opens the run.
    drop(run);
    let family = Family { from: &args.out, task: &name, budget: args.budget / CHIP_SHARE };
    let Some(chip) = family.make(&mut limits)? else { return Ok(ExitCode::from(130)) };
    let mut summary = json!({"tasks": tasks, "extracted": extracted, "chip": chip,
        "steps": trained.steps, "images_per_s": trained.images_per_s});
    if let Some(later) = later {
        let Some(added) = add(&later, args, &mut limits)? else { return Ok(ExitCode::from(130)) };
        let Some(student) = teach(&name, args, &mut limits)? else {
            return Ok(ExitCode::from(130));
        };
        (summary["expand"], summary["distill"]) = (added, student);
    }
    summary["seconds"] = json!({"train": trained.seconds, "eval": eval_s, "extract": extract_s,
        "total": started.elapsed().as_secs_f64()});
    write_atomic(&args.out.join("summary.json"), &serde_json::to_vec_pretty(&summary)?)?;
    Ok(ExitCode::SUCCESS)
}

/// What each task scored, and its path.
fn judged(run: &Run, results: &Results) -> Vec<Value> {
    let account = ufo_nas::accounting(&run.supernet.spec());
    let row = |(index, Judged { result, baseline, .. }): (usize, &Judged)| {
        json!({"name": result.name, "metric": result.metric, "value": result.value,
            "baseline_1nn": baseline, "params_activated": account.per_task[index].activated_params,
            "path": run.supernet.path(index).to_string()})
    };
    results.iter().enumerate().map(row).collect()
}

/// The task that `--full` adds to the trained supernet.
const LATER: &str = "digits";
/// Labels that it comes with, in percent.
const LATER_LABELS: &str = "10%";
/// It, and the student, train for this part of the supernet's time each.
const LATER_SHARE: u32 = 7;

/// A file for `ufo expand`.
#[derive(serde::Serialize)]
struct Alone<'a> {
    task: [&'a TaskConfig; 1],
}

/// The new task on the shared branch, with few labels.
fn add(task: &TaskConfig, args: &Args, limits: &mut Limits) -> Result<Option<Value>> {
    let place = args.out.join(format!("{}.toml", task.name));
    write_atomic(&place, toml::to_string(&Alone { task: [task] })?.as_bytes())?;
    limits.stop.store(false, Ordering::Relaxed);
    eprintln!("adding {LATER} with {LATER_LABELS} of their labels");
    let wanted = expand::Args {
        folder: crate::RunFolder { run: args.out.clone() },
        task: place,
        update: Update::Expert,
        labels: Some(LATER_LABELS.parse()?),
        out: args.out.join("expanded"),
        budget: Some(args.budget / LATER_SHARE),
        set: vec!["train.steps=1000000".to_string()],
        seed: None,
    };
    expand::expand(&wanted, limits)
}

/// A small network that learns `task` from the supernet.
fn teach(task: &str, args: &Args, limits: &mut Limits) -> Result<Option<Value>> {
    let student = StudentKind::Cnn(CnnKind::MobileNetV3Small);
    limits.stop.store(false, Ordering::Relaxed);
    eprintln!("teaching a {student} the {task} task");
    let steps = "train.steps=1000000".to_string();
    let wanted = distill::Args {
        teacher: args.out.clone(),
        run: None,
        task: task.to_string(),
        student,
        alone: false,
        quantize: Some(Quantize::Int8),
        out: args.out.join("student"),
        budget: Some(args.budget / LATER_SHARE),
        overrides: crate::Overrides { set: vec![steps], seed: None },
    };
    distill::distill(&wanted, limits)
}

/// Each task's model, and one of the first two tasks together.
fn extract_models(run: &Run, results: &Results) -> Result<Vec<serde_json::Value>> {
    let mut sets: Vec<Vec<usize>> = (0..run.tasks.len()).map(|task| vec![task]).collect();
    sets.push(vec![0, 1]);
    let mut extracted = Vec::new();
    for set in sets {
        let names: Vec<&str> =
            set.iter().map(|task| run.tasks[*task].config.name.as_str()).collect();
        let folder = run.folder.join("models").join(names.join("+"));
        if folder.exists() {
            // Left by a demo that was killed while it extracted.
            fs::remove_dir_all(&folder)
                .with_context(|| format!("removing {}", folder.display()))?;
        }
        let slice = run.slice(None)?;
        let wanted = set.iter().map(|&task| Wanted {
            run,
            task,
            slice: slice.clone(),
            label: String::new(),
        });
        let done = extract(&wanted.collect::<Vec<_>>(), How::default(), &folder)?;
        // The folder gives the supernet's outputs bit for bit.
        let scored: Vec<_> = set.iter().map(|task| results[*task].result.clone()).collect();
        write_results(&folder, &[("f32", &scored)])?;
        extracted.push(json!({"dir": folder.display().to_string(), "tasks": done.tasks,
            "params": done.params, "onnx_max_rel_err": done.onnx_max_rel_err}));
    }
    Ok(extracted)
}

/// The chip supernet trains for this part of the supernet's time.
const CHIP_SHARE: u32 = 7;
/// Slices that its search judges.
const SAMPLES: usize = 48;
/// Part of the whole network's operations that the chosen one may take, in percent: a bound on milliseconds
/// could fail on a busy machine.
const MACS_PERCENT: u64 = 60;

/// One task's path made into a family of sizes, and the one for this machine taken out of it.
struct Family<'a> {
    from: &'a Path,
    task: &'a str,
    budget: Duration,
}

impl Family<'_> {
    /// Trains, searches and extracts; none when it was interrupted.
    fn make(&self, limits: &mut ufo_train::Limits) -> Result<Option<serde_json::Value>> {
        let Self { from, task, budget } = *self;
        let out = from.join("chip");
        let started = Instant::now();
        let mut run = Run::start(&out, chip::config(from, task, &[])?)?;
        limits.stop.store(false, Ordering::Relaxed);
        limits.budget = Some(budget);
        eprintln!("training slices of {task} for {} s", budget.as_secs());
        let trained = run.train(limits)?;
        if finished(&trained).is_some() {
            return Ok(None);
        }
        let how = crate::profile::How::plain();
        let macs = |slice: &str| -> Result<u64> {
            Ok(ufo_nas::macs(&run.supernet.arch, &run.slice(Some(slice))?).total())
        };
        // Also where the smallest slice is hardly smaller.
        let most = (macs("largest")? * MACS_PERCENT / 100).max(macs("smallest")?);
        let plan = Plan {
            out: out.join("search"),
            limits: ufo_nas::Limits { max_macs: Some(most), ..Default::default() },
            samples: SAMPLES,
            budget: None,
            device_file: None,
            how: &how,
            split: Split::Validation,
            seed: run.config.seed,
            held_out: 0,
            alone: &[],
        };
        eprintln!("searching the best slice of at most {:.1} million MACs", most as f64 / 1e6);
        let found = search(&run, &plan)?;
        let folder = from.join("models").join(format!("{task}-chip"));
        if folder.exists() {
            fs::remove_dir_all(&folder).context("removing what a killed demo left")?;
        }
        let slice = run.slice(Some("chosen"))?;
        let wanted = Wanted { run: &run, task: 0, slice, label: String::new() };
        let done = extract(&[wanted], How::default(), &folder)?;
        let (result, _) = run.judge(0, &run.slice(Some("chosen"))?)?;
        write_results(&folder, &[("f32", &[result])])?;
        println!("{}\n{}", found.table(), found.said());
        println!(
            "model in {}, pictures in {}",
            folder.display(),
            plan.out.join("report.html").display()
        );
        Ok(Some(json!({"task": task, "steps": trained.steps, "limits": found.limits,
            "chosen": found.chosen, "points": found.points.len(),
            "samples": found.samples, "hypervolume": found.hypervolume,
            "accuracy_tau": found.foretold.as_ref().and_then(|f| f.accuracy_tau),
            "latency_tau": found.foretold.as_ref().and_then(|f| f.latency_tau),
            "extracted": {"dir": folder.display().to_string(), "params": done.params,
                "onnx_max_rel_err": done.onnx_max_rel_err},
            "seconds": started.elapsed().as_secs_f64()})))
    }
}

fn unpack(folder: &Path) -> Result<()> {
    for (name, bytes) in FILES {
        let place = folder.join(name);
        let parent = place.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        if !place.exists() {
            write_atomic(&place, bytes)?;
        }
    }
    Ok(())
}

fn config(data: &Path, sets: &[String]) -> Result<RunConfig> {
    let mut config = RunConfig::parse(CONFIG, sets).context("in the demo's configuration")?;
    for task in &mut config.tasks {
        for path in [&mut task.data.train, &mut task.data.test] {
            *path = data.join(&*path);
        }
    }
    Ok(config)
}
