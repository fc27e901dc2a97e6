use super::*;

#[test]
fn an_image_of_the_target_size_is_only_normalized() {
    let image = Image { width: 2, height: 1, rgb: vec![0, 255, 0, 255, 0, 255] };
    let preprocess = Preprocess { size: [1, 2], ..Preprocess::default() };
    assert_eq!(preprocess.apply(&image), [-1.0, 1.0, 1.0, -1.0, -1.0, 1.0]);
}

#[test]
fn resizing_gives_the_configured_size() {
    let image = Image::filled(10, 6, [100, 100, 100]);
    let resized = Preprocess { size: [4, 5], ..Preprocess::default() }.resized(&image);
    assert_eq!((resized.height, resized.width), (4, 5));
    assert!(resized.rgb.iter().all(|value| value.abs_diff(100) <= 1));
}
