//! The Open Inference Protocol over gRPC (feature `grpc`): its calls are requests like others on HTTP/2, behind the same
//! keys, limits and deadlines. A call's body is one message behind five bytes, a flag and a length; its status comes
//! in trailers.

mod messages;

use crate::app::{App, Deadline};
use crate::engine::Lane;
use crate::http::tensors::{self, Infer, Parameters};
use crate::http::{body, v2};
use crate::refusal::Refusal;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use http_body_util::{BodyExt, Full};
use messages::{
    Choice, InferRequest, InferResponse, Live, Model, Named, Parameter, Ready, Server, Tensor,
};
use prost::Message;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Address of the calls.
pub(crate) const PATH: &str = "/inference.GRPCInferenceService/{method}";

/// Bytes before a message.
const FRAME: usize = 5;

/// How long is waited for what a client sends first: one of HTTP/2 sends it at once.
const FIRST: Duration = Duration::from_secs(1);

/// Whether what a client sends first is HTTP/2.
pub(super) async fn begins(stream: &TcpStream) -> bool {
    let begins = async {
        let mut seen = [0; 3];
        loop {
            match stream.peek(&mut seen).await {
                Ok(3) => return seen == *b"PRI",
                Ok(0) | Err(_) => return false,
                Ok(some) if !b"PRI".starts_with(&seen[..some]) => return false,
                // The rest is on its way.
                Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    };
    tokio::time::timeout(FIRST, begins).await.unwrap_or(false)
}

/// `POST /inference.GRPCInferenceService/{method}`
pub(crate) async fn call(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    method: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    match answer(&app, deadline, method, request).await {
        Ok(message) => told(&message),
        Err(refusal) => refusal.into_grpc(),
    }
}

async fn answer(
    app: &Arc<App>,
    deadline: Deadline,
    method: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Vec<u8>, Refusal> {
    let headers = request.headers().clone();
    let deadline = deadline.within(timeout(&headers));
    let held = body::read(app, deadline, &headers, request.into_body()).await?;
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !kind.starts_with(b"application/grpc") {
        return Err(Refusal::Kind("calls are of application/grpc".into()));
    }
    let message = unframed(&held.bytes)?;
    let Path(method) = method.map_err(|error| Refusal::Request(error.body_text()))?;
    match method.as_str() {
        "ServerLive" => Ok(Live { live: true }.encode_to_vec()),
        "ServerReady" => Ok(Ready { ready: app.ready() }.encode_to_vec()),
        "ServerMetadata" => Ok(server().encode_to_vec()),
        "ModelReady" => {
            lane(app, message)?;
            Ok(Ready { ready: app.ready() }.encode_to_vec())
        }
        "ModelMetadata" => Ok(model(&lane(app, message)?).encode_to_vec()),
        "ModelInfer" => Ok(infer(app, deadline, decoded(message)?).await?.encode_to_vec()),
        _ => Err(Refusal::Method),
    }
}

fn decoded<T: Message + Default>(message: &[u8]) -> Result<T, Refusal> {
    T::decode(message).map_err(|error| Refusal::Request(format!("the message: {error}")))
}

/// The message of a body.
fn unframed(body: &[u8]) -> Result<&[u8], Refusal> {
    let wrong =
        || Refusal::Request("a call is five bytes, its length in them, and a message".into());
    let (&[flag, length @ ..], message) = body.split_first_chunk::<FRAME>().ok_or_else(wrong)?;
    if flag != 0 {
        return Err(Refusal::Kind("compressed messages are not read".into()));
    }
    if message.len() as u64 != u64::from(u32::from_be_bytes(length)) {
        return Err(wrong());
    }
    Ok(message)
}

/// The client's deadline: up to eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

fn lane(app: &App, message: &[u8]) -> Result<Arc<Lane>, Refusal> {
    let Named { name, version } = decoded(message)?;
    v2::lane(app, &name, Some(version.as_str()).filter(|version| !version.is_empty()))
}

fn server() -> Server {
    let (name, version) = ("ufo".to_string(), env!("CARGO_PKG_VERSION").to_string());
    Server { name, version, extensions: Vec::new() }
}

fn model(lane: &Lane) -> Model {
    let model = &lane.model;
    let tensor = |name: &str, sizes: &[usize]| Tensor {
        name: name.to_string(),
        datatype: "FP32".to_string(),
        shape: std::iter::once(-1).chain(sizes.iter().map(|size| *size as i64)).collect(),
    };
    Model {
        name: model.name.clone(),
        versions: vec![v2::VERSION.to_string()],
        platform: model.platform.to_string(),
        inputs: vec![tensor(&model.input, &model.image)],
        outputs: model.tasks.iter().map(|task| tensor(&task.name, &task.shape)).collect(),
    }
}

async fn infer(
    app: &Arc<App>,
    deadline: Deadline,
    request: InferRequest,
) -> Result<InferResponse, Refusal> {
    let version = Some(request.model_version.as_str()).filter(|version| !version.is_empty());
    let lane = v2::lane(app, &request.model_name, version)?;
    let id = request.id.clone();
    let (infer, rest) = taken(request)?;
    let v2::Inferred { tasks, count, outputs, .. } =
        v2::run(app, deadline, &lane, infer, &rest).await?;
    let model = &lane.model;
    let tensor = |task: &usize| {
        let task = &model.tasks[*task];
        let shape = std::iter::once(count).chain(task.shape.iter().copied());
        Tensor {
            name: task.name.clone(),
            datatype: "FP32".to_string(),
            shape: shape.map(|size| size as i64).collect(),
        }
    };
    let raw = |values: Vec<f32>| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(InferResponse {
        model_name: model.name.clone(),
        model_version: v2::VERSION.to_string(),
        id,
        outputs: tasks.iter().map(tensor).collect(),
        raw_output_contents: outputs.into_iter().map(raw).collect(),
    })
}

/// The request as that of HTTP with a binary tensor.
fn taken(request: InferRequest) -> Result<(Infer, Vec<u8>), Refusal> {
    let InferRequest { parameters, inputs, outputs, raw_input_contents: mut raw, .. } = request;
    if !raw.is_empty() && raw.len() != inputs.len() {
        let said = format!("{} raw_input_contents for {} inputs", raw.len(), inputs.len());
        return Err(Refusal::Request(said));
    }
    let mut rest = raw.pop();
    let mut taken = Vec::new();
    for input in inputs {
        let contents = input.contents.unwrap_or_default();
        let bytes = rest.get_or_insert_with(|| {
            let floats = contents.fp32_contents.iter().flat_map(|value| value.to_le_bytes());
            let files = contents.bytes_contents.iter().flat_map(|file| {
                (file.len() as u32).to_le_bytes().into_iter().chain(file.iter().copied())
            });
            floats.chain(files).collect()
        });
        let size = |size: &i64| {
            let said =
                || Refusal::Request(format!("input `{}`: shape {:?}", input.name, input.shape));
            usize::try_from(*size).map_err(|_| said())
        };
        let shape = input.shape.iter().map(size).collect::<Result<_, _>>()?;
        let mut known = known(&input.parameters);
        known.binary_data_size = Some(bytes.len());
        taken.push(tensors::Input::new(input.name, shape, input.datatype, known));
    }
    let output = |output: messages::Output| tensors::Output {
        name: output.name,
        parameters: known(&output.parameters),
    };
    let infer = Infer {
        id: None,
        parameters: known(&parameters),
        inputs: taken,
        outputs: outputs.into_iter().map(output).collect(),
    };
    infer.supported()?;
    Ok((infer, rest.unwrap_or_default()))
}

fn known(parameters: &HashMap<String, Parameter>) -> Parameters {
    let choice = |name: &str| parameters.get(name).and_then(|found| found.choice.as_ref());
    let number = |name: &str| match choice(name) {
        Some(Choice::Int64(number)) => u64::try_from(*number).ok(),
        _ => None,
    };
    Parameters {
        timeout: number("timeout").filter(|timeout| *timeout > 0),
        classification: number("classification"),
        shared_memory_region: match choice("shared_memory_region") {
            Some(Choice::Text(name)) => Some(name.clone()),
            _ => None,
        },
        ..Parameters::default()
    }
}

/// An answer with its trailers.
fn told(message: &[u8]) -> Response {
    let length = (message.len() as u32).to_be_bytes();
    let framed = [&[0][..], &length, message].concat();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(framed))
        .with_trailers(async move { Some(Ok::<_, Infallible>(trailers)) });
    let mut response = Response::new(Body::new(body));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_deadlines_are_read_and_wrong_ones_refused() {
        assert_eq!(unframed(&[0, 0, 0, 0, 2, 7, 8]).unwrap(), [7, 8]);
        for wrong in
            [&b""[..], &[0; 4], &[0, 0, 0, 0, 2, 7], &[0, 0, 0, 0, 0, 7], &[0, 255, 255, 255, 255]]
        {
            assert!(matches!(unframed(wrong), Err(Refusal::Request(_))), "{wrong:?}");
        }
        assert!(matches!(unframed(&[1, 0, 0, 0, 0]), Err(Refusal::Kind(_))));
        let of = |text: &str| {
            let headers = [("grpc-timeout", text.parse().unwrap())];
            let named = headers.map(|(name, value)| (name.parse().unwrap(), value));
            timeout(&HeaderMap::from_iter(named))
        };
        assert_eq!(of("5m"), Some(Duration::from_millis(5)));
        assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in ["", "5", "m", "5x", "123456789S", "-1S", "5é"] {
            assert!(HeaderValue::from_str(wrong).map_or(true, |_| of(wrong).is_none()), "{wrong}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
