//! Each wrong input gives an error that names file, key and value, and leaves earlier results.

use crate::{config, succeeds, train, ufo};
use std::fs;
use std::path::Path;
use std::process::Output;

pub(crate) fn fails(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") || said.contains("\nerror: "), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

/// A gray PNG of one pixel value.
pub(crate) fn png(path: &Path, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = ufo_data::Image::filled(8, 8, [value; 3]);
    fs::write(path, ufo_data::encode_png(&image).unwrap()).unwrap();
}

/// A configuration of one image-folder task in `folder`.
fn folder_config(folder: &Path, extra: &str) -> std::path::PathBuf {
    let place = folder.join("tasks.toml");
    let text = format!(
        "preset = \"demo\"\n[train]\nsteps = 3\nevaluations = 0\n[[task]]\nname = \"t\"\nhead = {{ kind = \"linear\" }}\nbatch = 4\ndata = {{ format = \"image-folder\", train = \"{0}/train\", test = \"{0}/test\"{extra} }}\n",
        folder.display()
    );
    fs::write(&place, text).unwrap();
    place
}

fn two_classes(folder: &Path) {
    for split in ["train", "test"] {
        for (class, value) in [("a", 10), ("b", 200)] {
            for image in 0..4 {
                png(&folder.join(format!("{split}/{class}/{image}.png")), value);
            }
        }
    }
}

#[test]
fn wrong_configurations_and_commands_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let good = config(folder.path(), "good.toml", 1, "digits");
    let text = fs::read_to_string(&good).unwrap();
    let out = folder.path().join("run");
    for (from, to, words) in [
        ("steps = 12", "stesp = 12", vec!["bad.toml", "stesp"]),
        ("batch = 8", "batch = 0", vec!["bad.toml", "batch = 0", "1 to 4096"]),
        ("preset = \"demo\"", "preset = \"dmeo\"", vec!["bad.toml", "dmeo", "`demo`, `tiny`"]),
        ("digits/train", "digits/nothing", vec!["task `digits`", "starts with nothing"]),
        ("mixup = 0.2", "mixup = -1.0", vec!["bad.toml", "mixup"]),
        ("per_identity = 2", "per_identity = 3", vec!["task `emoji`", "per_identity"]),
        ("per_identity = 2", "per_identity = 8", vec!["emoji", "triplet"]),
        ("name = \"digits\"", "name = \"image\"", vec!["bad.toml", "image"]),
        ("preset = \"demo\"", "preset = \"demo\"\nstd = [0.0, 1.0, 1.0]", vec!["bad.toml", "std"]),
        ("preset = \"demo\"", "preset = \"demo\"\narch.dim = 0", vec!["bad.toml", "dim"]),
        (
            "head = { kind = \"linear\" }",
            "head = { kind = \"linear\" }\neval = { kind = \"reid\" }",
            vec!["bad.toml", "task `digits`", "eval", "`classification`"],
        ),
        (
            "triplet = {}",
            "triplet = {}\neval = { kind = \"retrieval\", ks = [0] }",
            vec!["bad.toml", "task `emoji`", "ks = [0]"],
        ),
    ] {
        let bad = folder.path().join("bad.toml");
        assert!(text.contains(from), "{from}");
        fs::write(&bad, text.replacen(from, to, 1)).unwrap();
        fails(&train(&bad, &out).output().unwrap(), &words);
    }
    let missing = folder.path().join("missing.toml");
    fails(&train(&missing, &out).output().unwrap(), &["missing.toml"]);
    let set = train(&good, &out).args(["--set", "task.nobody.batch=3"]).output().unwrap();
    fails(&set, &["--set task.nobody.batch=3", "nobody"]);
    let place = folder.path().display().to_string();
    fails(&ufo(&["eval", "--run", &place]), &["config.toml"]);
    fails(&ufo(&["predict", &place, "x.png"]), &["config.json", "ufo extract"]);
    assert_eq!(ufo(&["train"]).status.code(), Some(2));
    assert_eq!(ufo(&["demo", "--budget", "5x", "--out", &place]).status.code(), Some(2));
}

#[test]
fn empty_classes_and_labels_out_of_range_are_named() {
    let folder = tempfile::tempdir().unwrap();
    two_classes(folder.path());
    let tasks = folder_config(folder.path(), "");
    let out = folder.path().join("run");
    fs::create_dir_all(folder.path().join("train/empty")).unwrap();
    fails(&train(&tasks, &out).output().unwrap(), &["task `t`", "train/empty"]);
    fs::remove_dir(folder.path().join("train/empty")).unwrap();
    png(&folder.path().join("test/unknown/0.png"), 3);
    fails(&train(&tasks, &out).output().unwrap(), &["task `t`", "unknown", "a, b"]);
}

#[test]
fn broken_images_are_skipped_up_to_a_limit_and_then_named() {
    let folder = tempfile::tempdir().unwrap();
    two_classes(folder.path());
    fs::write(folder.path().join("train/a/0.png"), b"no image").unwrap();
    let out = folder.path().join("run");
    succeeds(&train(&folder_config(folder.path(), ""), &out).output().unwrap());
    let strict = folder_config(folder.path(), ", max_broken = 0");
    let refused = train(&strict, &folder.path().join("strict")).output().unwrap();
    fails(&refused, &["task `t`", "train/a/0.png"]);
    fs::write(folder.path().join("test/b/0.png"), b"no image").unwrap();
    let run = out.display().to_string();
    fails(&ufo(&["eval", "--run", &run]), &["test/b/0.png"]);
}

#[test]
fn a_run_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "one.toml", 1, "digits");
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    let lock = fs::File::create(run.join(".lock")).unwrap();
    lock.lock().unwrap();
    fails(&train(&config, &run).output().unwrap(), &["another ufo process", "run"]);
    drop(lock);
    succeeds(&train(&config, &run).output().unwrap());
}
