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
    /// A weights file lacks a tensor.
    #[error("{from}: no tensor `{name}`")]
    MissingTensor {
        /// Where it was looked for.
        from: String,
        /// Its key.
        name: String,
    },
    /// A weights file holds a tensor that the model does not have.
    #[error("{from}: unexpected tensor `{name}`")]
    UnexpectedTensor {
        /// Where it was found.
        from: String,
        /// Its key.
        name: String,
    },
    /// A tensor has another shape than the model's.
    #[error("{from}: tensor `{name}` has shape {got:?}, the model needs {expected:?}")]
    TensorShape {
        /// Where it was found.
        from: String,
        /// Its key.
        name: String,
        /// Shape in the file.
        got: Vec<usize>,
        /// Shape the model needs.
        expected: Vec<usize>,
    },
    /// Only a fixed path can be exported.
    #[error("{site}: the expert is still routed; fix the path before export")]
    RoutedExport {
        /// Name of the site.
        site: String,
    },
    /// A file is not what it should be.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, with what is allowed.
        reason: String,
    },
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
