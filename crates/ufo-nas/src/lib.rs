//! Paths, slices, search spaces and closed-form cost of vision supernets, with no tensor library.
//!
//! A supernet holds, per block, a shared expert and an expert per task. A [`Path`] says which of
//! the two each part of a block uses; a [`Slice`] says which blocks are kept, with how many heads
//! and which FFN width. Both are plain serde values, so a sub-network is a few lines of JSON.
//! Source: VIMER-UFO 2.0 (arXiv 2207.10341).

mod accounting;
mod acquisition;
mod arch;
mod arch_code;
mod benchmark;
mod boosting;
mod cholesky;
mod cost;
mod count;
mod device;
mod encoding;
mod error;
mod evolution;
mod explore;
mod gaussian_process;
mod gp_nas;
mod kernel;
mod keys;
mod lbfgs;
mod limits;
mod matrix;
mod normal;
mod parallel;
mod pareto;
mod path;
mod predictor;
mod preset;
mod rank_correlation;
mod samples;
mod sampling;
mod slice;
mod space;
mod supernet_spec;
mod target;
mod transfer;

pub use accounting::{Accounting, Extracted, TaskAccount, accounting, extracted};
pub use acquisition::{
    expected_hypervolume_improvement, expected_improvement, feasibility, share_within,
};
pub use arch::{Arch, Layout, Stem};
pub use arch_code::{benchmark_arch, benchmark_space, parse_code};
pub use benchmark::Benchmark;
pub use cholesky::Cholesky;
pub use cost::{Cost, Macs, Params, activation_bytes, cost, macs, params};
pub use count::{Count, PathCounts};
pub use device::{DeviceFile, Setting, Timed};
pub use encoding::{Coding, Encoding};
pub use error::Error;
pub use evolution::{Evaluated, Evolution, Objectives, Search};
pub use explore::{Explorer, Guess, Measured, design};
pub use gaussian_process::{GaussianProcess, MOST_INPUTS, Prediction, likelihood};
pub use gp_nas::{GpNas, GpNasKernel, Update};
pub use kernel::{Groups, Kernel, Prior};
pub use keys::{Keys, Names, SHARED, task_key};
pub use limits::Limits;
pub use matrix::Matrix;
pub use pareto::{hypervolume, pareto_front};
pub use path::{Expert, Path};
pub use predictor::{MOST_TASKS, Predictor, PredictorFile, TaskHyper, TaskPrediction, TaskSamples};
pub use preset::Preset;
pub use rank_correlation::{kendall_tau, ranks, spearman, tau_ceiling};
pub use samples::{Sample, parse_samples};
pub use sampling::{Sampling, choose, choose_at_random};
pub use slice::{BlockSlice, Slice};
pub use space::{DepthRule, Space};
pub use supernet_spec::{HeadShape, SupernetSpec, TaskShape};
pub use target::Transform;
