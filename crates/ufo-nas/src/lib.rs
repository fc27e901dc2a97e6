//! Paths, slices, search spaces and closed-form cost of vision supernets, with no tensor library.
//!
//! A supernet holds, per block, a shared expert and an expert per task. A [`Path`] says which of
//! the two each part of a block uses; a [`Slice`] says which blocks are kept, with how many heads
//! and which FFN width. Both are plain serde values, so a sub-network is a few lines of JSON.
//! Source: VIMER-UFO 2.0 (arXiv 2207.10341).

mod arch;
mod error;
mod path;
mod slice;

pub use arch::{Arch, Layout, Stem};
pub use error::Error;
pub use path::{Expert, Path};
pub use slice::{BlockSlice, Slice};
