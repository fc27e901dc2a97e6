//! Masks.
#![no_main]

use ufo_data::{IGNORE, Mask};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(mask) = Mask::decode(bytes, 21) {
        assert_eq!(mask.ids.len(), mask.width * mask.height);
        assert!(mask.ids.iter().all(|&id| id < 21 || id == IGNORE));
    }
});
