//! What can go wrong with a model's weights, names and shapes.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The architecture, a path or a slice does not fit.
    #[error(transparent)]
    Shape(#[from] ufo_nas::Error),
    /// The ONNX graph cannot be written.
    #[error(transparent)]
    Onnx(#[from] ufo_onnx::Error),
    /// A task is not in the supernet.
    #[error("unknown task `{got}`; this supernet has: {known}")]
    UnknownTask {
        /// Name asked for.
        got: String,
        /// Names present, comma separated.
        known: String,
    },
    /// A weights file does not fit.
    #[error(transparent)]
    Weights(#[from] ufo_weights::Error),
    /// A position embedding cannot take another size.
    #[error("position embedding of task `{task}`: {reason}")]
    Positions {
        /// The task.
        task: String,
        /// Why.
        reason: String,
    },
    /// Only a fixed path can be exported.
    #[error("{site}: the expert is still routed; fix the path before export")]
    RoutedExport {
        /// Name of the site.
        site: String,
    },
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
