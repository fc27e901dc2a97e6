//! Images with their masks.

use std::{num::NonZero, path::Path, thread};

use super::{Dataset, read_file};
use crate::mask::decode_mask;
use crate::{Error, IGNORE, Image, Mask};

/// An image and the class of each of its pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// The image.
    pub image: Image,
    /// Its mask, of the same size.
    pub mask: Mask,
}

impl Dataset {
    /// Whether the images have masks.
    pub fn has_masks(&self) -> bool {
        self.masks.is_some()
    }

    /// The file of the mask of image `index`, where there is one.
    pub(crate) fn mask_file(&self, index: usize) -> Option<&Path> {
        self.masks.as_ref().map(|masks| masks.files[self.rows[index]].as_path())
    }

    /// Reads image `index` with its mask.
    ///
    /// # Errors
    /// [`Error::Image`] for a damaged image, [`Error::Mask`] for a damaged mask, one of another size, or
    /// one with ids that are no classes.
    ///
    /// # Panics
    /// When the images have no masks.
    pub fn scene(&self, index: usize) -> Result<Scene, Error> {
        let masks = self.masks.as_ref().expect("only images with masks are asked for scenes");
        let file = &masks.files[self.rows[index]];
        let wrong = |reason: String| Error::Mask { path: file.clone(), reason };
        let image = self.image(index)?;
        let bytes = read_file(file).map_err(wrong)?;
        let mask = decode_mask(&bytes, masks.coding, self.classes.len()).map_err(wrong)?;
        let [got, expected] = [(mask.width, mask.height), (image.width, image.height)];
        if got != expected {
            return Err(wrong(format!(
                "{} x {} pixels; allowed: {} x {}, the size of {}",
                got.0,
                got.1,
                expected.0,
                expected.1,
                self.name(index)
            )));
        }
        Ok(Scene { image, mask })
    }
}

/// Reads every image with its mask, on all processors, and counts the pixels of each class. Damaged images
/// are passed over, as training does.
///
/// # Errors
/// [`Error::Mask`] of the first mask that does not fit.
///
/// # Panics
/// When the images have no masks.
pub fn check_masks(dataset: &Dataset) -> Result<Vec<u64>, Error> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let indices: Vec<usize> = (0..dataset.len()).collect();
    let count = |share: &[usize]| -> Result<Vec<u64>, Error> {
        let mut counts = vec![0; dataset.classes().len()];
        for &index in share {
            match dataset.scene(index) {
                Ok(scene) => {
                    let ids = scene.mask.ids.iter().filter(|id| **id != IGNORE);
                    ids.for_each(|id| counts[usize::from(*id)] += 1);
                }
                Err(Error::Image { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(counts)
    };
    let share = indices.len().div_ceil(threads).max(1);
    let counts: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> =
            indices.chunks(share).map(|share| scope.spawn(|| count(share))).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().expect("reading a mask does not panic")
        };
        workers.into_iter().map(join).collect()
    });
    let mut sums = vec![0; dataset.classes().len()];
    for counts in counts {
        sums.iter_mut().zip(counts?).for_each(|(sum, count)| *sum += count);
    }
    Ok(sums)
}
