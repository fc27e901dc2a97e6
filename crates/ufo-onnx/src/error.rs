//! What can go wrong when a graph is built, written or read.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An initializer's values do not fill its shape.
    #[error("initializer `{name}`: {got} values for shape {dims:?}, which needs {expected}")]
    Count {
        /// Its name.
        name: String,
        /// Its shape.
        dims: Vec<usize>,
        /// Values given.
        got: usize,
        /// Product of the shape.
        expected: usize,
    },
    /// Two initializers of one name differ.
    #[error("initializer `{name}` was added before with another shape or other values")]
    Conflict {
        /// Their name.
        name: String,
    },
    /// A single file may hold 2 GB.
    #[error(
        "the model has {bytes} bytes, a single ONNX file may have 2147483647; save() puts larger weights beside it"
    )]
    TooLarge {
        /// Bytes needed.
        bytes: usize,
    },
    /// Reading or writing failed.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are not an ONNX model.
    #[error("not an ONNX model: {reason}")]
    Decode {
        /// What is wrong.
        reason: String,
    },
}
