//! `POST /v1/pair/{task}`: how alike two images are to a task that gives embeddings.

use crate::app::{App, Deadline, json};
use crate::gallery::{Unchanged, cosine};
use crate::http::{body, parts, predict};
use crate::refusal::Refusal;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::header;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// What may follow the `?`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The model that is asked; default is the first that has the task.
    model: Option<String>,
    /// A deadline before the server's.
    timeout_ms: Option<u64>,
}

#[derive(Serialize)]
struct Pair<'a> {
    task: &'a str,
    model: &'a str,
    cosine: f32,
}

/// `POST /v1/pair/{task}`: the body is a form of two files.
pub(crate) async fn pair(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    path: Result<Path<String>, PathRejection>,
    params: Result<Query<Params>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let headers = request.headers().clone();
    let held = body::read(&app, deadline, &headers, request.into_body()).await?;
    let Path(task) = path.map_err(|error| Refusal::Request(error.body_text()))?;
    let Query(params) = params.map_err(|error| Refusal::Request(error.body_text()))?;
    let deadline = deadline.within(params.timeout_ms.map(Duration::from_millis));
    let asked = predict::find(&app, &task, params.model.as_deref())?;
    if !asked.lane.model.tasks[asked.task].embeds() {
        return Err(Refusal::Request("this task gives no embedding".into()));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = kind.and_then(parts::boundary).ok_or_else(|| {
        Refusal::Kind("two images are needed as files of a form: multipart/form-data".into())
    })?;
    let files = parts::parts(&held.bytes, boundary).map_err(Refusal::Request)?;
    let [a, b] = files.as_slice() else {
        let said = format!("{} files in the form; allowed: 2", files.len());
        return Err(Refusal::Request(said));
    };
    let one = std::slice::from_ref(&asked);
    let row = |file: &[u8]| {
        let (app, file) = (&app, file.to_vec());
        async move {
            let (_, rows) = predict::outputs(app, deadline, file, one).await?;
            rows.into_iter().next().ok_or_else(|| Refusal::Failed("an answer is missing".into()))
        }
    };
    let (a, b) = tokio::try_join!(row(a), row(b))?;
    let cosine = cosine(&a, &b).ok_or(Unchanged::NoDirection)?;
    let model = &asked.lane.model;
    json(&Pair { task: &model.tasks[asked.task].name, model: &model.name, cosine })
}
