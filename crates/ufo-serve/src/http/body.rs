//! Bodies of requests: bounded in size, memory and time.

use crate::app::{App, Deadline};
use crate::refusal::Refusal;
use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// A whole body; its memory is reserved until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    _memory: OwnedSemaphorePermit,
}

/// Most bytes, and the longest time, that a refused body is read for.
const DISCARDED: (usize, Duration) = (64 << 20, Duration::from_secs(2));

/// Reads on to the end of a body that is refused: many clients look for an answer only when they have sent
/// everything, and find a closed connection otherwise.
pub(crate) async fn discard(mut body: Body) {
    let read = async {
        let mut left = DISCARDED.0;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, bytes_of);
            let Some(less) = left.checked_sub(length) else { break };
            left = less;
        }
    };
    // Those who send more, or more slowly, find it closed.
    let _cut_off = tokio::time::timeout(DISCARDED.1, read).await;
}

fn bytes_of(data: &impl AsRef<[u8]>) -> usize {
    data.as_ref().len()
}

/// Reads a body.
///
/// # Errors
/// 413 above the limit of a body, 429 when too much memory is reserved by others, 415 when it is compressed,
/// 408 at the deadline, 400 when it ends early.
pub(crate) async fn read(
    app: &App,
    deadline: Deadline,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<Held, Refusal> {
    match taken(app, deadline, headers, &mut body).await {
        Err(refusal) if refusal != Refusal::SlowBody => {
            discard(body).await;
            Err(refusal)
        }
        read => read,
    }
}

async fn taken(
    app: &App,
    deadline: Deadline,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Held, Refusal> {
    let limit = app.limits.body_bytes;
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let said = "compressed bodies are not read; send it without Content-Encoding";
        return Err(Refusal::Kind(said.into()));
    }
    let told =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let too_large = || Refusal::TooLarge(format!("the body is too large; allowed: {limit} bytes"));
    if told.is_some_and(|length: u64| length > limit as u64) {
        return Err(too_large());
    }
    let length = told.map(|length| length as usize);
    let memory = app.hold(length.unwrap_or(limit))?;
    let mut bytes = Vec::with_capacity(length.unwrap_or_default());
    loop {
        let frame = deadline.limit(body.frame()).await.ok_or(Refusal::SlowBody)?;
        let Some(frame) = frame else { break };
        let frame =
            frame.map_err(|error| Refusal::Request(format!("reading the body: {error}")))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(Held { bytes, _memory: memory })
}
