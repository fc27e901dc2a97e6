//! Encoded bytes to 8-bit RGB.
//!
//! PNG, JPEG, WebP, BMP, GIF (first frame), TIFF and PNM; gray is replicated, palettes are looked
//! up, 16 bits are rounded to 8, transparency is composited on white, and the EXIF orientation is
//! applied. The bytes are foreign: sizes are checked before memory is taken.

mod jpeg;

use std::{io::Cursor, panic::catch_unwind};

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageReader, Limits,
    codecs::png::PngEncoder,
};

use crate::Error;

/// The longest side that is decoded, in pixels.
pub const MAX_SIDE: u32 = 16_384;
/// The most pixels that are decoded.
pub const MAX_PIXELS: u64 = 100_000_000;
/// The most memory a decoder may take: `MAX_PIXELS` of four 16-bit channels, and room to work.
const MAX_DECODER_BYTES: u64 = 1 << 30;

/// An 8-bit RGB image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` values: rows of pixels of red, green, blue.
    pub rgb: Vec<u8>,
}

impl Image {
    /// An image of one color.
    pub fn filled(width: usize, height: usize, color: [u8; 3]) -> Self {
        Self { width, height, rgb: color.repeat(width * height) }
    }

    /// The position of pixel (`x`, `y`) in `rgb`.
    pub(crate) fn at(&self, x: usize, y: usize) -> usize {
        (y * self.width + x) * 3
    }
}

/// Decodes one image.
///
/// # Errors
/// [`Error::Decode`] for bytes that are no supported image or are damaged, [`Error::TooLarge`] for
/// an image above [`MAX_SIDE`] or [`MAX_PIXELS`].
pub fn decode(bytes: &[u8]) -> Result<Image, Error> {
    decode_within(bytes, MAX_PIXELS)
}

/// Decodes one image of at most so many pixels, and at most [`MAX_PIXELS`].
///
/// # Errors
/// As [`decode`].
pub fn decode_within(bytes: &[u8], max_pixels: u64) -> Result<Image, Error> {
    let max_pixels = max_pixels.min(MAX_PIXELS);
    // The decoders are other people's code fed with foreign bytes; one bad file may not end a run.
    catch_unwind(|| decode_unguarded(bytes, max_pixels))
        .unwrap_or_else(|_| Err(Error::Decode { reason: "the decoder failed".to_owned() }))
}

fn decode_unguarded(bytes: &[u8], max_pixels: u64) -> Result<Image, Error> {
    if bytes.starts_with(&jpeg::MAGIC) {
        return jpeg::decode(bytes, max_pixels).map(on_white);
    }
    decode_by_image(bytes, max_pixels).map(on_white)
}

fn decode_by_image(bytes: &[u8], max_pixels: u64) -> Result<DynamicImage, Error> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| Error::Decode { reason: error.to_string() })?;
    if reader.format().is_none() {
        let reason = "unknown format; allowed: PNG, JPEG, WebP, BMP, GIF, TIFF, PNM".to_owned();
        return Err(Error::Decode { reason });
    }
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(reason_of)?;
    check_size(decoder.dimensions(), max_pixels)?;
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.reserve(decoder.total_bytes()).map_err(reason_of)?;
    decoder.set_limits(limits).map_err(reason_of)?;
    let orientation = decoder.orientation().map_err(reason_of)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(reason_of)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Refuses what is too large, or has no pixels.
fn check_size((width, height): (u32, u32), max_pixels: u64) -> Result<(), Error> {
    let pixels = u64::from(width) * u64::from(height);
    if width > MAX_SIDE || height > MAX_SIDE || pixels > max_pixels {
        return Err(Error::TooLarge { width, height, max_side: MAX_SIDE, max_pixels });
    }
    if pixels == 0 {
        return Err(Error::Decode { reason: format!("image of {width} x {height} pixels") });
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "the argument of map_err")]
fn reason_of(error: ImageError) -> Error {
    Error::Decode { reason: error.to_string() }
}

fn on_white(image: DynamicImage) -> Image {
    let (width, height) = (image.width() as usize, image.height() as usize);
    if !image.color().has_alpha() {
        return Image { width, height, rgb: image.into_rgb8().into_raw() };
    }
    let rgba = image.into_rgba8().into_raw();
    let rgb = rgba.chunks_exact(4).flat_map(pixel_on_white).collect();
    Image { width, height, rgb }
}

/// Composites red, green, blue and alpha on white:
/// `(alpha * value + (255 - alpha) * 255) / 255`, rounded.
pub(crate) fn pixel_on_white(rgba: &[u8]) -> [u8; 3] {
    let alpha = u32::from(rgba[3]);
    let blend = |value: u8| ((u32::from(value) * alpha + (255 - alpha) * 255 + 127) / 255) as u8;
    [blend(rgba[0]), blend(rgba[1]), blend(rgba[2])]
}

/// Encodes an image as PNG.
///
/// # Errors
/// [`Error::Config`] when `rgb` is not `height * width * 3` long or a side is 0.
pub fn encode_png(image: &Image) -> Result<Vec<u8>, Error> {
    let (width, height) = (image.width, image.height);
    if image.rgb.is_empty() || image.rgb.len() != width * height * 3 {
        let value = format!("{width} x {height} with {} bytes", image.rgb.len());
        return Err(Error::config("image", value, "height * width * 3 bytes, at least one pixel"));
    }
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(&image.rgb, width as u32, height as u32, ExtendedColorType::Rgb8)
        .map_err(reason_of)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
