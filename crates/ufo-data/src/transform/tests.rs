use super::*;
use crate::reference::{image_of, largest_difference, pillow};

fn preprocess(size: [usize; 2], resize: ResizeMode, interpolation: Interpolation) -> Preprocess {
    Preprocess { size, resize, interpolation, ..Preprocess::default() }
}

#[test]
fn resize_matches_pillow() {
    let reference = pillow();
    let source = image_of(&reference["source"]);
    let mut filters = Vec::new();
    for case in reference["resizes"].as_array().unwrap() {
        let want = image_of(&case["result"]);
        let filter: Interpolation = serde_json::from_value(case["filter"].clone()).unwrap();
        let mode = case["crop_pct"].as_f64().map_or(ResizeMode::Squash, |crop_pct| {
            ResizeMode::ShortestCrop { crop_pct: crop_pct as f32 }
        });
        let got = preprocess([want.height, want.width], mode, filter).resized(&source);
        assert_eq!(largest_difference(&got, &want), 0, "{filter:?} {mode:?} width {}", want.width);
        filters.push(filter);
    }
    assert_eq!(filters.len(), 18);
}

#[test]
fn normalize_gives_planes_of_scaled_values() {
    let image = Image { width: 2, height: 1, rgb: vec![0, 255, 51, 255, 0, 102] };
    let config = Preprocess {
        size: [1, 2],
        mean: [0.5, 0.5, 0.2],
        std: [0.5, 0.25, 0.1],
        ..Preprocess::default()
    };
    let want = [-1.0, 1.0, 2.0, -2.0, 0.0, 2.0];
    for (got, want) in config.apply(&image).into_iter().zip(want) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
}

#[test]
fn a_long_thin_image_takes_no_more_memory_than_the_result() {
    let image = Image::filled(1, 16_384, [10, 20, 30]);
    let mode = ResizeMode::ShortestCrop { crop_pct: 0.875 };
    let resized = preprocess([64, 64], mode, Interpolation::Bicubic).resized(&image);
    assert_eq!(resized, Image::filled(64, 64, [10, 20, 30]));
}

#[test]
fn crop_pct_is_meant_as_it_is_written() {
    let config = preprocess([224, 224], ResizeMode::Squash, Interpolation::Bicubic);
    let image = Image::filled(300, 150, [0; 3]);
    assert_eq!(config.covering(&image, 0.8), [280, 560]);
    assert_eq!(config.covering(&image, 0.875), [256, 512]);
    assert_eq!(config.covering(&image, 0.9), [248, 496]);
}

#[test]
fn config_is_kebab_case_and_refuses_unknown_keys() {
    let text =
        r#"{"size":[8,9],"resize":{"shortest-crop":{"crop_pct":0.9}},"interpolation":"nearest"}"#;
    let config: Preprocess = serde_json::from_str(text).unwrap();
    let mode = ResizeMode::ShortestCrop { crop_pct: 0.9 };
    assert_eq!(config, preprocess([8, 9], mode, Interpolation::Nearest));
    let squash: Preprocess = serde_json::from_str(r#"{"resize":"squash"}"#).unwrap();
    assert_eq!(squash, Preprocess::default());
    assert!(serde_json::from_str::<Preprocess>(r#"{"sise":[8,9]}"#).is_err());
}

#[test]
fn validate_names_key_value_and_range() {
    let default = Preprocess::default();
    assert!(default.validate().is_ok());
    let cases = [
        (
            Preprocess { size: [0, 8], ..default.clone() },
            "preprocess.size is [0, 8]; allowed: 1 to",
        ),
        (Preprocess { std: [0.0, 1.0, 1.0], ..default.clone() }, "preprocess.std is [0.0"),
        (Preprocess { mean: [f32::NAN, 0.0, 0.0], ..default.clone() }, "preprocess.mean is [NaN"),
        (
            Preprocess { resize: ResizeMode::ShortestCrop { crop_pct: 1.5 }, ..default },
            "crop_pct is 1.5",
        ),
    ];
    for (config, want) in cases {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn any_image_gets_the_size_asked_for(
        width in 1usize..200, height in 1usize..200, target in 1usize..70, crop_pct in 0.05f32..1.0,
    ) {
        let image = Image::filled(width, height, [1, 2, 3]);
        for mode in [ResizeMode::Squash, ResizeMode::ShortestCrop { crop_pct }] {
            let got = preprocess([target, 33], mode, Interpolation::Bicubic).resized(&image);
            proptest::prop_assert_eq!(got, Image::filled(33, target, [1, 2, 3]));
        }
    }
}
