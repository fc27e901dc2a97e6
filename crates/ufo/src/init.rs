//! `ufo init`: a starting configuration for the images that a user has.

use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use ufo_data::{Dataset, Format};
use ufo_nas::Preset;
use ufo_train::{RunConfig, write_atomic};

/// Images of a class below which a folder is taken for identities to tell apart.
const FEW: usize = 10;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A task: NAME=PATH, where PATH holds `train` and `test` as class folders, as folders of images and masks, as
    /// folders of images with a boxes.json, as IDX files (train-images…) or as lists (train.csv, test.csv).
    #[arg(long = "task", value_name = "NAME=PATH", required = true)]
    tasks: Vec<String>,
    /// Architecture: demo, tiny, small, base, large, huge.
    #[arg(long, default_value = "demo")]
    preset: String,
    /// Configuration to write, new.
    #[arg(long, default_value = "tasks.toml")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.out.exists() {
        bail!("{}: exists already; remove it or choose another with --out", args.out.display());
    }
    let preset: Preset = args.preset.parse()?;
    let mut text = format!(
        "# ufo train --config {} --out runs/first\npreset = \"{}\"\n\n[train]\nsteps = 1000\nlr = 1e-3\n",
        args.out.display(),
        preset.name()
    );
    let arch = preset.arch();
    // To the size of the image, where three doublings reach it.
    let fits = |doublings: &usize| arch.grid()[0] << doublings <= arch.image_size[0];
    let doublings = (0..=3).rev().find(fits).unwrap_or(0);
    for task in &args.tasks {
        let (name, path) =
            task.split_once('=').with_context(|| format!("--task {task}: must be NAME=PATH"))?;
        section(&mut text, (name, doublings), Path::new(path))
            .with_context(|| format!("--task {task}"))?;
    }
    RunConfig::parse(&text, &[])?;
    write_atomic(&args.out, text.as_bytes())?;
    println!("{}: train with\n  ufo train --config {0} --out runs/first", args.out.display());
    Ok(ExitCode::SUCCESS)
}

/// A task's lines.
fn section(text: &mut String, (name, doublings): (&str, usize), path: &Path) -> Result<()> {
    let (format, suffix) = layout(path)?;
    let [train, test] = ["train", "test"].map(|split| path.join(format!("{split}{suffix}")));
    let dataset = Dataset::open(format, &train)?;
    let (images, classes) = (dataset.len(), dataset.classes().len());
    let identities = images < FEW * classes;
    let head = if format.has_boxes() {
        format!("kind = \"detection\", doublings = {}", doublings.min(1))
    } else if format.has_masks() {
        format!("kind = \"segmentation\", channels = 64, doublings = {doublings}")
    } else {
        let kind = if identities { "embedding" } else { "linear" };
        format!("kind = \"{kind}\"")
    };
    let sampler = if format.has_masks() || format.has_boxes() {
        "augment = { flip = 0.5, random_scale = {}, color = 0.4 }\n"
    } else if identities {
        "sampler = { kind = \"identity\", per_identity = 2 }\ntriplet = {}\n"
    } else {
        "augment = { flip = 0.5, pad_crop = 2 }\n"
    };
    let kind = match format {
        Format::ImageFolder => "image-folder",
        Format::Idx => "idx",
        Format::Csv => "csv",
        Format::Masks => "masks",
        Format::Voc => "voc",
        Format::Cityscapes => "cityscapes",
        Format::Coco => "coco",
    };
    let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
    write!(
        text,
        "\n# {images} training images, {classes} classes\n[[task]]\nname = {}\n\
         head = {{ {head} }}\nbatch = 32\n\
         data = {{ format = \"{kind}\", train = {}, test = {}, validation = 0.1 }}\n{sampler}",
        toml::Value::String(name.to_string()),
        quoted(&train),
        quoted(&test),
    )?;
    Ok(())
}

/// The layout of the splits under `path`, and what follows `train` in its name.
fn layout(path: &Path) -> Result<(Format, &'static str)> {
    if path.join("train/images").is_dir() && path.join("train/masks").is_dir() {
        return Ok((Format::Masks, ""));
    }
    if path.join("train/boxes.json").is_file() {
        return Ok((Format::Coco, "/boxes.json"));
    }
    if path.join("train").is_dir() {
        return Ok((Format::ImageFolder, ""));
    }
    if path.join("train.csv").is_file() {
        return Ok((Format::Csv, ".csv"));
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("listing {}", path.display()))?;
    for entry in entries {
        if entry?.file_name().to_string_lossy().starts_with("train-images") {
            return Ok((Format::Idx, ""));
        }
    }
    bail!(
        "{}: has neither train/ and test/ with a folder a class, images and masks or boxes.json, nor train.csv and test.csv, nor IDX files train-images… and test-images…",
        path.display()
    )
}
