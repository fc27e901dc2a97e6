//! What keeps a server from starting; what a request is refused with is a [`crate::Refusal`].

use std::fmt::Display;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting out of its range.
    #[error("{key} is {value}; allowed: {allowed}")]
    Config {
        /// The setting.
        key: String,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A model that cannot be opened or run.
    #[error("model `{name}`: {reason}")]
    Model {
        /// Its name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A file or folder that cannot be used.
    #[error("{place}: {reason}")]
    File {
        /// The file or folder.
        place: String,
        /// Why not.
        reason: String,
    },
    /// An address that cannot be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Threads that cannot be started.
    #[error("starting threads: {0}")]
    Threads(String),
}

impl Error {
    pub(crate) fn config(
        key: impl Into<String>,
        value: impl Display,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Config { key: key.into(), value: value.to_string(), allowed: allowed.into() }
    }
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
