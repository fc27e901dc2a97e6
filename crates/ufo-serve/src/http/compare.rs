//! `POST /v1/compare`: the models beside each other.

use crate::app::{App, json};
use crate::compare::{Compared, compare};
use crate::http::update::blocking;
use crate::refusal::Refusal;
use crate::served::{Runtimes, Served};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// What may follow the `?`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// Only this task.
    task: Option<String>,
}

/// `POST /v1/compare`
pub(crate) async fn all(
    State(app): State<Arc<App>>,
    params: Result<Query<Params>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(params) = params.map_err(|error| Refusal::Request(error.body_text()))?;
    let models = app.engine.models().iter().map(|lane| Arc::clone(&lane.model)).collect();
    let rows = measured(&app, params.task, move |_| Ok(models)).await?;
    json(&json!({"threads": app.engine.threads(), "rows": rows}))
}

/// Opens models and runs them in turns; only one such comparison at a time.
///
/// # Errors
/// 429 while another goes on.
pub(crate) async fn measured(
    app: &Arc<App>,
    task: Option<String>,
    open: impl FnOnce(&Runtimes) -> Result<Vec<Arc<Served>>, Refusal> + Send + 'static,
) -> Result<Vec<Compared>, Refusal> {
    let turn = Arc::clone(&app.comparing).try_lock_owned().map_err(|_| Refusal::Busy)?;
    let worker = Arc::clone(app);
    blocking(move || {
        let _turn = turn;
        let models = open(&worker.runtimes)?;
        compare(&worker.engine, &models, task.as_deref())
            .map_err(|error| Refusal::Failed(error.to_string()))
    })
    .await
}
