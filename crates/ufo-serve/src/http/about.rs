//! What the server says of itself.

use crate::app::{App, json};
use crate::engine::Lane;
use crate::refusal::Refusal;
use crate::served::ServedTask;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use ufo_nas::HeadShape;

/// The description of all addresses (`OpenAPI` 3.1).
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (kind, OPENAPI).into_response()
}

/// `GET /metrics`
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let text = app.metrics.text(&app.engine.models(), app.held());
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// `GET /v1/models`
pub(crate) async fn models(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let models: Vec<Value> = app.engine.models().iter().map(|lane| told(lane)).collect();
    json(&json!({
        "threads": app.engine.threads(),
        "galleries": app.keeps_galleries(),
        "updates": app.updates().is_ok(),
        "studio": app.studio().is_ok(),
        "models": models,
    }))
}

fn told(lane: &Lane) -> Value {
    let model = &lane.model;
    let task = |(place, task): (usize, &ServedTask)| {
        let told = task.described.as_ref();
        let kind = told.map_or("output", |told| match told.head {
            HeadShape::Linear { .. } => "classes",
            HeadShape::Embedding { .. } => "embedding",
            HeadShape::Segmentation { .. } => "mask",
            HeadShape::Detection { .. } => "boxes",
        });
        json!({
            "name": task.name,
            "kind": kind,
            "shape": task.shape,
            "classes": told.map(|told| &told.classes),
            "path": told.map(|told| told.path.to_string()),
            "slice": told.map(|told| told.slice.to_string()),
            "images": lane.task_images(place),
        })
    };
    let tasks: Vec<Value> = model.tasks.iter().enumerate().map(task).collect();
    json!({
        "name": model.name,
        "platform": model.platform,
        "precision": model.precision.map(ufo_runtime::Precision::name),
        "input": {"name": model.input, "shape": model.image},
        "preprocess": model.preprocess,
        "papers": model.papers,
        "tasks": tasks,
    })
}
