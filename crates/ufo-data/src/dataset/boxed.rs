//! Images with their boxes.

use std::path::{Path, PathBuf};

use super::{Dataset, Source};
use crate::{Annotation, Error, Image};

/// The boxes of the images of a source.
#[derive(Debug)]
pub(super) struct Boxes {
    /// Where they stand.
    pub(super) file: PathBuf,
    /// Those of each image.
    pub(super) of_image: Vec<Vec<Annotation>>,
    /// Width and height of each image, as the file says.
    pub(super) sizes: Vec<[usize; 2]>,
}

/// An image and the true boxes in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Boxed {
    /// The image.
    pub image: Image,
    /// Its boxes, all inside of it.
    pub boxes: Vec<Annotation>,
}

impl Dataset {
    /// Whether the images have boxes.
    pub fn has_boxes(&self) -> bool {
        self.boxes.is_some()
    }

    /// The boxes of image `index`; none where images have no boxes.
    pub fn boxes(&self, index: usize) -> &[Annotation] {
        self.boxes.as_ref().map_or(&[], |boxes| &boxes.of_image[self.rows[index]])
    }

    /// Reads image `index` with its boxes.
    ///
    /// # Errors
    /// [`Error::Image`] for a damaged image, [`Error::Boxes`] for one of another size than the boxes' file
    /// says.
    pub fn boxed(&self, index: usize) -> Result<Boxed, Error> {
        let image = self.image(index)?;
        self.check_size(index, [image.width, image.height])?;
        Ok(Boxed { image, boxes: self.boxes(index).to_vec() })
    }

    fn check_size(&self, index: usize, got: [usize; 2]) -> Result<(), Error> {
        let Some(boxes) = &self.boxes else { return Ok(()) };
        let said = boxes.sizes[self.rows[index]];
        if got == said {
            return Ok(());
        }
        let reason = format!(
            "{} has {} x {} pixels; allowed: {} x {}, as its boxes are given for",
            self.name(index),
            got[0],
            got[1],
            said[0],
            said[1]
        );
        Err(Error::Boxes { path: boxes.file.clone(), reason })
    }

    fn file(&self, index: usize) -> Option<&Path> {
        match &*self.source {
            Source::Files(files) => Some(&files[self.rows[index]]),
            Source::Memory(_) => None,
        }
    }
}

/// Compares the size of every image with that its boxes are given for, by the heads of the files, and counts the
/// boxes of each class that count. Files that no size can be read of are passed over, as training does.
///
/// # Errors
/// [`Error::Boxes`] of the first image of another size.
pub fn check_boxes(dataset: &Dataset) -> Result<Vec<u64>, Error> {
    let mut counts = vec![0; dataset.classes().len()];
    for index in 0..dataset.len() {
        let size = dataset.file(index).and_then(|file| image::image_dimensions(file).ok());
        if let Some((width, height)) = size {
            dataset.check_size(index, [width as usize, height as usize])?;
        }
        for annotation in dataset.boxes(index).iter().filter(|annotation| !annotation.crowd) {
            counts[annotation.class as usize] += 1;
        }
    }
    Ok(counts)
}
