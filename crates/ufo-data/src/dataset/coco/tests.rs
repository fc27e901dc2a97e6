use std::fs;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{Bounds, Dataset, Format, Image, check_boxes, encode_png};

/// A folder with two images of 20 x 10 pixels and a file of their boxes.
fn folder(change: impl FnOnce(&mut Value)) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    fs::create_dir(&images).unwrap();
    let png = encode_png(&Image::filled(20, 10, [90, 80, 70])).unwrap();
    for name in ["a.png", "b.png"] {
        fs::write(images.join(name), &png).unwrap();
    }
    let mut file = json!({
        "info": {"year": 2020},
        "images": [
            {"id": 7, "file_name": "a.png", "width": 20, "height": 10},
            {"id": 3, "file_name": "b.png", "width": 20, "height": 10, "license": 1},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 18, "bbox": [1.5, 2, 4, 5], "iscrowd": 0, "area": 11.5},
            {"id": 2, "image_id": 3, "category_id": 2, "bbox": [0, 0, 20.4, 10], "iscrowd": 1},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 2, "name": "car"}],
    });
    change(&mut file);
    let place = folder.path().join("boxes.json");
    fs::write(&place, file.to_string()).unwrap();
    (folder, place)
}

#[test]
fn boxes_are_read_with_their_classes_and_areas() {
    let (_folder, place) = folder(|_| {});
    let dataset = Dataset::open(Format::Coco, &place).unwrap();
    assert_eq!(dataset.classes(), ["car", "dog"]);
    assert!(dataset.has_boxes() && !dataset.has_masks() && dataset.boxes(0).is_empty());
    let boxed = dataset.boxed(1).unwrap();
    assert_eq!(boxed.image.width, 20);
    let [dog, crowd] = boxed.boxes[..] else { panic!("two boxes") };
    assert_eq!(dog.bounds, Bounds::new([1.5, 2.0, 5.5, 7.0]));
    assert!(dog.class == 1 && !dog.crowd && (dog.area - 11.5).abs() < 1e-6);
    // What files round beyond the image is cut.
    assert_eq!(crowd.bounds, Bounds::new([0.0, 0.0, 20.0, 10.0]));
    assert!(crowd.class == 0 && crowd.crowd && (crowd.area - 200.0).abs() < 1e-6);
    assert_eq!(check_boxes(&dataset).unwrap(), [0, 1]);
    assert!(dataset.list().starts_with("path,boxes\n") && dataset.list().ends_with("b.png,2\n"));
    let other = dataset.select(&[1]);
    assert_eq!((other.boxes(0).len(), other.len()), (2, 1));
    let message = Dataset::open_with_classes(Format::Coco, &place, &["dog".into(), "car".into()]);
    assert!(message.unwrap_err().to_string().contains("other classes than dog, car"));
}

#[test]
fn coco_has_its_images_in_a_folder_of_the_files_name() {
    let (folder, place) = folder(|_| {});
    let moved = folder.path().join("annotations");
    fs::create_dir(&moved).unwrap();
    fs::rename(&place, moved.join("instances_val.json")).unwrap();
    fs::rename(folder.path().join("images"), folder.path().join("val")).unwrap();
    let dataset = Dataset::open(Format::Coco, &moved.join("instances_val.json")).unwrap();
    assert!(dataset.name(0).ends_with("val/a.png"));
}

#[test]
fn wrong_files_are_named_with_place_value_and_what_is_allowed() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let (_folder, place) = folder(|file| change(file));
        Dataset::open(Format::Coco, &place).unwrap_err().to_string()
    };
    let set = |pointer: &'static str, value: Value| {
        refused(&move |file| *file.pointer_mut(pointer).unwrap() = value.clone())
    };
    for (pointer, value, words) in [
        (
            "/annotations/0/bbox",
            json!([17, 2, 4, 5]),
            &["annotation 1", "bbox", "inside of the image of 20 x 10"][..],
        ),
        ("/annotations/0/bbox", json!([1, -2, 4, 5]), &["annotation 1", "[1.0, -2.0, 4.0, 5.0]"]),
        ("/annotations/0/bbox", json!([5, 2, -4, 5]), &["width and height above 0", "b.png"]),
        ("/annotations/1/bbox", json!([5, 2, 4, 0]), &["annotation 2", "width and height above 0"]),
        ("/annotations/1/bbox", json!([20.2, 2, 0.2, 1]), &["inside of the image"]),
        ("/annotations/0/category_id", json!(5), &["category_id is 5", "[2, 18]"]),
        ("/annotations/0/image_id", json!(5), &["image_id is 5", "ids of `images`"]),
        ("/images/0/file_name", json!("c.png"), &["c.png", "no such image", "boxes.json"]),
        ("/images/0/file_name", json!("../boxes.json"), &["image 7", "file_name is ../boxes.json"]),
        ("/images/0/file_name", json!("/etc/passwd"), &["file_name", "inside of the folder"]),
        ("/images/0/width", json!(0), &["image 7", "0 x 10"]),
        ("/images/0/id", json!(3), &["image 3", "ids that differ"]),
        ("/categories/0/id", json!(2), &["category 2", "ids that differ"]),
        ("/categories", json!([]), &["no categories"]),
        ("/images", json!(4), &["not COCO's JSON", "line 1"]),
        ("/annotations/0/bbox", json!([1, 2, 3]), &["not COCO's JSON", "4"]),
    ] {
        let message = set(pointer, value);
        assert!(message.contains("boxes.json"), "{message}");
        for word in words {
            assert!(message.contains(word), "{pointer}: `{word}` is not in: {message}");
        }
    }
    assert!(refused(&|file| *file = json!({})).contains("missing field `images`"));
}

#[test]
fn images_of_another_size_than_their_boxes_are_refused() {
    let (_folder, place) = folder(|file| file["images"][1]["width"] = json!(21));
    let dataset = Dataset::open(Format::Coco, &place).unwrap();
    for message in [check_boxes(&dataset).unwrap_err(), dataset.boxed(1).unwrap_err()] {
        let message = message.to_string();
        for word in ["boxes.json", "b.png has 20 x 10 pixels", "allowed: 21 x 10"] {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("boxes.json");
        fs::write(&place, bytes).unwrap();
        Dataset::open(Format::Coco, &place).unwrap_err();
    }

    #[test]
    fn boxes_that_are_taken_lie_inside(bbox in proptest::array::uniform4(-30.0_f64..60.0)) {
        let (_folder, place) = folder(|file| file["annotations"][0]["bbox"] = json!(bbox));
        if let Ok(dataset) = Dataset::open(Format::Coco, &place) {
            let bounds = dataset.boxes(1)[0].bounds;
            prop_assert!(0.0 <= bounds.left && bounds.left < bounds.right && bounds.right <= 20.0);
            prop_assert!(0.0 <= bounds.top && bounds.top < bounds.bottom && bounds.bottom <= 10.0);
        }
    }
}
