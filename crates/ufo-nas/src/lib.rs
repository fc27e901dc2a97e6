//! Paths, slices, search spaces and closed-form cost of vision supernets, with no tensor library.
//!
//! A supernet holds, per block, a shared expert and an expert per task. A [`Path`] says which of
//! the two each part of a block uses; a [`Slice`] says which blocks are kept, with how many heads
//! and which FFN width. Both are plain serde values, so a sub-network is a few lines of JSON.
//! Source: VIMER-UFO 2.0 (arXiv 2207.10341).

mod accounting;
mod arch;
mod cost;
mod count;
mod error;
mod keys;
mod path;
mod preset;
mod slice;
mod space;
mod supernet_spec;

pub use accounting::{Accounting, Extracted, TaskAccount, accounting, extracted};
pub use arch::{Arch, Layout, Stem};
pub use cost::{Cost, Macs, Params, activation_bytes, cost, macs, params};
pub use count::{Count, PathCounts};
pub use error::Error;
pub use keys::{Keys, Names, SHARED, task_key};
pub use path::{Expert, Path};
pub use preset::Preset;
pub use slice::{BlockSlice, Slice};
pub use space::{DepthRule, Space};
pub use supernet_spec::{HeadShape, SupernetSpec, TaskShape};
