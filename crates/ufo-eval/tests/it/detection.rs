//! Average precision against pycocotools; `tests/reference/detection_reference.py` writes the fixture.

use crate::{CLOSE, assert_all_close, assert_close};
use serde::Deserialize;
use std::path::Path;
use ufo_data::{Annotation, Bounds, Detection};
use ufo_eval::{BoxMatches, detection};

#[derive(Deserialize)]
struct Fixture {
    images: usize,
    classes: usize,
    truth: Vec<Truth>,
    found: Vec<Found>,
    results: Vec<Expected>,
}

#[derive(Deserialize)]
struct Truth {
    image_id: usize,
    category_id: u32,
    bbox: [f32; 4],
    area: f32,
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Found {
    image_id: usize,
    category_id: u32,
    bbox: [f32; 4],
    score: f32,
}

#[derive(Deserialize)]
struct Expected {
    most: usize,
    ap: f64,
    ap50: f64,
    ap75: f64,
    ap_of_size: [Option<f64>; 3],
    recall: f64,
    ap_of_class: Vec<Option<f64>>,
}

fn bounds([x, y, width, height]: [f32; 4]) -> Bounds {
    Bounds::new([x, y, x + width, y + height])
}

#[test]
fn average_precision_equals_pycocotools() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/detection.json");
    let text = std::fs::read_to_string(path).unwrap();
    let fixture: Fixture = serde_json::from_str(&text).unwrap();
    for expected in &fixture.results {
        let mut matches = BoxMatches::new(fixture.classes, expected.most);
        for image in 0..fixture.images {
            let truth = fixture.truth.iter().filter(|row| row.image_id == image);
            let truth: Vec<_> = truth
                .map(|row| Annotation {
                    bounds: bounds(row.bbox),
                    class: row.category_id,
                    crowd: row.iscrowd == 1,
                    area: row.area,
                })
                .collect();
            let found = fixture.found.iter().filter(|row| row.image_id == image);
            let found: Vec<_> = found
                .map(|row| Detection {
                    bounds: bounds(row.bbox),
                    class: row.category_id,
                    score: row.score,
                })
                .collect();
            matches.add(&truth, &found).unwrap();
        }
        let got = detection(&matches).unwrap();
        for (got, expected) in [
            (got.ap, expected.ap),
            (got.ap50, expected.ap50),
            (got.ap75, expected.ap75),
            (got.recall, expected.recall),
        ] {
            assert_close(got, expected, CLOSE);
        }
        let known = |values: &[Option<f64>]| -> Vec<f64> {
            values.iter().map(|value| value.unwrap_or(-1.0)).collect()
        };
        assert_all_close(&known(&got.ap_of_size), &known(&expected.ap_of_size), CLOSE);
        assert_all_close(&known(&got.ap_of_class), &known(&expected.ap_of_class), CLOSE);
    }
}
