//! What Pillow makes of a small image; `tests/reference/pillow.py` writes the file.

use serde_json::Value;

use crate::Image;

/// The whole file.
pub(crate) fn pillow() -> Value {
    serde_json::from_str(include_str!("../tests/reference/pillow.json")).unwrap()
}

/// One image of the file.
pub(crate) fn image_of(value: &Value) -> Image {
    let number = |key: &str| value[key].as_u64().unwrap() as usize;
    let hex = value["rgb"].as_str().unwrap();
    let rgb = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
    Image { width: number("width"), height: number("height"), rgb: rgb.collect() }
}

/// The largest difference of two images of one size.
pub(crate) fn largest_difference(a: &Image, b: &Image) -> u8 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    a.rgb.iter().zip(&b.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}
