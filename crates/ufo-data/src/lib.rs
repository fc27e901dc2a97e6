//! From an image file to a normalized batch on the host.
//!
//! [`decode`] bytes to an [`Image`], [`Preprocess`] it, [`Augment`] it in training; a [`Dataset`]
//! names images and labels, a [`Sampler`] says which form a batch, and a [`Loader`] makes batches
//! on worker threads. Every random choice is a [`stream`] keyed by what it is for, so batches depend
//! on neither the number of workers nor the step a run is resumed at.

mod augment;
mod dataset;
mod decode;
mod error;
mod loader;
mod random;
mod sampler;
mod transform;

pub use augment::Augment;
pub use dataset::{Dataset, DatasetConfig, Format};
pub use decode::{Image, MAX_PIXELS, MAX_SIDE, decode, encode_png};
pub use error::Error;
pub use loader::{Batch, Loader, LoaderConfig, eval_batches};
pub use random::{Purpose, stream};
pub use sampler::{Sampler, SamplerConfig};
pub use transform::{Interpolation, Preprocess, ResizeMode};
