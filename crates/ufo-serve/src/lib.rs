//! Serves extracted models over HTTP.
//!
//! A [`Server`] speaks the Open Inference Protocol and an own, simpler one: an image in, labels or an embedding
//! out. Behind it an [`Engine`] has models ([`Served`]), each with a queue from which batches are taken, and one pool of
//! threads in which they compute. It links no training and no tensor library: extracted folders run in
//! `ufo-runtime`, ONNX files in rten.

mod app;
mod compare;
mod config;
mod engine;
mod error;
mod galleries;
mod gallery;
mod guard;
mod http;
mod keys;
mod metrics;
mod onnx;
mod queue;
mod refusal;
mod served;
mod studio;

pub use compare::{Compared, compare};
pub use config::{BatchConfig, Config, Limits, ModelConfig};
pub use engine::{Engine, Failure, Lane, Outputs, Places, Request};
pub use error::{Error, Result};
pub use http::server::Server;
pub use served::{Front, FrontPoint, Module, Papers, Runtimes, Scored, Served, ServedTask};
pub use studio::{StudioConfig, end_with_studio};
