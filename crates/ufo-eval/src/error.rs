//! What can be wrong with the input of a protocol.

/// Errors of this crate; each names the argument, what was expected and what was given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two arguments do not fit together.
    #[error("{what}: expected {expected} values, got {got}")]
    Length {
        /// The argument.
        what: &'static str,
        /// Values it must have.
        expected: usize,
        /// Values it has.
        got: usize,
    },
    /// A value that is not a number, or too large to compute with.
    #[error("{what}: row {row} holds {got}, must be {allowed}")]
    Number {
        /// The argument.
        what: &'static str,
        /// Row of the first such value, from 0.
        row: usize,
        /// The value.
        got: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A label that is not a class.
    #[error("labels: row {row} is {label}, must be less than {classes} classes")]
    Label {
        /// Row of the label, from 0.
        row: usize,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A value outside its range.
    #[error("{what} = {got}: {allowed}")]
    Value {
        /// The argument, or the dotted key of a configuration.
        what: String,
        /// What was given.
        got: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A metric that does not exist for these data.
    #[error("{metric} is undefined: {reason}")]
    Undefined {
        /// The metric.
        metric: &'static str,
        /// What is missing.
        reason: &'static str,
    },
}

impl Error {
    #[allow(clippy::needless_pass_by_value, reason = "callers hand over literals and owned text")]
    pub(crate) fn value(
        what: impl Into<String>,
        got: impl ToString,
        allowed: &'static str,
    ) -> Self {
        Self::Value { what: what.into(), got: got.to_string(), allowed }
    }
}
