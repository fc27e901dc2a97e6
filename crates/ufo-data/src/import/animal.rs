//! Animal-MNIST: 10,000 silhouettes in 10 classes, 284 of them copies.
//!
//! The package holds pickled numpy arrays. Nothing is unpickled: the values of this version lie at
//! a known place, and the length of the file says that it is this version.

use std::path::Path;

use super::{
    ImportError, Package, Source, Summary,
    distinct::{distinct, stratified},
    layout,
};

const IMAGES: &str = "animal_mnist/data/Animal_MNIST/animal_data_version_3.gz";
const LABELS: &str = "animal_mnist/data/Animal_MNIST/animal_label_version_3.gz";
const LICENSE: &str = "animal_mnist-0.4.dist-info/licenses/LICENSE";
const SIDE: usize = 28;
const IMAGES_AT: usize = 150;
const LABELS_AT: usize = 146;
const PICKLE_TAIL: usize = 14;
/// Alphabetical in the package's description; the order of the labels was checked by eye.
const CLASSES: [&str; 10] =
    ["bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra"];

pub(super) fn convert(package: &Package, out: &Path) -> Result<Summary, ImportError> {
    convert_count(package, out, 10_000)
}

pub(super) fn convert_count(
    package: &Package,
    out: &Path,
    count: usize,
) -> Result<Summary, ImportError> {
    let pixels = array(package, IMAGES, IMAGES_AT, count * SIDE * SIDE)?;
    let labels = labels(package, count)?;
    let all: Vec<(&[u8], u32)> = pixels
        .chunks_exact(SIDE * SIDE)
        .zip(&labels)
        .map(|(image, &label)| (image, u32::from(label)))
        .collect();
    let found = distinct(all.iter().copied());
    let mut dropped = found.dropped;
    let images: Vec<(&[u8], u32)> = found
        .kept
        .iter()
        .map(|&index| all[index])
        .filter(|(image, _)| image.iter().any(|&pixel| pixel != image[0]))
        .collect();
    dropped.damaged = found.kept.len() - images.len();
    let (train, test) = stratified(&images);
    let mut splits = Vec::new();
    for (split, positions) in [("train", train), ("test", test)] {
        let pixels: Vec<&[u8]> = positions.iter().map(|&position| images[position].0).collect();
        let labels: Vec<u8> = positions.iter().map(|&position| images[position].1 as u8).collect();
        splits.push(layout::write_gray(out, split, SIDE, &pixels, &labels)?);
    }
    layout::write_names(out, "classes.txt", &CLASSES)?;
    layout::write_license(package, LICENSE, "", out)?;
    Ok(Summary {
        source: Source::Animal,
        splits,
        classes: CLASSES.map(String::from).to_vec(),
        dropped,
    })
}

fn labels(package: &Package, count: usize) -> Result<Vec<u8>, ImportError> {
    let bytes = array(package, LABELS, LABELS_AT, 8 * count)?;
    let mut labels = Vec::with_capacity(count);
    for value in bytes.chunks_exact(8) {
        if usize::from(value[0]) >= CLASSES.len() || value[1..].iter().any(|&byte| byte != 0) {
            let got = format!("bytes {value:02x?}");
            return Err(ImportError::format(&package.path(LABELS), "i64 labels 0 to 9", &got));
        }
        labels.push(value[0]);
    }
    Ok(labels)
}

/// `bytes` values at `at` of a pickle that ends right after them.
fn array(package: &Package, file: &str, at: usize, bytes: usize) -> Result<Vec<u8>, ImportError> {
    let expected = at + bytes + PICKLE_TAIL;
    let mut pickle = package.gunzip(file, expected as u64)?;
    if pickle.len() != expected {
        return Err(ImportError::format(
            &package.path(file),
            format!("{expected} bytes"),
            &pickle.len(),
        ));
    }
    pickle.truncate(at + bytes);
    Ok(pickle.split_off(at))
}
