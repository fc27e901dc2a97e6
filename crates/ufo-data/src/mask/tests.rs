use super::*;

fn png_of(color: ColorType, depth: BitDepth, size: [u32; 2], data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, size[0], size[1]);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ColorType::Indexed {
        encoder.set_palette(vec![7; 3 * 256]);
    }
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    bytes
}

fn decoded(bytes: &[u8], classes: usize) -> Result<Vec<u8>, String> {
    Mask::decode(bytes, classes).map(|mask| mask.ids).map_err(|error| error.to_string())
}

#[test]
fn masks_of_every_depth_are_read_as_their_ids() {
    use BitDepth::{Eight, Four, One, Two};
    for (depth, data) in [
        (One, vec![0b0110_0000]),
        (Two, vec![0b0001_0100]),
        (Four, vec![0x01, 0x10]),
        (Eight, vec![0, 1, 1, 0]),
    ] {
        for color in [ColorType::Grayscale, ColorType::Indexed] {
            let bytes = png_of(color, depth, [4, 1], &data);
            assert_eq!(decoded(&bytes, 2).unwrap(), [0, 1, 1, 0], "{color:?} {depth:?}");
        }
    }
}

#[test]
fn what_was_written_is_read_back_and_has_the_palettes_colors() {
    let mask = Mask { width: 3, height: 2, ids: vec![0, 1, 15, 20, IGNORE, 2] };
    let bytes = mask.encode(Palette::Voc).unwrap();
    assert_eq!(decode_mask(&bytes, Coding::Ids, 21).unwrap(), mask);
    let shown = crate::decode(&bytes).unwrap();
    // The palette that VOC's development kit computes.
    let colors =
        [[0, 0, 0], [128, 0, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192], [0, 128, 0]];
    assert_eq!(shown.rgb, colors.concat());
    assert_eq!(mask.picture(Palette::Voc), shown);
    // The same colors are the ids again.
    let bytes = png_of(ColorType::Rgb, BitDepth::Eight, [3, 2], &shown.rgb);
    assert_eq!(decode_mask(&bytes, Coding::Ids, 21).unwrap(), mask);
}

#[test]
fn cityscapes_label_ids_become_training_ids() {
    let bytes = png_of(ColorType::Grayscale, BitDepth::Eight, [6, 1], &[7, 8, 33, 0, 9, 255]);
    let mask = decode_mask(&bytes, Coding::Cityscapes, 19).unwrap();
    assert_eq!(mask.ids, [0, 1, 18, IGNORE, IGNORE, IGNORE]);
    // Label ids and colors of the classes that count, as the data set's own scripts list them.
    let (labels, colors): (Vec<u8>, Vec<[u8; 3]>) = [
        (7, [128, 64, 128]),
        (8, [244, 35, 232]),
        (11, [70, 70, 70]),
        (12, [102, 102, 156]),
        (13, [190, 153, 153]),
        (17, [153, 153, 153]),
        (19, [250, 170, 30]),
        (20, [220, 220, 0]),
        (21, [107, 142, 35]),
        (22, [152, 251, 152]),
        (23, [70, 130, 180]),
        (24, [220, 20, 60]),
        (25, [255, 0, 0]),
        (26, [0, 0, 142]),
        (27, [0, 0, 70]),
        (28, [0, 60, 100]),
        (31, [0, 80, 100]),
        (32, [0, 0, 230]),
        (33, [119, 11, 32]),
    ]
    .into_iter()
    .unzip();
    let bytes = png_of(ColorType::Grayscale, BitDepth::Eight, [19, 1], &labels);
    let mask = decode_mask(&bytes, Coding::Cityscapes, 19).unwrap();
    assert!(mask.ids.iter().copied().eq(0..19), "{:?}", mask.ids);
    assert_eq!(mask.picture(Palette::of(&cityscapes_classes())).rgb, colors.concat());
    let bytes = png_of(ColorType::Grayscale, BitDepth::Eight, [1, 1], &[34]);
    let error = decode_mask(&bytes, Coding::Cityscapes, 19).unwrap_err();
    assert!(error.contains("class 34") && error.contains("0 to 33"), "{error}");
}

#[test]
fn wrong_masks_are_refused_with_the_reason() {
    let gray = |data: &[u8]| png_of(ColorType::Grayscale, BitDepth::Eight, [2, 2], data);
    let refused = |bytes: &[u8], said: &str| {
        let error = decoded(bytes, 2).unwrap_err();
        assert!(error.contains(said), "{error}");
    };
    let said = "class 2 at x 1, y 1; allowed: 0 to 1, and 255 for pixels that do not count";
    refused(&gray(&[0, 1, 1, 2]), said);
    refused(b"P5 1 1 255 a", "allowed: PNG");
    refused(&gray(&[0; 4])[..40], "not a readable mask");
    refused(&png_of(ColorType::Grayscale, BitDepth::Sixteen, [1, 1], &[0, 0]), "16 bits");
    refused(&png_of(ColorType::Rgba, BitDepth::Eight, [1, 1], &[0; 4]), "Rgba");
    refused(&png_of(ColorType::Rgb, BitDepth::Eight, [1, 1], &[1, 2, 3]), "[1, 2, 3]");
    // A header that promises more pixels than memory.
    let mut bytes = gray(&[0; 4]);
    bytes[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    assert!(decoded(&bytes, 2).is_err());
}
