//! Land and water: NASA's Blue Marble at 4096x2048 with a water mask.
//!
//! Tiles of 256x256, split by longitude: from 180° west to 90° east they train, the rest tests. The mask, 1600
//! pixels wide and softened at coasts, is resized to the image; half or more is water.

use std::path::Path;

use super::{ImportError, Package, Source, Split, Summary, layout};
use crate::{Image, Interpolation, Mask, Preprocess};

const IMAGE: &str = "package/example/img/earth-blue-marble.jpg";
const WATER: &str = "package/example/img/earth-water.png";
const LICENSE: &str = "package/LICENSE";
const CLASSES: [&str; 2] = ["land", "water"];
const MOST: u32 = 8192;
/// Tiles from west to east and from north to south.
const COLUMNS: usize = 16;
const ROWS: usize = 8;
/// Tiles from the west on that train.
const TRAINED: usize = 12;

pub(super) fn convert(package: &Package, out: &Path) -> Result<Summary, ImportError> {
    let read = |file: &str| -> Result<Image, ImportError> {
        let (_, image) = package.image(file, MOST)?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        if width != 2 * height || width < COLUMNS {
            let got = format!("{width} x {height}");
            return Err(ImportError::format(
                &package.path(file),
                "an image twice as wide as high, of 16 pixels or more",
                &got,
            ));
        }
        Ok(Image { width, height, rgb: image.into_rgb8().into_raw() })
    };
    let (image, water) = (read(IMAGE)?, read(WATER)?);
    let size = [image.height, image.width];
    let interpolation = Interpolation::Bilinear;
    let water = Preprocess { size, interpolation, ..Preprocess::default() }.resized(&water);
    let [height, width] = [image.height / ROWS, image.width / COLUMNS];
    let mut counts = [0; 2];
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let tile = |from: &Image| -> Vec<u8> {
                let rows = row * height..(row + 1) * height;
                let line = |y| &from.rgb[from.at(column * width, y)..][..3 * width];
                rows.flat_map(line).copied().collect()
            };
            let ids = tile(&water).chunks_exact(3).map(|pixel| u8::from(pixel[0] >= 128)).collect();
            let (part, split) = if column < TRAINED { (0, "train") } else { (1, "test") };
            counts[part] += 1;
            let image = Image { width, height, rgb: tile(&image) };
            let mask = Mask { width, height, ids };
            let name = format!("row{row}-column{column:02}");
            layout::write_scene(&out.join(split), &name, &image, &mask)?;
        }
    }
    layout::write_names(out, "classes.txt", &CLASSES)?;
    layout::write_license(package, LICENSE, "", out)?;
    let split = |(name, images)| Split { name, images, labels: CLASSES.len() };
    Ok(Summary {
        source: Source::Land,
        splits: ["train", "test"].into_iter().zip(counts).map(split).collect(),
        classes: CLASSES.map(String::from).to_vec(),
        dropped: super::Dropped::default(),
    })
}
