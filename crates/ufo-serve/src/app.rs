//! What all requests share, and the addresses.

use crate::config::{Config, Limits};
use crate::engine::{Engine, Outputs, Request};
use crate::galleries::Galleries;
use crate::gallery::Gallery;
use crate::http::{about, body, predict, search, v2};
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::refusal::{Reason, Refusal};
use crate::served::Served;
use crate::{Error, Result};
use axum::Router;
use axum::extract::{MatchedPath, Request as HttpRequest, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout_at;

/// Bytes a permit of a body stands for.
const PERMIT: usize = 1 << 10;

/// What all requests share.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    keys: Option<Keys>,
    galleries: Option<Galleries>,
    /// Bytes for bodies that are free, in [`PERMIT`]s.
    bodies: Arc<Semaphore>,
    /// As many images are decoded at the same time as there are threads.
    pub(crate) decoders: Arc<Semaphore>,
    stopping: AtomicBool,
}

/// When the answer to a request must be there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(pub(crate) Instant);

impl Deadline {
    /// The earlier of this and so long after now.
    pub(crate) fn within(self, left: Option<Duration>) -> Self {
        Self(left.map_or(self.0, |left| self.0.min(Instant::now() + left)))
    }

    /// Waits until it is over.
    pub(crate) async fn limit<F: Future>(self, work: F) -> Option<F::Output> {
        timeout_at(self.0.into(), work).await.ok()
    }
}

impl App {
    /// Opens and warms the models.
    ///
    /// # Errors
    /// Names the model and what is wrong.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        config.validate()?;
        let keys = config.api_keys.as_deref().map(Keys::read).transpose()?;
        let machine = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if config.threads == 0 { machine() } else { config.threads };
        let open = |model| Served::open(model, threads);
        let models: Vec<Served> = config.models.iter().map(open).collect::<Result<_>>()?;
        if models.iter().any(|model| model.tasks.is_empty()) {
            return Err(Error::config("model", "without an output", "at least one output"));
        }
        let galleries = config.galleries.as_deref();
        let galleries = galleries.map(|folder| Galleries::open(folder, config, &models));
        let galleries = galleries.transpose()?;
        let metrics = Arc::new(Metrics::new(&models));
        let engine = Engine::start(models, threads, &config.batch, &metrics)?;
        Ok(Self {
            engine,
            metrics,
            limits: config.limits.clone(),
            keys,
            galleries,
            bodies: Arc::new(Semaphore::new(config.limits.bodies_bytes.div_ceil(PERMIT))),
            decoders: Arc::new(Semaphore::new(threads)),
            stopping: AtomicBool::new(false),
        })
    }

    /// A model by its name.
    pub(crate) fn model(&self, name: &str) -> Result<(usize, &Arc<Served>), Refusal> {
        let mut models = self.engine.models().enumerate();
        models.find(|(_, model)| model.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.engine.models().map(|m| m.name.as_str()).collect();
            Refusal::Missing(format!("no model `{name}`; there are: {}", known.join(", ")))
        })
    }

    /// Whether there is a folder for galleries.
    pub(crate) fn keeps_galleries(&self) -> bool {
        self.galleries.is_some()
    }

    /// The gallery of a task.
    pub(crate) fn gallery(&self, task: (usize, usize)) -> Result<Arc<Gallery>, Refusal> {
        let galleries = self.galleries.as_ref().ok_or_else(|| {
            let said = "this server keeps no galleries: start it with a folder for `galleries`";
            Refusal::Missing(said.into())
        })?;
        let found = galleries.get(task).map(Arc::clone);
        found.ok_or_else(|| Refusal::Request("this task gives no embedding".into()))
    }

    /// Reserves memory for a body.
    pub(crate) fn hold(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let permits = bytes.div_ceil(PERMIT).max(1) as u32;
        Arc::clone(&self.bodies).try_acquire_many_owned(permits).map_err(|_| Refusal::BodiesFull)
    }

    /// Bytes reserved for bodies.
    pub(crate) fn held(&self) -> usize {
        let all = self.limits.bodies_bytes.div_ceil(PERMIT);
        (all - self.bodies.available_permits().min(all)) * PERMIT
    }

    /// Asks a model and waits for its answer.
    pub(crate) async fn answer(
        &self,
        model: usize,
        request: Request,
    ) -> Result<Vec<Vec<f32>>, Refusal> {
        let deadline = Deadline(request.deadline);
        received(deadline, self.engine.ask(model, request)).await
    }

    /// From now on this server is not ready.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the server takes requests for long.
    pub(crate) fn ready(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed)
    }
}

/// Waits for the outputs of a model.
pub(crate) async fn received(
    deadline: Deadline,
    answer: oneshot::Receiver<Outputs>,
) -> Result<Vec<Vec<f32>>, Refusal> {
    let answer = deadline.limit(answer).await.ok_or(Refusal::Late)?;
    Ok(answer.map_err(|_| Refusal::Stopping)??)
}

/// Every address, as counts name it.
const ROUTES: [&str; 20] = [
    "/",
    "/page.css",
    "/page.js",
    "/openapi.json",
    "/metrics",
    "/v1/models",
    "/v1/predict",
    "/v1/predict/{task}",
    "/v1/gallery/{task}",
    "/v1/gallery/{task}/{id}",
    "/v1/search/{task}",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{model}",
    "/v2/models/{model}/ready",
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}",
    "/v2/models/{model}/versions/{version}/ready",
    "/v2/models/{model}/versions/{version}/infer",
];

/// Addresses that need no key: those of probes, and the page, which asks for one.
const OPEN: [&str; 5] = ["/", "/page.css", "/page.js", "/v2/health/live", "/v2/health/ready"];

/// The addresses, behind what every request passes.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(about::index))
        .route("/page.css", get(about::style))
        .route("/page.js", get(about::script))
        .route("/openapi.json", get(about::openapi))
        .route("/metrics", get(about::metrics))
        .route("/v1/models", get(about::models))
        .route("/v1/predict", post(predict::several))
        .route("/v1/predict/{task}", post(predict::one))
        .route("/v1/gallery/{task}", get(search::list))
        .route("/v1/gallery/{task}/{id}", put(search::put).delete(search::delete))
        .route("/v1/search/{task}", post(search::search))
        .route("/v2", get(v2::server))
        .route("/v2/health/live", get(v2::live))
        .route("/v2/health/ready", get(v2::ready))
        .route("/v2/models/{model}", get(v2::model))
        .route("/v2/models/{model}/ready", get(v2::model_ready))
        .route("/v2/models/{model}/infer", post(v2::infer))
        .route("/v2/models/{model}/versions/{version}", get(v2::model))
        .route("/v2/models/{model}/versions/{version}/ready", get(v2::model_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(v2::infer))
        .method_not_allowed_fallback(|| async { Refusal::Method })
        .fallback(|| async { Refusal::Missing("no such address: see /openapi.json".into()) })
        .layer(from_fn_with_state(Arc::clone(&app), front))
        .with_state(app)
}

/// Key, deadline, counts and log of every request.
async fn front(State(app): State<Arc<App>>, mut request: HttpRequest, next: Next) -> Response {
    let started = Instant::now();
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let route = ROUTES.into_iter().find(|known| *known == path).unwrap_or("other");
    let deadline = started + Duration::from_millis(app.limits.deadline_ms);
    request.extensions_mut().insert(Deadline(deadline));
    let admitted = app.keys.as_ref().is_none_or(|keys| keys.admit(request.headers()));
    let (method, address) = (request.method().clone(), request.uri().path().to_string());
    let response = if admitted || OPEN.contains(&route) {
        next.run(request).await
    } else {
        body::discard(request.into_body()).await;
        Refusal::Key.into_response()
    };
    let (status, seconds) = (response.status(), started.elapsed().as_secs_f64());
    app.metrics.request(route, status.as_u16(), seconds);
    let reason = response.extensions().get::<Reason>().map(|reason| reason.0);
    if let Some(reason) = reason {
        app.metrics.refused(reason);
    }
    let status = status.as_u16();
    if status >= StatusCode::INTERNAL_SERVER_ERROR.as_u16() {
        tracing::warn!(%method, address, status, seconds, reason, "request");
    } else {
        tracing::debug!(%method, address, status, seconds, reason, "request");
    }
    response
}

/// A JSON text with status 200.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<Response, Refusal> {
    let text = serde_json::to_string(value).map_err(|e| Refusal::Failed(e.to_string()))?;
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((kind, text).into_response())
}
