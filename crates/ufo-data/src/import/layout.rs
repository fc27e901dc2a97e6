//! Writes the layouts that every reader takes: IDX files and folders of images.
//!
//! IDX is the MNIST format: 0, 0, type, number of dimensions, each dimension as big-endian u32,
//! values. Files are gzip without time or name, so equal contents give equal files.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};

use serde_json::json;

use super::{ImportError, Package, Split};
use crate::{Annotation, Bounds, Image, Mask, Palette, encode_png};

const U8: u8 = 0x08;
const I32: u8 = 0x0C;

/// Writes `{split}-images.idx.gz` of gray images and `{split}-labels.idx.gz`.
pub(super) fn write_gray(
    out: &Path,
    split: &'static str,
    side: usize,
    images: &[&[u8]],
    labels: &[u8],
) -> Result<Split, ImportError> {
    write_images(out, split, &[side, side], images)?;
    write_idx(out, &format!("{split}-labels"), (U8, &[labels.len()]), &[labels])?;
    Ok(Split { name: split, images: images.len(), labels: distinct_labels(labels) })
}

/// Writes `{split}-images.idx.gz`; `shape` is that of one image.
pub(super) fn write_images(
    out: &Path,
    split: &str,
    shape: &[usize],
    images: &[&[u8]],
) -> Result<(), ImportError> {
    let dims: Vec<usize> = [&[images.len()], shape].concat();
    write_idx(out, &format!("{split}-images"), (U8, &dims), images)
}

/// Writes `{split}-cameras.idx.gz`.
pub(super) fn write_cameras(out: &Path, split: &str, cameras: &[u8]) -> Result<(), ImportError> {
    write_idx(out, &format!("{split}-cameras"), (U8, &[cameras.len()]), &[cameras])
}

/// Writes `{split}-labels.idx.gz` with identities, which may be more than 256.
pub(super) fn write_identities(out: &Path, split: &str, ids: &[i32]) -> Result<(), ImportError> {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_be_bytes()).collect();
    write_idx(out, &format!("{split}-labels"), (I32, &[ids.len()]), &[&bytes])
}

/// Writes `folder/images/NAME.png` and `folder/masks/NAME.png`.
pub(super) fn write_scene(
    folder: &Path,
    name: &str,
    image: &Image,
    mask: &Mask,
) -> Result<(), ImportError> {
    let place = |kind: &str| folder.join(kind).join(format!("{name}.png"));
    write_image(&place("images"), image)?;
    let place = place("masks");
    let said = |error| ImportError::format(&place, "ids of a size", &error);
    write_file(&place, &mask.encode(Palette::Voc).map_err(said)?)
}

/// Writes an image as PNG.
pub(super) fn write_image(place: &Path, image: &Image) -> Result<(), ImportError> {
    let said = |error| ImportError::format(place, "pixels of a size", &error);
    write_file(place, &encode_png(image).map_err(said)?)
}

/// An image and its boxes.
pub(super) struct BoxedRow {
    /// Name of the file in `images`.
    pub(super) file: String,
    /// Width and height.
    pub(super) size: [usize; 2],
    pub(super) boxes: Vec<Annotation>,
}

/// Writes boxes as COCO has them; ids begin with 1.
pub(super) fn write_boxes(
    place: &Path,
    rows: &[BoxedRow],
    classes: &[&str],
) -> Result<(), ImportError> {
    let image = |(row, id): (&BoxedRow, usize)| json!({"id": id, "file_name": row.file, "width": row.size[0], "height": row.size[1]});
    let images: Vec<_> = rows.iter().zip(1..).map(image).collect();
    let of_image = |(row, image)| row_boxes(row, image);
    let boxes = rows.iter().zip(1..).flat_map(of_image).zip(1..).map(|(mut one, id)| {
        one["id"] = json!(id);
        one
    });
    let boxes: Vec<_> = boxes.collect();
    let class = |(name, id): (&&str, usize)| json!({"id": id, "name": name});
    let classes: Vec<_> = classes.iter().zip(1..).map(class).collect();
    let file = json!({"images": images, "annotations": boxes, "categories": classes});
    write_file(place, file.to_string().as_bytes())
}

fn row_boxes(row: &BoxedRow, image: usize) -> Vec<serde_json::Value> {
    let one = |found: &Annotation| {
        let Bounds { left, top, right, bottom } = found.bounds;
        json!({"image_id": image, "category_id": found.class + 1, "iscrowd": u8::from(found.crowd),
            "bbox": [left, top, right - left, bottom - top], "area": found.area})
    };
    row.boxes.iter().map(one).collect()
}

/// Writes one name a line.
pub(super) fn write_names(
    out: &Path,
    file: &str,
    names: &[impl AsRef<str>],
) -> Result<(), ImportError> {
    let text: String = names.iter().flat_map(|name| [name.as_ref(), "\n"]).collect();
    write_file(&out.join(file), text.as_bytes())
}

/// Copies the licence of the package to `LICENSE`, after `notice`.
pub(super) fn write_license(
    package: &Package,
    file: &str,
    notice: &str,
    out: &Path,
) -> Result<(), ImportError> {
    let text = [notice.as_bytes(), &package.read(file)?].concat();
    write_file(&out.join("LICENSE"), &text)
}

/// Writes one file and waits until it is on the disk; folders above it are made.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ImportError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(ImportError::io(folder))?;
    }
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(ImportError::io(path))
}

/// Waits until the entries of a folder are on the disk.
pub(super) fn sync_folder(folder: &Path) -> Result<(), ImportError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(ImportError::io(folder))
}

fn write_idx(
    out: &Path,
    stem: &str,
    (kind, dims): (u8, &[usize]),
    values: &[&[u8]],
) -> Result<(), ImportError> {
    let path = out.join(format!("{stem}.idx.gz"));
    let write = || -> io::Result<()> {
        let mut file = GzEncoder::new(File::create(&path)?, Compression::default());
        file.write_all(&[0, 0, kind, dims.len() as u8])?;
        for &dim in dims {
            let dim = u32::try_from(dim).map_err(io::Error::other)?;
            file.write_all(&dim.to_be_bytes())?;
        }
        for value in values {
            file.write_all(value)?;
        }
        file.finish()?.sync_all()
    };
    write().map_err(ImportError::io(&path))
}

fn distinct_labels(labels: &[u8]) -> usize {
    let mut seen = [false; 256];
    for &label in labels {
        seen[label as usize] = true;
    }
    seen.into_iter().filter(|seen| *seen).count()
}
