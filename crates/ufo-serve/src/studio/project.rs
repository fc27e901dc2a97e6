//! A project: a folder with images, runs and models, and what they say.

use super::commands::task_toml;
use super::curves::curves;
use super::intake::{Checks, Folders, Refused, unpack};
use super::job::{Job, Progress, State, tail};
use super::{Kind, Studio};
use crate::served::{Front, Papers};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use ufo_data::{Dataset, Format, contact_sheet, encode_png};
use ufo_runtime::Precision;

/// Longest name of a project.
const MAX_NAME: usize = 40;
/// Largest JSON file that is read.
const MOST: u64 = 16 << 20;
/// Files of a model that may be fetched.
pub(crate) const FILES: [&str; 6] = [
    "model.onnx",
    "model.int8.onnx",
    "model.safetensors",
    "config.json",
    "manifest.json",
    "README.md",
];
/// Prefix of folders that are being made or removed.
const BESIDE: &str = ".beside-";

/// A project of the studio.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// Its name, which is the task's.
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

/// Writes a file beside and renames it.
pub(super) fn write(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(place).map(drop).map_err(|error| error.error)
}

/// Removes what a server that was killed left half done.
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(BESIDE) {
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
    }
    Ok(())
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, String> {
    if !file.exists() {
        return Ok(None);
    }
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut text = Vec::new();
    let opened = File::open(file).map_err(|error| said(&error))?;
    opened.take(MOST).read_to_end(&mut text).map_err(|error| said(&error))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| said(&error))
}

/// Whether a name is a project's: a folder's, a task's and a model's, too.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let letter = |byte: u8| byte.is_ascii_lowercase();
    let sound = name.len() <= MAX_NAME
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit() || byte == b'-');
    let said = || {
        format!(
            "name `{}`; allowed: up to {MAX_NAME} of a-z, 0-9 and -, beginning with a letter",
            name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect::<String>()
        )
    };
    if sound { Ok(()) } else { Err(said()) }
}

impl Studio {
    /// The projects, by name.
    pub(crate) fn projects(&self) -> Result<Vec<Project>, String> {
        let said = |error: io::Error| format!("{}: {error}", self.config.folder.display());
        let mut projects = Vec::new();
        for entry in fs::read_dir(&self.config.folder).map_err(said)? {
            let name = entry.map_err(said)?.file_name().to_string_lossy().into_owned();
            projects.extend(self.project(&name));
        }
        projects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(projects)
    }

    /// A project by its name.
    pub(crate) fn project(&self, name: &str) -> Option<Project> {
        let folder = self.place(name);
        let there = check_name(name).is_ok() && folder.join("checks.json").is_file();
        there.then(|| Project { name: name.to_string(), folder })
    }

    /// A file beside the projects, to write an archive to.
    pub(crate) fn archive(&self) -> io::Result<tempfile::NamedTempFile> {
        tempfile::Builder::new().prefix(BESIDE).tempfile_in(&self.config.folder)
    }

    /// Makes a project of an archive: whole, or not at all.
    pub(crate) fn create(
        &self,
        name: &str,
        archive: &Path,
        folders: Folders,
        pixels: u64,
    ) -> Result<Project, Refused> {
        let disk = |error: io::Error| Refused::Disk(error.to_string());
        let beside = tempfile::Builder::new()
            .prefix(BESIDE)
            .tempdir_in(&self.config.folder)
            .map_err(disk)?;
        let images = beside.path().join("images");
        let checks = unpack(archive, &images, &self.config, (folders, pixels))?;
        let train = Dataset::open(Format::ImageFolder, &images.join("train"));
        let train = train.map_err(|error| Refused::Content(error.to_string()))?;
        let sheet = encode_png(&contact_sheet(&train, 12, 6, 64));
        let sheet = sheet.map_err(|error| Refused::Content(error.to_string()))?;
        write(&beside.path().join("sheet.png"), &sheet).map_err(disk)?;
        let text = serde_json::to_vec_pretty(&checks).map_err(|e| Refused::Disk(e.to_string()))?;
        write(&beside.path().join("checks.json"), &text).map_err(disk)?;
        // The task names where its images will be.
        let project = Project { name: name.to_string(), folder: beside.path().to_path_buf() };
        let task = task_toml(&project, &self.place(name)).map_err(Refused::Disk)?;
        write(&beside.path().join("task.toml"), task.as_bytes()).map_err(disk)?;
        let folder = self.place(name);
        fs::rename(beside.path(), &folder).map_err(disk)?;
        drop(beside.keep());
        Ok(Project { name: name.to_string(), folder })
    }

    /// Removes a project with everything that it has.
    pub(crate) fn remove(&self, project: &Project) -> io::Result<()> {
        let beside = self.config.folder.join(format!("{BESIDE}{}", project.name));
        fs::rename(&project.folder, &beside)?;
        fs::remove_dir_all(beside)
    }
}

impl Project {
    pub(crate) fn checks(&self) -> Result<Checks, String> {
        read(&self.folder.join("checks.json"))?.ok_or_else(|| "checks.json is missing".to_string())
    }

    /// The front that a search found.
    pub(crate) fn front(&self) -> Result<Option<Front>, String> {
        let found: Option<Value> = read(&self.folder.join("chip/search/pareto.json"))?;
        let Some(found) = found else { return Ok(None) };
        let points = found["points"].as_array().cloned().unwrap_or_default();
        let point = |point: &Value| {
            json!({"slice": point["slice"], "params": point["params"], "macs": point["macs"],
                "accuracy": point["measured"]["accuracy"],
                "latency_ms": point["measured"]["latency_ms"]})
        };
        let points: Vec<Value> = points.iter().map(point).collect();
        let front = json!({"task": found["task"], "metric": found["metric"],
            "split": found["split"], "points": points});
        serde_json::from_value(front).map(Some).map_err(|error| format!("pareto.json: {error}"))
    }

    /// Folders of models by their names, whole ones only.
    pub(crate) fn models(&self) -> Vec<(String, PathBuf)> {
        let mut models = Vec::new();
        let folder = self.folder.join("models");
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            models.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
        models.push(("student".to_string(), self.folder.join("student/model")));
        models.retain(|(_, path)| path.join("results.json").is_file());
        // The whole one first, then the sizes by their number, then the student.
        models.sort_by_key(|(name, _)| {
            let size = name.strip_prefix("size-").and_then(|n| n.parse::<usize>().ok());
            (name != "whole", name == "student", size, name.clone())
        });
        models
    }

    /// A model by its name.
    pub(crate) fn model(&self, name: &str) -> Option<PathBuf> {
        self.models().into_iter().find(|(known, _)| known == name).map(|(_, path)| path)
    }

    /// How far its latest work is; a job that this server did not start was interrupted.
    pub(crate) fn progress(&self, job: Option<&Job>) -> Result<Option<Progress>, String> {
        if let Some(job) = job {
            return Ok(Some(job.progress()));
        }
        let mut told: Option<Progress> = read(&self.folder.join("job.json"))?;
        if let Some(progress) = told.as_mut().filter(|told| told.state == State::Running) {
            progress.state = State::Interrupted;
        }
        Ok(told)
    }

    /// Everything that the page shows.
    pub(crate) fn told(&self, job: Option<&Job>) -> Result<Value, String> {
        let progress = self.progress(job)?;
        let run = match progress.as_ref().map(|progress| progress.wanted.kind) {
            Some(Kind::Sizes | Kind::Pick) => "chip",
            Some(Kind::Student) => "student",
            _ => "run",
        };
        let trained: Option<Value> = read(&self.folder.join("run/expand.json"))?;
        let model = |(name, path): (String, PathBuf)| {
            let files: Vec<&str> =
                FILES.into_iter().filter(|file| path.join(file).is_file()).collect();
            let forms: Vec<Value> = forms(&path)
                .into_iter()
                .map(|(form, place, precision)| {
                    json!({"form": form, "papers": Papers::read(&place, precision.name())})
                })
                .collect();
            json!({"name": name, "files": files, "forms": forms})
        };
        Ok(json!({
            "name": self.name,
            "checks": self.checks()?,
            "job": progress,
            "log": tail(&self.folder.join("job.log"), 6000),
            "curves": curves(&self.folder.join(run), &self.name),
            "trained": trained,
            "front": self.front()?,
            "models": self.models().into_iter().map(model).collect::<Vec<_>>(),
        }))
    }
}

/// The forms in which a model runs: their name, place and precision.
pub(crate) fn forms(model: &Path) -> Vec<(&'static str, PathBuf, Precision)> {
    let int8 = model.join("model.int8.onnx");
    let onnx = model.join("model.onnx");
    if int8.is_file() {
        return vec![
            ("f32", model.to_path_buf(), Precision::F32),
            ("int8", model.to_path_buf(), Precision::Int8),
            ("onnx", onnx, Precision::F32),
            ("onnx-int8", int8, Precision::F32),
        ];
    }
    // A student's network is its ONNX file.
    vec![("onnx", onnx, Precision::F32)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_projects_are_no_paths() {
        for name in ["a", "flowers-2", "z9"] {
            check_name(name).unwrap();
        }
        let long = "a".repeat(41);
        for name in ["", "-a", "A", "../up", "a/b", "a.b", ".", "a\0", "9a", "ä", &long] {
            assert!(check_name(name).unwrap_err().contains("allowed"), "{name}");
        }
    }
}
