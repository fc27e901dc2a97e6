//! Images with boxes: a JSON file as COCO has it (arXiv 1405.0312, <https://cocodataset.org/#format-data>).
//!
//! Images lie in `images/` beside the file, or for `ROOT/annotations/instances_NAME.json` in `ROOT/NAME/`, else
//! beside the file. Classes are the categories by their ids.

use std::{
    collections::HashMap,
    fmt, fs,
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

use super::boxed::Boxes;
use super::{Listing, Source};
use crate::{Annotation, Bounds, Error};

/// The longest file, in bytes; COCO's own has 450 MB.
const MOST_BYTES: u64 = 1 << 30;
/// A box may reach beyond its image by this, in pixels, since files round; it is then cut.
const ROUNDING: f64 = 0.5;

#[derive(Deserialize)]
struct File {
    images: Vec<ImageRow>,
    annotations: Vec<BoxRow>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct ImageRow {
    id: u64,
    file_name: String,
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct BoxRow {
    #[serde(default)]
    id: Option<u64>,
    image_id: u64,
    category_id: u64,
    /// x, y, width, height.
    bbox: [f64; 4],
    #[serde(default)]
    area: Option<f64>,
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

/// Reads the file at `path` and finds its images.
pub(super) fn read(path: &Path) -> Result<Listing, Error> {
    let length = fs::metadata(path).map_err(Error::io(path))?.len();
    if length > MOST_BYTES {
        let reason = format!("{length} bytes; allowed: up to {MOST_BYTES}");
        return Err(Error::layout(path, reason));
    }
    let text = fs::read(path).map_err(Error::io(path))?;
    let file: File = serde_json::from_slice(&text)
        .map_err(|error| Error::layout(path, format!("not COCO's JSON: {error}")))?;
    let (classes, class_of) = classes(path, file.categories)?;
    let (files, sizes, row_of) = images(path, &file.images)?;
    let mut of_image = vec![Vec::new(); files.len()];
    for (position, row) in file.annotations.iter().enumerate() {
        let place = match row.id {
            Some(id) => format!("annotation {id}"),
            None => format!("annotation at {position}"),
        };
        let wrong = |column, value: &dyn fmt::Display, allowed: String| {
            wrong_value(path, &place, (column, value), allowed)
        };
        let Some(&image) = row_of.get(&row.image_id) else {
            return Err(wrong("image_id", &row.image_id, "ids of `images`".to_owned()));
        };
        let Some(&class) = class_of.get(&row.category_id) else {
            let mut known: Vec<u64> = class_of.keys().copied().collect();
            known.sort_unstable();
            known.truncate(20);
            let allowed = format!("ids of `categories`, as {known:?}");
            return Err(wrong("category_id", &row.category_id, allowed));
        };
        let annotation = row.annotation(class, sizes[image]);
        let annotation = annotation.map_err(|allowed| {
            let name = &file.images[image].file_name;
            wrong("bbox", &format!("{:?}", row.bbox), format!("{allowed} (image {name})"))
        })?;
        of_image[image].push(annotation);
    }
    Ok(Listing {
        labels: vec![0; files.len()],
        places: vec![path.display().to_string(); classes.len()],
        source: Source::Files(files),
        masks: None,
        boxes: Some(Boxes { file: path.to_owned(), of_image, sizes }),
        cameras: None,
        classes,
    })
}

impl BoxRow {
    /// The box of an image of width and height `size`, or what is allowed.
    fn annotation(&self, class: u32, size: [usize; 2]) -> Result<Annotation, String> {
        let [x, y, width, height] = self.bbox;
        if self.bbox.iter().any(|v| !v.is_finite()) || width <= 0.0 || height <= 0.0 {
            return Err("[x, y, width, height], numbers, width and height above 0".to_owned());
        }
        let sides = size.map(|side| side as f64);
        let outside =
            |from: f64, length: f64, side: f64| from < -ROUNDING || from + length > side + ROUNDING;
        if outside(x, width, sides[0]) || outside(y, height, sides[1]) {
            return Err(format!("boxes inside of the image of {} x {}", size[0], size[1]));
        }
        let cut = |v: f64, side: f64| v.clamp(0.0, side) as f32;
        let bounds = Bounds {
            left: cut(x, sides[0]),
            top: cut(y, sides[1]),
            right: cut(x + width, sides[0]),
            bottom: cut(y + height, sides[1]),
        };
        if bounds.area() == 0.0 {
            return Err(format!("boxes inside of the image of {} x {}", size[0], size[1]));
        }
        let area = self.area.filter(|area| area.is_finite() && *area > 0.0);
        let area = area.unwrap_or_else(|| bounds.area()) as f32;
        Ok(Annotation { bounds, class, crowd: self.iscrowd > 0, area })
    }
}

/// Names by rising id, and the class of each id.
fn classes(
    path: &Path,
    mut categories: Vec<Category>,
) -> Result<(Vec<String>, HashMap<u64, u32>), Error> {
    categories.sort_by_key(|category| category.id);
    if let Some(pair) = categories.windows(2).find(|pair| pair[0].id == pair[1].id) {
        let place = format!("category {}", pair[1].id);
        return Err(wrong_value(path, &place, ("id", &pair[1].id), "ids that differ".to_owned()));
    }
    if categories.is_empty() {
        return Err(Error::layout(path, "no categories; allowed: at least one"));
    }
    let class_of = categories.iter().zip(0..).map(|(category, class)| (category.id, class));
    let class_of = class_of.collect();
    Ok((categories.into_iter().map(|category| category.name).collect(), class_of))
}

type Images = (Vec<PathBuf>, Vec<[usize; 2]>, HashMap<u64, usize>);

/// Files and sizes of the images, and the row of each id.
fn images(path: &Path, rows: &[ImageRow]) -> Result<Images, Error> {
    let folder = folder_of(path);
    let (mut files, mut sizes, mut row_of) = (Vec::new(), Vec::new(), HashMap::new());
    for (row, image) in rows.iter().enumerate() {
        let place = format!("image {}", image.id);
        let wrong = |column, value: &dyn fmt::Display, allowed: &str| {
            wrong_value(path, &place, (column, value), allowed.to_owned())
        };
        let name = Path::new(&image.file_name);
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if image.file_name.is_empty() || !name.components().all(plain) {
            let allowed = "a path inside of the folder of the images";
            return Err(wrong("file_name", &image.file_name, allowed));
        }
        if image.width == 0 || image.height == 0 {
            let value = format!("{} x {}", image.width, image.height);
            return Err(wrong("width, height", &value, "1 pixel or more"));
        }
        if row_of.insert(image.id, row).is_some() {
            return Err(wrong("id", &image.id, "ids that differ"));
        }
        let file = folder.join(name);
        if !file.is_file() {
            let reason = format!("no such image, which {} lists", path.display());
            return Err(Error::layout(file, reason));
        }
        files.push(file);
        sizes.push([image.width as usize, image.height as usize]);
    }
    Ok((files, sizes, row_of))
}

/// Where the images of a file lie.
fn folder_of(path: &Path) -> PathBuf {
    let parent = path.parent().unwrap_or(Path::new(""));
    let beside = parent.join("images");
    if beside.is_dir() {
        return beside;
    }
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    match (stem.strip_prefix("instances_"), parent.parent()) {
        (Some(name), Some(root)) if root.join(name).is_dir() => root.join(name),
        _ => parent.to_owned(),
    }
}

fn wrong_value(
    path: &Path,
    row: &str,
    (column, value): (&'static str, &dyn fmt::Display),
    allowed: String,
) -> Error {
    let (path, row, value) = (path.to_owned(), row.to_owned(), value.to_string());
    Error::Value { path, row, column, value, allowed }
}

#[cfg(test)]
mod tests;
