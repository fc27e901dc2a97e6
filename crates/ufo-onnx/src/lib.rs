//! ONNX graph builder and writer: hand-written messages, no protoc, no tensor library.
//!
//! Files are opset 17, IR 8 (<https://onnx.ai/onnx/repo-docs/IR.html>), which onnxruntime and rten
//! read; weights above 1 GiB are written beside the model as external data.
//!
//! ```
//! use ufo_onnx::{Dim, Graph, Model};
//!
//! let mut graph = Graph::new("double");
//! let x = graph.input("x", &["batch".into(), 3.into()]);
//! let two = graph.weight("two", &[], &[2.0])?;
//! let y = graph.scope("scale", |graph| graph.node("Mul", &[&x, &two], &[]));
//! graph.output("y", &y, &["batch".into(), 3.into()]);
//!
//! let model = Model::decode(&graph.to_bytes()?)?;
//! assert_eq!(model.nodes[0].name, "scale/Mul");
//! assert_eq!(model.inputs[0].dims, [Dim::Named("batch".into()), Dim::Fixed(3)]);
//! # Ok::<(), ufo_onnx::Error>(())
//! ```

mod error;
mod graph;
mod model;
mod ops;
mod proto;
mod save;

pub use error::Error;
pub use graph::{Attribute, Dim, Graph, Value};
pub use model::{Constant, Model, Node, Port, Stored};
pub use ops::INT8_RANGE;
