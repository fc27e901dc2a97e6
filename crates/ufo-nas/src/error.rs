//! What can be wrong with an architecture, a path or a slice.

/// Errors of this crate; each names the key, the value and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field holds a value outside its range.
    #[error("{key} = {value}: {allowed}")]
    Value {
        /// Dotted key of the field.
        key: String,
        /// What it holds.
        value: String,
        /// What is allowed, and where the bound comes from.
        allowed: String,
    },
    /// A text names nothing known.
    #[error("unknown {what} `{got}`; known: {known}")]
    Unknown {
        /// Kind of thing looked up.
        what: &'static str,
        /// The text given.
        got: String,
        /// Every allowed text.
        known: String,
    },
    /// A matrix that has no Cholesky factor.
    #[error(
        "row {row} of a covariance matrix leaves pivot {pivot}, must be positive: samples repeat \
         without noise, or a hyperparameter is out of range"
    )]
    NotPositiveDefinite {
        /// First row where it shows, from 0.
        row: usize,
        /// What is left on the diagonal.
        pivot: String,
    },
}

impl Error {
    #[allow(clippy::needless_pass_by_value, reason = "callers hand over literals and owned text")]
    pub(crate) fn value(
        key: impl Into<String>,
        value: impl ToString,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Value { key: key.into(), value: value.to_string(), allowed: allowed.into() }
    }

    /// The error with the place of the key before it.
    pub(crate) fn within(self, place: &str) -> Self {
        match self {
            Self::Value { key, value, allowed } => {
                Self::Value { key: format!("{place}.{key}"), value, allowed }
            }
            other => other,
        }
    }
}
