//! Boxes in COCO's JSON.
#![no_main]

use std::fs;
use ufo_data::{Dataset, Format};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder for the file");
    let place = folder.path().join("boxes.json");
    fs::write(&place, bytes).expect("writing the file");
    if let Ok(dataset) = Dataset::open(Format::Coco, &place) {
        for index in 0..dataset.len() {
            for found in dataset.boxes(index) {
                assert!((found.class as usize) < dataset.classes().len());
                assert!(found.bounds.area() > 0.0);
            }
        }
    }
});
