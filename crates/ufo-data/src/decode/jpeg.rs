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
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<DynamicImage, Error> {
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(reason_of)?;
    let (width, height) = decoder.dimensions().expect("the headers were read");
    // A side of a JPEG file has 16 bits.
    let (width, height) = (width as u32, height as u32);
    check_size((width, height), max_pixels)?;
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

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder};

    use super::*;
    use crate::decode::{MAX_PIXELS, decode_by_image};

    /// A JPEG file of noise over slopes.
    fn file(width: u32, height: u32, color: ExtendedColorType, quality: u8) -> Vec<u8> {
        let channels = u32::from(color.channel_count());
        let values: Vec<u8> = (0..width * height * channels)
            .map(|at| {
                (at / channels % width * 3 + at / (channels * width) * 2 + at * at % 41) as u8
            })
            .collect();
        let mut bytes = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
        encoder.write_image(&values, width, height, color).unwrap();
        bytes
    }

    #[test]
    fn the_pixels_are_those_of_image() {
        for color in [ExtendedColorType::Rgb8, ExtendedColorType::L8] {
            for (width, height) in [(1, 1), (8, 8), (17, 9), (64, 33), (200, 150)] {
                for quality in [20, 75, 100] {
                    let bytes = file(width, height, color, quality);
                    let want = decode_by_image(&bytes, MAX_PIXELS).unwrap();
                    assert_eq!(
                        decode(&bytes, MAX_PIXELS).unwrap(),
                        want,
                        "{color:?} {width} x {height}"
                    );
                }
            }
        }
    }

    #[test]
    fn attack_truncation_is_what_it_is_to_image() {
        let bytes = file(40, 30, ExtendedColorType::Rgb8, 75);
        for length in 3..bytes.len() {
            let (got, want) = (
                decode(&bytes[..length], MAX_PIXELS),
                decode_by_image(&bytes[..length], MAX_PIXELS),
            );
            match (got, want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{length} bytes"),
                (Err(Error::Decode { .. }), Err(Error::Decode { .. })) => {}
                (got, want) => panic!("{length} bytes: {:?}, {:?}", got.is_ok(), want.is_ok()),
            }
        }
    }

    #[test]
    fn attack_header_claims_a_gigantic_image() {
        let mut bytes = file(8, 8, ExtendedColorType::Rgb8, 75);
        // After the marker of the frame: length and depth, then height and width.
        let frame = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        bytes[frame + 5..frame + 9].fill(0xFF);
        let error = decode(&bytes, MAX_PIXELS).unwrap_err();
        assert!(matches!(error, Error::TooLarge { width: 65535, height: 65535, .. }), "{error}");
    }
}
