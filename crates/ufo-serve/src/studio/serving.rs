//! Which models of projects are served: again, too, when the server starts again (`served.json`).

use super::Studio;
use super::project::write;
use crate::config::ModelConfig;
use std::path::Path;
use std::sync::PoisonError;
use std::{fs, io};

const FILE: &str = "served.json";

/// Those of a folder of projects; some may be gone.
pub(super) fn read(folder: &Path) -> Result<Vec<ModelConfig>, String> {
    let place = folder.join(FILE);
    if !place.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read(&place).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| format!("{FILE}: {error}"))
}

impl Studio {
    /// The models that are served.
    pub(crate) fn served(&self) -> Vec<ModelConfig> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that a model is served.
    pub(crate) fn serve(&self, told: ModelConfig) -> io::Result<()> {
        self.change(|served| {
            served.retain(|model| model.name != told.name);
            served.push(told);
        })
    }

    /// Notes that the models below a folder are not served any more, and gives their names.
    pub(crate) fn unserve(&self, below: &Path) -> io::Result<Vec<String>> {
        let served = self.served();
        let gone = served.iter().filter(|model| model.path.starts_with(below));
        let names: Vec<String> = gone.map(|model| model.name.clone()).collect();
        self.change(|served| served.retain(|model| !names.contains(&model.name)))?;
        Ok(names)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<ModelConfig>)) -> io::Result<()> {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut served);
        write(&self.config.folder.join(FILE), &serde_json::to_vec_pretty(&*served)?)
    }
}
