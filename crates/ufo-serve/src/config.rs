//! What a server is told: models, limits, batching.

use crate::studio::StudioConfig;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use ufo_runtime::{ONNX, ONNX_INT8, Precision};

/// Longest name of a model, in bytes.
const MAX_NAME: usize = 100;

/// Configuration of a server; in TOML every section and key has a default but `[[model]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port; default `127.0.0.1:8080`. Port 0 takes a free one.
    pub listen: String,
    /// Threads that models compute with, 0 to 1024; 0, the default, is all of the machine.
    pub threads: usize,
    /// File of API keys, one a line; without it everybody may ask.
    pub api_keys: Option<PathBuf>,
    /// Folder in which galleries for search are kept; without it there is no search.
    pub galleries: Option<PathBuf>,
    /// Folder whose models may be added, put in another's place and taken out while the server runs
    /// (`/v1/models/{model}`); without it, the default, nobody can.
    pub updates: Option<PathBuf>,
    /// Library of onnxruntime (`libonnxruntime.so`), for models whose `runtime` it is.
    pub onnxruntime: Option<PathBuf>,
    /// The page on which tasks are made of images; without it there is none.
    pub studio: Option<StudioConfig>,
    /// Batching.
    pub batch: BatchConfig,
    /// Limits of requests.
    pub limits: Limits,
    /// Models; at least one, but with `updates` or `studio`.
    #[serde(rename = "model")]
    pub models: Vec<ModelConfig>,
}

/// A model to serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Its name in addresses: letters, digits and `._+,-`, not beginning with a dot.
    pub name: String,
    /// A folder that `ufo extract` wrote, or an ONNX file.
    pub path: PathBuf,
    /// Numbers that layers multiply in: `f32` (default), `bf16` or `int8`; an ONNX file has its own.
    #[serde(default = "f32_name")]
    pub precision: String,
    /// What runs it: `rten` (default of an ONNX file) or `onnxruntime`, which a folder's ONNX file is run in, too;
    /// without it a folder runs in this program's own kernels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
}

/// What runs ONNX files.
pub(crate) const RUNTIMES: [&str; 2] = ["rten", "onnxruntime"];

pub(crate) fn f32_name() -> String {
    Precision::F32.name().to_string()
}

/// How requests are put together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Most images that a model computes at once, and of one request, 1 to 4096; default 32.
    pub max_images: usize,
    /// How long a batch that is not full waits for more, 0 to 10000 milliseconds; with the default 0 what
    /// comes while one batch is computed makes up the next.
    pub max_delay_ms: u64,
    /// Most images admitted to a model and not answered yet, `max_images` to 1000000; more are
    /// refused with 429. Default 256.
    pub queue_images: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { max_images: 32, max_delay_ms: 0, queue_images: 256 }
    }
}

/// Limits of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest body, 1 KiB to 1 GiB; default 32 MiB.
    pub body_bytes: usize,
    /// Bodies held at the same time, `body_bytes` to 64 GiB; more are refused with 429. Default 256 MiB.
    pub bodies_bytes: usize,
    /// Most pixels of an image, 1 to 100000000; default 25000000.
    pub pixels: u64,
    /// From a request's first byte to its answer, 1 to 600000 milliseconds; default 10000.
    pub deadline_ms: u64,
    /// How long a connection may wait, or take to send the head of a request, 1 to 600000 milliseconds; default
    /// 30000.
    pub head_ms: u64,
    /// Most connections, 1 to 100000; further ones wait. Default 1024.
    pub connections: usize,
    /// How long requests under way may take when the server stops, 0 to 600000 milliseconds; default 20000.
    pub drain_ms: u64,
    /// Most images of a gallery, 1 to 100000000; default 1000000.
    pub gallery_images: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            bodies_bytes: 256 << 20,
            pixels: 25_000_000,
            deadline_ms: 10_000,
            head_ms: 30_000,
            connections: 1024,
            drain_ms: 20_000,
            gallery_images: 1_000_000,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_string(),
            threads: 0,
            api_keys: None,
            galleries: None,
            updates: None,
            onnxruntime: None,
            studio: None,
            batch: BatchConfig::default(),
            limits: Limits::default(),
            models: Vec::new(),
        }
    }
}

impl Config {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let Self { batch, limits, .. } = self;
        let ranges: [(&str, u64, u64, u64); 12] = [
            ("threads", self.threads as u64, 0, 1024),
            ("batch.max_images", batch.max_images as u64, 1, 4096),
            ("batch.max_delay_ms", batch.max_delay_ms, 0, 10_000),
            ("batch.queue_images", batch.queue_images as u64, batch.max_images as u64, 1_000_000),
            ("limits.body_bytes", limits.body_bytes as u64, 1 << 10, 1 << 30),
            ("limits.bodies_bytes", limits.bodies_bytes as u64, limits.body_bytes as u64, 64 << 30),
            ("limits.pixels", limits.pixels, 1, ufo_data::MAX_PIXELS),
            ("limits.deadline_ms", limits.deadline_ms, 1, 600_000),
            ("limits.head_ms", limits.head_ms, 1, 600_000),
            ("limits.connections", limits.connections as u64, 1, 100_000),
            ("limits.drain_ms", limits.drain_ms, 0, 600_000),
            ("limits.gallery_images", limits.gallery_images as u64, 1, 100_000_000),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(Error::config(key, value, format!("{least} to {most}")));
            }
        }
        if let Some(studio) = &self.studio {
            studio.validate()?;
        }
        if self.models.is_empty() && self.updates.is_none() && self.studio.is_none() {
            return Err(Error::config("model", "missing", "at least one model"));
        }
        for (index, model) in self.models.iter().enumerate() {
            model.validate(&format!("model.{index}."))?;
            if model.in_library() && self.onnxruntime.is_none() {
                let allowed = "the place of a library, such as /usr/lib/libonnxruntime.so, where a model's runtime is onnxruntime";
                return Err(Error::config("onnxruntime", "missing", allowed));
            }
            if self.models[..index].iter().any(|earlier| earlier.name == model.name) {
                let key = format!("model.{index}.name");
                return Err(Error::config(key, &model.name, "each name once"));
            }
        }
        Ok(())
    }
}

impl ModelConfig {
    /// A model with the runtime of its kind.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>, precision: Precision) -> Self {
        let precision = precision.name().to_string();
        Self { name: name.into(), path: path.into(), precision, runtime: None }
    }

    /// Whether it runs in a library of onnxruntime.
    pub(crate) fn in_library(&self) -> bool {
        self.runtime.as_deref() == Some("onnxruntime")
    }

    /// The ONNX file that is run, if it is one; of a folder that of its precision.
    pub(crate) fn onnx_file(&self) -> Option<PathBuf> {
        if self.path.extension().is_some_and(|ending| ending == "onnx") {
            return Some(self.path.clone());
        }
        let file = if self.precision() == Some(Precision::Int8) { ONNX_INT8 } else { ONNX };
        self.runtime.as_ref().map(|_| self.path.join(file))
    }

    /// Checks name and precision; `at` is where they stand, for errors.
    pub(crate) fn validate(&self, at: &str) -> Result<()> {
        if !is_name(&self.name) {
            let allowed =
                format!("1 to {MAX_NAME} letters, digits or `._+,-`, not beginning with a dot");
            return Err(Error::config(format!("{at}name"), &self.name, allowed));
        }
        if let Some(runtime) = self.runtime.as_ref().filter(|r| !RUNTIMES.contains(&r.as_str())) {
            return Err(Error::config(format!("{at}runtime"), runtime, RUNTIMES.join(", ")));
        }
        self.precision().map(drop).ok_or_else(|| {
            let known = Precision::ALL.map(Precision::name).join(", ");
            Error::config(format!("{at}precision"), &self.precision, known)
        })
    }

    /// The precision, if it is one.
    pub(crate) fn precision(&self) -> Option<Precision> {
        Precision::ALL.into_iter().find(|known| known.name() == self.precision)
    }
}

/// Whether a name can stand in an address and is no path.
fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._+,-".contains(&b);
    (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of a sound configuration, and what is said of it.
    type Case = (fn(&mut Config), &'static str);

    fn sound() -> Config {
        let model = ModelConfig::new("fashion+digits", "models/both", Precision::Int8);
        Config { models: vec![model], ..Config::default() }
    }

    #[test]
    fn wrong_values_are_named_with_what_is_allowed() {
        sound().validate().unwrap();
        let cases: [Case; 11] = [
            (|c| c.threads = 5000, "threads is 5000; allowed: 0 to 1024"),
            (|c| c.batch.max_images = 0, "batch.max_images is 0; allowed: 1 to 4096"),
            (|c| c.batch.queue_images = 31, "batch.queue_images is 31; allowed: 32 to"),
            (|c| c.limits.bodies_bytes = 5, "limits.bodies_bytes is 5; allowed: 33554432 to"),
            (|c| c.limits.deadline_ms = 0, "limits.deadline_ms is 0"),
            (|c| c.models.clear(), "model is missing"),
            (|c| c.models[0].name = "../up".into(), "model.0.name is ../up"),
            (|c| c.models[0].precision = "f64".into(), "allowed: f32, bf16, int8"),
            (|c| c.models[0].runtime = Some("tvm".into()), "allowed: rten, onnxruntime"),
            (
                |c| c.models[0].runtime = Some("onnxruntime".into()),
                "onnxruntime is missing; allowed: the place of a library",
            ),
            (|c| c.models.push(c.models[0].clone()), "model.1.name is fashion+digits"),
        ];
        for (change, said) in cases {
            let mut config = sound();
            change(&mut config);
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(said), "{message}");
        }
    }
}
