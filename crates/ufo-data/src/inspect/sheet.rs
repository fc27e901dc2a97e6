//! A grid of samples in one image.

use crate::{
    Dataset, Image, Interpolation,
    transform::{Target, resize},
};

/// The color of a cell whose image is broken.
const BROKEN: [u8; 3] = [255, 0, 255];
const PAPER: [u8; 3] = [255; 3];

/// `columns` x `rows` images of the dataset, evenly spaced over it, each fitted into a cell of
/// `cell_px` pixels on white; a broken image is a magenta cell.
pub fn contact_sheet(dataset: &Dataset, columns: usize, rows: usize, cell_px: usize) -> Image {
    let mut sheet = Image::filled(columns * cell_px, rows * cell_px, PAPER);
    let cells = if cell_px == 0 { 0 } else { (columns * rows).min(dataset.len()) };
    for cell in 0..cells {
        let image = dataset.image(cell * dataset.len() / cells);
        let image = image.map_or_else(
            |_| Image::filled(cell_px, cell_px, BROKEN),
            |image| fitted(&image, cell_px),
        );
        let left = cell % columns * cell_px + (cell_px - image.width) / 2;
        let top = cell / columns * cell_px + (cell_px - image.height) / 2;
        for (y, row) in image.rgb.chunks_exact(image.width * 3).enumerate() {
            let at = sheet.at(left, top + y);
            sheet.rgb[at..at + row.len()].copy_from_slice(row);
        }
    }
    sheet
}

/// The image with its longer side of so many pixels, at least 1.
pub fn fitted(image: &Image, longer_px: usize) -> Image {
    let longest = image.width.max(image.height);
    let side = |side: usize| (side * longer_px / longest).max(1);
    let size = [side(image.width), side(image.height)];
    let filter = Interpolation::Bicubic;
    resize(image.view(), Target { part: None, size, filter, mirrored: false })
}
