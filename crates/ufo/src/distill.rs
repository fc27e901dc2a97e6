//! `ufo distill`: a small network that learns a task from a teacher.

use crate::extract::Quantize;
use crate::folder::drop_table;
use crate::run::{Run, lock, probe};
use crate::train::{finished, interruptible};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;
use ufo_model::StudentKind;
use ufo_nas::{Expert, Path as ExpertPath, Slice};
use ufo_runtime::{CONFIG, DescribedTask};
use ufo_train::distill::{Pupil, pupil};
use ufo_train::extract::student::{Graduate, StudentFolder, write};
use ufo_train::{
    DistillConfig, Limits, RunConfig, Task, Teacher, evaluate, identity, load_latest, open_tasks,
    write_atomic,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A run, or a model folder that `ufo extract` wrote.
    #[arg(long)]
    pub(crate) teacher: PathBuf,
    /// Run whose configuration has the task's data; default the teacher, if it is a run.
    #[arg(long)]
    pub(crate) run: Option<PathBuf>,
    /// Task to learn.
    #[arg(long)]
    pub(crate) task: String,
    /// Network.
    #[arg(
        long,
        value_name = "mobilenet_v3_small|mobilenet_v3_large|resnet18|resnet50|vit_tiny|vit_small"
    )]
    pub(crate) student: StudentKind,
    /// Also write model.int8.onnx with 8-bit weights, and print what that costs.
    #[arg(long)]
    pub(crate) quantize: Option<Quantize>,
    /// Learn from the labels alone, as a student to compare with.
    #[arg(long)]
    pub(crate) alone: bool,
    /// Run folder of the student; an earlier one of the same configuration goes on.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Training time, such as 90s or 40m, in place of train.steps.
    #[arg(long, value_parser = crate::demo::duration)]
    pub(crate) budget: Option<Duration>,
    #[command(flatten)]
    pub(crate) overrides: crate::Overrides,
}

/// Steps of training unless set or under a budget.
const STEPS: u64 = 1000;
/// Images on which the student's copies are compared with it.
const PROBES: usize = 16;
/// Folder of the student's model in its run.
const MODEL: &str = "model";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    Ok(match distill(args, &mut interruptible()?)? {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(130),
    })
}

/// Trains and writes the student, prints what it is, and returns that; none when it was interrupted.
pub(crate) fn distill(args: &Args, limits: &mut Limits) -> Result<Option<Value>> {
    let mut config = config(args)?;
    config.make_paths_absolute()?;
    let tasks = open_tasks(&config)?;
    let distill = config.distill.clone().context("the configuration was given [distill]")?;
    let teacher = teacher(&distill, &tasks[0])?;
    let teacher_params = params(&teacher)?;
    let mut pupil = pupil(&config, &distill, &tasks[0], teacher)?;
    fs::create_dir_all(&args.out).with_context(|| format!("creating {}", args.out.display()))?;
    let _lock = lock(&args.out)?;
    // An earlier run of another configuration must keep its own: refuse before writing.
    load_latest(&args.out, &identity(&config, &tasks), &mut pupil.clone())?;
    write_atomic(&args.out.join("config.toml"), toml::to_string(&config)?.as_bytes())?;
    limits.budget = args.budget;
    eprintln!("computing with {}", config.train.precision.describe());
    let summary = ufo_train::train(&args.out, &config, &tasks, &mut pupil, limits);
    limits.stop.store(true, Ordering::Relaxed);
    let summary = summary?;
    if finished(&summary).is_some() {
        return Ok(None);
    }
    let pupil = pupil.settled(&config, &tasks[0])?;
    let folder = model(&config, &tasks[0], (&pupil, distill.student), teacher_params, args)?;
    let rows = pupil.rows(&config, &tasks[0].test)?;
    let result = evaluate::judge(&tasks[0], &tasks[0].test, &rows)?;
    let report = json!({"task": result.name, "student": distill.student, "alone": distill.is_alone(),
        "metric": result.metric, "value": result.value, "metrics": result.metrics,
        "steps": summary.steps, "seconds": summary.seconds, "images_per_s": summary.images_per_s,
        "model": folder});
    write_atomic(&args.out.join("distill.json"), &serde_json::to_vec_pretty(&report)?)?;
    print(&report, args);
    if args.quantize.is_some() {
        println!("{}", drop_table(&[&tasks[0]], &args.out.join(MODEL))?);
    }
    Ok(Some(report))
}

/// The configuration of the run that has the data, with the one task and the student.
fn config(args: &Args) -> Result<RunConfig> {
    let is_run = args.teacher.join("config.toml").exists();
    if !is_run && !args.teacher.join(CONFIG).exists() {
        bail!(
            "--teacher {}: neither a run (config.toml) nor a model folder ({CONFIG})",
            args.teacher.display()
        );
    }
    let data = match &args.run {
        Some(run) => run,
        None if is_run => &args.teacher,
        None => bail!(
            "--run: name the run whose configuration has the data of `{}`; {} is a model alone",
            args.task,
            args.teacher.display()
        ),
    };
    let mut config = RunConfig::read(&data.join("config.toml"), &[])?;
    let names: Vec<String> = config.tasks.iter().map(|task| task.name.clone()).collect();
    config.tasks.retain(|task| task.name == args.task);
    if config.tasks.is_empty() {
        bail!("--task {}: {} has {}", args.task, data.display(), names.join(", "));
    }
    (config.init, config.chip, config.expand) = (None, None, None);
    config.train.steps = STEPS;
    let teacher = std::path::absolute(&args.teacher).context("finding the working folder")?;
    let mut distill = DistillConfig::new(teacher, args.student);
    if args.alone {
        distill = distill.without_teacher();
    }
    config.distill = Some(distill);
    RunConfig::parse(&toml::to_string(&config)?, &args.overrides.sets())
}

/// The teacher of a run along its router's path, or of a model folder.
fn teacher(distill: &DistillConfig, task: &Task) -> Result<Teacher> {
    let (place, name) = (&distill.teacher, &task.config.name);
    if !place.join("config.toml").exists() {
        return Teacher::of_folder(place, name).context("distill.teacher");
    }
    let run = Run::open(place).context("distill.teacher")?;
    let Ok(index) = run.supernet.task_index(name) else {
        let names: Vec<&str> =
            run.supernet.tasks.iter().map(|task| task.spec.name.as_str()).collect();
        bail!(
            "distill.teacher {}: a teacher of {}, not of `{name}`",
            place.display(),
            names.join(", ")
        );
    };
    let entry = run.entry(index, &run.slice(None)?, 1)?;
    Teacher::of_supernet(&entry, &run.config.preprocess())
}

/// Parameters that the teacher runs with.
fn params(teacher: &Teacher) -> Result<u64> {
    let told = teacher.described();
    let shape =
        |task: &DescribedTask| ufo_nas::TaskShape { name: task.name.clone(), head: task.head };
    let spec =
        ufo_nas::SupernetSpec { arch: told.arch.clone(), tasks: vec![shape(teacher.task())] };
    let chosen = [(0, &teacher.task().path)];
    Ok(ufo_nas::extracted(&spec, &chosen, &teacher.task().slice)?.total_params)
}

/// Writes the student's model folder.
fn model(
    config: &RunConfig,
    task: &Task,
    (pupil, kind): (&Pupil, StudentKind),
    teacher_params: u64,
    args: &Args,
) -> Result<StudentFolder> {
    let preprocess = config.preprocess();
    let told = DescribedTask {
        name: task.config.name.clone(),
        task: None,
        slice: Slice { blocks: Vec::new() },
        head: pupil.head_shape(task.train.classes().len()),
        classes: task.classes().to_vec(),
        path: ExpertPath { attn: Vec::new(), ffn: Vec::new(), norm: Expert::Shared },
    };
    let probe = probe(task, &preprocess, PROBES)?;
    let graduate = Graduate {
        student: &pupil.student,
        kind,
        task: &told,
        preprocess: &preprocess,
        probe: &probe,
        teacher_params,
        int8: args.quantize.is_some(),
    };
    write(graduate, &args.out.join(MODEL))
}

fn print(report: &Value, args: &Args) {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let folder = &report["model"];
    println!(
        "{}: {} {:.1} % on the test images, {} steps in {:.1} s ({:.0} images/s)",
        report["task"].as_str().unwrap_or_default(),
        report["metric"].as_str().unwrap_or_default(),
        100.0 * number(&report["value"]),
        report["steps"],
        number(&report["seconds"]),
        number(&report["images_per_s"])
    );
    println!(
        "{}: {} parameters, the teacher's {} are {:.3} times as many; {} holds it, ONNX within {:.1e}",
        args.student,
        folder["params"],
        folder["teacher_params"],
        number(&folder["compression"]),
        args.out.join(MODEL).display(),
        number(&folder["onnx_max_rel_err"])
    );
}
