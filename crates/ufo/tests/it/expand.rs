//! A task added to a trained run.

use crate::bad_input::{fails, png};
use crate::{succeeds, train, ufo};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn read(place: &Path) -> Value {
    serde_json::from_slice(&fs::read(place).unwrap()).unwrap()
}

/// A file with the task `name`: images of three gray levels, 20 a class for training.
pub(crate) fn task(folder: &Path, name: &str, head: &str) -> String {
    for (split, images) in [("train", 20), ("test", 6)] {
        for (class, value) in [("dark", 10), ("gray", 120), ("light", 240)] {
            for image in 0..images {
                let place = format!("{name}/{split}/{class}/{image}.png");
                png(&folder.join(place), value + image);
            }
        }
    }
    let text = format!(
        "[[task]]\nname = \"{name}\"\nhead = {{ kind = \"{head}\" }}\nbatch = 6\ndata = {{ format = \"image-folder\", train = \"{0}/train\", test = \"{0}/test\" }}\n",
        folder.join(name).display()
    );
    let place = folder.join(format!("{name}.toml"));
    fs::write(&place, text).unwrap();
    place.display().to_string()
}

/// Results by task.
fn results(run: &str) -> Vec<(String, Value)> {
    let output = ufo(&["eval", "--run", run, "--json"]);
    succeeds(&output);
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let row = |row: &Value| {
        (row["result"]["name"].as_str().unwrap().to_string(), row["result"]["metrics"].clone())
    };
    rows.iter().map(row).collect()
}

/// A trained run of two tasks.
pub(crate) fn two_tasks(folder: &Path) -> (String, PathBuf) {
    let tasks = [("digits", "linear"), ("emoji", "embedding")];
    let sections = tasks.map(|(name, head)| fs::read_to_string(task(folder, name, head)).unwrap());
    let text = format!("preset = \"demo\"\n[train]\nsteps = 6\n{}", sections.concat());
    let place = folder.join("tasks.toml");
    fs::write(&place, text).unwrap();
    let run = folder.join("run");
    succeeds(&train(&place, &run).output().unwrap());
    (run.display().to_string(), run)
}

#[test]
fn a_task_is_added_and_the_run_is_one_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let (run, _) = two_tasks(folder.path());
    let before = results(&run);
    let animals = task(folder.path(), "animals", "linear");
    for (update, labels, images) in [("expert+router", "2-per-class", 6), ("last-1", "10%", 6)] {
        let place = folder.path().join(update);
        let out = place.display().to_string();
        let start = |set: &str| {
            let what = ["--update", update, "--labels", labels, "--seed", "3"];
            let arguments = ["expand", "--run", &run, "--task", &animals, "--out", &out];
            ufo(&[&arguments[..], &what, &["--set", set]].concat())
        };
        succeeds(&start("train.steps=4"));
        let report = read(&place.join("expand.json"));
        assert_eq!(report["images"], images, "{report}");
        assert_eq!(report["others_unchanged"], true, "{report}");
        let [trained, path] =
            ["trained", "path"].map(|key| report["parameters"][key].as_u64().unwrap());
        assert!(trained > 0 && trained < path / 2, "{report}");
        let list = fs::read_to_string(place.join("labels.animals.csv")).unwrap();
        assert_eq!(list.lines().count(), images + 1);

        // The old tasks' results are the same, the new one's that of the report.
        let after = results(&out);
        assert_eq!(after[..2], before[..]);
        assert_eq!(after[2].0, "animals");
        assert_eq!(after[2].1[0][1], report["value"]);

        // It goes on where it ended.
        succeeds(&start("train.steps=6"));
        assert!(place.join("checkpoints/step-00000006").exists());
        let again = read(&place.join("expand.json"));
        assert_eq!(again["stem"], report["stem"]);
        assert_eq!(again["others_unchanged"], true, "{again}");
        assert_eq!(fs::read_to_string(place.join("labels.animals.csv")).unwrap(), list);
    }

    let out = folder.path().join("expert+router").display().to_string();
    let both = folder.path().join("both").display().to_string();
    succeeds(&ufo(&["extract", "--run", &out, "--tasks", "digits,animals", "--out", &both]));
    succeeds(&ufo(&["report", "--run", &out]));
    let chip = folder.path().join("chip").display().to_string();
    let slices = ["chip", "--run", &out, "--task", "animals", "--out", &chip];
    succeeds(&ufo(&[&slices[..], &["--set", "train.steps=2"]].concat()));

    // A second one on top of it.
    let faces = task(folder.path(), "faces", "embedding");
    let next = folder.path().join("next").display().to_string();
    let arguments = ["expand", "--run", &out, "--task", &faces, "--labels", "4-per-class"];
    succeeds(&ufo(&[&arguments[..], &["--out", &next, "--set", "train.steps=2"]].concat()));
    let names: Vec<String> = results(&next).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["digits", "emoji", "animals", "faces"]);
    assert_eq!(results(&next)[..3], results(&out)[..]);
}

#[test]
fn wrong_expansions_say_what_is_wrong_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (run, place) = two_tasks(folder.path());
    let animals = task(folder.path(), "animals", "linear");
    let known = folder.path().join("digits.toml").display().to_string();
    let two = folder.path().join("two.toml");
    fs::write(&two, fs::read_to_string(&animals).unwrap().repeat(2)).unwrap();
    let two = two.display().to_string();
    let before = fs::read(place.join("config.toml")).unwrap();
    let out = folder.path().join("out");
    let text = out.display().to_string();
    for (arguments, words) in [
        (vec!["--task", &known], vec!["digits.toml", "`digits`", "the run has digits, emoji"]),
        (vec!["--task", &two], vec!["two.toml", "2 [[task]] sections"]),
        (vec!["--task", "nothing.toml"], vec!["reading nothing.toml"]),
        (
            vec!["--task", &animals, "--labels", "0.01%"],
            vec!["task `animals`", "data.labels is 0.01%", "would keep none"],
        ),
        (
            vec!["--task", &animals, "--labels", "5000-per-class"],
            vec!["task `animals`", "the images of class"],
        ),
        (vec!["--task", &animals, "--update", "last-99"], vec!["last-99", "at most last-6"]),
        (
            vec!["--task", &animals, "--set", "expand.stem=cats"],
            vec!["expand.stem = `cats`", "digits, emoji"],
        ),
        (vec!["--task", &animals, "--set", "seed=7"], vec!["seed = 7", "task.animals.seed"]),
    ] {
        let refused = ufo(&[&["expand", "--run", &run, "--out", &text][..], &arguments].concat());
        fails(&refused, &words);
        let written = out.join("config.toml").exists() || out.join("checkpoints").exists();
        assert!(!written, "{words:?}");
    }
    for arguments in [["--labels", "0%"], ["--labels", "some"], ["--update", "heads"]] {
        let start = ["expand", "--run", &run, "--out", &text, "--task", &animals];
        assert_eq!(ufo(&[&start[..], &arguments].concat()).status.code(), Some(2));
    }
    assert_eq!(fs::read(place.join("config.toml")).unwrap(), before);
}
