//! Lists of paths.
#![no_main]

use std::fs;
use ufo_data::{Dataset, Format};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder for the list");
    let list = folder.path().join("train.csv");
    fs::write(&list, bytes).expect("writing the list");
    if let Ok(dataset) = Dataset::open(Format::Csv, &list) {
        assert!(dataset.labels().iter().all(|&l| (l as usize) < dataset.classes().len()));
        let _ = dataset.image(0);
    }
});
