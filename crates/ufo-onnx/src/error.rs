//! What can go wrong when a graph is built, written or read.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An initializer's values do not fill its shape.
    #[error("initializer `{name}`: {got} values for shape {dims:?}")]
    Count {
        /// Its name.
        name: String,
        /// Its shape.
        dims: Vec<usize>,
        /// Values given.
        got: usize,
    },
    /// A name stands for two different things.
    #[error("`{name}` was added before with another kind, shape or content")]
    Conflict {
        /// The name.
        name: String,
    },
    /// A node or an output uses a value that this graph does not have.
    #[error("`{name}` is no value of this graph")]
    Foreign {
        /// The value's name.
        name: String,
    },
    /// A graph without an output computes nothing.
    #[error("the graph has no output")]
    NoOutput,
    /// A single file may hold 2 GiB - 1.
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
    /// The bytes are not an ONNX model, or one beyond the reader's bounds.
    #[error("not an ONNX model: {reason}")]
    Decode {
        /// What is wrong.
        reason: String,
    },
}
