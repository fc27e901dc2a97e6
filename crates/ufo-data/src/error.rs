//! What can go wrong between a file and a batch.

use std::{fmt, io, path::PathBuf};

/// An error of this crate; every message names the place, what was found and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder that cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason of the operating system.
        source: io::Error,
    },
    /// Bytes that are no image this crate reads.
    #[error("not a readable image: {reason}")]
    Decode {
        /// What is wrong with the bytes.
        reason: String,
    },
    /// An image above the limits, refused before memory is taken for it.
    #[error(
        "image of {width} x {height} pixels; allowed: sides up to {max_side}, {max_pixels} pixels"
    )]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The longest side allowed.
        max_side: u32,
        /// The most pixels allowed.
        max_pixels: u64,
    },
    /// An image of a dataset that cannot be decoded.
    #[error("{name}: {reason}")]
    Image {
        /// The image's name in its dataset.
        name: String,
        /// Why it cannot be decoded.
        reason: String,
    },
    /// A mask that does not fit its image or its classes: no damaged file, so that training does not skip it.
    #[error("{}: {reason}", path.display())]
    Mask {
        /// The mask's file.
        path: PathBuf,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// Boxes that do not fit their image: no damaged file, so that training does not skip it.
    #[error("{}: {reason}", path.display())]
    Boxes {
        /// The boxes' file.
        path: PathBuf,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// A dataset file whose layout is wrong as a whole.
    #[error("{}: {reason}", path.display())]
    Layout {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// One wrong value of a dataset file.
    #[error("{}, {row}: {column} is {value}; allowed: {allowed}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Where in the file, such as `line 3` or `row 17`.
        row: String,
        /// The name of the value.
        column: &'static str,
        /// What was found.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A class that the training split does not have.
    #[error("{place}: unknown class '{class}'; allowed: {allowed}")]
    UnknownClass {
        /// The folder, or the file and row.
        place: String,
        /// The class found.
        class: String,
        /// The classes of the training split.
        allowed: String,
    },
    /// A setting out of its range.
    #[error("{key} is {value}; allowed: {allowed}")]
    Config {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// More broken images than `max_broken`.
    #[error("{count} broken images; allowed: {max} (max_broken); the first: {first}")]
    TooManyBroken {
        /// How many distinct broken images were met.
        count: usize,
        /// How many are allowed.
        max: usize,
        /// The first few names with reasons.
        first: String,
    },
    /// A loader that cannot give a batch because it already failed, or because a worker died.
    #[error("the loader has stopped at step {step}: {reason}")]
    Stopped {
        /// The step that was asked for.
        step: u64,
        /// Why.
        reason: &'static str,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn layout(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Layout { path: path.into(), reason: reason.into() }
    }

    pub(crate) fn config(key: &'static str, value: impl fmt::Display, allowed: &str) -> Self {
        Self::Config { key, value: value.to_string(), allowed: allowed.to_owned() }
    }
}
