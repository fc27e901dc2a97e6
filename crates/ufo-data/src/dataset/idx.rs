//! IDX files, the format of MNIST: a magic `0 0 TYPE DIMS`, big-endian sizes, the values.
//!
//! The path is a folder or a prefix, so `fashion/train` finds `fashion/train-images.idx.gz`,
//! `train-labels.idx.gz`, and, where they are, `train-cameras.idx.gz`, `train-names.txt` or
//! `classes.txt` (a class name a line). Images are u8 of (n, h, w) or (n, h, w, c); labels and
//! cameras u8 or i32. Without a list of names the label values themselves are the classes.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use super::{Listing, Source, classes_of_integers};
use crate::{Error, Image};

mod array;

use array::Array;

const ENDINGS: [&str; 4] = [".idx", ".idx.gz", "-ubyte", "-ubyte.gz"];

/// All images of a file, as they are in it.
#[derive(Debug)]
pub(super) struct Images {
    pub(super) path: PathBuf,
    height: usize,
    width: usize,
    channels: usize,
    data: Vec<u8>,
}

impl Images {
    fn open(path: PathBuf) -> Result<Self, Error> {
        let array = array::read(&path)?;
        let channels = match *array.sizes {
            [_, _, _] => 1,
            [_, _, _, channels @ (1 | 3 | 4)] => channels,
            _ => return Err(wrong_shape(&path, &array)),
        };
        let (height, width) = (array.sizes[1], array.sizes[2]);
        if !array.is_u8 || height == 0 || width == 0 {
            return Err(wrong_shape(&path, &array));
        }
        Ok(Self { path, height, width, channels, data: array.data })
    }

    fn len(&self) -> usize {
        self.data.len() / (self.height * self.width * self.channels)
    }

    /// Image `row`; gray is replicated, transparency composited on white.
    pub(super) fn image(&self, row: usize) -> Image {
        let length = self.height * self.width * self.channels;
        let values = &self.data[row * length..(row + 1) * length];
        let rgb = match self.channels {
            1 => values.iter().flat_map(|&gray| [gray; 3]).collect(),
            3 => values.to_vec(),
            _ => values.chunks_exact(4).flat_map(crate::decode::pixel_on_white).collect(),
        };
        Image { width: self.width, height: self.height, rgb }
    }
}

fn wrong_shape(path: &Path, array: &Array) -> Error {
    let kind = if array.is_u8 { "u8" } else { "i32" };
    let allowed = "u8 of (n, h, w), (n, h, w, 1), (n, h, w, 3) or (n, h, w, 4), no side of 0";
    Error::layout(path, format!("images are {kind} of {:?}; allowed: {allowed}", array.sizes))
}

pub(super) fn read(path: &Path) -> Result<Listing, Error> {
    let folder = Folder::open(path)?;
    let images = Images::open(folder.required("images")?)?;
    let label_path = folder.required("labels")?;
    let labels = values(&label_path, images.len())?;
    let cameras = match folder.find("cameras")? {
        None => None,
        Some(path) => {
            let values = values(&path, images.len())?;
            let cameras = values.iter().enumerate().map(|(row, &value)| {
                u32::try_from(value).map_err(|_| wrong_value(&path, row, value, "0 or more"))
            });
            Some(cameras.collect::<Result<Vec<u32>, Error>>()?)
        }
    };
    let (labels, classes) = classes(&label_path, &labels, folder.class_names()?)?;
    let mut places = vec![String::new(); classes.len()];
    for (row, &label) in labels.iter().enumerate().rev() {
        places[label as usize] = format!("{}, row {row}", label_path.display());
    }
    Ok(Listing {
        source: Source::Memory(images),
        labels,
        cameras,
        classes,
        places,
        masks: None,
        boxes: None,
    })
}

/// The labels as positions in the classes: in `names`, or in the distinct values.
fn classes(
    path: &Path,
    values: &[i64],
    names: Option<(PathBuf, Vec<String>)>,
) -> Result<(Vec<u32>, Vec<String>), Error> {
    let Some((names_path, names)) = names else {
        if let Some((row, &value)) = values.iter().enumerate().find(|(_, value)| **value < 0) {
            return Err(wrong_value(path, row, value, "0 or more"));
        }
        let (labels, distinct) = classes_of_integers(values);
        return Ok((labels, distinct.iter().map(i64::to_string).collect()));
    };
    let allowed = format!("0 to {} ({})", names.len() - 1, names_path.display());
    let known = |(row, &value): (usize, &i64)| match u32::try_from(value) {
        Ok(label) if (label as usize) < names.len() => Ok(label),
        _ => Err(wrong_value(path, row, value, &allowed)),
    };
    let labels = values.iter().enumerate().map(known).collect::<Result<_, _>>()?;
    Ok((labels, names))
}

/// One integer an image.
fn values(path: &Path, images: usize) -> Result<Vec<i64>, Error> {
    let array = array::read(path)?;
    if array.sizes != [images] {
        let reason = format!("shape {:?}; allowed: [{images}], one an image", array.sizes);
        return Err(Error::layout(path, reason));
    }
    Ok(array.integers())
}

fn wrong_value(path: &Path, row: usize, value: i64, allowed: &str) -> Error {
    Error::Value {
        path: path.to_owned(),
        row: format!("row {row}"),
        column: "value",
        value: value.to_string(),
        allowed: allowed.to_owned(),
    }
}

/// The files of a folder whose names start with a prefix.
struct Folder {
    root: PathBuf,
    prefix: String,
    names: Vec<String>,
}

impl Folder {
    fn open(path: &Path) -> Result<Self, Error> {
        let (folder, prefix) = if path.is_dir() {
            (path, "")
        } else {
            let parent = path.parent().unwrap_or(Path::new(""));
            let prefix = path.file_name().and_then(OsStr::to_str).unwrap_or("");
            (if parent.as_os_str().is_empty() { Path::new(".") } else { parent }, prefix)
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            let name = entry.map_err(Error::io(folder))?.file_name();
            names.extend(name.to_str().map(str::to_owned));
        }
        names.sort();
        Ok(Self { root: folder.to_owned(), prefix: prefix.to_owned(), names })
    }

    /// The part of a file's name after the prefix and a separator.
    fn rest<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.strip_prefix(&self.prefix)?;
        Some(if self.prefix.is_empty() { rest } else { rest.trim_start_matches(['-', '_', '.']) })
    }

    /// The file of `kind`; a plain file before its compressed copy.
    fn find(&self, kind: &str) -> Result<Option<PathBuf>, Error> {
        let is_kind = |name: &&String| {
            self.rest(name).is_some_and(|rest| rest.starts_with(kind))
                && ENDINGS.iter().any(|ending| name.ends_with(ending))
        };
        let found: Vec<&String> = self.names.iter().filter(is_kind).collect();
        match found[..] {
            [] => Ok(None),
            [first] => Ok(Some(self.root.join(first))),
            [first, ..] if found[1..].iter().all(|other| **other == format!("{first}.gz")) => {
                Ok(Some(self.root.join(first)))
            }
            [first, second, ..] => {
                let reason = format!("two files of {kind}: {first} and {second}; allowed: one");
                Err(Error::layout(&self.root, reason))
            }
        }
    }

    fn required(&self, kind: &str) -> Result<PathBuf, Error> {
        self.find(kind)?.ok_or_else(|| {
            let endings = ENDINGS.join(", ");
            let reason = format!(
                "no file that starts with {} and then {kind}; allowed endings: {endings}",
                if self.prefix.is_empty() { "nothing" } else { &self.prefix },
            );
            Error::layout(&self.root, reason)
        })
    }

    /// The class names: of this split, or of the folder.
    fn class_names(&self) -> Result<Option<(PathBuf, Vec<String>)>, Error> {
        let of_split = |name: &&String| self.rest(name) == Some("names.txt");
        let of_folder = |name: &&String| *name == "classes.txt";
        let found = self.names.iter().find(of_split).or(self.names.iter().find(of_folder));
        let Some(name) = found else { return Ok(None) };
        let path = self.root.join(name);
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let names: Vec<String> = text.trim_end().lines().map(|name| name.trim().into()).collect();
        let mut seen = HashSet::new();
        for (name, line) in names.iter().zip(1..) {
            if name.is_empty() || !seen.insert(name) {
                return Err(Error::Value {
                    path,
                    row: format!("line {line}"),
                    column: "class",
                    value: format!("'{name}'"),
                    allowed: "a name a line, none empty, none twice".to_owned(),
                });
            }
        }
        if names.is_empty() {
            return Err(Error::layout(path, "no class; allowed: a name a line"));
        }
        Ok(Some((path, names)))
    }
}
