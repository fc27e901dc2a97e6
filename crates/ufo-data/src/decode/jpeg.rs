//! JPEG through zune-jpeg itself, as `image` calls it.
//!
//! The wrapper of `image` reads the headers three times. It also compiles the decoder, which is generic
//! over its source of bytes, at its own level of optimization; another source is another instance.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, RgbImage, metadata::Orientation};
use zune_jpeg::{
    JpegDecoder,
    errors::DecodeErrors,
    zune_core::{colorspace::ColorSpace, options::DecoderOptions},
};

use super::check_size;
use crate::Error;

/// The bytes that a JPEG file begins with.
pub(super) const MAGIC: [u8; 3] = [0xFF, 0xD8, 0xFF];

/// Decodes to RGB or gray and turns the image as its EXIF orientation says.
pub(super) fn decode(bytes: &[u8]) -> Result<DynamicImage, Error> {
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(reason_of)?;
    let (width, height) = decoder.dimensions().expect("the headers were read");
    // A side of a JPEG file has 16 bits.
    let (width, height) = (width as u32, height as u32);
    check_size((width, height))?;
    let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let out = if gray { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(out));
    let length = width as usize * height as usize * out.num_components();
    let mut values = vec![0; length];
    decoder.decode_into(&mut values).map_err(reason_of)?;
    let image = if gray {
        GrayImage::from_raw(width, height, values).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, values).map(DynamicImage::from)
    };
    let mut image = image.expect("there is a value for each pixel and channel");
    let exif = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    image.apply_orientation(exif.unwrap_or(Orientation::NoTransforms));
    Ok(image)
}

#[expect(clippy::needless_pass_by_value, reason = "the argument of map_err")]
fn reason_of(error: DecodeErrors) -> Error {
    Error::Decode { reason: format!("JPEG: {error}") }
}
