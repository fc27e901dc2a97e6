//! The studio: from labeled images to a trained task, with no command typed.
//!
//! An archive of images becomes a project, a folder of its own. Its work (training on the shared branch, smaller
//! networks, their search, extraction) is that of other commands of the same program, each a child process: this crate links
//! no training. What they write is what is shown: `metrics.jsonl`, `expand.json`, `pareto.json`, model folders.

mod archive;
mod commands;
mod config;
mod curves;
mod intake;
mod job;
mod parent;
mod project;
mod serving;
mod similar;

pub use config::StudioConfig;
pub(crate) use intake::{Folders, Refused};
pub(crate) use job::{Kind, Wanted};
pub use parent::end_with_studio;
pub(crate) use project::{FILES, Project, check_name, forms};

use crate::config::ModelConfig;
use crate::{Error, Result};
use commands::plan;
use job::Job;
use similar::Similar;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Projects in a folder, one of which may have work under way.
#[derive(Debug)]
pub(crate) struct Studio {
    pub(crate) config: StudioConfig,
    /// Tasks of the run that new ones start from.
    pub(crate) tasks: Vec<String>,
    /// The latest work since the start.
    job: Mutex<Option<Arc<Job>>>,
    /// Models of projects that are served.
    served: Mutex<Vec<ModelConfig>>,
    /// Embeddings of a project's images.
    pub(crate) similar: Similar,
    /// Archives are unpacked one after the other.
    pub(crate) unpacking: tokio::sync::Mutex<()>,
    /// Held so that no other server works in the folder.
    _lock: File,
}

impl Studio {
    /// Opens the folder, which is made where it is missing.
    ///
    /// # Errors
    /// A folder in use, or a run that is none.
    pub(crate) fn open(config: &StudioConfig) -> Result<Arc<Self>> {
        let said = |place: &Path, reason: String| Error::File {
            place: place.display().to_string(),
            reason,
        };
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|e| said(path, e.to_string()));
        let config = StudioConfig {
            folder: absolute(&config.folder)?,
            run: absolute(&config.run)?,
            ..config.clone()
        };
        let folder = &config.folder;
        fs::create_dir_all(folder).map_err(|error| said(folder, error.to_string()))?;
        let lock = folder.join(".lock");
        let lock = File::create(&lock).map_err(|error| said(&lock, error.to_string()))?;
        lock.try_lock().map_err(|_| said(folder, "in use by another server".into()))?;
        project::sweep(folder).map_err(|error| said(folder, error.to_string()))?;
        let tasks = config.tasks().map_err(|reason| said(&config.run, reason))?;
        let served = serving::read(folder).map_err(|reason| said(folder, reason))?;
        let (job, served) = (Mutex::default(), Mutex::new(served));
        let unpacking = tokio::sync::Mutex::default();
        Ok(Arc::new(Self {
            config,
            tasks,
            job,
            served,
            similar: Similar::default(),
            unpacking,
            _lock: lock,
        }))
    }

    /// The folder of a project.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.config.folder.join(name)
    }

    /// The latest work of this server on a project.
    pub(crate) fn job_of(&self, project: &str) -> Option<Arc<Job>> {
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        job.as_ref().filter(|job| job.project == project).map(Arc::clone)
    }

    /// Starts work on a project. Models that it begins anew are told to `gone`, before their folders are.
    ///
    /// # Errors
    /// What keeps it from starting, such as work under way.
    pub(crate) fn start(
        &self,
        project: &Project,
        wanted: Wanted,
        gone: impl Fn(&str),
    ) -> Result<Arc<Job>, String> {
        let mut latest = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = latest.as_ref().filter(|job| job.is_running()) {
            return Err(format!("work on `{}` goes on; wait for it or cancel it", job.project));
        }
        let plan = plan(&self.config, project, &wanted)?;
        for folder in &plan.1 {
            let names = self.unserve(folder).map_err(|error| error.to_string())?;
            for name in &names {
                gone(name);
            }
        }
        let job = Job::start(&self.config, project, wanted, plan)?;
        *latest = Some(Arc::clone(&job));
        Ok(job)
    }

    /// Asks what is under way to stop; training keeps a checkpoint.
    pub(crate) fn cancel(&self) {
        self.latest().iter().for_each(|job| job.cancel());
    }

    /// Waits for the end of what is under way.
    pub(crate) fn wait(&self) {
        self.latest().iter().for_each(|job| job.wait());
    }

    fn latest(&self) -> Option<Arc<Job>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
