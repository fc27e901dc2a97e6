//! `path/CLASS/**/*.png`: a folder a class, as torchvision's `ImageFolder`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Listing, Source};
use crate::Error;

const EXTENSIONS: [&str; 13] =
    ["png", "jpg", "jpeg", "jfif", "webp", "bmp", "gif", "tif", "tiff", "pnm", "ppm", "pgm", "pbm"];
/// The deepest folder below a class, against loops of links.
pub(super) const MAX_DEPTH: usize = 16;

pub(super) fn read(path: &Path) -> Result<Listing, Error> {
    let mut listing = Listing {
        source: Source::Files(Vec::new()),
        labels: Vec::new(),
        cameras: None,
        classes: Vec::new(),
        places: Vec::new(),
        masks: None,
        boxes: None,
    };
    let mut files = Vec::new();
    for folder in entries(path)?.into_iter().filter(|entry| entry.is_dir()) {
        let class = folder.file_name().and_then(|name| name.to_str());
        let Some(class) = class else {
            return Err(Error::layout(folder, "the class's name is not UTF-8"));
        };
        let before = files.len();
        collect(&folder, MAX_DEPTH, &mut files)?;
        if files.len() == before {
            let reason = format!("a class without an image; allowed: {}", EXTENSIONS.join(", "));
            return Err(Error::layout(folder, reason));
        }
        let label = listing.classes.len() as u32;
        listing.labels.resize(files.len(), label);
        listing.classes.push(class.to_owned());
        listing.places.push(folder.display().to_string());
    }
    if files.is_empty() {
        return Err(Error::layout(path, "no class; allowed: a folder a class with images inside"));
    }
    listing.source = Source::Files(files);
    Ok(listing)
}

/// All images in and below a folder, as of one class.
pub(super) fn read_unlabeled(path: &Path) -> Result<Listing, Error> {
    let mut files = Vec::new();
    collect(path, MAX_DEPTH, &mut files)?;
    if files.is_empty() {
        let reason = format!("no image; allowed: {}", EXTENSIONS.join(", "));
        return Err(Error::layout(path, reason));
    }
    Ok(Listing {
        labels: vec![0; files.len()],
        source: Source::Files(files),
        cameras: None,
        classes: vec!["unlabeled".to_string()],
        places: vec![path.display().to_string()],
        masks: None,
        boxes: None,
    })
}

/// The images in and below a folder, sorted.
pub(super) fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    if depth == 0 {
        return Err(Error::layout(folder, format!("deeper than {MAX_DEPTH} folders")));
    }
    for entry in entries(folder)? {
        if entry.is_dir() {
            collect(&entry, depth - 1, files)?;
        } else if is_image(&entry) {
            files.push(entry);
        }
    }
    Ok(())
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
    })
}

/// What is in a folder, sorted, without hidden entries.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
