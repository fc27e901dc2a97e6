//! The Open Inference Protocol, version 2 (that of `KServe` and Triton): health, metadata, inference.

use crate::app::{App, Deadline, json, received};
use crate::engine::{Lane, Request};
use crate::http::tensors::{self, Data, HEADER_LENGTH, Infer, Told};
use crate::http::{body, images, predict};
use crate::refusal::Refusal;
use crate::served::Served;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The one version of each model.
pub(crate) const VERSION: &str = "1";

/// What an address names.
#[derive(Deserialize)]
pub(crate) struct Named {
    model: String,
    version: Option<String>,
}

/// `GET /v2/health/live`
pub(crate) async fn live() -> Result<Response, Refusal> {
    json(&json!({"live": true}))
}

/// `GET /v2/health/ready`
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    if !app.ready() {
        return Err(Refusal::Stopping);
    }
    json(&json!({"ready": true}))
}

/// `GET /v2`
pub(crate) async fn server() -> Result<Response, Refusal> {
    let (name, version) = ("ufo", env!("CARGO_PKG_VERSION"));
    json(&json!({"name": name, "version": version, "extensions": ["binary_tensor_data"]}))
}

fn find(app: &App, named: Result<Path<Named>, PathRejection>) -> Result<Arc<Lane>, Refusal> {
    let Path(Named { model, version }) =
        named.map_err(|error| Refusal::Request(error.body_text()))?;
    lane(app, &model, version.as_deref())
}

/// A model of a version.
pub(crate) fn lane(app: &App, model: &str, version: Option<&str>) -> Result<Arc<Lane>, Refusal> {
    let found = app.model(model)?;
    match version {
        Some(version) if version != VERSION => {
            Err(Refusal::Missing(format!("model `{model}` has version {VERSION}, not `{version}`")))
        }
        _ => Ok(found),
    }
}

/// `GET /v2/models/{model}`
pub(crate) async fn model(
    State(app): State<Arc<App>>,
    named: Result<Path<Named>, PathRejection>,
) -> Result<Response, Refusal> {
    let lane = find(&app, named)?;
    let model = &lane.model;
    let dims = |sizes: &[usize]| -> Vec<i64> {
        std::iter::once(-1).chain(sizes.iter().map(|size| *size as i64)).collect()
    };
    let outputs: Vec<_> = model
        .tasks
        .iter()
        .map(|task| json!({"name": task.name, "datatype": "FP32", "shape": dims(&task.shape)}))
        .collect();
    let modules: Vec<_> = model
        .modules
        .iter()
        .map(|module| {
            let tasks: Vec<&str> =
                module.tasks.iter().map(|task| model.tasks[*task].name.as_str()).collect();
            let images: u64 = module.tasks.iter().map(|task| lane.task_images(*task)).sum();
            json!({"name": module.name, "tasks": tasks, "images": images})
        })
        .collect();
    json(&json!({
        "name": model.name,
        "versions": [VERSION],
        "platform": model.platform,
        "inputs": [{"name": model.input, "datatype": "FP32", "shape": dims(&model.image)}],
        "outputs": outputs,
        // Beyond the protocol: the parts that its tasks share or have, and on how many images each ran.
        "modules": modules,
    }))
}

/// `GET /v2/models/{model}/ready`
pub(crate) async fn model_ready(
    State(app): State<Arc<App>>,
    named: Result<Path<Named>, PathRejection>,
) -> Result<Response, Refusal> {
    let lane = find(&app, named)?;
    if !app.ready() {
        return Err(Refusal::Stopping);
    }
    json(&json!({"name": lane.model.name, "ready": true}))
}

/// `POST /v2/models/{model}/infer`
pub(crate) async fn infer(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    named: Result<Path<Named>, PathRejection>,
    request: axum::extract::Request,
) -> Result<Response, Refusal> {
    let headers = request.headers().clone();
    let held = body::read(&app, deadline, &headers, request.into_body()).await?;
    let lane = find(&app, named)?;
    let length = headers.get(HEADER_LENGTH).map(|value| value.to_str().unwrap_or("not text"));
    let (infer, rest) = tensors::parse(&held.bytes, length)?;
    let Inferred { infer, tasks, count, outputs } =
        run(&app, deadline, &lane, infer, &rest).await?;
    let model = &lane.model;
    let all_binary = infer.parameters.binary_data_output.unwrap_or(false);
    let told: Vec<Told<'_>> = tasks
        .iter()
        .zip(&outputs)
        .enumerate()
        .map(|(place, (task, values))| {
            let task = &model.tasks[*task];
            let asked = infer.outputs.get(place).and_then(|output| output.parameters.binary_data);
            let shape = std::iter::once(count).chain(task.shape.iter().copied()).collect();
            Told { name: &task.name, shape, values, binary: asked.unwrap_or(all_binary) }
        })
        .collect();
    Ok(reply(tensors::answer(&model.name, infer.id.as_deref(), &told)?))
}

/// What came of a request.
pub(crate) struct Inferred {
    /// The request, its data taken out.
    pub(crate) infer: Infer,
    /// The tasks that were asked for, in that order.
    pub(crate) tasks: Vec<usize>,
    /// Images.
    pub(crate) count: usize,
    /// Outputs of each task, row-major.
    pub(crate) outputs: Vec<Vec<f32>>,
}

/// Checks a request, whose binary tensors are in `rest`, and runs it.
pub(crate) async fn run(
    app: &Arc<App>,
    deadline: Deadline,
    lane: &Lane,
    mut infer: Infer,
    rest: &[u8],
) -> Result<Inferred, Refusal> {
    let model = &lane.model;
    let deadline = deadline.within(infer.parameters.timeout.map(Duration::from_micros));
    let tasks = tasks(model, &infer)?;
    let data = take(app, model, &mut infer, rest)?;
    let count = match &data {
        Data::Floats(floats) => floats.len() / model.image_len(),
        Data::Files(files) => files.len(),
    };
    let places = lane.admit(count)?;
    let images = match data {
        Data::Floats(floats) => floats,
        Data::Files(files) => {
            let ways = vec![predict::preprocess(model)?.clone()];
            let prepared = images::prepare(app, deadline, files, ways).await?;
            prepared.into_iter().flat_map(|one| one.inputs.into_iter().flatten()).collect()
        }
    };
    let request = Request { images, tasks: tasks.clone(), deadline: deadline.0, places };
    let outputs = received(deadline, lane.ask(request)).await?;
    Ok(Inferred { infer, tasks, count, outputs })
}

/// The tasks that are asked for, in that order; all where none is named.
fn tasks(model: &Served, infer: &Infer) -> Result<Vec<usize>, Refusal> {
    if infer.outputs.is_empty() {
        return Ok((0..model.tasks.len()).collect());
    }
    let mut tasks = Vec::new();
    for output in &infer.outputs {
        let name = &output.name;
        let Some(task) = model.task(name) else {
            let known: Vec<&str> = model.tasks.iter().map(|task| task.name.as_str()).collect();
            let said = format!("no output `{name}`; allowed: {}", known.join(", "));
            return Err(Refusal::Request(said));
        };
        if tasks.contains(&task) {
            return Err(Refusal::Request(format!("output `{name}` is named twice")));
        }
        tasks.push(task);
    }
    Ok(tasks)
}

/// The one input, of the model's name and shape.
fn take(app: &App, model: &Served, infer: &mut Infer, rest: &[u8]) -> Result<Data, Refusal> {
    let most = app.engine.max_images();
    let [input] = infer.inputs.as_mut_slice() else {
        let got = infer.inputs.len();
        return Err(Refusal::Request(format!("{got} inputs; allowed: 1, `{}`", model.input)));
    };
    if input.name != model.input {
        let said = format!("input `{}`; allowed: `{}`", input.name, model.input);
        return Err(Refusal::Request(said));
    }
    let [channels, height, width] = model.image;
    let fits = match (input.datatype.as_str(), input.shape.as_slice()) {
        ("BYTES", [_] | [_, 1]) => true,
        ("BYTES", _) => false,
        (_, shape) => shape.len() == 4 && shape[1..] == model.image,
    };
    if !fits || input.shape[0] == 0 {
        let said = format!(
            "input `{}`: {} of shape {:?}; allowed: FP32 of [n, {channels}, {height}, {width}] or BYTES of [n]",
            input.name, input.datatype, input.shape
        );
        return Err(Refusal::Request(said));
    }
    if input.shape[0] > most {
        let said = format!("{} images; allowed: {most} a request", input.shape[0]);
        return Err(Refusal::TooLarge(said));
    }
    let data = input.data(rest)?;
    if matches!(&data, Data::Floats(floats) if floats.iter().any(|value| !value.is_finite())) {
        let said = format!("input `{}`: values that are not finite", input.name);
        return Err(Refusal::Request(said));
    }
    Ok(data)
}

fn reply((body, length): (Vec<u8>, Option<usize>)) -> Response {
    let kind = if length.is_some() { "application/octet-stream" } else { "application/json" };
    let mut response =
        ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response();
    if let Some(length) = length {
        response.headers_mut().insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    response
}
