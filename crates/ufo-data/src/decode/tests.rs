use image::{
    GrayImage, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage, codecs::jpeg::JpegEncoder,
};

use super::*;

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn two_by_one() -> DynamicImage {
    let mut image = RgbImage::new(2, 1);
    image.put_pixel(0, 0, Rgb([250, 10, 20]));
    image.put_pixel(1, 0, Rgb([0, 128, 255]));
    image.into()
}

#[test]
fn lossless_formats_give_the_pixels_that_were_written() {
    use ImageFormat::{Bmp, Gif, Png, Pnm, Tiff, WebP};
    for format in [Png, WebP, Bmp, Tiff, Pnm, Gif] {
        let source = if format == Gif { two_by_one().into_rgba8().into() } else { two_by_one() };
        let image = decode(&encoded(&source, format)).unwrap();
        assert_eq!((image.width, image.height), (2, 1), "{format:?}");
        assert_eq!(image.rgb, [250, 10, 20, 0, 128, 255], "{format:?}");
    }
}

#[test]
fn gray_is_replicated_and_16_bits_are_rounded() {
    let gray: DynamicImage = GrayImage::from_pixel(1, 1, Luma([77])).into();
    assert_eq!(decode(&encoded(&gray, ImageFormat::Png)).unwrap().rgb, [77, 77, 77]);
    // 0x80FF / 257 = 128.49 and 0x8101 / 257 = 128.5.
    for (deep, want) in [(0x80FF, 128), (0x8101, 129), (0xFFFF, 255)] {
        let image = image::ImageBuffer::<Luma<u16>, _>::from_pixel(1, 1, Luma([deep]));
        let bytes = encoded(&DynamicImage::ImageLuma16(image), ImageFormat::Png);
        assert_eq!(decode(&bytes).unwrap().rgb, [want; 3]);
    }
}

#[test]
fn palette_png_is_looked_up() {
    // 2 x 1, 8-bit palette of red and blue, written chunk by chunk.
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut png, *b"IHDR", &[0, 0, 0, 2, 0, 0, 0, 1, 8, 3, 0, 0, 0]);
    chunk(&mut png, *b"PLTE", &[255, 0, 0, 0, 0, 255]);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zlib, &[0, 1, 0]).unwrap();
    chunk(&mut png, *b"IDAT", &zlib.finish().unwrap());
    chunk(&mut png, *b"IEND", &[]);
    assert_eq!(decode(&png).unwrap().rgb, [0, 0, 255, 255, 0, 0]);
}

#[test]
fn transparency_is_composited_on_white() {
    let mut image = RgbaImage::new(3, 1);
    image.put_pixel(0, 0, Rgba([10, 20, 30, 255]));
    image.put_pixel(1, 0, Rgba([10, 20, 30, 0]));
    image.put_pixel(2, 0, Rgba([0, 100, 255, 128]));
    let decoded = decode(&encoded(&image.into(), ImageFormat::Png)).unwrap();
    // (0 * 128 + 255 * 127) / 255 = 127; (100 * 128 + 255 * 127) / 255 = 177.2.
    assert_eq!(decoded.rgb, [10, 20, 30, 255, 255, 255, 127, 177, 255]);
}

#[test]
fn exif_orientation_is_applied() {
    let mut jpeg = Vec::new();
    let source = RgbImage::from_fn(16, 8, |x, _| if x < 8 { Rgb([255; 3]) } else { Rgb([0; 3]) });
    JpegEncoder::new_with_quality(&mut jpeg, 100).encode_image(&source).unwrap();
    // After the start marker: APP1 with a little-endian TIFF whose only entry is orientation 6.
    let exif =
        b"\xFF\xE1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let turned = [&jpeg[..2], exif, &jpeg[2..]].concat();
    let plain = decode(&jpeg).unwrap();
    assert_eq!((plain.width, plain.height), (16, 8));
    let image = decode(&turned).unwrap();
    assert_eq!((image.width, image.height), (8, 16));
    // Orientation 6: turn clockwise, so the left (white) half comes to the top.
    assert!(image.rgb[0] > 250 && image.rgb[image.at(7, 15)] < 5);
}

#[test]
fn a_callers_limit_of_pixels_holds_for_each_decoder() {
    let image = Image::filled(16, 8, [7; 3]);
    let png = encode_png(&image).unwrap();
    let mut jpeg = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new(&mut jpeg);
    encoder.write_image(&image.rgb, 16, 8, ExtendedColorType::Rgb8).unwrap();
    for bytes in [&png, &jpeg] {
        assert_eq!(decode_within(bytes, 128).unwrap().width, 16);
        let error = decode_within(bytes, 127).unwrap_err();
        assert!(matches!(error, Error::TooLarge { max_pixels: 127, .. }), "{error}");
    }
}

#[test]
fn attack_header_claims_a_gigantic_image() {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut png, *b"IHDR", &[0, 0, 255, 255, 0, 0, 255, 255, 8, 2, 0, 0, 0]);
    chunk(&mut png, *b"IDAT", &[]);
    let error = decode(&png).unwrap_err();
    assert!(matches!(error, Error::TooLarge { width: 65535, height: 65535, .. }), "{error}");
    // Every side is allowed here, but not their product.
    let error = decode(b"P6 16000 16000 255\n").unwrap_err().to_string();
    assert!(error.contains("16000 x 16000") && error.contains("100000000"), "{error}");
}

#[test]
fn attack_wrong_magic_and_truncation_are_named_errors() {
    let error = decode(b"no image").unwrap_err().to_string();
    assert!(error.contains("unknown format") && error.contains("PNG"), "{error}");
    assert!(decode(&[]).is_err());
    let png = encoded(&two_by_one(), ImageFormat::Png);
    for length in 0..png.len() - 12 {
        assert!(matches!(decode(&png[..length]), Err(Error::Decode { .. })), "{length} bytes");
    }
}

#[test]
fn encode_png_is_read_back_and_refuses_a_wrong_length() {
    let image = Image { width: 1, height: 2, rgb: vec![1, 2, 3, 4, 5, 6] };
    assert_eq!(decode(&encode_png(&image).unwrap()).unwrap(), image);
    assert!(encode_png(&Image { width: 2, ..image }).is_err());
}

proptest::proptest! {
    #[test]
    fn mutated_files_never_panic(position in 0usize..700, value: u8, which in 0usize..5) {
        use ImageFormat::{Bmp, Jpeg, Png, Pnm, WebP};
        let format = [Png, Bmp, Pnm, WebP, Jpeg];
        let mut bytes = encoded(&two_by_one(), format[which]);
        let position = position % bytes.len();
        bytes[position] = value;
        let _ = decode(&bytes);
    }
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    png.extend((data.len() as u32).to_be_bytes());
    let start = png.len();
    png.extend(kind);
    png.extend(data);
    let mut crc = flate2::Crc::new();
    crc.update(&png[start..]);
    png.extend(crc.sum().to_be_bytes());
}
