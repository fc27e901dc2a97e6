//! ONNX files read back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ufo_onnx::Model::decode(bytes);
});
