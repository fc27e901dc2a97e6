//! Galleries: images under names, and which of them look like another.

use crate::app::{App, Deadline, json};
use crate::gallery::{Gallery, MAX_ID, Match, Unchanged};
use crate::http::{body, predict};
use crate::refusal::Refusal;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Most names or matches of an answer.
const MOST_TOLD: usize = 10_000;

/// What may follow the `?`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// The model that is asked; default is the first that has the task.
    model: Option<String>,
    /// Matches told, up to 10000; default 10.
    top: usize,
    /// Only names behind this one are told.
    after: String,
    /// Names told, up to 10000; default 1000.
    limit: usize,
    /// A deadline before the server's.
    timeout_ms: Option<u64>,
}

impl Default for Params {
    fn default() -> Self {
        Self { model: None, top: 10, after: String::new(), limit: 1000, timeout_ms: None }
    }
}

#[derive(Serialize)]
struct Found {
    images: usize,
    matches: Vec<Match>,
}

/// What an address names, with its parameters.
struct Asked {
    task: predict::Asked,
    gallery: Arc<Gallery>,
    params: Params,
}

impl Asked {
    fn new(
        app: &App,
        task: &str,
        params: Result<Query<Params>, QueryRejection>,
    ) -> Result<Self, Refusal> {
        let Query(params) = params.map_err(|error| Refusal::Request(error.body_text()))?;
        if params.top > MOST_TOLD || params.limit > MOST_TOLD {
            let said = format!("top and limit are at most {MOST_TOLD}");
            return Err(Refusal::Request(said));
        }
        loop {
            let task = predict::find(app, task, params.model.as_deref())?;
            let gallery = app.gallery(&task)?;
            // Otherwise another took its place meanwhile, and the gallery may be the other's.
            if app.engine.models().iter().any(|lane| Arc::ptr_eq(lane, &task.lane)) {
                return Ok(Self { task, gallery, params });
            }
        }
    }

    fn deadline(&self, deadline: Deadline) -> Deadline {
        deadline.within(self.params.timeout_ms.map(Duration::from_millis))
    }
}

impl From<Unchanged> for Refusal {
    fn from(unchanged: Unchanged) -> Self {
        match unchanged {
            Unchanged::Full => Self::GalleryFull,
            Unchanged::Missing => Self::Missing("no image of this name".into()),
            Unchanged::NoDirection => Self::Failed("the embedding has no direction".into()),
            Unchanged::Retired => {
                Self::Conflict("another model took this one's place meanwhile; ask again".into())
            }
            Unchanged::Disk(reason) => Self::Failed(reason),
        }
    }
}

/// Work on a gallery, on a thread that may wait for the disk.
async fn with<T: Send + 'static>(
    gallery: Arc<Gallery>,
    work: impl FnOnce(&Gallery) -> Result<T, Unchanged> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(move || work(&gallery)).await;
    Ok(done.map_err(|_| Refusal::Failed("the gallery failed".into()))??)
}

/// The embedding of the image that a request brings.
async fn embedding(
    app: &Arc<App>,
    deadline: Deadline,
    asked: &Asked,
    file: Vec<u8>,
) -> Result<Vec<f32>, Refusal> {
    let (_, rows) =
        predict::outputs(app, asked.deadline(deadline), file, std::slice::from_ref(&asked.task))
            .await?;
    rows.into_iter().next().ok_or_else(|| Refusal::Failed("an answer is missing".into()))
}

fn named<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Refusal> {
    path.map(|Path(named)| named).map_err(|error| Refusal::Request(error.body_text()))
}

fn checked(id: &str) -> Result<(), Refusal> {
    if id.is_empty() || id.len() > MAX_ID || id.chars().any(char::is_control) {
        let said = format!("a name has 1 to {MAX_ID} bytes and no control characters");
        return Err(Refusal::Request(said));
    }
    Ok(())
}

/// `GET /v1/gallery/{task}`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    params: Result<Query<Params>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Asked { gallery, params, .. } = Asked::new(&app, &named(path)?, params)?;
    let ids = gallery.ids(&params.after, params.limit);
    json(&json!({"images": gallery.len(), "ids": ids}))
}

/// `PUT /v1/gallery/{task}/{id}`
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    path: Result<Path<(String, String)>, PathRejection>,
    params: Result<Query<Params>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let headers = request.headers().clone();
    let held = body::read(&app, deadline, &headers, request.into_body()).await?;
    let (task, id) = named(path)?;
    checked(&id)?;
    let asked = Asked::new(&app, &task, params)?;
    let row = embedding(&app, deadline, &asked, held.bytes).await?;
    let name = id.clone();
    let replaced =
        with(Arc::clone(&asked.gallery), move |gallery| gallery.put(&name, &row)).await?;
    let told = json(&json!({"id": id, "images": asked.gallery.len()}))?;
    Ok(if replaced { told } else { (StatusCode::CREATED, told).into_response() })
}

/// `DELETE /v1/gallery/{task}/{id}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    params: Result<Query<Params>, QueryRejection>,
) -> Result<Response, Refusal> {
    let (task, id) = named(path)?;
    let asked = Asked::new(&app, &task, params)?;
    let name = id.clone();
    with(Arc::clone(&asked.gallery), move |gallery| gallery.remove(&name)).await?;
    json(&json!({"id": id, "images": asked.gallery.len()}))
}

/// `POST /v1/search/{task}`
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    path: Result<Path<String>, PathRejection>,
    params: Result<Query<Params>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let headers = request.headers().clone();
    let held = body::read(&app, deadline, &headers, request.into_body()).await?;
    let asked = Asked::new(&app, &named(path)?, params)?;
    let row = embedding(&app, deadline, &asked, held.bytes).await?;
    let top = asked.params.top;
    let matches =
        with(Arc::clone(&asked.gallery), move |gallery| gallery.search(&row, top)).await?;
    json(&Found { images: asked.gallery.len(), matches })
}
