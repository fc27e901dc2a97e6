use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::*;
use crate::encode_png;

fn png(color: [u8; 3]) -> Vec<u8> {
    encode_png(&Image::filled(2, 2, color)).unwrap()
}

fn put(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An IDX file of type `kind` with `sizes` and `data`.
fn idx(kind: u8, sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn error(format: Format, path: &Path) -> String {
    Dataset::open(format, path).unwrap_err().to_string()
}

#[test]
fn image_folder_sorts_classes_and_files() {
    let folder = TempDir::new().unwrap();
    for (name, color) in [("dog/b.png", 1), ("dog/a.PNG", 2), ("cat/deep/x.png", 3)] {
        put(&folder, name, png([color; 3]));
    }
    put(&folder, "cat/notes.txt", "no image");
    put(&folder, "README.md", "no class");
    put(&folder, ".cache/x.png", "hidden");
    let dataset = Dataset::open(Format::ImageFolder, folder.path()).unwrap();
    assert_eq!(dataset.classes(), ["cat", "dog"]);
    assert_eq!(dataset.labels(), [0, 1, 1]);
    assert!(dataset.name(1).ends_with("a.PNG"));
    assert_eq!(dataset.image(1).unwrap(), Image::filled(2, 2, [2; 3]));
    assert_eq!((dataset.camera(0), dataset.cameras()), (None, None));

    let part = dataset.select(&[2, 0]);
    assert_eq!((part.len(), part.labels()), (2, &[1, 0][..]));
    assert_eq!(part.image(0).unwrap(), Image::filled(2, 2, [1; 3]));
}

#[test]
fn image_folder_errors_name_the_folder() {
    let folder = TempDir::new().unwrap();
    assert!(error(Format::ImageFolder, folder.path()).contains("no class"));
    assert!(error(Format::ImageFolder, &folder.path().join("absent")).contains("absent"));
    put(&folder, "cat/a.png", png([0; 3]));
    put(&folder, "dog/readme.txt", "");
    let message = error(Format::ImageFolder, folder.path());
    assert!(message.contains("dog") && message.contains("without an image"), "{message}");
}

#[test]
fn a_test_split_follows_the_classes_of_training() {
    let folder = TempDir::new().unwrap();
    put(&folder, "dog/a.png", png([0; 3]));
    let open = |classes: &[&str]| {
        let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
        Dataset::open_with_classes(Format::ImageFolder, folder.path(), &classes)
    };
    assert_eq!(open(&["cat", "cow", "dog"]).unwrap().labels(), [2]);
    let message = open(&["cat", "cow"]).unwrap_err().to_string();
    assert!(message.contains("unknown class 'dog'; allowed: cat, cow"), "{message}");
}

#[test]
fn a_broken_file_is_an_error_with_its_name() {
    let folder = TempDir::new().unwrap();
    put(&folder, "cat/a.png", "no image");
    let dataset = Dataset::open(Format::ImageFolder, folder.path()).unwrap();
    let message = dataset.image(0).unwrap_err().to_string();
    assert!(message.contains("a.png") && message.contains("unknown format"), "{message}");
}

#[test]
fn idx_finds_files_by_prefix_or_folder() {
    let folder = TempDir::new().unwrap();
    let gray = idx(0x08, &[2, 1, 2], &[1, 2, 3, 4]);
    put(&folder, "set/train-images-idx3-ubyte.gz", gz(&gray));
    put(&folder, "set/train-labels-idx1-ubyte", idx(0x08, &[2], &[1, 0]));
    put(&folder, "set/train-cameras.idx", idx(0x0C, &[2], &[0, 0, 1, 0, 0, 0, 0, 7]));
    put(&folder, "set/classes.txt", "shoe\nbag\n");
    let dataset = Dataset::open(Format::Idx, &folder.path().join("set/train")).unwrap();
    assert_eq!(dataset.classes(), ["shoe", "bag"]);
    assert_eq!(dataset.labels(), [1, 0]);
    assert_eq!(dataset.cameras(), Some(&[256, 7][..]));
    assert_eq!(dataset.image(1).unwrap().rgb, [3, 3, 3, 4, 4, 4]);
    assert!(dataset.name(1).ends_with("train-images-idx3-ubyte.gz#1"));

    put(&folder, "plain/images.idx", idx(0x08, &[1, 1, 1, 4], &[0, 100, 255, 128]));
    put(&folder, "plain/labels.idx", idx(0x0C, &[1], &[0, 0, 0, 40]));
    let dataset = Dataset::open(Format::Idx, &folder.path().join("plain")).unwrap();
    assert_eq!((dataset.classes(), dataset.label(0)), (&["40".to_owned()][..], 0));
    assert_eq!(dataset.image(0).unwrap().rgb, [127, 177, 255]);
}

#[test]
fn idx_names_of_a_split_come_before_those_of_the_folder() {
    let folder = TempDir::new().unwrap();
    put(&folder, "test-images.idx", idx(0x08, &[2, 1, 1], &[1, 2]));
    put(&folder, "test-labels.idx", idx(0x08, &[2], &[0, 1]));
    put(&folder, "test-names.txt", "hash\nzero\n");
    put(&folder, "classes.txt", "other\n");
    let dataset = Dataset::open(Format::Idx, &folder.path().join("test")).unwrap();
    assert_eq!(dataset.classes(), ["hash", "zero"]);
    let train = ["zero".to_owned(), "hash".to_owned()];
    let path = folder.path().join("test");
    let dataset = Dataset::open_with_classes(Format::Idx, &path, &train).unwrap();
    assert_eq!(dataset.labels(), [1, 0]);
    let message = Dataset::open_with_classes(Format::Idx, &path, &train[..1]).unwrap_err();
    assert!(message.to_string().contains("test-labels.idx, row 0: unknown class 'hash'"));
}

/// Images and labels in a folder of their own, opened; the error's text.
fn attacked(images: (&str, &[u8]), labels: (&str, &[u8])) -> String {
    let folder = TempDir::new().unwrap();
    put(&folder, images.0, images.1);
    put(&folder, labels.0, labels.1);
    put(&folder, "classes.txt", "a\nb\n");
    error(Format::Idx, folder.path())
}

#[test]
fn attack_header_claims_four_billion_images() {
    let labels = idx(0x08, &[1], &[0]);
    for sizes in [[u32::MAX, 1, 1], [u32::MAX, u32::MAX, u32::MAX], [1 << 20, 28, 28]] {
        let images = idx(0x08, &sizes, &[0; 9]);
        for (name, bytes) in [("images.idx", images.clone()), ("images.idx.gz", gz(&images))] {
            let message = attacked((name, &bytes), ("labels.idx", &labels));
            assert!(message.contains("the header claims"), "{message}");
        }
    }
}

#[test]
fn attack_decompression_bomb_stops_at_the_claimed_length() {
    let bomb = gz(&idx(0x08, &[1, 2, 2], &vec![0; 50_000_000]));
    let message = attacked(("images.idx.gz", &bomb), ("labels.idx", &idx(0x08, &[1], &[0])));
    assert!(message.contains("4 bytes, but more follow"), "{message}");
}

#[test]
fn attack_truncated_files() {
    let images = idx(0x08, &[1, 2, 2], &[1, 2, 3, 4]);
    let packed = gz(&images);
    let labels = idx(0x08, &[1], &[0]);
    for length in 0..images.len() {
        let message = attacked(("images.idx", &images[..length]), ("labels.idx", &labels));
        assert!(message.contains("images.idx: the header"), "{message}");
    }
    for length in 0..packed.len() - 8 {
        let message = attacked(("images.idx.gz", &packed[..length]), ("labels.idx", &labels));
        assert!(message.contains("images.idx.gz: "), "{message}");
    }
}

#[test]
fn attack_wrong_magic_type_and_shape() {
    let labels = idx(0x08, &[1], &[0]);
    for (images, want) in [
        (b"\x89PNG\r\n\x1a\n".to_vec(), "magic is [89, 50, 4E, 47]; allowed: 00 00 08 DIMS"),
        (idx(0x0D, &[1, 1, 1], &[0; 4]), "magic is [00, 00, 0D, 03]"),
        (idx(0x08, &[1, 1, 1, 2], &[0; 2]), "u8 of [1, 1, 1, 2]; allowed: u8 of (n, h, w)"),
        (idx(0x0C, &[1, 1, 1], &[0; 4]), "i32 of [1, 1, 1]"),
        (idx(0x08, &[1, 0, 1], &[]), "no side of 0"),
    ] {
        let message = attacked(("images.idx", &images), ("labels.idx", &labels));
        assert!(message.contains(want), "{message}");
    }
    assert!(attacked(("images.txt", b""), ("labels.idx", &labels)).contains("then images"));
}

#[test]
fn attack_labels_out_of_range_or_of_another_count() {
    let images = idx(0x08, &[2, 1, 1], &[1, 2]);
    let message = attacked(("images.idx", &images), ("labels.idx", &idx(0x08, &[2], &[1, 2])));
    assert!(message.contains("labels.idx, row 1: value is 2; allowed: 0 to 1 ("), "{message}");
    let negative = idx(0x0C, &[2], &[255, 255, 255, 255, 0, 0, 0, 0]);
    let message = attacked(("images.idx", &images), ("labels.idx", &negative));
    assert!(message.contains("row 0: value is -1"), "{message}");
    let message = attacked(("images.idx", &images), ("labels.idx", &idx(0x08, &[1], &[0])));
    assert!(message.contains("shape [1]; allowed: [2]"), "{message}");
}

#[test]
fn csv_reads_names_integers_and_cameras() {
    let folder = TempDir::new().unwrap();
    put(&folder, "images/a.png", png([9; 3]));
    put(&folder, "list.csv", "path,label,camera\nimages/a.png,10,3\nimages/b.png,9,4\n");
    let dataset = Dataset::open(Format::Csv, &folder.path().join("list.csv")).unwrap();
    assert_eq!(dataset.classes(), ["9", "10"]);
    assert_eq!((dataset.labels(), dataset.camera(1)), (&[1, 0][..], Some(4)));
    assert_eq!(dataset.image(0).unwrap(), Image::filled(2, 2, [9; 3]));

    put(&folder, "names.csv", "label,path\n10,a.png\ncat,b.png\n");
    let dataset = Dataset::open(Format::Csv, &folder.path().join("names.csv")).unwrap();
    assert_eq!(
        (dataset.classes(), dataset.labels()),
        (&["10".into(), "cat".into()][..], &[0, 1][..])
    );
}

#[test]
fn csv_errors_name_file_and_line() {
    let cases = [
        ("path,lable\na,b\n", "line 1: column is 'lable'; allowed: path, label"),
        ("path\na\n", "line 1: no column label"),
        ("path,label\na,b\n,b\n", "line 3: path is ''; allowed: not empty"),
        ("path,label,camera\na,b,-1\n", "line 2: camera is '-1'; allowed: an integer"),
        ("path,label\na,b,c\n", "(line: 2, byte: 11): found record with 3 fields"),
        ("path,label\n", "no image"),
    ];
    for (text, want) in cases {
        let folder = TempDir::new().unwrap();
        put(&folder, "list.csv", text);
        let message = error(Format::Csv, &folder.path().join("list.csv"));
        assert!(message.contains("list.csv") && message.contains(want), "{message}");
    }
}

#[test]
fn a_list_of_files_is_a_csv_dataset_again() {
    let folder = TempDir::new().unwrap();
    for name in ["a,b/1.png", "a,b/2.png", "say \"c\"/3.png"] {
        put(&folder, &format!("images/{name}"), png([1; 3]));
    }
    let images = Dataset::open(Format::ImageFolder, &folder.path().join("images")).unwrap();
    put(&folder, "list.csv", images.list());
    let listed = Dataset::open(Format::Csv, &folder.path().join("list.csv")).unwrap();
    assert_eq!((listed.labels(), listed.classes()), (images.labels(), images.classes()));
    assert!((0..3).all(|index| listed.name(index) == images.name(index)));
}

#[test]
fn config_limits_training_with_the_seed() {
    let folder = TempDir::new().unwrap();
    put(&folder, "train-images.idx", idx(0x08, &[9, 1, 1], &[0, 1, 2, 3, 4, 5, 6, 7, 8]));
    put(&folder, "train-labels.idx", idx(0x08, &[9], &[0, 1, 2, 0, 1, 2, 0, 1, 2]));
    let config = DatasetConfig {
        format: Format::Idx,
        train: folder.path().join("train"),
        test: folder.path().join("train"),
        limit: Some(4),
        validation: 0.0,
        labels: None,
        max_broken: 0,
    };
    let names = |seed| {
        let dataset = config.open_train(seed, HoldOut::Images).unwrap().0;
        (0..dataset.len()).map(|index| dataset.name(index)).collect::<Vec<_>>()
    };
    assert_eq!(names(1).len(), 4);
    assert_eq!(names(1), names(1));
    assert_ne!(names(1), names(2));
    let train = config.open_train(1, HoldOut::Images).unwrap().0;
    assert_eq!(config.open_test(Some(train.classes())).unwrap().len(), 9);
    assert!(
        DatasetConfig { limit: Some(0), ..config.clone() }.open_train(1, HoldOut::Images).is_err()
    );

    let text = r#"{"format":"image-folder","train":"a","test":"b"}"#;
    let parsed: DatasetConfig = serde_json::from_str(text).unwrap();
    assert_eq!((parsed.format, parsed.max_broken, parsed.limit), (Format::ImageFolder, 10, None));
}

#[test]
fn the_bundled_sets_open() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    for (name, train, test, classes) in
        [("fashion", 5000, 1000, 10), ("digits", 4000, 1000, 10), ("animals", 7775, 1941, 10)]
    {
        let dataset = Dataset::open(Format::Idx, &data.join(name).join("train")).unwrap();
        assert_eq!((dataset.len(), dataset.classes().len()), (train, classes), "{name}");
        let path = data.join(name).join("test");
        let dataset = Dataset::open_with_classes(Format::Idx, &path, dataset.classes()).unwrap();
        assert_eq!(dataset.len(), test, "{name}");
    }
    let emoji = Dataset::open(Format::Idx, &data.join("emoji/test")).unwrap();
    assert_eq!((emoji.len(), emoji.classes().len(), emoji.camera(1)), (788, 394, Some(1)));
    assert_eq!(emoji.image(0).unwrap().width, 32);
}

#[test]
fn what_is_held_out_is_disjoint_drawn_by_seed_and_of_whole_classes_for_retrieval() {
    let folder = TempDir::new().unwrap();
    for class in 0..10 {
        for image in 0..4 {
            put(&folder, &format!("{class}/{image}.png"), png([class; 3]));
        }
    }
    let path = folder.path().to_path_buf();
    let config = |validation| DatasetConfig {
        format: Format::ImageFolder,
        train: path.clone(),
        test: path.clone(),
        limit: None,
        validation,
        labels: None,
        max_broken: 0,
    };
    let names = |d: &Dataset| (0..d.len()).map(|i| d.name(i)).collect::<Vec<_>>();
    let (train, held) = config(0.25).open_train(3, HoldOut::Images).unwrap();
    let held = held.unwrap();
    assert_eq!((train.len(), held.len(), train.classes().len()), (30, 10, 10));
    assert!(names(&held).iter().all(|name| !names(&train).contains(name)));
    let again = config(0.25).open_train(3, HoldOut::Images).unwrap().1.unwrap();
    assert_eq!(names(&held), names(&again));
    let other = config(0.25).open_train(4, HoldOut::Images).unwrap().1.unwrap();
    assert_ne!(names(&held), names(&other));

    let (train, held) = config(0.2).open_train(3, HoldOut::Classes).unwrap();
    let held = held.unwrap();
    assert_eq!((train.len(), train.classes().len()), (32, 8));
    assert_eq!((held.len(), held.classes().len()), (8, 2));
    assert!(held.classes().iter().all(|class| !train.classes().contains(class)));
    assert!(train.labels().iter().all(|&label| label < 8));

    for share in [-0.1, 1.0, f64::NAN, 0.001] {
        let error = config(share).open_train(3, HoldOut::Images).unwrap_err().to_string();
        assert!(error.contains("data.validation"), "{error}");
    }
}
