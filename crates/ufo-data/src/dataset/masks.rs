//! Images with a mask each: folders of both, PASCAL VOC, Cityscapes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Listing, Source, image_folder};
use crate::Error;
use crate::mask::{Coding, VOC, cityscapes_classes};

/// The masks of the images of a source.
#[derive(Debug)]
pub(super) struct Masks {
    /// One an image.
    pub(super) files: Vec<PathBuf>,
    pub(super) coding: Coding,
}

const CLASSES: &str = "classes.txt";

/// `path/images/**/NAME.*` with `path/masks/**/NAME.png`; names of classes in `path/classes.txt` or beside
/// `path`, one a line, the first that of id 0.
pub(super) fn read_folders(path: &Path) -> Result<Listing, Error> {
    let [images, masks] = ["images", "masks"].map(|name| path.join(name));
    let mut files = Vec::new();
    image_folder::collect(&images, image_folder::MAX_DEPTH, &mut files)?;
    let mask_of = |image: &PathBuf| {
        let inside = image.strip_prefix(&images).unwrap_or(image);
        masks.join(inside).with_extension("png")
    };
    let found = files.iter().map(mask_of).collect();
    let (place, classes) = read_classes(path)?;
    listing(files, Masks { files: found, coding: Coding::Ids }, classes, &place)
}

fn read_classes(path: &Path) -> Result<(PathBuf, Vec<String>), Error> {
    let own = path.join(CLASSES);
    let above = path.parent().map(|parent| parent.join(CLASSES));
    let place = if own.exists() { own } else { above.unwrap_or(own) };
    if !place.exists() {
        let reason = format!(
            "no {CLASSES} in it or beside it; allowed: a class name a line, the first that of id 0"
        );
        return Err(Error::layout(path, reason));
    }
    let text = fs::read_to_string(&place).map_err(Error::io(&place))?;
    let classes: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
    if !(2..=255).contains(&classes.len()) {
        let reason = format!("{} classes; allowed: 2 to 255, a name a line", classes.len());
        return Err(Error::layout(place, reason));
    }
    Ok((place, classes))
}

/// A list `ROOT/ImageSets/Segmentation/NAME.txt` of PASCAL VOC.
pub(super) fn read_voc(list: &Path) -> Result<Listing, Error> {
    let root = list.ancestors().nth(3).unwrap_or(Path::new(""));
    let text = fs::read_to_string(list).map_err(Error::io(list))?;
    let names = || text.lines().map(str::trim).filter(|name| !name.is_empty());
    if let Some(name) = names().find(|name| name.contains(['/', '\\'])) {
        return Err(Error::layout(
            list,
            format!("`{name}`; allowed: a name without folders a line"),
        ));
    }
    let named = |folder: &str, ending: &str| -> Vec<PathBuf> {
        names().map(|name| root.join(folder).join(format!("{name}.{ending}"))).collect()
    };
    let masks = Masks { files: named("SegmentationClass", "png"), coding: Coding::Ids };
    listing(named("JPEGImages", "jpg"), masks, VOC.map(String::from).to_vec(), list)
}

/// A folder `ROOT/leftImg8bit/SPLIT` of Cityscapes, with its `ROOT/gtFine/SPLIT`.
pub(super) fn read_cityscapes(path: &Path) -> Result<Listing, Error> {
    const IMAGE: &str = "_leftImg8bit.png";
    let (Some(split), Some(root)) = (path.file_name(), path.ancestors().nth(2)) else {
        return Err(Error::layout(path, "allowed: ROOT/leftImg8bit/SPLIT"));
    };
    let mut files = Vec::new();
    image_folder::collect(path, image_folder::MAX_DEPTH, &mut files)?;
    files.retain(|file| file.to_string_lossy().ends_with(IMAGE));
    let mask_of = |image: &PathBuf| {
        let inside = image.strip_prefix(path).unwrap_or(image).to_string_lossy();
        let name = inside.replace(IMAGE, "_gtFine_labelIds.png");
        root.join("gtFine").join(split).join(name)
    };
    let found = files.iter().map(mask_of).collect();
    listing(files, Masks { files: found, coding: Coding::Cityscapes }, cityscapes_classes(), path)
}

fn listing(
    files: Vec<PathBuf>,
    masks: Masks,
    classes: Vec<String>,
    place: &Path,
) -> Result<Listing, Error> {
    for (image, mask) in files.iter().zip(&masks.files) {
        if let Some(missing) = [image, mask].into_iter().find(|file| !file.is_file()) {
            let reason = if missing == mask {
                format!("no mask {}", mask.display())
            } else {
                format!("no such image, which {} lists", place.display())
            };
            return Err(Error::layout(image, reason));
        }
    }
    Ok(Listing {
        labels: vec![0; files.len()],
        places: vec![place.display().to_string(); classes.len()],
        source: Source::Files(files),
        masks: Some(masks),
        boxes: None,
        cameras: None,
        classes,
    })
}

#[cfg(test)]
mod tests;
