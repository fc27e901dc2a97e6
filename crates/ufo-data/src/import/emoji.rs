//! Emoji of two vendors for cross-style retrieval: an identity has one image of each.
//!
//! Camera 0 is google, camera 1 twitter; query with one, gallery the other. Skin-tone variants are
//! left out, and so are identities whose two images are equal or that share an image with another.
//! An identity is a test identity if the CRC-32 of its file name is below [`TEST_BELOW`], so which
//! ones are does not depend on what was left out.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use serde::Deserialize;

use super::{Dropped, ImportError, Package, Source, Split, Summary, distinct::crc32, layout};

const VENDORS: [&str; 2] = ["google", "twitter"];
const SIDE: usize = 64;
/// 0.215 of all CRC-32 values.
const TEST_BELOW: u32 = 923_417_969;
const MOST_EMOJI: usize = 10_000;
const NOTICE: &str = "\
Camera 0, google: Noto Emoji, Copyright Google LLC and contributors, Apache License 2.0.\n\
Camera 1, twitter: Twemoji, Copyright Twitter, Inc and other contributors, CC-BY-4.0:\n\
https://creativecommons.org/licenses/by/4.0/\n\
Changes: laid on white. The packages emoji-datasource-google and emoji-datasource-twitter 16.0.0\n\
come under this licence:\n\n";

#[derive(Deserialize)]
struct Entry {
    image: String,
    short_name: String,
    category: String,
    has_img_google: bool,
    has_img_twitter: bool,
}

/// The images of one identity, as `VENDORS`.
type Pair = [Vec<u8>; 2];

pub(super) fn convert(package: &Package, out: &Path) -> Result<Summary, ImportError> {
    let entries = entries(package)?;
    let mut pairs: Vec<Pair> = Vec::with_capacity(entries.len());
    for entry in &entries {
        pairs.push([
            on_white(package, VENDORS[0], &entry.image)?,
            on_white(package, VENDORS[1], &entry.image)?,
        ]);
    }
    let ambiguous = ambiguous(&pairs);
    let mut splits = Vec::new();
    for split in ["train", "test"] {
        let chosen: Vec<usize> = (0..entries.len())
            .filter(|index| !ambiguous.contains(index))
            .filter(|&index| {
                (crc32(entries[index].image.as_bytes()) < TEST_BELOW) == (split == "test")
            })
            .collect();
        let images: Vec<&[u8]> =
            chosen.iter().flat_map(|&index| &pairs[index]).map(Vec::as_slice).collect();
        let ids: Vec<i32> = (0..chosen.len() as i32).flat_map(|id| [id, id]).collect();
        let names: Vec<&str> =
            chosen.iter().map(|&index| entries[index].short_name.as_str()).collect();
        layout::write_images(out, split, &[SIDE, SIDE, 3], &images)?;
        layout::write_identities(out, split, &ids)?;
        layout::write_cameras(out, split, &[0, 1].repeat(chosen.len()))?;
        layout::write_names(out, &format!("{split}-names.txt"), &names)?;
        splits.push(Split { name: split, images: images.len(), labels: chosen.len() });
    }
    layout::write_license(package, "google/package/LICENSE", NOTICE, out)?;
    let dropped = Dropped { conflicts: VENDORS.len() * ambiguous.len(), ..Dropped::default() };
    Ok(Summary { source: Source::Emoji, splits, classes: Vec::new(), dropped })
}

/// The emoji both vendors draw, without the five swatches of skin tone.
fn entries(package: &Package) -> Result<Vec<Entry>, ImportError> {
    let file = "google/package/emoji.json";
    let path = package.path(file);
    let mut entries: Vec<Entry> = serde_json::from_slice(&package.read(file)?)
        .map_err(|error| ImportError::format(&path, "a list of emoji", &error))?;
    if entries.len() > MOST_EMOJI {
        let expected = format!("at most {MOST_EMOJI} emoji");
        return Err(ImportError::format(&path, expected, &entries.len()));
    }
    entries.retain(|e| e.category != "Component" && e.has_img_google && e.has_img_twitter);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    if let Some(entry) = entries.iter().find(|entry| !entry.image.chars().all(plain)) {
        return Err(ImportError::format(&path, "names of letters and digits", &entry.image));
    }
    Ok(entries)
}

/// One emoji as RGB on white, `64 * 64 * 3` bytes; integer rounding, the same everywhere.
fn on_white(package: &Package, vendor: &str, image: &str) -> Result<Vec<u8>, ImportError> {
    let file = format!("{vendor}/package/img/{vendor}/64/{image}");
    let rgba = package.image(&file, SIDE as u32)?.1.into_rgba8();
    let (width, height) = rgba.dimensions();
    if (width, height) != (SIDE as u32, SIDE as u32) {
        let got = format!("{width}x{height}");
        return Err(ImportError::format(&package.path(&file), "64x64 pixels", &got));
    }
    Ok(rgba
        .pixels()
        .flat_map(|pixel| {
            let [red, green, blue, alpha] = pixel.0.map(u32::from);
            [red, green, blue]
                .map(|color| ((color * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
        })
        .collect())
}

/// Identities whose two images are equal, or of which one is also an image of another identity.
fn ambiguous(pairs: &[Pair]) -> HashSet<usize> {
    let mut owners: HashMap<blake3::Hash, Vec<usize>> = HashMap::new();
    for (index, image) in
        pairs.iter().enumerate().flat_map(|(index, pair)| pair.iter().map(move |i| (index, i)))
    {
        owners.entry(blake3::hash(image)).or_default().push(index);
    }
    owners.into_values().filter(|owners| owners.len() > 1).flatten().collect()
}
