//! Masks and boxes over HTTP.

use crate::client::{Running, picture, png};
use crate::folder::{self, CLASSES, SIDE};
use serde_json::{Value, json};
use std::path::Path;
use ufo_data::Image;
use ufo_runtime::{Answer, Model, Precision};
use ufo_serve::ModelConfig;

fn start() -> Running {
    Running::start(|config| {
        let place = config.models[0].path.with_file_name("dense");
        // Random weights of which the mask has more than one class.
        let several = |seed: &u64| {
            folder::write_dense(&place, *seed);
            let Answer::Mask { shares, .. } = said(&place, 0, &image()) else { panic!("a mask") };
            shares.len() > 1
        };
        (0..50).find(several).unwrap();
        config.models.push(ModelConfig::new("dense", place, Precision::F32));
    })
}

fn image() -> Image {
    picture(48, 24, 3)
}

/// What the folder itself says of an image, at the size of its input.
fn said(folder: &Path, task: usize, image: &Image) -> Answer {
    let model = Model::open(folder, Precision::F32).unwrap();
    let row = model.outputs(task, &model.described.preprocess.apply(image)).unwrap();
    model.described.tasks[task].answer(&row, [SIDE; 2], 5)
}

#[test]
fn a_mask_has_its_size_a_class_for_each_pixel_and_their_shares() {
    let server = start();
    let image = image();
    let reply = server.post("/v1/predict/parts", &png(&image)).json();
    assert_eq!([&reply["width"], &reply["height"]], [48, 24]);
    let told = &reply["tasks"][0];
    let Answer::Mask { mask, .. } = said(&server.folder.path().join("dense"), 0, &image) else {
        panic!("a mask")
    };
    assert_eq!(told["size"], json!({"width": SIDE, "height": SIDE}));
    assert_eq!(told["mask"], json!(mask));
    assert_eq!(mask.len(), SIDE * SIDE);
    // Each class by the pixels that are of it, the most frequent first.
    let shares = told["shares"].as_array().unwrap();
    assert!(shares.len() > 1, "{shares:?}");
    for share in shares {
        let class = CLASSES.iter().position(|name| share["class"] == *name).unwrap();
        let pixels = mask.iter().filter(|id| **id as usize == class).count();
        let told = share["share"].as_f64().unwrap();
        assert!((told - pixels as f64 / mask.len() as f64).abs() < 1e-6 && pixels > 0);
    }
    let sum: f64 = shares.iter().map(|share| share["share"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{shares:?}");
    let model = &server.get("/v1/models").json()["models"][2];
    assert_eq!(model["tasks"][0]["kind"], "mask");
    assert_eq!(model["tasks"][1]["kind"], "boxes");
}

#[test]
fn boxes_are_in_pixels_of_the_image_that_was_sent() {
    let server = start();
    let image = image();
    let reply = server.post("/v1/predict/things", &png(&image)).json();
    let Answer::Boxes { boxes } = said(&server.folder.path().join("dense"), 1, &image) else {
        panic!("boxes")
    };
    let told = reply["tasks"][0]["boxes"].as_array().unwrap();
    assert!(boxes.len() > 1 && told.len() == boxes.len(), "{told:?}");
    let number = |value: &Value| value.as_f64().unwrap() as f32;
    let mut inside = 0;
    for (told, found) in told.iter().zip(&boxes) {
        assert_eq!(told["class"], json!(found.class));
        assert!((number(&told["score"]) - found.score).abs() < 1e-6);
        // Three times as wide as the network's input, and one and a half times as high.
        let bounds = &found.bounds;
        for (edge, value, scale) in [
            ("left", bounds.left, 3.0),
            ("top", bounds.top, 1.5),
            ("right", bounds.right, 3.0),
            ("bottom", bounds.bottom, 1.5),
        ] {
            assert!((number(&told[edge]) - scale * value).abs() < 1e-4, "{edge}: {told} {found:?}");
        }
        inside += usize::from(bounds.right > 0.0 && bounds.bottom > 0.0);
    }
    assert!(inside > 0, "{boxes:?}");
}
