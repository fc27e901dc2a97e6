//! A run's tasks with their data, and the supernet for them.

use crate::{RunConfig, TaskConfig};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use ufo_data::{Dataset, HoldOut, Purpose, stream};
use ufo_model::{HeadConfig, Supernet, TaskSpec, timm};
use ufo_nas::{SupernetSpec, TaskShape};

/// A task ready to train and evaluate.
#[derive(Debug)]
pub struct Task {
    /// Its configuration.
    pub config: TaskConfig,
    /// Training split, without what is held out.
    pub train: Arc<Dataset>,
    /// Held-out training images, when `data.validation` is above 0.
    pub validation: Option<Arc<Dataset>>,
    /// Test split.
    pub test: Arc<Dataset>,
}

impl Task {
    /// Class names of the head; none for an embedding.
    pub fn classes(&self) -> &[String] {
        match self.config.head {
            HeadConfig::Embedding { .. } => &[],
            _ => self.train.classes(),
        }
    }

    /// What a supernet knows of it.
    pub fn spec(&self) -> TaskSpec {
        TaskSpec {
            name: self.config.name.clone(),
            head: self.config.head,
            classes: self.train.classes().len(),
        }
    }
}

/// Opens the data of every task.
///
/// # Errors
/// Names the task and the place.
pub fn open_tasks(config: &RunConfig) -> Result<Vec<Task>> {
    let open = |(index, task): (usize, &TaskConfig)| -> Result<Task> {
        let data = &task.data;
        let hold_out = match task.head {
            HeadConfig::Embedding { .. } => HoldOut::Classes,
            _ => HoldOut::Images,
        };
        let (train, validation) = data.open_train(config.seed_of(index), hold_out)?;
        let test = match task.head {
            HeadConfig::Embedding { .. } => data.open_test(None)?,
            _ => data.open_test(Some(train.classes()))?,
        };
        Ok(Task {
            config: task.clone(),
            train: Arc::new(train),
            validation: validation.map(Arc::new),
            test: Arc::new(test),
        })
    };
    let named = |(index, task): (usize, &TaskConfig)| {
        open((index, task)).with_context(|| format!("task `{}`", task.name))
    };
    config.tasks.iter().enumerate().map(named).collect()
}

/// A fresh supernet for the tasks.
///
/// # Errors
/// When the architecture is not valid.
pub fn new_supernet(config: &RunConfig, tasks: &[Task]) -> Result<Supernet> {
    fresh_supernet(config, &tasks.iter().map(Task::spec).collect::<Vec<_>>())
}

/// A fresh supernet for tasks known by their shapes, on the run's device.
///
/// # Errors
/// When the architecture is not valid, or this build cannot compute on the device.
pub fn fresh_supernet(config: &RunConfig, specs: &[TaskSpec]) -> Result<Supernet> {
    let shape = |spec: &TaskSpec| TaskShape {
        name: spec.name.clone(),
        head: spec.head.shape(spec.classes),
    };
    SupernetSpec { arch: config.arch(), tasks: specs.iter().map(shape).collect() }.validate()?;
    let mut rng = stream(config.seed, Purpose::Init, &[]);
    Ok(Supernet::init(&config.arch(), specs, &mut rng, &config.train.device.device()?)?)
}

/// Starts every expert and stem from a timm ViT checkpoint.
///
/// # Errors
/// Names the file, and the tensor that is missing or does not fit.
pub fn init_from(file: &Path, supernet: &mut Supernet) -> Result<()> {
    let from = file.display().to_string();
    let bytes = std::fs::read(file).with_context(|| format!("init: reading {from}"))?;
    let state = ufo_weights::from_bytes(&bytes, &from)?;
    timm::init(supernet, state, &from)
        .context("init: a plain timm ViT of the preset's shape is needed")
}

/// What a checkpoint belongs to, key and value: all that shapes the weights, their meaning, the data
/// order, the optimizer's state and the precision that this machine comes to. Learning rates, lengths and paths may change between resumptions.
pub type Identity = Vec<(String, String)>;

/// The identity of a run.
pub fn identity(config: &RunConfig, tasks: &[Task]) -> Identity {
    let names: Vec<&str> = tasks.iter().map(|task| task.config.name.as_str()).collect();
    let mut identity = vec![
        ("tasks".to_string(), names.join(", ")),
        ("arch".to_string(), json!(config.arch()).to_string()),
        ("mean, std".to_string(), format!("{:?}, {:?}", config.mean, config.std)),
        ("seed".to_string(), config.seed.to_string()),
        ("train.optimizer".to_string(), json!(config.train.optimizer).to_string()),
        ("train.precision".to_string(), config.train.precision.products().to_string()),
    ];
    if let Some(chip) = &config.chip {
        identity.push(("chip.space".to_string(), json!(chip.space).to_string()));
    }
    if let Some(distill) = &config.distill {
        identity.push(("distill.student".to_string(), distill.student.to_string()));
        identity.push(("distill.teacher".to_string(), distill.teacher.display().to_string()));
        let projects = distill.features + distill.classifier > 0.0;
        identity.push(("distill.projects".to_string(), projects.to_string()));
        if distill.maps > 0.0 {
            identity.push(("distill.aligns".to_string(), "true".to_string()));
        }
    }
    if let Some(expand) = &config.expand {
        identity.push(("expand.update".to_string(), expand.update.to_string()));
    }
    for task in tasks {
        let classes = task.train.classes();
        let hash = blake3::hash(json!(classes).to_string().as_bytes()).to_hex();
        for (key, value) in [
            ("head", json!(task.config.head).to_string()),
            ("batch", task.config.batch.to_string()),
            ("sampler", json!(task.config.sampler).to_string()),
            ("training images", task.train.len().to_string()),
            ("classes", format!("{} with hash {}", classes.len(), &hash[..12])),
        ] {
            identity.push((format!("task.{}.{key}", task.config.name), value));
        }
        let seed = task.config.seed.map(|seed| ("seed", seed.to_string()));
        let labels = task.config.data.labels.map(|labels| ("data.labels", labels.to_string()));
        for (key, value) in seed.into_iter().chain(labels) {
            identity.push((format!("task.{}.{key}", task.config.name), value));
        }
    }
    identity
}
