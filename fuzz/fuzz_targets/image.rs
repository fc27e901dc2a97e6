//! Image files: any bytes give an image within the limits or an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = ufo_data::decode(bytes) {
        assert_eq!(image.rgb.len(), image.width * image.height * 3);
        assert!(image.width <= ufo_data::MAX_SIDE as usize);
    }
});
