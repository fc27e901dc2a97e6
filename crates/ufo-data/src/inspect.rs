//! What is in a dataset: counts, sizes, broken files, duplicates, and a picture of it.
//!
//! Duplicates are images whose decoded pixels are equal, whatever their files say; one that is in
//! both splits makes a test result worthless.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZero,
    thread,
};

use serde::Serialize;

mod sheet;

pub use sheet::{contact_sheet, fitted};

use crate::{Dataset, Error};

/// What is in the two splits of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The training split.
    pub train: SplitReport,
    /// The test split.
    pub test: Option<SplitReport>,
    /// Images that are in both splits; `images` counts those of the test split.
    pub across: Duplicates,
}

/// What is in a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SplitReport {
    /// How many images there are.
    pub images: usize,
    /// How many each class has.
    pub classes: Vec<ClassCount>,
    /// Widths in pixels; none when no image can be read.
    pub width: Option<Sizes>,
    /// Heights in pixels.
    pub height: Option<Sizes>,
    /// The images that cannot be read.
    pub broken: Vec<Broken>,
    /// Images that repeat another of the split; `images` counts the repeats.
    pub duplicates: Duplicates,
}

/// A class and how many images it has, or in how many masks it occurs, or how many boxes it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class.
    pub name: String,
    /// Its images.
    pub images: usize,
}

/// The spread of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// The smallest.
    pub min: usize,
    /// The lower median.
    pub median: usize,
    /// The largest.
    pub max: usize,
}

/// An image that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Its name in the dataset.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Groups of equal images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Duplicates {
    /// How many images are too many.
    pub images: usize,
    /// How many groups hold different labels.
    pub conflicting: usize,
    /// The names in each group.
    pub groups: Vec<Vec<String>>,
}

/// What is known of one image, or why it cannot be read.
type Seen = Result<SeenImage, String>;

struct SeenImage {
    /// Width and height.
    size: [usize; 2],
    /// Of the pixels.
    hash: [u8; 32],
    /// Which classes its mask has, where it has a mask.
    present: Vec<bool>,
}

/// Reads every image of the splits, on all processors.
pub fn inspect(train: &Dataset, test: Option<&Dataset>) -> Report {
    let seen_train = see(train);
    let seen_test = test.map(see);
    Report {
        train: split_report(train, &seen_train),
        test: test.zip(seen_test.as_deref()).map(|(test, seen)| split_report(test, seen)),
        across: match test.zip(seen_test.as_deref()) {
            None => Duplicates::default(),
            Some((test, seen)) => across((train, &seen_train), (test, seen)),
        },
    }
}

fn see(dataset: &Dataset) -> Vec<Seen> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let indices: Vec<usize> = (0..dataset.len()).collect();
    let share = indices.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let see_share = |share: &[usize]| share.iter().map(|&at| see_one(dataset, at)).collect();
        let workers: Vec<_> = indices
            .chunks(share)
            .map(|share| scope.spawn(move || -> Vec<Seen> { see_share(share) }))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("reading an image does not panic"))
            .collect()
    })
}

fn see_one(dataset: &Dataset, index: usize) -> Seen {
    let reason = |error| match error {
        Error::Image { reason, .. } => reason,
        other => other.to_string(),
    };
    let mut present = Vec::new();
    let image = if dataset.has_masks() {
        let scene = dataset.scene(index).map_err(reason)?;
        present.resize(256, false);
        scene.mask.ids.iter().for_each(|id| present[usize::from(*id)] = true);
        scene.image
    } else if dataset.has_boxes() {
        dataset.boxed(index).map_err(reason)?.image
    } else {
        dataset.image(index).map_err(reason)?
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(image.width as u64).to_le_bytes());
    hasher.update(&image.rgb);
    let (size, hash) = ([image.width, image.height], *hasher.finalize().as_bytes());
    Ok(SeenImage { size, hash, present })
}

fn split_report(dataset: &Dataset, seen: &[Seen]) -> SplitReport {
    let mut counts = vec![0; dataset.classes().len()];
    if dataset.has_boxes() {
        for index in 0..dataset.len() {
            dataset.boxes(index).iter().for_each(|found| counts[found.class as usize] += 1);
        }
    } else if dataset.has_masks() {
        for image in seen.iter().flatten() {
            let present = counts.iter_mut().zip(&image.present);
            present.for_each(|(count, present)| *count += usize::from(*present));
        }
    } else {
        dataset.labels().iter().for_each(|label| counts[*label as usize] += 1);
    }
    let classes = dataset.classes().iter().zip(counts);
    let side = |at: usize| sizes(seen.iter().flatten().map(|image| image.size[at]).collect());
    let broken = seen.iter().enumerate().filter_map(|(index, seen)| {
        let reason = seen.as_ref().err()?.clone();
        Some(Broken { name: dataset.name(index), reason })
    });
    let groups = groups(seen).into_values().filter(|group| group.len() > 1);
    let groups: Vec<Vec<usize>> = groups.collect();
    let differ = |group: &&Vec<usize>| {
        group.iter().any(|&index| dataset.label(index) != dataset.label(group[0]))
    };
    SplitReport {
        images: dataset.len(),
        classes: classes.map(|(name, images)| ClassCount { name: name.clone(), images }).collect(),
        width: side(0),
        height: side(1),
        broken: broken.collect(),
        duplicates: Duplicates {
            images: groups.iter().map(|group| group.len() - 1).sum(),
            conflicting: groups.iter().filter(differ).count(),
            groups: groups.iter().map(|group| names(dataset, group)).collect(),
        },
    }
}

/// The indices of equal images, by the first of them.
fn groups(seen: &[Seen]) -> BTreeMap<usize, Vec<usize>> {
    let mut first = HashMap::new();
    let mut groups = BTreeMap::<usize, Vec<usize>>::new();
    for (index, seen) in seen.iter().enumerate() {
        if let Ok(SeenImage { hash, .. }) = seen {
            groups.entry(*first.entry(hash).or_insert(index)).or_default().push(index);
        }
    }
    groups
}

fn across(train: (&Dataset, &[Seen]), test: (&Dataset, &[Seen])) -> Duplicates {
    let groups_train = groups(train.1);
    let by_hash: HashMap<_, _> = groups_train
        .iter()
        .filter_map(|(&first, group)| Some((train.1[first].as_ref().ok()?.hash, group)))
        .collect();
    let mut duplicates = Duplicates::default();
    for (&first, group) in &groups(test.1) {
        let Ok(SeenImage { hash, .. }) = &test.1[first] else { continue };
        let Some(twins) = by_hash.get(hash) else { continue };
        let class =
            |dataset: &Dataset, index| dataset.classes()[dataset.label(index) as usize].clone();
        let known = class(train.0, twins[0]);
        let differ = twins.iter().any(|&index| class(train.0, index) != known)
            || group.iter().any(|&index| class(test.0, index) != known);
        duplicates.images += group.len();
        duplicates.conflicting += usize::from(differ);
        duplicates.groups.push([names(train.0, twins), names(test.0, group)].concat());
    }
    duplicates
}

fn names(dataset: &Dataset, indices: &[usize]) -> Vec<String> {
    indices.iter().map(|&index| dataset.name(index)).collect()
}

fn sizes(mut sides: Vec<usize>) -> Option<Sizes> {
    sides.sort_unstable();
    let (&min, &max) = (sides.first()?, sides.last()?);
    Some(Sizes { min, median: sides[(sides.len() - 1) / 2], max })
}

#[cfg(test)]
mod tests;
