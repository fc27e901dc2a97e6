use super::*;
use std::fs;

const STAMP: Stamp = Stamp { dim: 3, model: [7; 32] };

fn open(file: &Path) -> Gallery {
    Gallery::open(file, STAMP, 4).unwrap()
}

fn found(gallery: &Gallery, query: [f32; 3], top: usize) -> Vec<(String, f32)> {
    let matches = gallery.search(&query, top).unwrap();
    matches.into_iter().map(|m| (m.id, m.similarity)).collect()
}

#[test]
fn the_nearest_come_first_and_changes_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g");
    let gallery = open(&file);
    assert_eq!(found(&gallery, [1.0, 0.0, 0.0], 5), []);
    assert_eq!(gallery.put("x", &[2.0, 0.0, 0.0]), Ok(false));
    assert_eq!(gallery.put("y", &[0.0, 1.0, 0.0]), Ok(false));
    assert_eq!(gallery.put("xy", &[3.0, 4.0, 0.0]), Ok(false));
    assert_eq!(gallery.put("y", &[0.0, 5.0, 0.0]), Ok(true));
    let best = [("x".to_string(), 1.0), ("xy".to_string(), 0.6), ("y".to_string(), 0.0)];
    assert_eq!(found(&gallery, [9.0, 0.0, 0.0], 3), best);
    assert_eq!(found(&gallery, [9.0, 0.0, 0.0], 2), best[..2]);
    assert_eq!(gallery.remove("x"), Ok(()));
    assert_eq!(gallery.remove("x"), Err(Unchanged::Missing));
    drop(gallery);
    let gallery = open(&file);
    assert_eq!(found(&gallery, [9.0, 0.0, 0.0], 3), best[1..]);
    assert_eq!(gallery.ids("", 9), ["xy", "y"]);
    assert_eq!(gallery.ids("xy", 9), ["y"]);
    assert_eq!(gallery.put("z", &[0.0; 3]), Err(Unchanged::NoDirection));
    for id in ["a", "b"] {
        assert_eq!(gallery.put(id, &[1.0; 3]), Ok(false));
    }
    assert_eq!(gallery.put("c", &[1.0; 3]), Err(Unchanged::Full));
    assert_eq!(gallery.put("a", &[1.0, 0.0, 0.0]), Ok(true));
    assert_eq!(gallery.len(), 4);
}

#[test]
fn a_crash_at_any_byte_loses_the_last_change_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g");
    let gallery = open(&file);
    gallery.put("first", &[1.0, 0.0, 0.0]).unwrap();
    let before = fs::read(&file).unwrap().len();
    gallery.put("second", &[0.0, 1.0, 0.0]).unwrap();
    drop(gallery);
    let whole = fs::read(&file).unwrap();
    for length in before..whole.len() {
        fs::write(&file, &whole[..length]).unwrap();
        let gallery = open(&file);
        assert_eq!(gallery.ids("", 9), ["first"], "{length} bytes");
        // And it goes on from there.
        gallery.put("third", &[0.0, 0.0, 1.0]).unwrap();
        drop(gallery);
        assert_eq!(open(&file).ids("", 9), ["first", "third"]);
    }
}

#[test]
fn foreign_and_damaged_files_are_refused_and_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g");
    let gallery = Gallery::open(&file, STAMP, 1000).unwrap();
    for id in 0..100 {
        gallery.put(&id.to_string(), &[1.0, id as f32, 0.0]).unwrap();
    }
    drop(gallery);
    let whole = fs::read(&file).unwrap();
    let refused = |stamp, word: &str| {
        let before = fs::read(&file).unwrap();
        let said = Gallery::open(&file, stamp, 9).unwrap_err().to_string();
        assert!(said.contains(word), "{said}");
        assert_eq!(fs::read(&file).unwrap(), before);
    };
    refused(Stamp { model: [8; 32], ..STAMP }, "another model");
    refused(Stamp { dim: 4, ..STAMP }, "another model");
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    fs::write(&file, damaged).unwrap();
    refused(STAMP, "damaged at byte");
    for (bytes, word) in [(&b"x"[..], "not a gallery"), (&[9; 100], "not a gallery")] {
        fs::write(&file, bytes).unwrap();
        refused(STAMP, word);
    }
}

#[test]
fn a_gallery_with_no_image_may_be_of_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g");
    let other = Stamp { dim: 2, model: [8; 32] };
    let gallery = open(&file);
    gallery.put("a", &[1.0; 3]).unwrap();
    assert!(!gallery.retire() && Gallery::check(&file, other).is_err());
    gallery.remove("a").unwrap();
    assert!(gallery.retire());
    // Who embedded an image for it meanwhile is told.
    assert_eq!(gallery.put("b", &[1.0; 3]), Err(Unchanged::Retired));
    Gallery::check(&file, other).unwrap();
    assert_eq!(open(&file).len(), 0, "a check changes nothing");
    let taken = Gallery::open(&file, other, 4).unwrap();
    taken.put("c", &[1.0, 0.0]).unwrap();
    assert!(Gallery::open(&file, STAMP, 4).is_err());
    drop(taken);
    assert_eq!(Gallery::open(&file, other, 4).unwrap().ids("", 9), ["c"]);
    // A size that nobody has memory for takes none, and what is damaged is no empty one.
    let huge = Stamp { dim: u32::MAX as usize, ..other };
    fs::remove_file(&file).unwrap();
    drop(Gallery::open(&file, huge, 4).unwrap());
    let mut bytes = fs::read(&file).unwrap();
    Gallery::check(&file, other).unwrap();
    bytes.extend([1, 0, 0]);
    fs::write(&file, bytes).unwrap();
    assert!(Gallery::check(&file, other).is_err());
}

#[test]
fn what_is_out_of_date_is_written_off() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g");
    let gallery = open(&file);
    gallery.put("kept", &[1.0, 2.0, 2.0]).unwrap();
    let expected = found(&gallery, [1.0, 0.0, 0.0], 1);
    for _ in 0..520 {
        gallery.put("gone", &[1.0; 3]).unwrap();
        gallery.remove("gone").unwrap();
    }
    assert!(fs::metadata(&file).unwrap().len() < 5000);
    drop(gallery);
    assert_eq!(found(&open(&file), [1.0, 0.0, 0.0], 9), expected);
    // Nothing is left beside it.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_cannot_be_written_anew_goes_on_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let [folder, away] = ["galleries", "away"].map(|name| root.path().join(name));
    fs::create_dir(&folder).unwrap();
    let file = folder.join("g");
    let gallery = open(&file);
    gallery.put("kept", &[1.0, 2.0, 2.0]).unwrap();
    let expected = found(&gallery, [1.0, 0.0, 0.0], 1);
    let change = |times: usize| {
        for _ in 0..times {
            assert_eq!(gallery.put("gone", &[1.0; 3]), Ok(false));
            assert_eq!(gallery.remove("gone"), Ok(()));
        }
    };
    // There is no place for another file, while the one that is open takes changes.
    fs::rename(&folder, &away).unwrap();
    change(520);
    assert_eq!(gallery.put("late", &[1.0, 0.0, 0.0]), Ok(false));
    let grown = fs::metadata(away.join("g")).unwrap().len();
    assert!(grown > 10_000, "{grown}");
    fs::rename(&away, &folder).unwrap();
    // Tried again after some more, and what comes then is in the file that is at the place.
    change(520);
    assert!(fs::metadata(&file).unwrap().len() < grown);
    gallery.remove("late").unwrap();
    gallery.put("last", &[0.0, 1.0, 0.0]).unwrap();
    drop(gallery);
    let gallery = open(&file);
    assert_eq!(gallery.ids("", 9), ["kept", "last"]);
    assert_eq!(found(&gallery, [1.0, 0.0, 0.0], 1), expected);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn searching_is_exact() {
    let folder = tempfile::tempdir().unwrap();
    let stamp = Stamp { dim: 19, ..STAMP };
    let gallery = Gallery::open(&folder.path().join("g"), stamp, 1000).unwrap();
    let row = |seed: usize| -> Vec<f32> {
        (0..19).map(|at| ((seed * 31 + at * 17) % 101) as f32 - 50.0).collect()
    };
    let cosine = |a: &[f32], b: &[f32]| {
        let sum = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
        };
        sum(a, b) / (sum(a, a) * sum(b, b)).sqrt()
    };
    for seed in 0..90 {
        gallery.put(&format!("{seed:02}"), &row(seed)).unwrap();
    }
    let query = row(1000);
    let mut expected: Vec<(f64, String)> =
        (0..90).map(|seed| (cosine(&query, &row(seed)), format!("{seed:02}"))).collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (found, (similarity, id)) in gallery.search(&query, 10).unwrap().iter().zip(&expected) {
        assert_eq!(&found.id, id);
        assert!((f64::from(found.similarity) - similarity).abs() < 1e-6);
    }
}
