//! From an image file to a normalized batch on the host.
//!
//! [`decode()`] bytes to an [`Image`], [`Preprocess`] it and, in training, [`Augment`] it. A
//! [`Dataset`] names images and labels, a [`Sampler`] says which of them form a batch, a [`Loader`]
//! makes batches on worker threads. Every random choice is a [`stream`] keyed by what it is for, so
//! a batch depends on neither the number of workers nor the step at which a run is resumed.

mod augment;
mod boxes;
mod dataset;
mod decode;
mod detect;
mod error;
pub mod import;
mod inspect;
mod loader;
mod mask;
mod random;
#[cfg(test)]
mod reference;
mod sampler;
mod transform;
mod windows;
mod zip;

pub use augment::{Augment, Operation, RandomScale, ResizedCrop};
pub use boxes::{Annotation, Bounds, Detection, outlined, suppressed};
pub use dataset::{
    Boxed, Dataset, DatasetConfig, Format, HoldOut, Labels, Scene, check_boxes, check_masks,
};
pub use decode::{Image, MAX_PIXELS, MAX_SIDE, decode, decode_within, encode_png};
pub use detect::{BOX_OUTPUTS, Finding, detect, found};
pub use error::Error;
pub use inspect::{
    Broken, ClassCount, Duplicates, Report, Sizes, SplitReport, contact_sheet, fitted, inspect,
};
pub use loader::{Batch, Loader, LoaderConfig, eval_batches};
pub use mask::{IGNORE, Mask, Palette};
pub use random::{Purpose, stream};
pub use sampler::{Sampler, SamplerConfig};
pub use transform::{Interpolation, Preprocess, ResizeMode};
pub use windows::segment;
pub use zip::{Zip, ZipEntry, ZipError};
