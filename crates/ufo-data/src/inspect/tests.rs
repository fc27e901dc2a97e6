use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;
use crate::{Format, Image, encode_png};

/// Images of one color, `(file, width, height, red)`.
fn dataset(folder: &Path, files: &[(&str, usize, usize, u8)]) -> Dataset {
    for &(name, width, height, red) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = encode_png(&Image::filled(width, height, [red, 0, 0])).unwrap();
        fs::write(path, if red == 0 { b"no image".to_vec() } else { bytes }).unwrap();
    }
    Dataset::open(Format::ImageFolder, folder).unwrap()
}

#[test]
fn report_counts_sizes_broken_files_and_duplicates() {
    let folder = TempDir::new().unwrap();
    let train = dataset(
        &folder.path().join("train"),
        &[
            ("cat/a.png", 2, 8, 10),
            ("cat/b.png", 4, 4, 20),
            ("cat/c.png", 2, 8, 10),
            ("cat/d.png", 1, 1, 0),
            ("dog/e.png", 8, 2, 10),
            ("dog/f.png", 4, 4, 20),
        ],
    );
    let test = dataset(
        &folder.path().join("test"),
        &[("cat/g.png", 2, 8, 10), ("cat/h.png", 4, 4, 99), ("dog/i.png", 2, 8, 10)],
    );
    let report = inspect(&train, Some(&test));
    assert_eq!(report.train.images, 6);
    let counts: Vec<_> =
        report.train.classes.iter().map(|class| (class.name.as_str(), class.images)).collect();
    assert_eq!(counts, [("cat", 4), ("dog", 2)]);
    assert_eq!(report.train.width, Some(Sizes { min: 2, median: 4, max: 8 }));
    assert_eq!(report.train.height, Some(Sizes { min: 2, median: 4, max: 8 }));
    assert_eq!(report.train.broken.len(), 1);
    assert!(report.train.broken[0].name.ends_with("d.png"));
    assert!(report.train.broken[0].reason.contains("unknown format"));

    // a = c; b = f with different labels; e has the pixels of a in another shape.
    let duplicates = &report.train.duplicates;
    assert_eq!((duplicates.images, duplicates.conflicting), (2, 1));
    let ends = |group: &[String], want: &[&str]| {
        assert_eq!(group.len(), want.len());
        assert!(group.iter().zip(want).all(|(name, want)| name.ends_with(want)), "{group:?}");
    };
    ends(&duplicates.groups[0], &["a.png", "c.png"]);
    ends(&duplicates.groups[1], &["b.png", "f.png"]);
    assert_eq!((report.across.images, report.across.conflicting), (2, 1));
    ends(&report.across.groups[0], &["a.png", "c.png", "g.png", "i.png"]);
    assert!(serde_json::to_string(&report).unwrap().contains(r#""min":2"#));

    let alone = inspect(&train, None);
    assert_eq!((alone.test, alone.across), (None, Duplicates::default()));
}

#[test]
fn contact_sheet_places_fitted_images() {
    let folder = TempDir::new().unwrap();
    let files = [("cat/a.png", 2, 8, 10), ("cat/b.png", 1, 1, 0), ("dog/c.png", 4, 4, 30)];
    let dataset = dataset(folder.path(), &files);
    let sheet = contact_sheet(&dataset, 2, 2, 8);
    assert_eq!((sheet.width, sheet.height), (16, 16));
    let pixel = |x, y| &sheet.rgb[sheet.at(x, y)..][..3];
    // Two pixels wide in the middle of the first cell.
    assert_eq!(
        (pixel(2, 0), pixel(3, 0), pixel(4, 7)),
        (&[255; 3][..], &[10, 0, 0][..], &[10, 0, 0][..])
    );
    assert_eq!(pixel(5, 0), [255; 3]);
    assert_eq!(pixel(8, 0), [255, 0, 255]);
    assert_eq!((pixel(0, 8), pixel(7, 15)), (&[30, 0, 0][..], &[30, 0, 0][..]));
    assert_eq!(pixel(15, 15), [255; 3], "an empty cell");
    for [columns, rows, cell_px] in [[0, 2, 8], [2, 0, 8], [2, 2, 0]] {
        assert!(contact_sheet(&dataset, columns, rows, cell_px).rgb.is_empty());
    }
}
