//! `/v1/studio`: projects made of archives, work on them, and their models.

use crate::app::{App, Deadline, json};
use crate::config::ModelConfig;
use crate::http::body;
use crate::http::compare::measured;
use crate::http::update::{add, blocking};
use crate::refusal::Refusal;
use crate::served::{Runtimes, Served};
use crate::studio::{FILES, Folders, Project, Refused, Studio, Wanted, check_name, forms};
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ufo_runtime::Precision;

/// Longest body of a request for work or a model.
const MOST: usize = 4096;

pub(crate) type Named<T> = Result<Path<T>, PathRejection>;

pub(crate) fn named<T>(path: Named<T>) -> Result<T, Refusal> {
    path.map(|Path(name)| name).map_err(|error| Refusal::Request(error.body_text()))
}

pub(crate) fn found(app: &App, name: &str) -> Result<(Arc<Studio>, Project), Refusal> {
    let studio = app.studio()?;
    let missing = || Refusal::Missing(format!("no project `{name}`"));
    Ok((Arc::clone(studio), studio.project(name).ok_or_else(missing)?))
}

pub(crate) fn failed(error: impl std::fmt::Display) -> Refusal {
    Refusal::Failed(error.to_string())
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Content(said) => Self::Request(said),
            Refused::TooLarge(said) => Self::TooLarge(said),
            Refused::Disk(said) => Self::Failed(said),
        }
    }
}

/// `GET /v1/studio`
pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let studio = Arc::clone(app.studio()?);
    let told = blocking(move || {
        let mut projects = Vec::new();
        for project in studio.projects().map_err(failed)? {
            let job = studio.job_of(&project.name);
            let progress = project.progress(job.as_deref()).map_err(failed)?;
            let state = progress.map(|progress| progress.state);
            projects.push(json!({"name": project.name, "state": state}));
        }
        let config = &studio.config;
        Ok(json!({"tasks": studio.tasks, "projects": projects, "limits": {
            "upload_bytes": config.upload_bytes, "images": config.images,
            "classes": config.classes, "image_bytes": config.image_bytes}}))
    });
    json(&told.await?)
}

/// `GET /v1/studio/{project}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    name: Named<String>,
) -> Result<Response, Refusal> {
    let (studio, project) = found(&app, &named(name)?)?;
    let served = studio.served();
    let told = blocking(move || {
        let mut told = project.told(studio.job_of(&project.name).as_deref()).map_err(failed)?;
        let own = served.iter().filter(|model| model.path.starts_with(&project.folder));
        told["served"] = own.map(|model| served_as(&project, model)).collect();
        Ok(told)
    });
    json(&told.await?)
}

/// Which model a served one is, in which form, under which name.
fn served_as(project: &Project, model: &ModelConfig) -> Value {
    let at = |(name, path): (String, PathBuf)| {
        let mut all = forms(&path).into_iter();
        let fits = |(_, place, precision): &(_, PathBuf, Precision)| {
            *place == model.path && precision.name() == model.precision
        };
        all.find(fits).map(|(form, ..)| json!({"model": name, "form": form, "name": model.name}))
    };
    project.models().into_iter().find_map(at).unwrap_or_default()
}

/// What may follow the `?` of a new project.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    /// What the archive's folders are: `classes` (default) or `identities`.
    #[serde(default)]
    folders: Folders,
}

/// `PUT /v1/studio/{project}`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    name: Named<String>,
    params: Result<Query<New>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let archive = request.into_body();
    let (studio, name, folders) = match admitted(&app, name, params) {
        Ok(admitted) => admitted,
        Err(refusal) => return Err(refused(archive, refusal).await),
    };
    let Ok(_turn) = studio.unpacking.try_lock() else {
        let busy = "another archive is being read; try again later";
        return Err(refused(archive, Refusal::Conflict(busy.into())).await);
    };
    let archive = store(&app, &studio, archive).await?;
    let (worker, pixels) = (Arc::clone(&studio), app.limits.pixels);
    let made = blocking(move || {
        let project = worker.create(&name, archive.path(), folders, pixels)?;
        project.told(None).map_err(failed)
    });
    Ok((StatusCode::CREATED, json(&made.await?)?).into_response())
}

/// The studio, the name of a new project and what its folders are.
fn admitted(
    app: &App,
    name: Named<String>,
    params: Result<Query<New>, QueryRejection>,
) -> Result<(Arc<Studio>, String, Folders), Refusal> {
    let name = named(name)?;
    let Query(New { folders }) = params.map_err(|error| Refusal::Request(error.body_text()))?;
    let studio = Arc::clone(app.studio()?);
    check_name(&name).map_err(Refusal::Request)?;
    if studio.tasks.contains(&name) || studio.project(&name).is_some() {
        let said = format!("`{name}` exists already; choose another name");
        return Err(Refusal::Conflict(said));
    }
    Ok((studio, name, folders))
}

/// Reads on where an archive is refused before it is read.
async fn refused(archive: Body, refusal: Refusal) -> Refusal {
    body::discard(archive).await;
    refusal
}

/// Writes a body to a file, which is gone when it is dropped.
///
/// # Errors
/// 408 where a part of it, or all of it, takes too long.
async fn store(
    app: &App,
    studio: &Studio,
    mut body: Body,
) -> Result<tempfile::NamedTempFile, Refusal> {
    let mut file = studio.archive().map_err(failed)?;
    let (mut got, most) = (0, studio.config.upload_bytes);
    let end = Deadline(Instant::now() + Duration::from_millis(studio.config.upload_ms));
    let idle = Some(Duration::from_millis(app.limits.head_ms));
    loop {
        let part = end.within(idle).limit(body.frame()).await;
        let Some(part) = part.ok_or(Refusal::SlowBody)? else { break };
        let part = part.map_err(|error| Refusal::Request(format!("reading the body: {error}")))?;
        if let Ok(data) = part.into_data() {
            got += data.len() as u64;
            if got > most {
                let said = format!("the archive is too large; allowed: {most} bytes");
                return Err(refused(body, Refusal::TooLarge(said)).await);
            }
            tokio::task::block_in_place(|| file.write_all(&data)).map_err(failed)?;
        }
    }
    Ok(file)
}

/// `DELETE /v1/studio/{project}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    name: Named<String>,
) -> Result<Response, Refusal> {
    let (studio, project) = found(&app, &named(name)?)?;
    if studio.job_of(&project.name).is_some_and(|job| job.is_running()) {
        return Err(Refusal::Conflict("work on it goes on; cancel it first".into()));
    }
    for model in studio.unserve(&project.folder).map_err(failed)? {
        app.engine.remove(&model);
    }
    studio.similar.forget(&project);
    let name = project.name.clone();
    blocking(move || studio.remove(&project).map_err(failed)).await?;
    json(&json!({"name": name}))
}

/// `GET /v1/studio/{project}/sheet.png`
pub(crate) async fn sheet(
    State(app): State<Arc<App>>,
    name: Named<String>,
) -> Result<Response, Refusal> {
    let (_, project) = found(&app, &named(name)?)?;
    file(project.folder.join("sheet.png"), "image/png", None).await
}

pub(crate) async fn file(
    place: PathBuf,
    kind: &'static str,
    name: Option<String>,
) -> Result<Response, Refusal> {
    let bytes = blocking(move || {
        std::fs::read(&place).map_err(|_| Refusal::Missing("no such file".into()))
    });
    let mut response =
        ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], bytes.await?).into_response();
    if let Some(name) = name.and_then(|name| HeaderValue::from_str(&name).ok()) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

async fn told<T: serde::de::DeserializeOwned>(
    app: &App,
    deadline: Deadline,
    request: Request,
) -> Result<T, Refusal> {
    let headers = request.headers().clone();
    let held = body::read(app, deadline, &headers, request.into_body()).await?;
    if held.bytes.len() > MOST {
        return Err(Refusal::TooLarge(format!("allowed: {MOST} bytes")));
    }
    serde_json::from_slice(&held.bytes)
        .map_err(|error| Refusal::Request(format!("the body: {error}")))
}

/// `POST /v1/studio/{project}/job`
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    name: Named<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let wanted: Wanted = told(&app, deadline, request).await?;
    let (studio, project) = found(&app, &named(name)?)?;
    wanted.validate().map_err(Refusal::Request)?;
    let progress = blocking(move || {
        let gone = |model: &str| {
            app.engine.remove(model);
            tracing::info!(model, "taken out: it is made anew");
        };
        let job = studio.start(&project, wanted, gone).map_err(Refusal::Conflict)?;
        Ok(job.progress())
    });
    json(&progress.await?)
}

/// `DELETE /v1/studio/{project}/job`
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    name: Named<String>,
) -> Result<Response, Refusal> {
    let (studio, project) = found(&app, &named(name)?)?;
    let job = studio.job_of(&project.name).filter(|job| job.is_running());
    let job = job.ok_or_else(|| Refusal::Conflict("no work goes on".into()))?;
    job.cancel();
    json(&job.progress())
}

/// `POST /v1/studio/{project}/compare`
pub(crate) async fn compare(
    State(app): State<Arc<App>>,
    name: Named<String>,
) -> Result<Response, Refusal> {
    let (_, project) = found(&app, &named(name)?)?;
    let open = move |runtimes: &Runtimes| {
        let mut models = Vec::new();
        for (name, path) in project.models() {
            for (form, path, precision) in forms(&path) {
                let name = format!("{name}.{form}");
                let told = ModelConfig::new(name, path, precision);
                models.push(Arc::new(Served::open(&told, runtimes).map_err(failed)?));
            }
        }
        Ok(models)
    };
    let rows = measured(&app, None, open).await?;
    json(&json!({"threads": app.engine.threads(), "rows": rows}))
}

/// Which form of a model is served.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    form: String,
}

/// `POST /v1/studio/{project}/models/{model}`
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    names: Named<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let Form { form } = told(&app, deadline, request).await?;
    let (name, model) = named(names)?;
    let (studio, project) = found(&app, &name)?;
    let path = project.model(&model);
    let path = path.ok_or_else(|| Refusal::Missing(format!("no model `{model}`")))?;
    let all = forms(&path);
    let known: Vec<&str> = all.iter().map(|(form, ..)| *form).collect();
    let known = known.join(", ");
    let place = all.into_iter().find(|(known, ..)| *known == form);
    let (_, path, precision) =
        place.ok_or_else(|| Refusal::Request(format!("form is `{form}`; allowed: {known}")))?;
    let mut served = name.clone();
    if model != "whole" {
        served = format!("{served}-{model}");
    }
    if form != "f32" {
        served = format!("{served}-{form}");
    }
    let told = ModelConfig::new(served.clone(), path, precision);
    let own = studio.served().iter().any(|known| known.name == served);
    if !own && app.model(&served).is_ok() {
        return Err(Refusal::Conflict(format!("another model is named `{served}`")));
    }
    let answer = add(&app, told.clone()).await?;
    blocking(move || studio.serve(told).map_err(failed)).await?;
    Ok(answer)
}

/// `GET /v1/studio/{project}/models/{model}/{file}`
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    names: Named<(String, String, String)>,
) -> Result<Response, Refusal> {
    let (name, model, wanted) = named(names)?;
    let (_, project) = found(&app, &name)?;
    let path = project.model(&model);
    let path = path.ok_or_else(|| Refusal::Missing(format!("no model `{model}`")))?;
    let known = FILES.into_iter().find(|known| *known == wanted);
    let known = known.ok_or_else(|| {
        Refusal::Missing(format!("no file of this name; there are: {}", FILES.join(", ")))
    })?;
    let shown = format!("attachment; filename=\"{name}-{model}.{known}\"");
    file(path.join(known), "application/octet-stream", Some(shown)).await
}
