//! `split/class/image`: a folder a class, images at any depth below it.

use super::{Parts, Source};
use crate::Error;
use std::{
    fs,
    path::{Path, PathBuf},
};

const EXTENSIONS: [&str; 11] =
    ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "pgm", "ppm", "pnm"];

pub(super) fn read(path: &Path, classes: Option<&[String]>) -> Result<Parts, Error> {
    let folders: Vec<PathBuf> = entries(path)?.into_iter().filter(|entry| entry.is_dir()).collect();
    let names: Vec<String> = folders.iter().map(|folder| name(folder)).collect();
    let classes = classes.map_or_else(|| names.clone(), <[String]>::to_vec);
    let (mut files, mut labels) = (Vec::new(), Vec::new());
    for (folder, name) in folders.iter().zip(names) {
        let label = classes.iter().position(|class| *class == name);
        let label = label.ok_or_else(|| Error::UnknownClass {
            place: folder.display().to_string(),
            class: name,
            allowed: classes.join(", "),
        })?;
        let found = files.len();
        collect(folder, &mut files)?;
        if files.len() == found {
            let reason = format!("the class has no images; allowed: {}", EXTENSIONS.join(", "));
            return Err(Error::layout(folder, reason));
        }
        labels.resize(files.len(), label as u32);
    }
    Ok(Parts { source: Source::Files(files.into()), labels, cameras: None, classes })
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in entries(folder)? {
        let extension = entry.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if entry.is_dir() {
            collect(&entry, files)?;
        } else if EXTENSIONS.contains(&extension.as_str()) {
            files.push(entry);
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed = fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths = listed
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::io(folder))?;
    paths.sort();
    Ok(paths)
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
