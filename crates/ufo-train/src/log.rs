//! What a run writes while it trains: `metrics.jsonl` and a `TensorBoard` event file.
//!
//! | kind | keys |
//! |---|---|
//! | `train` | `loss` by task, `lr`, `grad_norm`, `images_per_s`; of a chip supernet `gradient_cosine` |
//! | `router` | `share`: P(shared) of every site, by task |
//! | `eval` | `metric` and `value` by task, on validation or else test images |

use crate::checkpoint::write_atomic;
use crate::evaluate::TaskResult;
use crate::events::EventWriter;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One log step's figures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures<'a> {
    /// Steps done.
    pub(crate) step: u64,
    /// Loss of each task, in task order.
    pub(crate) losses: &'a [f32],
    /// Learning rate.
    pub(crate) lr: f32,
    /// Global gradient norm before the clip.
    pub(crate) grad_norm: f32,
    /// Training images a second so far.
    pub(crate) images_per_s: f64,
    /// Of a chip supernet: cosine between the gradients of the largest slice and of smaller ones.
    pub(crate) gradient_cosine: Option<f32>,
}

/// The open log of a run.
#[derive(Debug)]
pub(crate) struct Log {
    place: PathBuf,
    lines: File,
    events: EventWriter,
}

impl Log {
    /// Opens the log of the run in `folder`, which continues at `step`: lines of later steps, left
    /// by a process that was killed, are dropped.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(crate) fn open(folder: &Path, step: u64) -> Result<Self> {
        let place = folder.join("metrics.jsonl");
        if place.exists() {
            let text = fs::read_to_string(&place)
                .with_context(|| format!("reading {}", place.display()))?;
            let kept: String = text
                .lines()
                .filter(|line| is_until(line, step))
                .map(|l| format!("{l}\n"))
                .collect();
            if kept != text {
                write_atomic(&place, kept.as_bytes())?;
            }
        }
        let lines = OpenOptions::new().create(true).append(true).open(&place);
        let lines = lines.with_context(|| format!("opening {}", place.display()))?;
        let opened = EventWriter::create(folder, SystemTime::now()).and_then(|mut events| {
            if step > 0 {
                events.restart(step + 1)?;
            }
            Ok(events)
        });
        let events =
            opened.with_context(|| format!("opening an event file in {}", folder.display()))?;
        Ok(Self { place, lines, events })
    }

    /// Losses and routing of the trained `tasks`: names, and P(shared) of every site.
    ///
    /// # Errors
    /// When a file cannot be written, such as on a full disk.
    pub(crate) fn train(
        &mut self,
        figures: &Figures<'_>,
        tasks: &[(&str, Vec<f32>)],
    ) -> Result<()> {
        let Figures { step, losses, lr, grad_norm, images_per_s, gradient_cosine } = *figures;
        let names = || tasks.iter().map(|(name, _)| (*name).to_string());
        let by_task: Map<String, Value> =
            names().zip(losses.iter().map(|loss| json!(loss))).collect();
        let mut line = json!({"step": step, "kind": "train", "loss": by_task, "lr": lr,
            "grad_norm": grad_norm, "images_per_s": images_per_s});
        if let Some(cosine) = gradient_cosine {
            line["gradient_cosine"] = json!(cosine);
            self.scalar(step, "gradient_cosine", cosine)?;
        }
        self.line(&line)?;
        let routed = || tasks.iter().filter(|(_, share)| !share.is_empty());
        let by_task: Map<String, Value> =
            routed().map(|(name, share)| ((*name).to_string(), json!(share))).collect();
        if !by_task.is_empty() {
            self.line(&json!({"step": step, "kind": "router", "share": by_task}))?;
        }
        for (name, loss) in names().zip(losses) {
            self.scalar(step, &format!("loss/{name}"), *loss)?;
        }
        for (name, share) in routed() {
            let mean = share.iter().sum::<f32>() / share.len() as f32;
            self.scalar(step, &format!("router/share/{name}"), mean)?;
        }
        self.scalar(step, "lr", lr)?;
        self.scalar(step, "grad_norm", grad_norm)?;
        self.scalar(step, "images_per_s", images_per_s as f32)?;
        self.flush()
    }

    /// Results of an evaluation during training.
    ///
    /// # Errors
    /// When a file cannot be written, such as on a full disk.
    pub(crate) fn eval(&mut self, step: u64, results: &[TaskResult]) -> Result<()> {
        for result in results {
            self.line(&json!({"step": step, "kind": "eval", "task": result.name,
                "metric": result.metric, "value": result.value}))?;
            let tag = format!("{}/{}", result.metric, result.name);
            self.scalar(step, &tag, result.value as f32)?;
        }
        self.flush()
    }

    fn line(&mut self, line: &Value) -> Result<()> {
        let place = &self.place;
        writeln!(self.lines, "{line}").with_context(|| format!("writing {}", place.display()))
    }

    fn scalar(&mut self, step: u64, tag: &str, value: f32) -> Result<()> {
        let place = || format!("writing {}", self.events.path().display());
        let place = place();
        self.events.scalar(step, tag, value).context(place)
    }

    fn flush(&mut self) -> Result<()> {
        let place = format!("writing {}", self.events.path().display());
        self.events.flush().context(place)
    }
}

/// Whether a line is whole and of a step up to `step`.
fn is_until(line: &str, step: u64) -> bool {
    let value: Option<Value> = serde_json::from_str(line).ok();
    value.and_then(|line| line["step"].as_u64()).is_some_and(|at| at <= step)
}
