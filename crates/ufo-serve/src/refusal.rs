//! What a request is refused with: one place for status codes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request gets no answer. Every refusal is JSON: `{"error": message, "reason": word}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 400: a parameter, header, tensor or text that is wrong.
    Request(String),
    /// 400: bytes that are no readable image.
    Image(String),
    /// 401: no API key, or an unknown one.
    Key,
    /// 403: a page of another site, or a name of this server that may be one's trick.
    Foreign(String),
    /// 404: no such model, task, gallery or address.
    Missing(String),
    /// 405: the address has other methods.
    Method,
    /// 408: the body did not arrive before the deadline.
    SlowBody,
    /// 409: what stands against it: a name that is taken, work that goes on.
    Conflict(String),
    /// 413: a body, an image or a batch above the limits.
    TooLarge(String),
    /// 415: a kind of content that is not read.
    Kind(String),
    /// 429: the queue of a model is full.
    QueueFull,
    /// 429: too many bytes of bodies at the same time.
    BodiesFull,
    /// 429: models are being compared for somebody else.
    Busy,
    /// 500: the server failed.
    Failed(String),
    /// 503: the server is stopping.
    Stopping,
    /// 504: no answer before the deadline.
    Late,
    /// 507: a gallery has its most images.
    GalleryFull,
}

/// The word for a refusal, left in the response for the count of refusals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reason(pub(crate) &'static str);

impl Refusal {
    fn parts(self) -> (StatusCode, &'static str, String) {
        let own = |text: &str| text.to_string();
        match self {
            Self::Request(said) => (StatusCode::BAD_REQUEST, "request", said),
            Self::Image(said) => (StatusCode::BAD_REQUEST, "image", said),
            Self::Key => {
                let said = "an API key is needed: `Authorization: Bearer KEY` or `X-API-Key: KEY`";
                (StatusCode::UNAUTHORIZED, "key", own(said))
            }
            Self::Foreign(said) => (StatusCode::FORBIDDEN, "foreign", said),
            Self::Conflict(said) => (StatusCode::CONFLICT, "conflict", said),
            Self::Missing(said) => (StatusCode::NOT_FOUND, "missing", said),
            Self::Method => {
                let said = "this address has other methods: see /openapi.json";
                (StatusCode::METHOD_NOT_ALLOWED, "method", own(said))
            }
            Self::SlowBody => {
                let said = "the body did not arrive before the deadline";
                (StatusCode::REQUEST_TIMEOUT, "slow_body", own(said))
            }
            Self::TooLarge(said) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", said),
            Self::Kind(said) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "kind", said),
            Self::QueueFull => {
                let said = "the queue of this model is full; try again later";
                (StatusCode::TOO_MANY_REQUESTS, "queue_full", own(said))
            }
            Self::BodiesFull => {
                let said = "too many bodies are held at the same time; try again later";
                (StatusCode::TOO_MANY_REQUESTS, "bodies_full", own(said))
            }
            Self::Busy => {
                let said = "models are being compared already; try again later";
                (StatusCode::TOO_MANY_REQUESTS, "busy", own(said))
            }
            Self::Failed(said) => (StatusCode::INTERNAL_SERVER_ERROR, "failed", said),
            Self::Stopping => {
                (StatusCode::SERVICE_UNAVAILABLE, "stopping", own("the server is stopping"))
            }
            Self::Late => {
                let said = "no answer before the deadline; the server is busy";
                (StatusCode::GATEWAY_TIMEOUT, "late", own(said))
            }
            Self::GalleryFull => {
                let said = "the gallery has the most images that are allowed";
                (StatusCode::INSUFFICIENT_STORAGE, "gallery_full", own(said))
            }
        }
    }
}

impl From<crate::engine::Failure> for Refusal {
    fn from(failure: crate::engine::Failure) -> Self {
        use crate::engine::Failure;
        match failure {
            Failure::Full => Self::QueueFull,
            Failure::Late => Self::Late,
            Failure::Stopping => Self::Stopping,
            Failure::Model(reason) => Self::Failed(reason),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, reason, error) = self.parts();
        let text = json!({"error": error, "reason": reason}).to_string();
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let mut response = (status, kind, text).into_response();
        response.extensions_mut().insert(Reason(reason));
        let headers = response.headers_mut();
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}
