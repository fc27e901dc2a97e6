use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::dataset::{Dataset, DatasetConfig, Format, HoldOut};
use crate::{
    Augment, Image, Loader, LoaderConfig, Mask, Palette, Preprocess, Sampler, SamplerConfig,
    check_masks, encode_png,
};

fn put(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn image(side: usize) -> Vec<u8> {
    encode_png(&Image::filled(side, side, [9; 3])).unwrap()
}

fn mask(side: usize, id: u8) -> Vec<u8> {
    let mask = Mask { width: side, height: side, ids: vec![id; side * side] };
    mask.encode(Palette::Voc).unwrap()
}

/// Ten images of 4x4 pixels whose masks are of class 0 or 1.
fn folders() -> TempDir {
    let folder = TempDir::new().unwrap();
    put(&folder, "classes.txt", "sky\nground\n");
    for index in 0..10 {
        put(&folder, &format!("train/images/deep/{index}.png"), image(4));
        put(&folder, &format!("train/masks/deep/{index}.png"), mask(4, index % 2));
    }
    folder
}

fn open(folder: &TempDir) -> Result<Dataset, Error> {
    Dataset::open(Format::Masks, &folder.path().join("train"))
}

#[test]
fn images_and_masks_of_folders_belong_together_by_name() {
    let folder = folders();
    let dataset = open(&folder).unwrap();
    assert_eq!(dataset.classes(), ["sky", "ground"]);
    assert!(dataset.has_masks() && dataset.labels() == [0; 10]);
    let scene = dataset.scene(3).unwrap();
    assert_eq!((scene.image.width, &scene.mask.ids[..]), (4, &[1; 16][..]));
    assert_eq!(check_masks(&dataset).unwrap(), [80, 80]);
    let report = crate::inspect(&dataset, None).train;
    let counts: Vec<_> = report.classes.iter().map(|class| class.images).collect();
    assert_eq!((counts, report.broken.len()), (vec![5, 5], 0));
    let list = dataset.select(&[1]).list();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines[0], "path,mask");
    assert!(lines[1].contains("images/deep/1.png,") && lines[1].ends_with("masks/deep/1.png"));
}

#[test]
fn masks_that_do_not_fit_are_named_with_what_is_allowed() {
    for (bytes, words) in [
        (mask(5, 0), vec!["5 x 5 pixels; allowed: 4 x 4", "images/deep/7.png"]),
        (mask(4, 2), vec!["class 2 at x 0, y 0; allowed: 0 to 1"]),
        (b"no mask".to_vec(), vec!["not a readable mask"]),
    ] {
        let folder = folders();
        put(&folder, "train/masks/deep/7.png", bytes);
        let dataset = open(&folder).unwrap();
        let message = check_masks(&dataset).unwrap_err().to_string();
        for word in words.iter().chain(&["masks/deep/7.png"]) {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
        // Training does not take it for a damaged file.
        let dataset = Arc::new(dataset);
        let labels = dataset.shared_labels();
        let sampler = || Sampler::new(labels, SamplerConfig::default(), 10, 0, 0);
        let preprocess = Preprocess { size: [4, 4], ..Preprocess::default() };
        let (augment, config) = (Augment::default(), LoaderConfig::default());
        let mut loader = Loader::train(&dataset, sampler, augment, &preprocess, config).unwrap();
        assert_eq!(loader.next_batch().unwrap_err().to_string(), message);
    }
    let folder = folders();
    fs::remove_file(folder.path().join("train/masks/deep/7.png")).unwrap();
    let message = open(&folder).unwrap_err().to_string();
    assert!(message.contains("images/deep/7.png: no mask") && message.contains("masks/deep/7.png"));
    let folder = folders();
    fs::remove_file(folder.path().join("classes.txt")).unwrap();
    assert!(open(&folder).unwrap_err().to_string().contains("no classes.txt"));
    put(&folder, "train/classes.txt", "one\n");
    assert!(open(&folder).unwrap_err().to_string().contains("1 classes; allowed: 2 to 255"));
    let classes = ["ground", "sky"].map(String::from);
    let folder = folders();
    let path = folder.path().join("train");
    let message = Dataset::open_with_classes(Format::Masks, &path, &classes).unwrap_err();
    assert!(message.to_string().contains("ground, sky, in this order"), "{message}");
}

#[test]
fn batches_hold_the_masks_of_their_windows() {
    let folder = folders();
    let dataset = Arc::new(open(&folder).unwrap());
    put(&folder, "train/images/deep/2.png", "damaged");
    let labels = dataset.shared_labels();
    let sampler = || Sampler::new(labels, SamplerConfig::default(), 10, 0, 0);
    let preprocess = Preprocess { size: [6, 3], ..Preprocess::default() };
    let (augment, config) = (Augment::default(), LoaderConfig::default());
    let mut loader = Loader::train(&dataset, sampler, augment, &preprocess, config).unwrap();
    let batch = loader.next_batch().unwrap();
    assert_eq!((batch.size, batch.skipped), ([10, 3, 6, 3], 1));
    let masks = batch.masks.unwrap();
    for (mask, index) in masks.chunks_exact(18).zip(batch.indices) {
        let id = (index % 2) as u8;
        let rows = [[id; 12].to_vec(), [255; 6].to_vec()].concat();
        assert_eq!(mask, rows, "image {index}");
    }
}

#[test]
fn a_part_of_the_labels_is_a_percentage() {
    let folder = folders();
    let path = folder.path().join("train");
    let config = |labels: &str| DatasetConfig {
        format: Format::Masks,
        train: path.clone(),
        test: path.clone(),
        limit: None,
        validation: 0.0,
        labels: Some(labels.parse().unwrap()),
        max_broken: 0,
    };
    let (train, _) = config("30%").open_train(1, HoldOut::Images).unwrap();
    assert_eq!((train.len(), train.classes().len()), (3, 2));
    let message = config("3-per-class").open_train(1, HoldOut::Images).unwrap_err().to_string();
    assert!(message.contains("3-per-class; allowed: a percentage"), "{message}");
}

#[test]
fn voc_lists_name_images_and_masks() {
    let folder = TempDir::new().unwrap();
    put(&folder, "ImageSets/Segmentation/train.txt", "2007_000032\n2007_000039\n");
    for name in ["2007_000032", "2007_000039"] {
        put(&folder, &format!("JPEGImages/{name}.jpg"), image(3));
        put(&folder, &format!("SegmentationClass/{name}.png"), mask(3, 20));
    }
    let list = folder.path().join("ImageSets/Segmentation/train.txt");
    let dataset = Dataset::open(Format::Voc, &list).unwrap();
    assert_eq!((dataset.len(), dataset.classes().len()), (2, 21));
    assert_eq!(dataset.scene(1).unwrap().mask.ids, [20; 9]);
    put(&folder, "ImageSets/Segmentation/train.txt", "2007_000032\n../../secret\n");
    assert!(Dataset::open(Format::Voc, &list).unwrap_err().to_string().contains("../../secret"));
    put(&folder, "ImageSets/Segmentation/train.txt", "2007_000001\n");
    let message = Dataset::open(Format::Voc, &list).unwrap_err().to_string();
    assert!(message.contains("2007_000001.jpg") && message.contains("train.txt"), "{message}");
}

#[test]
fn cityscapes_folders_hold_images_beside_their_label_ids() {
    let folder = TempDir::new().unwrap();
    let name = "bochum/bochum_000000_000313";
    put(&folder, &format!("leftImg8bit/val/{name}_leftImg8bit.png"), image(3));
    put(&folder, &format!("gtFine/val/{name}_gtFine_labelIds.png"), mask(3, 26));
    let path = folder.path().join("leftImg8bit/val");
    let dataset = Dataset::open(Format::Cityscapes, &path).unwrap();
    assert_eq!((dataset.len(), dataset.classes().len()), (1, 19));
    // Label 26 is car, the 14th class.
    assert_eq!(dataset.scene(0).unwrap().mask.ids, [13; 9]);
    assert_eq!(dataset.classes()[13], "car");
}
