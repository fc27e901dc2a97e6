//! Runs extracted model folders on the CPU, with no tensor library and no graph.
//!
//! A [`Model`] is a folder that `ufo extract` wrote: `config.json` ([`Described`]) and
//! `model.safetensors`. Its weights are packed once for the kernels of `ufo-kernels`, modules that
//! several tasks use are held once, and in f32 its outputs are those of the supernet that it was cut
//! from, bit for bit.

mod answer;
mod block;
mod dense;
mod described;
mod error;
mod head;
mod maps;
mod model;
mod network;
mod parts;
mod stem;

pub use answer::{Answer, ClassProbability, ClassShare, FoundBox, softmax};
pub use dense::Precision;
pub use described::{CONFIG, Described, DescribedTask, ONNX, ONNX_INT8, WEIGHTS};
pub use error::{Error, Result};
pub use model::Model;
