//! `/v1/studio/{project}/similar/{model}`: the project's images that look most like another, and these images.

use crate::app::{App, Deadline, json};
use crate::gallery::unit;
use crate::http::studio::{Named, failed, file, found, named};
use crate::http::update::blocking;
use crate::http::{body, predict};
use crate::refusal::Refusal;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;

/// Images that are told.
const TOP: usize = 12;

/// `POST /v1/studio/{project}/similar/{model}`: the body is an image.
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    names: Named<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let headers = request.headers().clone();
    let held = body::read(&app, deadline, &headers, request.into_body()).await?;
    let (name, model) = named(names)?;
    let (studio, project) = found(&app, &name)?;
    let served = studio.served();
    let own =
        |told: &&crate::ModelConfig| told.name == model && told.path.starts_with(&project.folder);
    if !served.iter().any(|told| own(&told)) {
        return Err(Refusal::Missing(format!("no model `{model}` of `{name}` is served")));
    }
    let asked = predict::find(&app, &name, Some(&model))?;
    if !asked.lane.model.tasks[asked.task].embeds() {
        return Err(Refusal::Request("this task gives no embedding".into()));
    }
    let one = std::slice::from_ref(&asked);
    let (_, rows) = predict::outputs(&app, deadline, held.bytes, one).await?;
    let row = rows.into_iter().next().ok_or_else(|| failed("an answer is missing"))?;
    let query = unit(&row).ok_or_else(|| failed("the embedding has no direction"))?;
    let (served, task) = (Arc::clone(&asked.lane.model), asked.task);
    let known = studio.similar.known(&project, &served);
    let index = if let Some(index) = known {
        index
    } else {
        let turn = deadline.limit(studio.similar.turn()).await.ok_or(Refusal::Late)?;
        let worker = Arc::clone(&app);
        let made = blocking(move || {
            let _turn = turn;
            let make = || worker.engine.compute(|| project.embedded(&served, task));
            studio.similar.index(&project, &served, make).map_err(failed)
        });
        made.await?
    };
    let matches = blocking(move || Ok(index.search(&query, TOP))).await?;
    let told = |found: &crate::gallery::Match| -> Value {
        let label = found.id.split('/').nth(1).unwrap_or_default();
        json!({"image": found.id, "label": label, "similarity": found.similarity})
    };
    json(&json!({"matches": matches.iter().map(told).collect::<Vec<_>>()}))
}

/// `GET /v1/studio/{project}/images/{split}/{label}/{file}`
pub(crate) async fn image(
    State(app): State<Arc<App>>,
    names: Named<(String, String, String, String)>,
) -> Result<Response, Refusal> {
    let (name, split, label, wanted) = named(names)?;
    let (_, project) = found(&app, &name)?;
    let place = project.image([&split, &label, &wanted]);
    let place = place.ok_or_else(|| Refusal::Missing("no such image".into()))?;
    let kind = match place.extension().and_then(|ending| ending.to_str()) {
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        _ => "image/jpeg",
    };
    file(place, kind, None).await
}
