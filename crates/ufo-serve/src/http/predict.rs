//! `POST /v1/predict`: an image, and what tasks say of it.

use crate::app::{App, Deadline, json, received};
use crate::engine::{Lane, Request};
use crate::http::{body, images};
use crate::refusal::Refusal;
use crate::served::Served;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use ufo_data::Preprocess;
use ufo_runtime::Answer;

/// What may follow the `?`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// Tasks, separated by commas.
    tasks: Option<String>,
    /// The model that is asked; default is the first that has the task.
    model: Option<String>,
    /// Classes told; default 5.
    top: usize,
    /// Whether logits are told, too.
    logits: bool,
    /// A deadline before the server's.
    timeout_ms: Option<u64>,
}

impl Default for Params {
    fn default() -> Self {
        Self { tasks: None, model: None, top: 5, logits: false, timeout_ms: None }
    }
}

#[derive(Serialize)]
struct Reply {
    width: usize,
    height: usize,
    tasks: Vec<TaskReply>,
}

#[derive(Serialize)]
struct TaskReply {
    name: String,
    model: String,
    #[serde(flatten)]
    said: Said,
}

/// As [`Answer`], with logits only where they are asked for.
#[derive(Serialize)]
#[serde(untagged)]
enum Said {
    Classes {
        top: Vec<ufo_runtime::ClassProbability>,
        #[serde(skip_serializing_if = "Option::is_none")]
        logits: Option<Vec<f32>>,
    },
    Embedding {
        embedding: Vec<f32>,
    },
    /// Of the image squashed to the network's input.
    Mask {
        shares: Vec<ufo_runtime::ClassShare>,
        size: Size,
        mask: Vec<u8>,
    },
    /// In pixels of the image.
    Boxes {
        boxes: Vec<ufo_runtime::FoundBox>,
    },
    Output {
        output: Vec<f32>,
    },
}

#[derive(Serialize)]
struct Size {
    width: usize,
    height: usize,
}

/// A task of a model, by its index.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) lane: Arc<Lane>,
    pub(crate) task: usize,
}

impl Asked {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lane, &other.lane) && self.task == other.task
    }
}

/// `POST /v1/predict/{task}`
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    path: Result<Path<String>, PathRejection>,
    params: Result<Query<Params>, QueryRejection>,
    request: axum::extract::Request,
) -> Result<Response, Refusal> {
    let Path(task) = path.map_err(|error| Refusal::Request(error.body_text()))?;
    let params = checked(params)?;
    if params.tasks.is_some() {
        let said = "tasks are named once: in the address, or as ?tasks=a,b of /v1/predict";
        return Err(Refusal::Request(said.into()));
    }
    predict(&app, deadline, params, (&[&task], request)).await
}

/// `POST /v1/predict?tasks=a,b`
pub(crate) async fn several(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    params: Result<Query<Params>, QueryRejection>,
    request: axum::extract::Request,
) -> Result<Response, Refusal> {
    let params = checked(params)?;
    let tasks = params.tasks.clone().unwrap_or_default();
    let tasks: Vec<&str> = tasks.split(',').map(str::trim).filter(|t| !t.is_empty()).collect();
    if tasks.is_empty() {
        let said = format!("?tasks=a,b is missing; there are: {}", known_tasks(&app));
        return Err(Refusal::Request(said));
    }
    predict(&app, deadline, params, (&tasks, request)).await
}

fn checked(params: Result<Query<Params>, QueryRejection>) -> Result<Params, Refusal> {
    params.map(|Query(params)| params).map_err(|error| Refusal::Request(error.body_text()))
}

fn known_tasks(app: &App) -> String {
    let models = app.engine.models();
    let mut names: Vec<&str> =
        models.iter().flat_map(|l| l.model.tasks.iter().map(|t| t.name.as_str())).collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    names.join(", ")
}

/// The first model that has a task and says how images become its input, or the one that is named.
pub(crate) fn find(app: &App, task: &str, model: Option<&str>) -> Result<Asked, Refusal> {
    if let Some(name) = model {
        let lane = app.model(name)?;
        let task = lane.model.task(task).ok_or_else(|| {
            let known: Vec<&str> = lane.model.tasks.iter().map(|t| t.name.as_str()).collect();
            let known = known.join(", ");
            Refusal::Missing(format!("model `{name}` has no task `{task}`; it has: {known}"))
        })?;
        return Ok(Asked { lane, task });
    }
    let models = app.engine.models();
    let place = |lane: &Lane| lane.model.preprocess.as_ref().and(lane.model.task(task));
    let found = models.iter().find_map(|l| Some(Asked { task: place(l)?, lane: Arc::clone(l) }));
    found.ok_or_else(|| {
        Refusal::Missing(format!("no task `{task}`; there are: {}", known_tasks(app)))
    })
}

/// How images become the input of a model.
pub(crate) fn preprocess(model: &Served) -> Result<&Preprocess, Refusal> {
    model.preprocess.as_ref().ok_or_else(|| {
        let name = &model.name;
        let said = "does not say how an image becomes its input; send tensors to /v2/models";
        Refusal::Request(format!("model `{name}` {said}/{name}/infer"))
    })
}

async fn predict(
    app: &Arc<App>,
    deadline: Deadline,
    params: Params,
    (tasks, request): (&[&str], axum::extract::Request<Body>),
) -> Result<Response, Refusal> {
    let deadline = deadline.within(params.timeout_ms.map(Duration::from_millis));
    let headers: &HeaderMap = &request.headers().clone();
    let held = body::read(app, deadline, headers, request.into_body()).await?;
    let mut asked: Vec<Asked> = Vec::new();
    for task in tasks {
        let found = find(app, task, params.model.as_deref())?;
        if asked.iter().any(|other: &Asked| other.is(&found)) {
            return Err(Refusal::Request(format!("task `{task}` is named twice")));
        }
        asked.push(found);
    }
    let (size, rows) = outputs(app, deadline, held.bytes, &asked).await?;
    let reply = |(asked, row): (&Asked, Vec<f32>)| {
        let model = &asked.lane.model;
        let task = &model.tasks[asked.task];
        let [_, height, width] = model.image;
        let answer =
            |told: &ufo_runtime::DescribedTask| told.answer(&row, [height, width], params.top);
        let said = match task.described.as_ref().map(answer) {
            Some(Answer::Classes { top, logits }) => {
                Said::Classes { top, logits: params.logits.then_some(logits) }
            }
            Some(Answer::Embedding { embedding }) => Said::Embedding { embedding },
            Some(Answer::Mask { shares, mask }) => {
                Said::Mask { shares, size: Size { width, height }, mask }
            }
            Some(Answer::Boxes { boxes }) => {
                let scale = [size[0] as f32 / width as f32, size[1] as f32 / height as f32];
                Said::Boxes { boxes: boxes.into_iter().map(|found| found.scaled(scale)).collect() }
            }
            None => Said::Output { output: row },
        };
        TaskReply { name: task.name.clone(), model: model.name.clone(), said }
    };
    let tasks = asked.iter().zip(rows).map(reply).collect();
    json(&Reply { width: size[0], height: size[1], tasks })
}

/// Outputs of tasks of any models on one image, which is decoded once; and its width and height.
pub(crate) async fn outputs(
    app: &Arc<App>,
    deadline: Deadline,
    file: Vec<u8>,
    asked: &[Asked],
) -> Result<([usize; 2], Vec<Vec<f32>>), Refusal> {
    // Models in the order in which they are first asked, and each one's way and place in its queue.
    let mut lanes: Vec<&Arc<Lane>> = Vec::new();
    for Asked { lane, .. } in asked {
        if !lanes.iter().any(|known| Arc::ptr_eq(known, lane)) {
            lanes.push(lane);
        }
    }
    let (mut ways, mut way_of, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for lane in &lanes {
        let way = preprocess(&lane.model)?;
        let known = ways.iter().position(|known| known == way);
        way_of.push(known.unwrap_or(ways.len()));
        if known.is_none() {
            ways.push(way.clone());
        }
        // Before work is spent on the image.
        places.push(lane.admit(1)?);
    }
    let prepared = images::prepare(app, deadline, vec![file], ways).await?.pop();
    let prepared = prepared.ok_or(Refusal::Stopping)?;
    let mut waiting = Vec::new();
    for ((lane, way), places) in lanes.iter().zip(way_of).zip(places) {
        let of_lane = asked.iter().filter(|one| Arc::ptr_eq(&one.lane, lane));
        let tasks = of_lane.map(|one| one.task).collect();
        let images = prepared.inputs[way].clone();
        waiting.push(lane.ask(Request { images, tasks, deadline: deadline.0, places }));
    }
    let mut answers = Vec::new();
    for answer in waiting {
        answers.push(received(deadline, answer).await?.into_iter());
    }
    let row = |one: &Asked| {
        let place = lanes.iter().position(|known| Arc::ptr_eq(known, &one.lane))?;
        answers[place].next()
    };
    let rows: Option<Vec<Vec<f32>>> = asked.iter().map(row).collect();
    let rows = rows.ok_or_else(|| Refusal::Failed("an answer is missing".into()))?;
    if rows.iter().flatten().any(|value| !value.is_finite()) {
        return Err(Refusal::Failed("the model gave values that are not finite".into()));
    }
    Ok(([prepared.width, prepared.height], rows))
}
