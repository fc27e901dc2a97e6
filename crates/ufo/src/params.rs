//! `ufo params`: parameter accounting on shapes alone.

use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use ufo_nas::{HeadShape, Layout, PathCounts, Preset, SupernetSpec, TaskShape, accounting};
use ufo_train::{RunConfig, open_tasks};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// `ufo-17b`, or an architecture: demo, tiny, small, base, large, huge.
    #[arg(long, conflicts_with = "config", required_unless_present = "config")]
    preset: Option<String>,
    /// A run's configuration.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Expert layout, a or b.
    #[arg(long, value_parser = ["A", "B", "a", "b"])]
    layout: Option<String>,
    /// Tasks: the first N of the preset, or N tasks without heads for an architecture.
    #[arg(long)]
    tasks: Option<usize>,
    /// FFN widths that a block chooses from, in the counts of paths.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    ratio: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut spec = spec(args)?;
    if let Some(layout) = &args.layout {
        spec.arch.layout = if layout.eq_ignore_ascii_case("a") { Layout::A } else { Layout::B };
    }
    if let Some(count) = args.tasks {
        let most = spec.tasks.len();
        if count == 0 || count > most {
            anyhow::bail!("--tasks {count}: must be 1 to {most}");
        }
        spec.tasks.truncate(count);
    }
    spec.validate()?;
    let counted = accounting(&spec);
    let paths = PathCounts::new(counted.tasks as u32, args.ratio, spec.arch.depth as u32);
    if args.json {
        let mut json = serde_json::to_value(&counted)?;
        json["path_counts"] = serde_json::to_value(paths)?;
        println!("{}", serde_json::to_string_pretty(&json)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["parameters", "count"]);
    for (name, value) in [
        ("one path (backbone)", counted.path_params.to_string()),
        ("all experts (backbone)", counted.backbone_params.to_string()),
        ("heads", counted.head_params.to_string()),
        ("router", counted.router_params.to_string()),
        ("total", counted.total_params.to_string()),
        ("backbone / path", format!("{:.1}x", counted.ratio)),
        ("FFN paths, (T ratio)^L", paths.seed.to_string()),
        ("FFN paths of one task", paths.per_task.to_string()),
        ("FFN paths of all tasks", paths.joint.to_string()),
    ] {
        table.add_row([name.to_string(), value]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

fn spec(args: &Args) -> Result<SupernetSpec> {
    if let Some(file) = &args.config {
        let config = RunConfig::read(file, &[])?;
        let shape = |task: &ufo_train::Task| TaskShape {
            name: task.config.name.clone(),
            head: task.config.head.shape(task.train.classes().len()),
        };
        let tasks = open_tasks(&config)?.iter().map(shape).collect();
        return Ok(SupernetSpec { arch: config.arch(), tasks });
    }
    let name = args.preset.as_deref().unwrap_or_default();
    if let Ok(spec) = SupernetSpec::preset(name) {
        return Ok(spec);
    }
    let arch = Preset::from_str(name)?.arch();
    let count = args.tasks.unwrap_or(1);
    let task = |index| TaskShape {
        name: format!("task{index}"),
        head: HeadShape::Linear { classes: 1000 },
    };
    Ok(SupernetSpec { arch, tasks: (0..count).map(task).collect() })
}
