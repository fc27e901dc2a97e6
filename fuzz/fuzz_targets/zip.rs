//! ZIP archives.
#![no_main]

use std::io::Cursor;
use ufo_data::Zip;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut zip) = Zip::open(Cursor::new(bytes), 100) {
        for index in 0..zip.entries().len() {
            if let Ok(file) = zip.read(index, 1 << 16) {
                assert!(file.len() <= 1 << 16);
            }
        }
    }
});
