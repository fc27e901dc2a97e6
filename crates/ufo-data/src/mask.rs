//! Masks: the class of every pixel, in PNG files.
//!
//! A mask is a gray or palette PNG whose values are class ids, or one in the colors of VOC's palette;
//! 255 marks pixels that do not count. The bytes are foreign: sizes are checked before memory is taken.

use std::{io::Cursor, panic::catch_unwind};

use png::{BitDepth, ColorType, Decoder, Encoder, Limits, Transformations};

use crate::{Error, Image, MAX_PIXELS, MAX_SIDE};

/// The id of pixels that do not count.
pub const IGNORE: u8 = 255;

/// A class id a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width` ids, row by row; [`IGNORE`] for pixels that do not count.
    pub ids: Vec<u8>,
}

/// What the values of a mask file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Class ids.
    Ids,
    /// Cityscapes' `labelIds`: 19 of them are classes, the others do not count.
    Cityscapes,
}

/// The colors that masks are shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// PASCAL VOC's, for any number of classes.
    Voc,
    /// Cityscapes', for its 19 classes.
    Cityscapes,
}

/// The 21 classes of PASCAL VOC.
pub(crate) const VOC: [&str; 21] = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// Name, label id and color of the 19 classes of Cityscapes, in the order of its training ids.
const CITYSCAPES: [(&str, u8, [u8; 3]); 19] = [
    ("road", 7, [128, 64, 128]),
    ("sidewalk", 8, [244, 35, 232]),
    ("building", 11, [70, 70, 70]),
    ("wall", 12, [102, 102, 156]),
    ("fence", 13, [190, 153, 153]),
    ("pole", 17, [153, 153, 153]),
    ("traffic light", 19, [250, 170, 30]),
    ("traffic sign", 20, [220, 220, 0]),
    ("vegetation", 21, [107, 142, 35]),
    ("terrain", 22, [152, 251, 152]),
    ("sky", 23, [70, 130, 180]),
    ("person", 24, [220, 20, 60]),
    ("rider", 25, [255, 0, 0]),
    ("car", 26, [0, 0, 142]),
    ("truck", 27, [0, 0, 70]),
    ("bus", 28, [0, 60, 100]),
    ("train", 31, [0, 80, 100]),
    ("motorcycle", 32, [0, 0, 230]),
    ("bicycle", 33, [119, 11, 32]),
];

/// The largest label id of Cityscapes; -1, a licence plate, is 255 in its files.
const LAST_CITYSCAPES: u8 = 33;

/// The class names of Cityscapes.
pub(crate) fn cityscapes_classes() -> Vec<String> {
    CITYSCAPES.iter().map(|(name, ..)| (*name).to_owned()).collect()
}

impl Palette {
    /// Cityscapes' for its classes, VOC's for all others.
    pub fn of(classes: &[String]) -> Self {
        if classes == cityscapes_classes() { Self::Cityscapes } else { Self::Voc }
    }

    /// The color of a class.
    pub fn color(self, id: u8) -> [u8; 3] {
        match CITYSCAPES.get(usize::from(id)) {
            _ if self == Self::Voc => voc_color(id),
            Some((.., color)) => *color,
            None => [0; 3],
        }
    }
}

/// VOC's palette: the bits of the id, three by three, from the highest bit of the channels down.
fn voc_color(id: u8) -> [u8; 3] {
    let channel = |channel: usize| {
        (0..3).fold(0, |value, group| {
            // Bits beyond the eighth are 0.
            let bit = u32::from(id) >> (3 * group + channel) & 1;
            value | (bit as u8) << (7 - group)
        })
    };
    [0, 1, 2].map(channel)
}

impl Mask {
    /// Decodes a gray or palette PNG whose values are ids of so many classes, or an RGB one in VOC's colors.
    ///
    /// # Errors
    /// [`Error::Decode`] with what is wrong with the bytes, or the first id that is no class and where it is.
    pub fn decode(bytes: &[u8], classes: usize) -> Result<Self, Error> {
        decode_mask(bytes, Coding::Ids, classes).map_err(|reason| Error::Decode { reason })
    }

    /// The id at (`x`, `y`).
    pub(crate) fn at(&self, x: usize, y: usize) -> u8 {
        self.ids[y * self.width + x]
    }

    /// The mask as an image in the colors of `palette`; pixels that do not count are light gray.
    pub fn picture(&self, palette: Palette) -> Image {
        let color = |&id: &u8| if id == IGNORE { [224, 224, 192] } else { palette.color(id) };
        let rgb = self.ids.iter().flat_map(color).collect();
        Image { width: self.width, height: self.height, rgb }
    }

    /// The mask as a PNG file whose values are the ids, with colors of `palette`.
    ///
    /// # Errors
    /// [`Error::Config`] when the ids do not fill the size or a side is 0.
    pub fn encode(&self, palette: Palette) -> Result<Vec<u8>, Error> {
        let refused = |reason: &dyn std::fmt::Display| {
            let value =
                format!("{} x {} with {} ids: {reason}", self.width, self.height, self.ids.len());
            Error::config("mask", value, "height * width ids, at least one")
        };
        if self.ids.is_empty() || self.ids.len() != self.width * self.height {
            return Err(refused(&"lengths differ"));
        }
        let colors: Vec<u8> = (0..=255).flat_map(|id| palette.color(id)).collect();
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(ColorType::Indexed);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_palette(colors);
        let mut writer = encoder.write_header().map_err(|error| refused(&error))?;
        writer.write_image_data(&self.ids).map_err(|error| refused(&error))?;
        writer.finish().map_err(|error| refused(&error))?;
        Ok(bytes)
    }
}

/// Decodes a mask of so many classes.
///
/// # Errors
/// What is wrong with the bytes, or the first id that is no class and where it is.
pub(crate) fn decode_mask(bytes: &[u8], coding: Coding, classes: usize) -> Result<Mask, String> {
    // As for images: one bad file may not end a run.
    catch_unwind(|| decode_unguarded(bytes, coding, classes))
        .unwrap_or_else(|_| Err("the decoder failed".to_owned()))
}

fn decode_unguarded(bytes: &[u8], coding: Coding, classes: usize) -> Result<Mask, String> {
    let said = |error: png::DecodingError| format!("not a readable mask: {error}; allowed: PNG");
    let limits = Limits { bytes: 1 << 30 };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::IDENTITY);
    let (width, height) = decoder.read_header_info().map_err(said)?.size();
    let pixels = u64::from(width) * u64::from(height);
    if width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS || pixels == 0 {
        return Err(format!(
            "mask of {width} x {height} pixels; allowed: sides up to {MAX_SIDE}, 1 to {MAX_PIXELS} pixels"
        ));
    }
    let mut reader = decoder.read_info().map_err(said)?;
    let mut samples = vec![0; reader.output_buffer_size().ok_or("too large")?];
    let info = reader.next_frame(&mut samples).map_err(said)?;
    let (width, height) = (width as usize, height as usize);
    let rows = || samples.chunks(info.line_size);
    let ids = match (info.color_type, info.bit_depth) {
        (_, BitDepth::Sixteen) => return Err("a mask of 16 bits; allowed: up to 8".to_owned()),
        (ColorType::Grayscale | ColorType::Indexed, depth) => {
            rows().flat_map(|row| unpacked(row, depth as usize, width)).collect()
        }
        (ColorType::Rgb, _) if coding == Coding::Ids => {
            by_color(rows().flat_map(|row| row.as_chunks::<3>().0))?
        }
        (color, _) => {
            return Err(format!("a mask of {color:?} pixels; allowed: gray or palette"));
        }
    };
    let mask = Mask { width, height, ids };
    known(mask, coding, classes)
}

/// The samples of a row, of `depth` bits each.
fn unpacked(row: &[u8], depth: usize, width: usize) -> impl Iterator<Item = u8> {
    (0..width).map(move |x| {
        let shift = 8 - depth - x * depth % 8;
        let most = ((1_u16 << depth) - 1) as u8;
        row[x * depth / 8] >> shift & most
    })
}

/// Ids by the colors of VOC's palette; its color of 255 is that of pixels that do not count.
fn by_color<'a>(pixels: impl Iterator<Item = &'a [u8; 3]>) -> Result<Vec<u8>, String> {
    let ids: std::collections::HashMap<[u8; 3], u8> =
        (0..=255).map(|id| (voc_color(id), id)).collect();
    let id = |color: &[u8; 3]| {
        ids.get(color).copied().ok_or_else(|| {
            format!(
                "color {color:?} is not in VOC's palette; allowed: its colors, gray or palette PNG"
            )
        })
    };
    pixels.map(id).collect()
}

/// The mask with its values turned into class ids, all of them known.
fn known(mut mask: Mask, coding: Coding, classes: usize) -> Result<Mask, String> {
    let mut table = [None; 256];
    table[usize::from(IGNORE)] = Some(IGNORE);
    match coding {
        Coding::Ids => {
            for (id, known) in table.iter_mut().enumerate().take(classes.min(255)) {
                *known = Some(id as u8);
            }
        }
        Coding::Cityscapes => {
            table[..=usize::from(LAST_CITYSCAPES)].fill(Some(IGNORE));
            for (id, (_, label, _)) in CITYSCAPES.iter().enumerate() {
                table[usize::from(*label)] = Some(id as u8);
            }
        }
    }
    for (at, id) in mask.ids.iter_mut().enumerate() {
        let Some(class) = table[usize::from(*id)] else {
            let (x, y, most) = (at % mask.width, at / mask.width, classes.saturating_sub(1));
            let most = if coding == Coding::Ids { most } else { LAST_CITYSCAPES.into() };
            return Err(format!(
                "class {id} at x {x}, y {y}; allowed: 0 to {most}, and {IGNORE} for pixels that do not count"
            ));
        };
        *id = class;
    }
    Ok(mask)
}

#[cfg(test)]
mod tests;
