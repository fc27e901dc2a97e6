//! `/v1/models/{model}`: models added, put in another's place and taken out while the server runs.

use crate::app::{App, Deadline, json};
use crate::config::ModelConfig;
use crate::http::body;
use crate::refusal::Refusal;
use crate::{Error, Result as Started};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Most models of a server.
const MOST: usize = 1000;

/// From where models come.
#[derive(Debug)]
pub(crate) struct Updates {
    folder: PathBuf,
    /// Models are opened one after the other.
    turn: Mutex<()>,
}

/// The body of a change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// A folder that `ufo extract` wrote, or an ONNX file, under the server's folder.
    path: PathBuf,
    /// `f32`, `bf16` or `int8`.
    #[serde(default = "crate::config::f32_name")]
    precision: String,
    /// `rten` or `onnxruntime`, of an ONNX file.
    runtime: Option<String>,
}

impl Updates {
    /// Takes a folder.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn of(folder: &FilePath) -> Started<Self> {
        let folder = folder.canonicalize().map_err(|error| Error::File {
            place: folder.display().to_string(),
            reason: format!("updates: {error}"),
        })?;
        Ok(Self { folder, turn: Mutex::new(()) })
    }

    /// What lies under the folder, links followed.
    fn place(&self, path: &FilePath) -> Result<PathBuf, Refusal> {
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let place = self.folder.join(path).canonicalize().ok();
        place.filter(|place| plain && place.starts_with(&self.folder)).ok_or_else(|| {
            let said = format!("path `{}`; allowed: what lies under `updates`", path.display());
            Refusal::Request(said)
        })
    }
}

fn named(path: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    path.map(|Path(name)| name).map_err(|error| Refusal::Request(error.body_text()))
}

/// Work that may block and take long.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refusal::Failed("the work panicked".into()))?
}

/// `PUT /v1/models/{model}`
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let headers = request.headers().clone();
    let held = body::read(&app, deadline, &headers, request.into_body()).await?;
    let (name, updates) = (named(name)?, app.updates()?);
    let change: Change = serde_json::from_slice(&held.bytes)
        .map_err(|error| Refusal::Request(format!("the body: {error}")))?;
    let Change { path, precision, runtime } = change;
    let told = ModelConfig { name, path: updates.place(&path)?, precision, runtime };
    told.validate("").map_err(|error| Refusal::Request(error.to_string()))?;
    let _turn = updates.turn.lock().await;
    add(&app, told).await
}

/// Opens a model and puts it in its place.
///
/// # Errors
/// 409 where it cannot be opened: what is served stays.
pub(crate) async fn add(app: &Arc<App>, told: ModelConfig) -> Result<Response, Refusal> {
    let models = app.engine.models();
    let replaced = models.iter().any(|lane| lane.model.name == told.name);
    if !replaced && models.len() >= MOST {
        return Err(Refusal::Conflict(format!("there are {MOST} models, the most")));
    }
    let (worker, name) = (Arc::clone(app), told.name.clone());
    blocking(move || worker.put(&told).map_err(|error| Refusal::Conflict(error.to_string())))
        .await?;
    tracing::info!(model = name, replaced, "model put");
    json(&json!({"name": name, "replaced": replaced}))
}

/// `DELETE /v1/models/{model}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let (name, updates) = (named(name)?, app.updates()?);
    let _turn = updates.turn.lock().await;
    app.model(&name)?;
    app.engine.remove(&name);
    tracing::info!(model = name, "model taken out");
    json(&json!({"name": name}))
}
