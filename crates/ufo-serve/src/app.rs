//! What all requests share, and the addresses.

use crate::config::{Config, Limits, ModelConfig};
use crate::engine::{Engine, Lane, Outputs};
use crate::galleries::Galleries;
use crate::gallery::Gallery;
use crate::http::update::Updates;
use crate::http::{about, body, compare, page, pair, predict, search, similar, studio, update, v2};
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::refusal::{Reason, Refusal};
use crate::served::{Runtimes, Served};
use crate::studio::Studio;
use crate::{Result, guard};
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
    pub(crate) runtimes: Runtimes,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    keys: Option<Keys>,
    galleries: Option<Galleries>,
    /// Whether models may change, and from where.
    updates: Option<Updates>,
    studio: Option<Arc<Studio>>,
    /// Whether nothing but the way to this server tells who asks.
    guarded: bool,
    /// Bytes for bodies that are free, in [`PERMIT`]s.
    bodies: Arc<Semaphore>,
    /// As many images are decoded at the same time as there are threads.
    pub(crate) decoders: Arc<Semaphore>,
    /// Held while models are compared.
    pub(crate) comparing: Arc<tokio::sync::Mutex<()>>,
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
        let runtimes = Runtimes::new(threads, config.onnxruntime.as_deref())?;
        let open = |model| Served::open(model, &runtimes);
        let models: Vec<Served> = config.models.iter().map(open).collect::<Result<_>>()?;
        let updates = config.updates.as_deref().map(Updates::of).transpose()?;
        let studio = config.studio.as_ref().map(Studio::open).transpose()?;
        let galleries = config.galleries.as_deref();
        let most = config.limits.gallery_images;
        let galleries = galleries.map(|folder| Galleries::open(folder, most)).transpose()?;
        let engine = Engine::start(models, threads, &config.batch)?;
        for (told, lane) in config.models.iter().zip(engine.models().iter()) {
            if let Some(galleries) = &galleries {
                galleries.open_for(told, &lane.model)?.keep();
            }
        }
        let app = Self {
            engine,
            runtimes,
            metrics: Metrics::default(),
            limits: config.limits.clone(),
            keys,
            galleries,
            updates,
            studio,
            guarded: config.api_keys.is_none(),
            bodies: Arc::new(Semaphore::new(config.limits.bodies_bytes.div_ceil(PERMIT))),
            decoders: Arc::new(Semaphore::new(threads)),
            comparing: Arc::default(),
            stopping: AtomicBool::new(false),
        };
        for told in app.studio.iter().flat_map(|studio| studio.served()) {
            // Its project may have been trained anew since.
            if let Err(error) = app.put(&told) {
                tracing::warn!(model = told.name, %error, "not served again");
            }
        }
        Ok(app)
    }

    /// A model by its name.
    pub(crate) fn model(&self, name: &str) -> Result<Arc<Lane>, Refusal> {
        let models = self.engine.models();
        let found = models.iter().find(|lane| lane.model.name == name).map(Arc::clone);
        found.ok_or_else(|| {
            let known: Vec<&str> = models.iter().map(|lane| lane.model.name.as_str()).collect();
            Refusal::Missing(format!("no model `{name}`; there are: {}", known.join(", ")))
        })
    }

    /// Whether there is a folder for galleries.
    pub(crate) fn keeps_galleries(&self) -> bool {
        self.galleries.is_some()
    }

    /// The gallery of a task.
    pub(crate) fn gallery(&self, asked: &predict::Asked) -> Result<Arc<Gallery>, Refusal> {
        let galleries = self.galleries.as_ref().ok_or_else(|| {
            let said = "this server keeps no galleries: start it with a folder for `galleries`";
            Refusal::Missing(said.into())
        })?;
        let model = &asked.lane.model;
        let found = galleries.get(&model.name, &model.tasks[asked.task].name);
        found.ok_or_else(|| Refusal::Request("this task gives no embedding".into()))
    }

    /// Opens a model and puts it in the place of that of its name, or behind all others; blocks.
    ///
    /// # Errors
    /// A model that cannot be opened or run, or whose gallery has images of other weights; nothing is changed then.
    pub(crate) fn put(&self, told: &ModelConfig) -> Result<()> {
        let model = Served::open(told, &self.runtimes)?;
        let Some(galleries) = &self.galleries else { return self.engine.put(model) };
        // Seen when the model is in its place: an embedding of the model before gets into no gallery of this one.
        self.engine.put_with(model, |model| galleries.open_for(told, model))?.keep();
        Ok(())
    }

    /// Whether models may change, and from where.
    ///
    /// # Errors
    /// 404 where they may not.
    pub(crate) fn updates(&self) -> Result<&Updates, Refusal> {
        self.updates.as_ref().ok_or_else(|| {
            let said = "models of this server do not change: start it with a folder for `updates`";
            Refusal::Missing(said.into())
        })
    }

    /// The studio.
    ///
    /// # Errors
    /// 404 where there is none.
    pub(crate) fn studio(&self) -> Result<&Arc<Studio>, Refusal> {
        let none = || Refusal::Missing("this server has no studio: start `ufo studio`".into());
        self.studio.as_ref().ok_or_else(none)
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

    /// From now on this server is not ready.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Asks what the studio has under way to save and end.
    pub(crate) fn cancel_work(&self) {
        self.studio.iter().for_each(|studio| studio.cancel());
    }

    /// Waits for its end; blocks.
    pub(crate) fn wait_work(&self) {
        self.studio.iter().for_each(|studio| studio.wait());
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

/// Makes the router and the list of its addresses, as counts name them, of one table.
macro_rules! addresses {
    ($($path:literal => $methods:expr,)*) => {
        const ROUTES: &[&str] = &[$($path),*];

        /// What is said of each in [`addresses`]: `get(…).put(…)`.
        #[cfg(test)]
        const METHODS: &[&str] = &[$(stringify!($methods)),*];

        fn routes() -> Router<Arc<App>> {
            Router::new()$(.route($path, $methods))*
        }
    };
}

addresses! {
    "/" => get(page::index),
    "/page.css" => get(page::style),
    "/page.js" => get(page::script),
    "/shared.js" => get(page::shared),
    "/seen.js" => get(page::seen),
    "/studio" => get(page::studio),
    "/studio.js" => get(page::studio_script),
    "/work.js" => get(page::work),
    "/archive.js" => get(page::archive),
    "/openapi.json" => get(about::openapi),
    "/metrics" => get(about::metrics),
    "/v1/models" => get(about::models),
    "/v1/models/{model}" => put(update::put).delete(update::delete),
    "/v1/compare" => post(compare::all),
    "/v1/predict" => post(predict::several),
    "/v1/predict/{task}" => post(predict::one),
    "/v1/pair/{task}" => post(pair::pair),
    "/v1/gallery/{task}" => get(search::list),
    "/v1/gallery/{task}/{id}" => put(search::put).delete(search::delete),
    "/v1/search/{task}" => post(search::search),
    "/v1/studio" => get(studio::list),
    "/v1/studio/{project}" => get(studio::show).put(studio::create).delete(studio::delete),
    "/v1/studio/{project}/sheet.png" => get(studio::sheet),
    "/v1/studio/{project}/job" => post(studio::start).delete(studio::cancel),
    "/v1/studio/{project}/similar/{model}" => post(similar::search),
    "/v1/studio/{project}/images/{split}/{label}/{file}" => get(similar::image),
    "/v1/studio/{project}/compare" => post(studio::compare),
    "/v1/studio/{project}/models/{model}" => post(studio::serve),
    "/v1/studio/{project}/models/{model}/{file}" => get(studio::download),
    "/v2" => get(v2::server),
    "/v2/health/live" => get(v2::live),
    "/v2/health/ready" => get(v2::ready),
    "/v2/models/{model}" => get(v2::model),
    "/v2/models/{model}/ready" => get(v2::model_ready),
    "/v2/models/{model}/infer" => post(v2::infer),
    "/v2/models/{model}/versions/{version}" => get(v2::model),
    "/v2/models/{model}/versions/{version}/ready" => get(v2::model_ready),
    "/v2/models/{model}/versions/{version}/infer" => post(v2::infer),
}

/// Addresses that need no key: those of probes, and the pages, which ask for one.
const OPEN: [&str; 11] = [
    "/",
    "/page.css",
    "/page.js",
    "/shared.js",
    "/seen.js",
    "/studio",
    "/studio.js",
    "/work.js",
    "/archive.js",
    "/v2/health/live",
    "/v2/health/ready",
];

/// The addresses, behind what every request passes.
pub(crate) fn router(app: Arc<App>) -> Router {
    routes()
        .method_not_allowed_fallback(|| async { Refusal::Method })
        .fallback(|| async { Refusal::Missing("no such address: see /openapi.json".into()) })
        .layer(from_fn_with_state(Arc::clone(&app), front))
        .with_state(app)
}

/// Whether a request may pass: its key, and where no key tells who asks, where it comes from.
fn admit(app: &App, route: &str, request: &HttpRequest) -> Result<(), Refusal> {
    let headers = request.headers();
    if !OPEN.contains(&route) && app.keys.as_ref().is_some_and(|keys| !keys.admit(headers)) {
        return Err(Refusal::Key);
    }
    guard::same_site(request.method(), headers)?;
    let changes = route.starts_with("/v1/studio") || route == "/v1/models/{model}";
    if app.guarded && changes { guard::own_name(headers) } else { Ok(()) }
}

/// Key, deadline, counts and log of every request.
async fn front(State(app): State<Arc<App>>, mut request: HttpRequest, next: Next) -> Response {
    let started = Instant::now();
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let route = ROUTES.iter().copied().find(|known| *known == path).unwrap_or("other");
    let deadline = started + Duration::from_millis(app.limits.deadline_ms);
    request.extensions_mut().insert(Deadline(deadline));
    let (method, address) = (request.method().clone(), request.uri().path().to_string());
    let response = match admit(&app, route, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            body::discard(request.into_body()).await;
            refusal.into_response()
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    /// Addresses with their methods, of the description and of the router.
    #[test]
    fn every_address_is_described_and_every_description_is_an_address() {
        let told: Value = serde_json::from_str(about::OPENAPI).unwrap();
        let paths = told["paths"].as_object().unwrap();
        let of = |path: &String, methods: &Value| -> Vec<(String, String)> {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (path.clone(), method.clone())).collect()
        };
        let described: BTreeSet<_> = paths.iter().flat_map(|(path, all)| of(path, all)).collect();
        let mut routed = BTreeSet::new();
        for (path, methods) in ROUTES.iter().zip(METHODS) {
            // `get(about::models)`: each method stands before its function.
            for method in methods.split(')').filter(|part| part.contains('(')) {
                let name = method.split('(').next().unwrap_or_default();
                let name = name.trim_matches(|letter: char| !letter.is_ascii_lowercase());
                assert!(["get", "put", "post", "delete"].contains(&name), "{methods}");
                routed.insert((path.to_string(), name.to_string()));
            }
        }
        assert_eq!(described, routed);
        assert!(routed.contains(&("/v1/studio/{project}".into(), "put".into())), "{routed:?}");
    }

    #[test]
    fn the_description_says_where_a_key_is_needed_and_names_what_is_in_a_path() {
        let told: Value = serde_json::from_str(about::OPENAPI).unwrap();
        for (path, methods) in told["paths"].as_object().unwrap() {
            for (method, said) in methods.as_object().unwrap() {
                let open = OPEN.contains(&path.as_str());
                let refused = &said["responses"]["401"];
                assert_eq!(said["security"] == json!([]), open, "{method} {path}");
                assert_eq!(refused.is_null(), open, "{method} {path}");
                let parameters = said["parameters"].as_array().cloned().unwrap_or_default();
                let resolved = |one: &Value| match one["$ref"].as_str() {
                    Some(place) => told.pointer(&place[1..]).unwrap().clone(),
                    None => one.clone(),
                };
                let named = parameters.iter().map(resolved).filter(|one| one["in"] == "path");
                let named: BTreeSet<String> =
                    named.map(|one| one["name"].as_str().unwrap().to_string()).collect();
                let parts = path.split('/').filter_map(|part| part.strip_prefix('{'));
                let parts = parts.map(|part| part.trim_end_matches('}').to_string());
                assert_eq!(named, parts.collect(), "{method} {path}");
            }
        }
    }
}
