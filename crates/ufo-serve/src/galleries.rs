//! The galleries of a server: one for each task that gives embeddings.

use crate::config::ModelConfig;
use crate::gallery::{Gallery, Stamp};
use crate::served::Served;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ufo_runtime::{CONFIG, WEIGHTS};

/// Galleries by model and task.
#[derive(Debug)]
pub(crate) struct Galleries {
    folder: PathBuf,
    most: usize,
    open: Mutex<BTreeMap<(String, String), Kept>>,
    /// Held while a model takes its place.
    changing: Mutex<()>,
    /// Held so that no other server writes the files.
    _lock: File,
}

#[derive(Debug)]
struct Kept {
    stamp: Stamp,
    gallery: Arc<Gallery>,
}

/// Galleries of a model that is about to take its place.
#[must_use]
pub(crate) struct Opened<'a> {
    of: &'a Galleries,
    galleries: Vec<((String, String), Kept)>,
    _alone: MutexGuard<'a, ()>,
}

impl Opened<'_> {
    /// From now on these are found.
    pub(crate) fn keep(self) {
        self.of.open.lock().unwrap_or_else(PoisonError::into_inner).extend(self.galleries);
    }
}

impl Galleries {
    /// Takes a folder, which is made where it is missing, for galleries of at most so many images.
    ///
    /// # Errors
    /// A folder in use.
    pub(crate) fn open(folder: &Path, most: usize) -> Result<Self> {
        let said = |error: &dyn std::fmt::Display| Error::File {
            place: folder.display().to_string(),
            reason: error.to_string(),
        };
        fs::create_dir_all(folder).map_err(|error| said(&error))?;
        let lock = File::create(folder.join(".lock")).map_err(|error| said(&error))?;
        lock.try_lock().map_err(|_| said(&"in use by another server"))?;
        let folder = folder.to_path_buf();
        let (open, changing) = (Mutex::default(), Mutex::default());
        Ok(Self { folder, most, open, changing, _lock: lock })
    }

    /// Opens the galleries of a model, to be kept when it is in its place; those of the same weights that are open stay
    /// so, even where the model was taken out meanwhile: somebody may still write to them. One of other weights gives
    /// way where it holds no image.
    ///
    /// # Errors
    /// A file with images of another model, or a damaged one; nothing is changed then.
    pub(crate) fn open_for(&self, told: &ModelConfig, model: &Served) -> Result<Opened<'_>> {
        let alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = Vec::new();
        for task in model.tasks.iter().filter(|task| task.embeds()) {
            let stamp = Stamp { dim: task.width(), model: fingerprint(told, &task.name)? };
            let key = (model.name.clone(), task.name.clone());
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let before = open.get(&key);
            if before.is_none_or(|kept| kept.stamp != stamp) {
                let file = format!("{}.{}.gallery", model.name, file_name(&task.name));
                let before = before.map(|kept| Arc::clone(&kept.gallery));
                wanted.push((key, self.folder.join(file), stamp, before));
            }
        }
        let mut retired: Vec<&Gallery> = Vec::new();
        for (_, file, stamp, before) in &wanted {
            retired.extend(before.as_deref().filter(|gallery| gallery.retire()));
            if let Err(error) = Gallery::check(file, *stamp) {
                for gallery in retired {
                    gallery.go_on();
                }
                return Err(error);
            }
        }
        let open = |(key, file, stamp, _): (_, PathBuf, Stamp, _)| {
            let gallery = Arc::new(Gallery::open(&file, stamp, self.most)?);
            Ok((key, Kept { stamp, gallery }))
        };
        let galleries = wanted.into_iter().map(open).collect::<Result<_>>()?;
        Ok(Opened { of: self, galleries, _alone: alone })
    }

    pub(crate) fn get(&self, model: &str, task: &str) -> Option<Arc<Gallery>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&(model.to_string(), task.to_string())).map(|kept| Arc::clone(&kept.gallery))
    }
}

/// Hash of what decides the embeddings of a task.
fn fingerprint(config: &ModelConfig, task: &str) -> Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let files = match config.onnx_file() {
        Some(file) => vec![file],
        None => [CONFIG, WEIGHTS].map(|file| config.path.join(file)).to_vec(),
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
