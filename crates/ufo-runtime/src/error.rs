//! What can go wrong with a model folder.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("reading {file}; a folder that `ufo extract` wrote is needed: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
    /// `config.json` is not what it should be.
    #[error("in {file}: {reason}")]
    Config {
        /// The file.
        file: String,
        /// Key, value and what is allowed.
        reason: String,
    },
    /// The weights do not fit `config.json`.
    #[error(transparent)]
    Weights(#[from] ufo_weights::Error),
    /// Images of another size.
    #[error("images: {got} values are no whole images of {expected:?} (channels, height, width)")]
    Images {
        /// Number of values.
        got: usize,
        /// Channels, height, width.
        expected: [usize; 3],
    },
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
