//! IDX files: the first byte says where images end and labels begin.
#![no_main]

use std::fs;
use ufo_data::{Dataset, Format};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, rest)) = bytes.split_first() else { return };
    let (images, labels) = rest.split_at(rest.len() * usize::from(cut) / 256);
    let folder = tempfile::tempdir().expect("a folder for the files");
    fs::write(folder.path().join("train-images.idx"), images).expect("writing images");
    fs::write(folder.path().join("train-labels.idx"), labels).expect("writing labels");
    if let Ok(dataset) = Dataset::open(Format::Idx, &folder.path().join("train")) {
        assert!(dataset.labels().iter().all(|&l| (l as usize) < dataset.classes().len()));
        let _ = dataset.image(dataset.len() - 1);
    }
});
