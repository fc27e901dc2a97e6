//! What a model's folder says of it beside the weights: its size, what it scored, and the front it is taken from.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use ufo_runtime::WEIGHTS;

/// Largest of these files.
const MOST: u64 = 4 << 20;

/// What is known of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Papers {
    /// Bytes of its weights file.
    pub bytes: u64,
    /// Parameters, heads included (`manifest.json`).
    pub params: Option<u64>,
    /// What it scored on test images (`results.json` of `ufo eval --keep`), at the precision that is served.
    pub results: Vec<Scored>,
    /// The searches that its networks are points of (`fronts.json`).
    pub fronts: Vec<Front>,
}

/// What a task scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// `f32`, `bf16` or `int8` of the folder, or the name of its ONNX file.
    #[serde(rename = "as", skip_serializing)]
    pub how: String,
    /// Task.
    pub task: String,
    /// Metric.
    pub metric: String,
    /// Its value, a fraction.
    pub value: f64,
}

/// A front of accuracy and latency that `ufo search` found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Front {
    /// Task.
    pub task: String,
    /// Metric of the accuracy.
    pub metric: String,
    /// Images that it was judged on.
    pub split: String,
    /// Its points, the fastest first.
    pub points: Vec<FrontPoint>,
}

/// A slice on a front.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrontPoint {
    /// `block:heads:ffn` of each kept block.
    pub slice: String,
    /// Parameters, the head excluded.
    pub params: u64,
    /// Multiply-accumulates of an image.
    pub macs: u64,
    /// Value of the metric.
    pub accuracy: f64,
    /// Milliseconds of a batch where it was measured.
    pub latency_ms: f64,
}

#[derive(Deserialize)]
struct Manifest {
    params: u64,
}

impl Papers {
    /// Those of a folder at a precision, or of an ONNX file in one. A file that cannot be read is logged and
    /// left out: the model answers without it.
    pub(crate) fn read(place: &Path, precision: &str) -> Self {
        let is_file = place.is_file();
        let folder = if is_file { place.parent().unwrap_or(place) } else { place };
        let weights = if is_file { place.to_path_buf() } else { folder.join(WEIGHTS) };
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let how = if is_file { &name } else { precision };
        let mut results: Vec<Scored> = read(&folder.join("results.json")).unwrap_or_default();
        results.retain(|scored| scored.how == how && scored.value.is_finite());
        Self {
            bytes: fs::metadata(&weights).map_or(0, |file| file.len()),
            params: read(&folder.join("manifest.json")).map(|manifest: Manifest| manifest.params),
            results,
            fronts: read(&folder.join("fronts.json")).unwrap_or_default(),
        }
    }
}

fn read<T: DeserializeOwned>(file: &Path) -> Option<T> {
    if !file.exists() {
        return None;
    }
    let mut text = Vec::new();
    let parsed = File::open(file)
        .and_then(|opened| opened.take(MOST).read_to_end(&mut text))
        .map_err(|error| error.to_string())
        .and_then(|_| serde_json::from_slice(&text).map_err(|error| error.to_string()));
    match parsed {
        Ok(value) => Some(value),
        Err(reason) => {
            tracing::warn!(file = %file.display(), reason, "left out");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_its_size_and_what_it_scored_at_a_precision() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(WEIGHTS, "12345");
        write("small.onnx", "123");
        write("manifest.json", r#"{"params": 7, "tasks": []}"#);
        let scored = |how: &str, value| {
            format!(r#"{{"as": "{how}", "task": "a", "metric": "top1", "value": {value}}}"#)
        };
        let rows = [scored("f32", 0.5), scored("int8", 0.25), scored("small.onnx", 0.75)];
        write("results.json", &format!("[{}]", rows.join(",")));
        write("fronts.json", "no JSON");
        let read = |place: &Path, precision| {
            let papers = Papers::read(place, precision);
            assert_eq!((papers.params, papers.fronts.len()), (Some(7), 0));
            (papers.bytes, papers.results.iter().map(|r| r.value).collect::<Vec<_>>())
        };
        assert_eq!(read(folder.path(), "int8"), (5, vec![0.25]));
        assert_eq!(read(&folder.path().join("small.onnx"), "f32"), (3, vec![0.75]));
        assert_eq!(Papers::read(Path::new("/nothing"), "f32"), Papers::default());
    }
}
