//! The galleries of a server: one for each task that gives embeddings.

use crate::config::{Config, ModelConfig};
use crate::gallery::{Gallery, Stamp};
use crate::served::Served;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use ufo_nas::HeadShape;
use ufo_runtime::{CONFIG, WEIGHTS};

/// Galleries by model and task.
#[derive(Debug)]
pub(crate) struct Galleries {
    by_task: BTreeMap<(usize, usize), Arc<Gallery>>,
    /// Held so that no other server writes the files.
    _lock: File,
}

impl Galleries {
    /// Opens the galleries in a folder, which is made where it is missing.
    ///
    /// # Errors
    /// A folder in use, or a file of another model or damaged.
    pub(crate) fn open(folder: &Path, config: &Config, models: &[Served]) -> Result<Self> {
        let said = |error: &dyn std::fmt::Display| Error::File {
            place: folder.display().to_string(),
            reason: error.to_string(),
        };
        fs::create_dir_all(folder).map_err(|error| said(&error))?;
        let lock = File::create(folder.join(".lock")).map_err(|error| said(&error))?;
        lock.try_lock().map_err(|_| said(&"in use by another server"))?;
        let mut by_task = BTreeMap::new();
        for (index, (told, model)) in config.models.iter().zip(models).enumerate() {
            for (place, task) in model.tasks.iter().enumerate().filter(|(_, task)| embeds(task)) {
                let stamp = Stamp { dim: task.width(), model: fingerprint(told, &task.name)? };
                let file = folder.join(format!("{}.{}.gallery", model.name, file_name(&task.name)));
                let gallery = Gallery::open(&file, stamp, config.limits.gallery_images)?;
                by_task.insert((index, place), Arc::new(gallery));
            }
        }
        Ok(Self { by_task, _lock: lock })
    }

    pub(crate) fn get(&self, task: (usize, usize)) -> Option<&Arc<Gallery>> {
        self.by_task.get(&task)
    }
}

fn embeds(task: &crate::served::ServedTask) -> bool {
    let head = task.described.as_ref().map(|told| told.head);
    matches!(head, Some(HeadShape::Embedding { .. }))
}

/// Hash of what decides the embeddings of a task.
fn fingerprint(config: &ModelConfig, task: &str) -> Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let files = if config.path.is_dir() {
        [CONFIG, WEIGHTS].map(|file| config.path.join(file)).to_vec()
    } else {
        vec![config.path.clone()]
    };
    for file in files {
        let read = File::open(&file).and_then(|read| hasher.update_reader(read).map(drop));
        read.map_err(|error| Error::File {
            place: file.display().to_string(),
            reason: error.to_string(),
        })?;
    }
    hasher.update(config.precision.as_bytes()).update(task.as_bytes());
    Ok(*hasher.finalize().as_bytes())
}

/// A task's name as part of a file's: letters and digits, other bytes as `%` and two digits.
fn file_name(task: &str) -> String {
    task.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => (byte as char).to_string(),
            _ => format!("%{byte:02x}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tasks_are_no_paths() {
        assert_eq!(file_name("emoji_2-x"), "emoji_2-x");
        assert_eq!(file_name("../a b"), "%2e%2e%2fa%20b");
    }
}
