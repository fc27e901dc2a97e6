//! What the server says of itself.

use crate::app::{App, json};
use crate::refusal::Refusal;
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

/// A file of the page, which asks this server and no other.
fn page(kind: &'static str, text: &'static str) -> Response {
    let policy = "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, text).into_response()
}

/// `GET /`
pub(crate) async fn index() -> Response {
    page("text/html; charset=utf-8", include_str!("page/index.html"))
}

/// `GET /page.css`
pub(crate) async fn style() -> Response {
    page("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// `GET /page.js`
pub(crate) async fn script() -> Response {
    page("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

/// `GET /metrics`
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let text = app.metrics.text(&app.engine.waiting(), app.held());
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// `GET /v1/models`
pub(crate) async fn models(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let models: Vec<Value> = app
        .engine
        .models()
        .enumerate()
        .map(|(index, model)| {
            let tasks: Vec<Value> = model
                .tasks
                .iter()
                .enumerate()
                .map(|(place, task)| {
                    let told = task.described.as_ref();
                    let kind = told.map_or("output", |told| match told.head {
                        HeadShape::Linear { .. } => "classes",
                        HeadShape::Embedding { .. } => "embedding",
                        HeadShape::Segmentation { .. } => "mask",
                    });
                    json!({
                        "name": task.name,
                        "kind": kind,
                        "shape": task.shape,
                        "classes": told.map(|told| &told.classes),
                        "path": told.map(|told| told.path.to_string()),
                        "images": app.metrics.task_images(index, place),
                    })
                })
                .collect();
            json!({
                "name": model.name,
                "platform": model.platform,
                "precision": model.precision.map(ufo_runtime::Precision::name),
                "input": {"name": model.input, "shape": model.image},
                "preprocess": model.preprocess,
                "tasks": tasks,
            })
        })
        .collect();
    json(&json!({
        "threads": app.engine.threads(),
        "galleries": app.keeps_galleries(),
        "models": models,
    }))
}
