#![expect(clippy::float_cmp, reason = "values that no step touched are compared exactly")]

use rand::rngs::ChaCha8Rng;
use serde_json::Value;

use super::{
    affine::{Reading, rotate, shear_x, shear_y},
    *,
};
use crate::{
    Purpose, ResizeMode,
    reference::{image_of, largest_difference, pillow},
    stream,
};

fn rng(number: u64) -> ChaCha8Rng {
    stream(1, Purpose::Augment, &[number])
}

fn size_of(size: [usize; 2]) -> Preprocess {
    Preprocess { size, resize: ResizeMode::Squash, ..Preprocess::default() }
}

/// `height` x `width` with a different color in every pixel.
fn numbered(width: usize, height: usize) -> Image {
    let rgb = (0..width * height).flat_map(|at| [at as u8 + 1, 100, 200]).collect();
    Image { width, height, rgb }
}

fn applied(case: &Value, source: &Image) -> Image {
    let value = case["value"].as_f64().unwrap();
    let reading = match case["filter"].as_str() {
        Some("bilinear") => Reading::Bilinear,
        _ => Reading::Bicubic,
    };
    match case["name"].as_str().unwrap() {
        "autocontrast" => color::autocontrast(source),
        "equalize" => color::equalize(source),
        "invert" => color::invert(source),
        "posterize" => color::posterize(source, value as u32),
        "solarize" => color::solarize(source, value as u32),
        "color" => color::color(source, value as f32),
        "contrast" => color::contrast(source, value as f32),
        "brightness" => color::brightness(source, value as f32),
        "sharpness" => color::sharpness(source, value as f32),
        "rotate" => rotate(source, value, reading),
        "shear-x" => shear_x(source, value, reading),
        "shear-y" => shear_y(source, value, reading),
        other => panic!("unknown operation {other}"),
    }
}

#[test]
fn operations_match_pillow_to_the_bit() {
    let reference = pillow();
    let source = image_of(&reference["source"]);
    let cases = reference["operations"].as_array().unwrap();
    for case in cases {
        let difference = largest_difference(&applied(case, &source), &image_of(&case["result"]));
        assert_eq!(difference, 0, "{} {} {}", case["name"], case["value"], case["filter"]);
    }
    assert_eq!(cases.len(), 53);
    for case in reference["small"].as_array().unwrap() {
        let source = image_of(&case["source"]);
        assert_eq!(color::equalize(&source), image_of(&case["equalize"]));
        assert_eq!(color::autocontrast(&source), image_of(&case["autocontrast"]));
    }
}

#[test]
fn operations_keep_the_size_of_any_image() {
    use Operation::{
        AutoContrast, Brightness, Color, Contrast, Equalize, Invert, Posterize, Rotate, Sharpness,
        ShearX, ShearY, Solarize,
    };
    for (width, height) in [(1, 1), (1, 5), (2, 2), (7, 3)] {
        let image = numbered(width, height);
        for operation in [
            AutoContrast,
            Brightness,
            Color,
            Contrast,
            Equalize,
            Invert,
            Posterize,
            Rotate,
            Sharpness,
            ShearX,
            ShearY,
            Solarize,
        ] {
            for magnitude in 0..=10 {
                let changed = operation.apply(&image, magnitude, &mut rng(magnitude.into()));
                assert_eq!((changed.width, changed.height), (width, height), "{operation:?}");
                assert_eq!(changed.rgb.len(), image.rgb.len(), "{operation:?}");
            }
        }
    }
}

#[test]
fn magnitudes_are_those_of_the_policy() {
    let image = numbered(16, 8);
    let apply = |operation: Operation, magnitude| operation.apply(&image, magnitude, &mut rng(0));
    assert_eq!(apply(Operation::Posterize, 8), color::posterize(&image, 7));
    assert_eq!(apply(Operation::Posterize, 5), color::posterize(&image, 6));
    assert_eq!(apply(Operation::Solarize, 3), color::solarize(&image, 76));
    assert_eq!(apply(Operation::Color, 0), color::color(&image, 0.1));
    let turned = apply(Operation::Rotate, 9);
    assert!([-27.0, 27.0].iter().any(|&degrees| {
        [Reading::Bilinear, Reading::Bicubic]
            .iter()
            .any(|&reading| rotate(&image, degrees, reading) == turned)
    }));
}

#[test]
fn the_default_does_nothing_but_preprocess() {
    let (image, preprocess) = (numbered(5, 4), size_of([3, 3]));
    let augment: Augment = serde_json::from_str("{}").unwrap();
    assert_eq!(augment, Augment::default());
    let mut out = vec![0.0; 27];
    augment.apply_into(&image, &preprocess, &mut rng(0), &mut out);
    assert_eq!(out, preprocess.apply(&image));
    assert_eq!(augment.mix(&mut out, [3, 3], (&[0], 1), &mut rng(0)), None);
}

#[test]
fn a_probability_means_what_it_says() {
    let image = numbered(2, 1);
    let flipped = Image { rgb: vec![2, 100, 200, 1, 100, 200], ..image.clone() };
    for (flip, range) in [(1.0, 1000..=1000), (0.25, 200..=300), (0.0, 0..=0)] {
        let augment = Augment { flip, ..Augment::default() };
        let count = (0..1000)
            .map(|number| augment.image(&image, &size_of([1, 2]), &mut rng(number)))
            .filter(|changed| *changed == flipped)
            .count();
        assert!(range.contains(&count), "{flip}: {count}");
    }
    // A wrapper that applies with 1 - p would change none of these.
    let augment = Augment { auto_augment: 1.0, ..Augment::default() };
    let reference = pillow();
    let image = image_of(&reference["source"]);
    let changed = (0..100)
        .map(|number| augment.image(&image, &size_of([37, 29]), &mut rng(number)))
        .filter(|changed| *changed != image)
        .count();
    assert!(changed > 70, "{changed}");
}

#[test]
fn pad_crop_moves_the_image_over_black() {
    let image = numbered(4, 3);
    let mut corners = std::collections::HashSet::new();
    for number in 0..400 {
        let cut = pad_crop(&image, 2, &mut rng(number));
        // The offset follows from any pixel that is left, and all others from the offset.
        let place = |image: &Image, value: u8| {
            let at = image.rgb.iter().step_by(3).position(|&red| red == value)?;
            Some(((at % 4) as i32, (at / 4) as i32))
        };
        let moved = (1..=12).find_map(|value| Some((place(&image, value)?, place(&cut, value)?)));
        let ((x, y), (to_x, to_y)) = moved.unwrap();
        let (dx, dy) = (to_x - x, to_y - y);
        assert!((-2..=2).contains(&dx) && (-2..=2).contains(&dy));
        for at in 0..12_i32 {
            let (from_x, from_y) = (at % 4 - dx, at / 4 - dy);
            let inside = (0..4).contains(&from_x) && (0..3).contains(&from_y);
            let want = if inside { (from_y * 4 + from_x + 1) as u8 } else { 0 };
            assert_eq!(cut.rgb[at as usize * 3], want);
        }
        corners.insert((dx, dy));
    }
    assert_eq!(corners.len(), 25, "every offset of -2..=2 is drawn");
    assert_eq!(pad_crop(&image, 50, &mut rng(0)).rgb.len(), image.rgb.len());
}

#[test]
fn resized_crop_stays_in_range() {
    let image = Image::filled(200, 100, [0; 3]);
    let range = ResizedCrop { scale: [0.2, 0.5], ratio: [0.5, 2.0] };
    for number in 0..300 {
        let [width, height, left, top] = range.draw(&image, &mut rng(number));
        assert!(left + width <= 200 && top + height <= 100);
        let area = (width * height) as f32 / 20_000.0;
        assert!((0.19..0.51).contains(&area), "{area}");
        let ratio = width as f32 / height as f32;
        assert!((0.48..2.05).contains(&ratio), "{ratio}");
    }
    // No part of a line has such a ratio; the fallback is as wide as allowed.
    let line = Image::filled(100, 1, [0; 3]);
    let square = ResizedCrop { scale: [1.0, 1.0], ratio: [1.0, 1.0] };
    assert_eq!(square.draw(&line, &mut rng(0)), [1, 1, 49, 0]);
    let augment = Augment { random_resized_crop: Some(square), ..Augment::default() };
    assert_eq!(augment.image(&line, &size_of([8, 8]), &mut rng(0)), Image::filled(8, 8, [0; 3]));
}

#[test]
fn erase_fills_one_rectangle_of_all_planes_with_noise() {
    for number in 0..100 {
        let mut planes = vec![9.0; 3 * 20 * 30];
        erase::apply(&mut planes, [20, 30], &mut rng(number));
        let erased: Vec<usize> = (0..600).filter(|&at| planes[at] != 9.0).collect();
        let (rows, columns): (Vec<_>, Vec<_>) = erased.iter().map(|at| (at / 30, at % 30)).unzip();
        let span =
            |values: &[usize]| values.iter().max().unwrap() - values.iter().min().unwrap() + 1;
        assert_eq!(erased.len(), span(&rows) * span(&columns), "a rectangle");
        let share = erased.len() as f32 / 600.0;
        assert!((0.01..0.38).contains(&share), "{share}");
        for plane in 1..3 {
            let changed = (0..600).filter(|at| planes[plane * 600 + at] != 9.0);
            assert!(changed.eq(erased.iter().copied()));
        }
        let noise: Vec<f32> = planes.into_iter().filter(|&value| value != 9.0).collect();
        let mean = noise.iter().sum::<f32>() / noise.len() as f32;
        assert!(mean.abs() < 4.0 / (noise.len() as f32).sqrt(), "{mean} of {}", noise.len());
    }
}

/// A batch of four constant images 1, 2, 3, 4 of 6 x 8 with labels 0, 1, 2, 0 of 3 classes.
fn mixed(augment: &Augment, number: u64) -> Option<(Vec<f32>, Vec<f32>)> {
    let mut images: Vec<f32> = (1..=4).flat_map(|value| vec![value as f32; 3 * 48]).collect();
    let soft = augment.mix(&mut images, [6, 8], (&[0, 1, 2, 0], 3), &mut rng(number))?;
    Some((images, soft))
}

/// The label's share of the pixels is its target, whatever was mixed.
fn check_targets(images: &[f32], soft: &[f32]) {
    for (row, image) in images.chunks(3 * 48).enumerate() {
        let targets = &soft[row * 3..][..3];
        assert!((targets.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{targets:?}");
        let mean = image.iter().sum::<f32>() / image.len() as f32;
        let own = row as f32 + 1.0;
        // The partner is one of the four: own + (1 - lam) (partner - own) is the mean.
        let fits = (1..=4).any(|partner| {
            let other = partner as f32;
            let lam = if other == own { 1.0 } else { (mean - other) / (own - other) };
            let mut want = [0.0; 3];
            want[[0, 1, 2, 0][row]] += lam;
            want[[0, 1, 2, 0][partner - 1]] += 1.0 - lam;
            want.iter().zip(targets).all(|(want, got)| (want - got).abs() < 1e-4)
        });
        assert!(fits, "mean {mean} of row {row} and targets {targets:?}");
    }
}

#[test]
fn mixup_blends_images_and_targets_alike() {
    let augment = Augment { mixup: 1.0, ..Augment::default() };
    for number in 0..50 {
        let (images, soft) = mixed(&augment, number).unwrap();
        check_targets(&images, &soft);
        for image in images.chunks(3 * 48) {
            assert!(image.iter().all(|&value| value == image[0]), "one weight an image");
        }
    }
}

#[test]
fn cutmix_pastes_a_rectangle_of_its_share() {
    let augment = Augment { cutmix: 0.8, ..Augment::default() };
    let mut pasted = 0;
    for number in 0..50 {
        let (images, soft) = mixed(&augment, number).unwrap();
        check_targets(&images, &soft);
        for (row, image) in images.chunks(3 * 48).enumerate() {
            let cut: Vec<usize> = (0..48).filter(|&at| image[at] != row as f32 + 1.0).collect();
            if cut.is_empty() {
                continue;
            }
            pasted += 1;
            let (rows, columns): (Vec<_>, Vec<_>) = cut.iter().map(|at| (at / 8, at % 8)).unzip();
            let span =
                |values: &[usize]| values.iter().max().unwrap() - values.iter().min().unwrap() + 1;
            assert_eq!(cut.len(), span(&rows) * span(&columns), "a rectangle");
            assert!(image.chunks(48).all(|plane| *plane == image[..48]), "in every plane");
        }
    }
    assert!(pasted > 50, "{pasted}");
}

#[test]
fn both_mixes_take_turns_and_keep_the_probability() {
    let augment = Augment { mixup: 1.0, cutmix: 1.0, mix_probability: 0.5, ..Augment::default() };
    let (mut mixes, mut blends) = (0, 0);
    for number in 0..400 {
        let Some((images, _)) = mixed(&augment, number) else { continue };
        mixes += 1;
        blends += u32::from(images.iter().any(|value| value.fract() != 0.0));
    }
    assert!((160..240).contains(&mixes), "{mixes}");
    assert!((60..140).contains(&blends), "{blends} of {mixes}");
}

#[test]
fn validate_names_key_value_and_range() {
    let default = Augment::default();
    assert!(default.validate().is_ok());
    let crop = |scale, ratio| Some(ResizedCrop { scale, ratio });
    let cases = [
        (Augment { flip: 1.5, ..default }, "augment.flip is 1.5; allowed: 0 to 1"),
        (Augment { erase: f32::NAN, ..default }, "augment.erase is NaN"),
        (Augment { cutmix: -1.0, ..default }, "augment.cutmix is -1"),
        (Augment { pad_crop: 5000, ..default }, "augment.pad_crop is 5000"),
        (
            Augment { random_resized_crop: crop([0.5, 0.2], [1.0, 1.0]), ..default },
            "scale is [0.5, 0.2]",
        ),
        (
            Augment { random_resized_crop: crop([0.5, 1.0], [0.0, 1.0]), ..default },
            "ratio is [0.0, 1.0]",
        ),
    ];
    for (augment, want) in cases {
        let error = augment.validate().unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}
