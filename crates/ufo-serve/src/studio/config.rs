//! What the studio is told.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// The studio's section of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudioConfig {
    /// Folder of its projects.
    pub folder: PathBuf,
    /// Run whose shared branch new tasks start from.
    pub run: PathBuf,
    /// Program whose commands train, extract and judge.
    pub program: PathBuf,
    /// Largest archive, 1 KiB to 4 GiB; default 1 GiB.
    #[serde(default = "default_upload_bytes")]
    pub upload_bytes: u64,
    /// How long an archive may take to come, 1 to 86400000 milliseconds; default an hour. No part of it may take longer than
    /// `limits.head_ms`.
    #[serde(default = "default_upload_ms")]
    pub upload_ms: u64,
    /// Most images of a project, 1 to 60000; default 20000.
    #[serde(default = "default_images")]
    pub images: usize,
    /// Most classes of a project, 2 to 5000; default 1000.
    #[serde(default = "default_classes")]
    pub classes: usize,
    /// Largest image file, 1 KiB to 1 GiB; default 32 MiB.
    #[serde(default = "default_image_bytes")]
    pub image_bytes: u64,
}

fn default_upload_bytes() -> u64 {
    1 << 30
}

fn default_upload_ms() -> u64 {
    3_600_000
}

fn default_images() -> usize {
    20_000
}

fn default_classes() -> usize {
    1000
}

fn default_image_bytes() -> u64 {
    32 << 20
}

/// What of a run's configuration is of interest here.
#[derive(Deserialize)]
struct Run {
    task: Vec<Task>,
}

#[derive(Deserialize)]
struct Task {
    name: String,
}

impl StudioConfig {
    /// With the defaults.
    pub fn new(folder: PathBuf, run: PathBuf, program: PathBuf) -> Self {
        Self {
            folder,
            run,
            program,
            upload_bytes: default_upload_bytes(),
            upload_ms: default_upload_ms(),
            images: default_images(),
            classes: default_classes(),
            image_bytes: default_image_bytes(),
        }
    }

    /// Checks every value.
    pub(crate) fn validate(&self) -> Result<()> {
        let ranges = [
            ("studio.upload_bytes", self.upload_bytes, 1 << 10, 4 << 30),
            ("studio.upload_ms", self.upload_ms, 1, 86_400_000),
            ("studio.images", self.images as u64, 1, 60_000),
            ("studio.classes", self.classes as u64, 2, 5000),
            ("studio.image_bytes", self.image_bytes, 1 << 10, 1 << 30),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(Error::config(key, value, format!("{least} to {most}")));
            }
        }
        Ok(())
    }

    /// Tasks of the run.
    pub(super) fn tasks(&self) -> std::result::Result<Vec<String>, String> {
        let place = self.run.join("config.toml");
        let text = fs::read_to_string(&place)
            .map_err(|error| format!("no run, which `ufo demo` or `ufo train` makes: {error}"))?;
        let run: Run = toml::from_str(&text).map_err(|error| format!("config.toml: {error}"))?;
        Ok(run.task.into_iter().map(|task| task.name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_those_of_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = || folder.path().to_path_buf();
        let config = StudioConfig::new(path(), path(), "ufo".into());
        assert!(config.tasks().unwrap_err().contains("ufo demo"));
        let text = "[[task]]\nname = \"a\"\n[task.head]\nname = \"no\"\n[[task]]\nname = 'b'\n";
        fs::write(folder.path().join("config.toml"), text).unwrap();
        assert_eq!(config.tasks().unwrap(), ["a", "b"]);
        let wrong = StudioConfig { images: 0, ..config };
        assert!(wrong.validate().unwrap_err().to_string().contains("studio.images is 0"));
    }
}
