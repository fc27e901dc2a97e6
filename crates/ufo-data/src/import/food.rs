//! Food photos of the Indian Food Composition Tables 2017: the class is the food group, which is
//! the first letter of the name.
//!
//! Only the nine groups A to H and P are taken: the others show the same few pictures many times,
//! or have too few images.

use std::{collections::BTreeSet, path::Path};

use super::{
    ImportError, Package, Source, Split, Summary,
    distinct::{distinct, stratified},
    layout,
};

const FOLDER: &str = "package/assets";
const LICENSE: &str = "package/LICENSE";
const GROUPS: &str = "ABCDEFGHP";
const MOST_SIDE: u32 = 1024;
const MOST_PHOTOS: usize = 2_000;

pub(super) fn convert(package: &Package, out: &Path) -> Result<Summary, ImportError> {
    let mut photos: Vec<(String, u32, Vec<u8>)> = Vec::new();
    let names = package.list(FOLDER)?;
    if names.len() > MOST_PHOTOS {
        let expected = format!("at most {MOST_PHOTOS} files");
        return Err(ImportError::format(&package.path(FOLDER), expected, &names.len()));
    }
    for name in names {
        let Some(group) = name.chars().next().filter(|&group| GROUPS.contains(group)) else {
            continue;
        };
        let (jpeg, _) = package.image(&format!("{FOLDER}/{name}"), MOST_SIDE)?;
        photos.push((name, u32::from(group), jpeg));
    }
    let found = distinct(photos.iter().map(|(_, group, jpeg)| (&jpeg[..], *group)));
    let kept: Vec<_> = found.kept.iter().map(|&index| &photos[index]).collect();
    let images: Vec<(&[u8], u32)> =
        kept.iter().map(|(_, group, jpeg)| (&jpeg[..], *group)).collect();
    let (train, test) = stratified(&images);
    let mut splits = Vec::new();
    for (split, positions) in [("train", train), ("test", test)] {
        let mut seen = BTreeSet::new();
        for &position in &positions {
            let (name, group, jpeg) = kept[position];
            seen.insert(group);
            layout::write_file(&out.join(split).join(&name[..1]).join(name), jpeg)?;
        }
        splits.push(Split { name: split, images: positions.len(), labels: seen.len() });
    }
    layout::write_license(package, LICENSE, "", out)?;
    let classes = GROUPS.chars().map(String::from).collect();
    Ok(Summary { source: Source::Food, splits, classes, dropped: found.dropped })
}
