//! `ufo predict`: runs an extracted model folder on images.

use crate::folder::Runner;
use crate::report::{BOX_COLORS, SURE};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use ufo_data::{Detection, Image, Palette, decode, encode_png, outlined};
use ufo_nas::HeadShape;
use ufo_runtime::{DescribedTask, Precision};
use ufo_train::{detect, segment, write_atomic};

/// Images of a batch.
const BATCH: usize = 32;
/// Part of their side that windows of a segmentation or detection share.
const OVERLAP: f32 = 0.5;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Model folder that `ufo extract` or `ufo distill` wrote.
    model: PathBuf,
    /// Images.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Print JSON, with the raw outputs of every task.
    #[arg(long)]
    json: bool,
    /// Numbers that layers multiply in.
    #[arg(long, default_value = "f32", value_parser = crate::folder::precision)]
    precision: Precision,
    /// Classes shown for an image.
    #[arg(long, default_value_t = 3)]
    top: usize,
    /// Give the features before the heads as well (with --json).
    #[arg(long, requires = "json")]
    features: bool,
    /// Folder for the masks of segmentation tasks, IMAGE.TASK.png, palette PNG files of class ids, and for the images
    /// of detection tasks with the boxes drawn.
    #[arg(long, default_value = "masks")]
    masks: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let model = Runner::open(&args.model, args.precision)?;
    let mut rows = Vec::new();
    let mut failed = false;
    for paths in args.images.chunks(BATCH) {
        let mut images = Vec::new();
        for path in paths {
            match read(path) {
                Ok(image) => images.push((path.as_path(), image)),
                Err(error) => {
                    eprintln!("error: {error:#}");
                    failed = true;
                }
            }
        }
        if !images.is_empty() {
            rows.extend(args.answers(&model, &images)?);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        rows.iter().for_each(print);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read(path: &Path) -> Result<Image> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    decode(&bytes).with_context(|| format!("in {}", path.display()))
}

impl Args {
    /// What all tasks say of some images.
    fn answers(&self, model: &Runner, images: &[(&Path, Image)]) -> Result<Vec<Value>> {
        let inputs: Vec<f32> =
            images.iter().flat_map(|(_, image)| model.preprocess.apply(image)).collect();
        let mut per_image = vec![Vec::new(); images.len()];
        for (index, task) in model.tasks.iter().enumerate() {
            if let HeadShape::Segmentation { .. } = task.head {
                for ((path, image), said) in images.iter().zip(&mut per_image) {
                    said.push(self.mask(model, index, (path, image))?);
                }
                continue;
            }
            if let HeadShape::Detection { .. } = task.head {
                for ((path, image), said) in images.iter().zip(&mut per_image) {
                    said.push(self.boxes(model, index, (path, image))?);
                }
                continue;
            }
            let outputs = model.outputs(index, &inputs)?;
            let features = self.features.then(|| model.features(index, &inputs)).transpose()?;
            for (image, said) in per_image.iter_mut().enumerate() {
                let row = |all: &[f32]| {
                    let width = all.len() / images.len();
                    all[image * width..][..width].to_vec()
                };
                let mut one = answer(task, (&row(&outputs), model.preprocess.size), self.top)?;
                if let Some(features) = &features {
                    one["features"] = json!(row(features));
                }
                said.push(one);
            }
        }
        let row = |((path, _), tasks): (&(&Path, Image), Vec<Value>)| json!({"image": path.display().to_string(), "tasks": tasks});
        Ok(images.iter().zip(per_image).map(row).collect())
    }

    /// Writes the mask of an image, and says the shares of its classes.
    fn mask(&self, model: &Runner, index: usize, (path, image): (&Path, &Image)) -> Result<Value> {
        let task = &model.tasks[index];
        let mut network = |images: Vec<f32>, _| model.outputs(index, &images);
        let sizes = (task.classes.len(), OVERLAP);
        let mask = segment::predict(image, &model.preprocess, sizes, &mut network)
            .with_context(|| format!("task `{}`, {}", task.name, path.display()))?;
        let place = self.write(path, task, &mask.encode(Palette::of(&task.classes))?)?;
        let shares = task.shares(&mask.ids);
        Ok(json!({"name": task.name, "mask": place.display().to_string(), "shares": shares}))
    }

    /// Draws the boxes of an image, and says them.
    fn boxes(&self, model: &Runner, index: usize, (path, image): (&Path, &Image)) -> Result<Value> {
        let task = &model.tasks[index];
        let mut network = |images: Vec<f32>, _| model.outputs(index, &images);
        let found = detect::predict(image, &model.preprocess, &task.finding(OVERLAP), &mut network)
            .with_context(|| format!("task `{}`, {}", task.name, path.display()))?;
        let sure = |found: &&Detection| found.score >= SURE;
        let drawn: Vec<_> =
            found.iter().filter(sure).map(|found| (found.bounds, BOX_COLORS[1])).collect();
        let place = self.write(path, task, &encode_png(&outlined(image, &drawn, 2))?)?;
        Ok(json!({"name": task.name, "picture": place.display().to_string(), "drawn": drawn.len(),
            "boxes": task.named(&found)}))
    }

    /// Writes what a task makes of an image into the folder for masks.
    fn write(&self, path: &Path, task: &DescribedTask, png: &[u8]) -> Result<PathBuf> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let place = self.masks.join(format!("{stem}.{}.png", task.name));
        fs::create_dir_all(&self.masks)
            .with_context(|| format!("creating {}", self.masks.display()))?;
        write_atomic(&place, png)?;
        Ok(place)
    }
}

/// What a task says of one image.
fn answer(
    task: &DescribedTask,
    (outputs, size): (&[f32], [usize; 2]),
    top: usize,
) -> Result<Value> {
    let mut said = json!({"name": task.name});
    if let (Value::Object(said), Value::Object(answer)) =
        (&mut said, serde_json::to_value(task.answer(outputs, size, top))?)
    {
        said.extend(answer);
    }
    Ok(said)
}

fn print(row: &Value) {
    println!("{}", row["image"].as_str().unwrap_or_default());
    for task in row["tasks"].as_array().into_iter().flatten() {
        let name = task["name"].as_str().unwrap_or_default();
        let listed = |key: &str, number: &str| {
            let one = |entry: &Value| {
                let class = entry["class"].as_str().unwrap_or_default();
                format!("{class} {:.1} %", 100.0 * entry[number].as_f64().unwrap_or(f64::NAN))
            };
            task[key].as_array().into_iter().flatten().map(one).collect::<Vec<_>>().join(", ")
        };
        let said = match (task["embedding"].as_array(), task["mask"].as_str()) {
            (Some(embedding), _) => {
                format!("embedding of {} numbers (see --json)", embedding.len())
            }
            (_, Some(mask)) => format!("{}, {mask}", listed("shares", "share")),
            _ if task["boxes"].is_array() => {
                let (drawn, picture) = (&task["drawn"], task["picture"].as_str());
                format!("{drawn} boxes (all: see --json), {}", picture.unwrap_or_default())
            }
            _ => listed("top", "probability"),
        };
        println!("  {name}: {said}");
    }
}
