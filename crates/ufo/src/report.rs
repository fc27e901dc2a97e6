//! `ufo report`: a run as one HTML page.

use crate::RunFolder;
use crate::html_report::{
    Chart, ParamTable, Report, Routing, Sample, Samples, Series, THUMBNAIL, TaskRow,
};
use crate::run::{Results, Run};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use ufo_data::{
    Bounds, Dataset, Detection, IGNORE, Image, Interpolation, Mask, Palette, Preprocess,
    encode_png, outlined,
};
use ufo_model::{HeadConfig, router};
use ufo_nas::Slice;
use ufo_runtime::softmax;
use ufo_train::detect::predict_boxed;
use ufo_train::effect::site_name;
use ufo_train::segment::predict_scene;
use ufo_train::{Task, write_atomic};

/// Images shown of a classification task, and queries of a retrieval task.
const SHOWN: usize = 24;
const QUERIES: usize = 4;
const SCENES: usize = 8;
const MATCHES: usize = 6;
/// Longest side of the part of an image whose boxes are shown.
const PART: usize = 288;
/// Score from which boxes are shown, in the page and in pictures of `ufo predict`.
pub(crate) const SURE: f32 = 0.3;
/// Colors of boxes that are right, wrong and true.
pub(crate) const BOX_COLORS: [[u8; 3]; 3] = [[80, 230, 120], [240, 60, 60], [255, 255, 255]];

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    folder: RunFolder,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let run = Run::open(&args.folder.run)?;
    let results = run.evaluate(&run.slice(None)?)?;
    write(&run, &results)?;
    println!("{}", run.folder.join("report.html").display());
    Ok(ExitCode::SUCCESS)
}

/// Writes `report.html` into the run's folder.
pub(crate) fn write(run: &Run, results: &Results) -> Result<()> {
    let log = Log::read(run)?;
    let report = Report {
        title: format!("ufo run {}", run.folder.display()),
        facts: facts(run, &log),
        tasks: task_rows(run, results),
        curves: curves(run, results, &log),
        routing: routing(run),
        params: params(run),
        tables: Vec::new(),
        samples: samples(run, results)?,
    };
    write_atomic(&run.folder.join("report.html"), report.html().as_bytes())
}

/// Points of `metrics.jsonl`.
struct Log {
    losses: BTreeMap<String, Vec<(f64, f64)>>,
    metrics: BTreeMap<String, Vec<(f64, f64)>>,
    shares: BTreeMap<String, Vec<(f64, f64)>>,
    steps: f64,
}

impl Log {
    fn read(run: &Run) -> Result<Self> {
        let place = run.folder.join("metrics.jsonl");
        let text =
            fs::read_to_string(&place).with_context(|| format!("reading {}", place.display()))?;
        let mut log = Self {
            losses: BTreeMap::new(),
            metrics: BTreeMap::new(),
            shares: BTreeMap::new(),
            steps: 0.0,
        };
        for line in text.lines() {
            // The last line of a run that was killed may be torn.
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let step = line["step"].as_f64().unwrap_or(f64::NAN);
            log.steps = log.steps.max(step);
            for (task, loss) in line["loss"].as_object().into_iter().flatten() {
                let value = loss.as_f64().unwrap_or(f64::NAN);
                log.losses.entry(task.clone()).or_default().push((step, value));
            }
            for (task, share) in line["share"].as_object().into_iter().flatten() {
                let share: Vec<f64> =
                    share.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
                let mean = share.iter().sum::<f64>() / share.len() as f64;
                log.shares.entry(task.clone()).or_default().push((step, mean));
            }
            if let (Some(task), Some(value)) = (line["task"].as_str(), line["value"].as_f64()) {
                log.metrics.entry(task.to_string()).or_default().push((step, 100.0 * value));
            }
        }
        Ok(log)
    }
}

fn facts(run: &Run, log: &Log) -> Vec<(String, String)> {
    let arch = &run.supernet.arch;
    let [height, width] = arch.image_size;
    let fact = |name: &str, value: String| (name.to_string(), value);
    vec![
        fact("preset", run.config.preset.name().to_string()),
        fact("layout", format!("{:?}", arch.layout)),
        fact("input", format!("{height}x{width}, {} tokens", arch.tokens())),
        fact(
            "network",
            format!(
                "{} blocks, width {}, {} heads, FFN {}",
                arch.depth, arch.dim, arch.heads, arch.ffn
            ),
        ),
        fact("steps", format!("{}", log.steps)),
        fact("seed", run.config.seed.to_string()),
    ]
}

fn task_rows(run: &Run, results: &Results) -> Vec<TaskRow> {
    let arch = &run.supernet.arch;
    let macs = ufo_nas::macs(arch, &Slice::full(arch)).total();
    let account = ufo_nas::accounting(&run.supernet.spec());
    let row = |(index, judged): (usize, &crate::run::Judged)| TaskRow {
        name: judged.result.name.clone(),
        metric: judged.result.metric.clone(),
        value: judged.result.value,
        baseline: judged.baseline,
        params: account.per_task[index].activated_params,
        macs,
        path: run.supernet.path(index).to_string(),
    };
    results.iter().enumerate().map(row).collect()
}

fn curves(run: &Run, results: &Results, log: &Log) -> Vec<Chart> {
    let names: Vec<&str> = run.tasks.iter().map(|task| task.config.name.as_str()).collect();
    let series = |points: &BTreeMap<String, Vec<(f64, f64)>>, baseline: bool| -> Vec<Series> {
        let one = |(index, name): (usize, &&str)| Series {
            name: (*name).to_string(),
            points: points.get(*name).cloned().unwrap_or_default(),
            reference: baseline.then(|| 100.0 * results[index].baseline),
            ..Series::default()
        };
        names.iter().enumerate().map(one).collect()
    };
    let chart = |title: &str, y_label: &str, log_y: bool, series: Vec<Series>| Chart {
        title: title.to_string(),
        x_label: "step".to_string(),
        y_label: y_label.to_string(),
        log_y,
        series,
    };
    vec![
        chart("Training loss", "loss", true, series(&log.losses, false)),
        chart(
            "Accuracy during training, dashed: raw-pixel 1-NN",
            "top-1, rank-1, mean IoU or AP, %",
            false,
            series(&log.metrics, true),
        ),
        chart("Sharing during training", "mean P(shared)", false, series(&log.shares, false)),
    ]
}

fn routing(run: &Run) -> Routing {
    let arch = &run.supernet.arch;
    let sites = arch.routed_sites();
    let row = |task: &ufo_model::TaskModules| {
        (task.spec.name.clone(), router::share_probabilities(&task.router))
    };
    Routing {
        sites: (0..sites).map(|site| site_name(site, arch.layout, sites)).collect(),
        rows: run.supernet.tasks.iter().map(row).collect(),
    }
}

fn params(run: &Run) -> ParamTable {
    let account = ufo_nas::accounting(&run.supernet.spec());
    let (shared, task, backbone) = (account.shared, account.task, account.backbone);
    let part = |name: &str, count: fn(&ufo_nas::Params) -> u64| {
        (name.to_string(), vec![count(&shared), count(&task), count(&backbone)])
    };
    let mut rows = vec![
        part("stem, tokens, positions", |p| p.stem + p.cls_token + p.pos_embed),
        part("attention", |p| p.attention),
        part("FFN", |p| p.ffn),
        part("norms", |p| p.norms + p.final_norm),
    ];
    let rest = account.head_params + account.router_params;
    rows.push(("heads and router".to_string(), vec![0, 0, rest]));
    let columns = (0..3).map(|c| rows.iter().map(|(_, row)| row[c]).sum()).collect();
    rows.push(("total".to_string(), columns));
    ParamTable {
        columns: ["shared", "each task's own", "whole supernet"].map(String::from).to_vec(),
        rows,
    }
}

fn samples(run: &Run, results: &Results) -> Result<Vec<Samples>> {
    let mut all = Vec::new();
    for (index, (task, judged)) in run.tasks.iter().zip(results).enumerate() {
        let dim = judged.rows.len() / task.test.len();
        all.push(match task.config.head {
            HeadConfig::Linear => classified(task, &judged.rows, dim)?,
            HeadConfig::Embedding { .. } => retrieved(task, &judged.rows, dim)?,
            HeadConfig::Segmentation { .. } => segmented(run, index)?,
            HeadConfig::Detection { .. } => detected(run, index)?,
        });
    }
    Ok(all)
}

fn png(split: &Dataset, index: usize) -> Result<Vec<u8>> {
    thumbnail(&split.image(index)?, Interpolation::Bicubic)
}

fn thumbnail(image: &Image, interpolation: Interpolation) -> Result<Vec<u8>> {
    let longest = image.width.max(image.height);
    if longest <= THUMBNAIL {
        return Ok(encode_png(image)?);
    }
    let size = [image.height, image.width].map(|side| (side * THUMBNAIL / longest).max(1));
    let preprocess = Preprocess { size, interpolation, ..Preprocess::default() };
    Ok(encode_png(&preprocess.resized(image))?)
}

/// Some test images, each with its true and its predicted mask.
fn segmented(run: &Run, index: usize) -> Result<Samples> {
    let (task, preprocess) = (&run.tasks[index], run.config.preprocess());
    let (test, palette) = (&task.test, Palette::of(task.classes()));
    let slice = Slice::full(&run.supernet.arch);
    let vit = run.supernet.subnet(index, &run.supernet.path(index), &slice)?;
    let head = &run.supernet.tasks[index].head;
    let mut shown = Vec::new();
    let count = test.len().min(SCENES);
    for image in (0..count).map(|i| i * test.len() / count) {
        let mut network = |images, size| Ok(ufo_train::evaluate::run(&vit, head, images, size));
        let [predicted, truth] = predict_scene(task, (test, image), &preprocess, &mut network)?;
        let counted = || truth.ids.iter().zip(&predicted.ids).filter(|(id, _)| **id != IGNORE);
        let right = counted().filter(|(truth, predicted)| truth == predicted).count();
        let share = 100.0 * right as f64 / counted().count().max(1) as f64;
        let card = |png: Vec<u8>, title: &str, note: String| Sample {
            png,
            title: title.to_string(),
            note,
            right: None,
        };
        let picture = |mask: &Mask| thumbnail(&mask.picture(palette), Interpolation::Nearest);
        shown.push(vec![
            card(png(test, image)?, "image", String::new()),
            card(picture(&truth)?, "truth", String::new()),
            card(picture(&predicted)?, "predicted", format!("{share:.1} % of pixels right")),
        ]);
    }
    let colors = |(id, class): (usize, &String)| {
        let [red, green, blue] = palette.color(id as u8);
        format!("{class} #{red:02x}{green:02x}{blue:02x}")
    };
    let classes: Vec<String> = task.classes().iter().enumerate().map(colors).collect();
    Ok(Samples {
        task: task.config.name.clone(),
        caption: format!(
            "Test images, evenly spread, with their true and predicted masks: {}.",
            classes.join(", ")
        ),
        rows: shown,
    })
}

/// Parts of some test images, each with its true boxes and those found.
fn detected(run: &Run, index: usize) -> Result<Samples> {
    let (task, preprocess) = (&run.tasks[index], run.config.preprocess());
    let test = &task.test;
    let slice = Slice::full(&run.supernet.arch);
    let vit = run.supernet.subnet(index, &run.supernet.path(index), &slice)?;
    let head = &run.supernet.tasks[index].head;
    let mut shown = Vec::new();
    let count = test.len().min(SCENES);
    let [right, wrong, white] = BOX_COLORS;
    for image in (0..count).map(|i| i * test.len() / count) {
        let mut network = |images, size| Ok(ufo_train::evaluate::run(&vit, head, images, size));
        let (found, boxed) = predict_boxed(task, (test, image), &preprocess, &mut network)?;
        let counts = || boxed.boxes.iter().filter(|truth| !truth.crowd);
        let truth: Vec<(Bounds, [u8; 3])> = counts().map(|truth| (truth.bounds, white)).collect();
        let hits = |found: &Detection| {
            let same = |truth: &&ufo_data::Annotation| truth.class == found.class;
            counts().filter(same).any(|truth| truth.bounds.iou(&found.bounds) >= 0.5)
        };
        let sure: Vec<&Detection> = found.iter().filter(|found| found.score >= SURE).collect();
        let colored = |found: &&Detection| (found.bounds, if hits(found) { right } else { wrong });
        let said: Vec<_> = sure.iter().map(colored).collect();
        let good = said.iter().filter(|(_, color)| *color == right).count();
        let card = |boxes: &[(Bounds, [u8; 3])], title: &str, note: String| -> Result<Sample> {
            let picture = middle(&outlined(&boxed.image, boxes, 2));
            Ok(Sample { png: encode_png(&picture)?, title: title.to_string(), note, right: None })
        };
        shown.push(vec![
            card(&[], "image", String::new())?,
            card(&truth, "truth", format!("{} boxes in the whole image", truth.len()))?,
            card(&said, "found", format!("{} boxes, {good} on a true one", said.len()))?,
        ]);
    }
    Ok(Samples {
        task: task.config.name.clone(),
        caption: format!(
            "The middle of test images, evenly spread, with their true boxes and those found with a score of {SURE} \
             or more: green where half of the union with a true box is common, else red."
        ),
        rows: shown,
    })
}

/// The middle of an image, where it is larger than is shown.
fn middle(image: &Image) -> Image {
    let [width, height] = [image.width, image.height].map(|side| side.min(PART));
    let [left, top] = [(image.width - width) / 2, (image.height - height) / 2];
    let line = |y: usize| &image.rgb[3 * (y * image.width + left)..][..3 * width];
    Image { width, height, rgb: (top..top + height).flat_map(line).copied().collect() }
}

fn classified(task: &Task, rows: &[f32], classes: usize) -> Result<Samples> {
    let mut shown = Vec::new();
    let count = task.test.len().min(SHOWN);
    for index in (0..count).map(|i| i * task.test.len() / count) {
        let probabilities = softmax(&rows[index * classes..][..classes]);
        let best = (0..classes).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
        let best = best.unwrap_or_default();
        let truth = task.test.label(index) as usize;
        let names = task.classes();
        let note = format!("{:.0} %", 100.0 * probabilities[best]);
        shown.push(Sample {
            png: png(&task.test, index)?,
            title: names[best].clone(),
            note: if best == truth { note } else { format!("is {}, {note}", names[truth]) },
            right: Some(best == truth),
        });
    }
    Ok(Samples {
        task: task.config.name.clone(),
        caption: "Test images, evenly spread, with the predicted class and its probability."
            .to_string(),
        rows: vec![shown],
    })
}

fn retrieved(task: &Task, rows: &[f32], dim: usize) -> Result<Samples> {
    let test = &task.test;
    let row = |index: usize| &rows[index * dim..][..dim];
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f32::MIN_POSITIVE)
    };
    let mut shown = Vec::new();
    for query in (0..QUERIES).map(|i| i * test.len() / QUERIES) {
        let same_camera =
            |other: usize| test.camera(other).is_some() && test.camera(other) == test.camera(query);
        let mut others: Vec<(usize, f32)> = (0..test.len())
            .filter(|&other| other != query && !same_camera(other))
            .map(|other| (other, cosine(row(query), row(other))))
            .collect();
        others.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut line = vec![Sample {
            png: png(test, query)?,
            title: "query".to_string(),
            note: test.classes()[test.label(query) as usize].clone(),
            right: None,
        }];
        for &(other, similarity) in others.iter().take(MATCHES) {
            line.push(Sample {
                png: png(test, other)?,
                title: format!("{similarity:.2}"),
                note: test.classes()[test.label(other) as usize].clone(),
                right: Some(test.label(other) == test.label(query)),
            });
        }
        shown.push(line);
    }
    Ok(Samples {
        task: task.config.name.clone(),
        caption:
            "Queries and their nearest matches among images of other cameras, with the cosine."
                .to_string(),
        rows: shown,
    })
}
