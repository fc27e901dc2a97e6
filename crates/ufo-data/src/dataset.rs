//! Images with labels, from the folder layouts people have.
//!
//! | format | layout |
//! |---|---|
//! | `image-folder` | `path/CLASS/**/*.png`; classes sorted by name |
//! | `idx` | `PREFIXimages*`, `PREFIXlabels*`, optional `PREFIXcameras*` and `classes.txt` |
//! | `csv` | a file with columns `path,label` and optional `camera`; paths relative to the file |
//! | `masks` | `path/images/**/NAME.jpg`, `path/masks/**/NAME.png`, `classes.txt` in or beside `path` |
//! | `voc` | a list `ROOT/ImageSets/Segmentation/NAME.txt` of PASCAL VOC |
//! | `cityscapes` | `ROOT/leftImg8bit/SPLIT` of Cityscapes, with `ROOT/gtFine/SPLIT` |
//! | `coco` | a JSON file of boxes as COCO has it, with its images in `images/` beside it |
//!
//! A label is the position of its class in [`Dataset::classes`]. Images with masks or boxes have the classes
//! of pixels or boxes; their own label is 0.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

mod boxed;
mod coco;
mod config;
mod csv_list;
mod idx;
mod image_folder;
mod labels;
mod masks;
mod scene;

pub use boxed::{Boxed, check_boxes};
pub use config::{DatasetConfig, HoldOut};
pub use labels::Labels;
pub use scene::{Scene, check_masks};

use crate::{Error, Image, decode};

/// The longest image file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// A layout of images and labels on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A folder a class.
    ImageFolder,
    /// The arrays of MNIST.
    Idx,
    /// A list of paths.
    Csv,
    /// Folders of images and of masks.
    Masks,
    /// PASCAL VOC's segmentation.
    Voc,
    /// Cityscapes' fine annotations.
    Cityscapes,
    /// COCO's boxes.
    Coco,
}

impl Format {
    /// Whether its images have masks.
    pub fn has_masks(self) -> bool {
        matches!(self, Self::Masks | Self::Voc | Self::Cityscapes)
    }

    /// Whether its images have boxes.
    pub fn has_boxes(self) -> bool {
        self == Self::Coco
    }
}

/// A list of labeled images; cheap to clone and to [`select`](Self::select) from.
#[derive(Debug, Clone)]
pub struct Dataset {
    source: Arc<Source>,
    masks: Option<Arc<masks::Masks>>,
    boxes: Option<Arc<boxed::Boxes>>,
    /// Positions in the source.
    rows: Arc<[usize]>,
    labels: Arc<[u32]>,
    cameras: Option<Arc<[u32]>>,
    classes: Arc<[String]>,
}

#[derive(Debug)]
enum Source {
    Files(Vec<PathBuf>),
    Memory(idx::Images),
}

/// What a layout's reader finds: one class name an image.
struct Listing {
    source: Source,
    /// For each image, its class in `classes`.
    labels: Vec<u32>,
    cameras: Option<Vec<u32>>,
    classes: Vec<String>,
    /// For each class, where it was found first.
    places: Vec<String>,
    masks: Option<masks::Masks>,
    boxes: Option<boxed::Boxes>,
}

impl Dataset {
    /// Opens a dataset with the classes that it has.
    ///
    /// # Errors
    /// A missing or unreadable file, an empty class, a value out of its range; the message names
    /// the file and what is allowed.
    pub fn open(format: Format, path: &Path) -> Result<Self, Error> {
        Ok(Self::of(listing(format, path)?))
    }

    /// Opens a dataset whose labels follow the order of `classes`, usually the training split's.
    ///
    /// # Errors
    /// Those of [`Dataset::open`], and [`Error::UnknownClass`] for a class that is not in `classes`.
    pub fn open_with_classes(
        format: Format,
        path: &Path,
        classes: &[String],
    ) -> Result<Self, Error> {
        let listing = listing(format, path)?;
        let shared = listing.masks.is_some() || listing.boxes.is_some();
        if shared && listing.classes != classes {
            let reason = format!("other classes than {}, in this order", shortened(classes));
            return Err(Error::layout(listing.places[0].clone(), reason));
        }
        let positions: HashMap<&str, u32> =
            classes.iter().zip(0..).map(|(class, position)| (class.as_str(), position)).collect();
        let mut used = vec![false; listing.classes.len()];
        for &label in &listing.labels {
            used[label as usize] = true;
        }
        let mut positions_of = Vec::with_capacity(used.len());
        for ((class, place), used) in listing.classes.iter().zip(&listing.places).zip(used) {
            match positions.get(class.as_str()) {
                Some(&position) => positions_of.push(position),
                // A class of `classes.txt` without an image does no harm.
                None if !used => positions_of.push(0),
                None => {
                    let (place, class) = (place.clone(), class.clone());
                    return Err(Error::UnknownClass { place, class, allowed: shortened(classes) });
                }
            }
        }
        let labels = listing.labels.iter().map(|&label| positions_of[label as usize]).collect();
        Ok(Self::of(Listing { labels, classes: classes.to_vec(), ..listing }))
    }

    /// The images in and below a folder, or those of IDX files that begin with `path`, without their labels: all are
    /// of one class.
    ///
    /// # Errors
    /// A missing or unreadable file, a folder without an image.
    pub fn unlabeled(path: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            return Ok(Self::of(image_folder::read_unlabeled(path)?));
        }
        let listing = listing(Format::Idx, path)?;
        let labels = vec![0; listing.labels.len()];
        let classes = vec!["unlabeled".to_string()];
        Ok(Self::of(Listing { labels, classes, cameras: None, ..listing }))
    }

    fn of(listing: Listing) -> Self {
        Self {
            rows: (0..listing.labels.len()).collect(),
            source: Arc::new(listing.source),
            masks: listing.masks.map(Arc::new),
            boxes: listing.boxes.map(Arc::new),
            labels: listing.labels.into(),
            cameras: listing.cameras.map(Arc::from),
            classes: listing.classes.into(),
        }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The class names; a label is a position in it.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The label of image `index`.
    pub fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    /// The label of every image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The label of every image, to share with a [`Sampler`](crate::Sampler).
    pub fn shared_labels(&self) -> Arc<[u32]> {
        Arc::clone(&self.labels)
    }

    /// The camera that took image `index`, where the layout says so.
    pub fn camera(&self, index: usize) -> Option<u32> {
        self.cameras.as_ref().map(|cameras| cameras[index])
    }

    /// The camera of every image, where the layout says so.
    pub fn cameras(&self) -> Option<&[u32]> {
        self.cameras.as_deref()
    }

    /// What image `index` is called: its path, or `FILE#ROW`.
    pub fn name(&self, index: usize) -> String {
        match &*self.source {
            Source::Files(paths) => paths[self.rows[index]].display().to_string(),
            Source::Memory(images) => format!("{}#{}", images.path.display(), self.rows[index]),
        }
    }

    /// The images and their classes as the CSV layout has them; an image that is no file of its own is
    /// named `FILE#ROW`. Images with masks are listed with their masks, those with boxes with how many.
    pub fn list(&self) -> String {
        let quoted = |text: &str| {
            let plain = !text.contains([',', '"', '\n', '\r']) && text.trim() == text;
            if plain { text.to_string() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
        };
        let row = |index: usize| {
            let class = &self.classes[self.label(index) as usize];
            let mask = self.mask_file(index).map(|file| file.display().to_string());
            let boxes = self.boxes.as_ref().map(|_| self.boxes(index).len().to_string());
            let second = mask.or(boxes).unwrap_or_else(|| class.clone());
            format!("{},{}\n", quoted(&self.name(index)), quoted(&second))
        };
        let second = match (&self.masks, &self.boxes) {
            (Some(_), _) => "mask",
            (_, Some(_)) => "boxes",
            _ => "label",
        };
        let head = format!("path,{second}\n");
        std::iter::once(head).chain((0..self.len()).map(row)).collect()
    }

    /// Reads image `index`.
    ///
    /// # Errors
    /// [`Error::Image`] with the name and the reason.
    pub fn image(&self, index: usize) -> Result<Image, Error> {
        match &*self.source {
            Source::Memory(images) => Ok(images.image(self.rows[index])),
            Source::Files(paths) => read_image(&paths[self.rows[index]])
                .map_err(|reason| Error::Image { name: self.name(index), reason }),
        }
    }

    /// The images at `indices`, in that order, with the same classes.
    ///
    /// # Panics
    /// When an index is out of range.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let cameras = self.cameras.as_ref();
        Self {
            source: Arc::clone(&self.source),
            masks: self.masks.clone(),
            boxes: self.boxes.clone(),
            rows: indices.iter().map(|&index| self.rows[index]).collect(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
            cameras: cameras.map(|all| indices.iter().map(|&index| all[index]).collect()),
            classes: Arc::clone(&self.classes),
        }
    }

    /// The same images without the classes that none of them has.
    fn with_used_classes(&self) -> Self {
        let mut used: Vec<u32> = self.labels.to_vec();
        used.sort_unstable();
        used.dedup();
        let place = |label: &u32| used.partition_point(|other| other < label) as u32;
        Self {
            labels: self.labels.iter().map(place).collect(),
            classes: used.iter().map(|&label| self.classes[label as usize].clone()).collect(),
            ..self.clone()
        }
    }
}

fn listing(format: Format, path: &Path) -> Result<Listing, Error> {
    let listing = match format {
        Format::ImageFolder => image_folder::read(path),
        Format::Idx => idx::read(path),
        Format::Csv => csv_list::read(path),
        Format::Masks => masks::read_folders(path),
        Format::Voc => masks::read_voc(path),
        Format::Cityscapes => masks::read_cityscapes(path),
        Format::Coco => coco::read(path),
    }?;
    if listing.labels.is_empty() {
        return Err(Error::layout(path, "no image"));
    }
    Ok(listing)
}

fn read_image(path: &Path) -> Result<Image, String> {
    decode(&read_file(path)?).map_err(|error| error.to_string())
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_FILE_BYTES {
        return Err(format!("{length} bytes; allowed: up to {MAX_FILE_BYTES}"));
    }
    fs::read(path).map_err(|error| error.to_string())
}

/// Labels whose values are integers: the distinct ones, in numeric order, become the classes.
fn classes_of_integers(values: &[i64]) -> (Vec<u32>, Vec<i64>) {
    let mut distinct = values.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let position = |value| distinct.partition_point(|other| other < value) as u32;
    (values.iter().map(position).collect(), distinct)
}

/// The names, the first 20 of them.
fn shortened(names: &[String]) -> String {
    let shown = names.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 20 { format!("{shown}, and {} more", names.len() - 20) } else { shown }
}

#[cfg(test)]
mod tests;
