//! ONNX graph builder and writer: hand-written messages, no protoc, no tensor library.
//!
//! Files are opset 17, IR 8 (<https://onnx.ai/onnx/repo-docs/IR.html>), which onnxruntime and rten
//! read; weights above 1 GiB are written beside the model as external data.

mod error;
mod graph;
mod model;
mod ops;
mod proto;

pub use error::Error;
pub use graph::{Attribute, Dim, Graph, Value};
pub use model::Model;
