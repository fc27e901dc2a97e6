//! Serves extracted models over HTTP.
//!
//! An [`Engine`] has models ([`Served`]), each with a queue from which batches are taken, and one pool of
//! threads in which they compute. It links no training and no tensor library: extracted folders run in
//! `ufo-runtime`, ONNX files in rten.

mod config;
mod engine;
mod error;
mod metrics;
mod onnx;
mod queue;
mod served;

pub use config::{BatchConfig, Config, Limits, ModelConfig};
pub use engine::{Engine, Failure, Outputs, Places, Request};
pub use error::{Error, Result};
pub use metrics::Metrics;
pub use served::{Served, ServedTask};
