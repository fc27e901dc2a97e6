//! Boxes around objects: from images with a JSON file of boxes to the boxes of new images.

use crate::bad_input::fails;
use crate::expand::{read, two_tasks};
use crate::{succeeds, train, ufo};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use ufo_data::{Image, encode_png};

/// Images of 48x40 pixels with bright squares on dark ground, and their boxes; a class for each of two colors.
fn squares(folder: &Path) {
    for (split, count) in [("train", 24), ("test", 4)] {
        let (mut images, mut boxes) = (Vec::new(), Vec::new());
        for index in 0..count {
            let noise = |at: usize| (at * 7919 % 40) as u8;
            let mut image =
                Image { width: 48, height: 40, rgb: (0..48 * 40 * 3).map(noise).collect() };
            for (object, [cell_x, cell_y]) in [[0, 0], [1, 0], [1, 1]].into_iter().enumerate() {
                let side = 9 + (index * 5 + object * 3) % 6;
                let (left, top) = (
                    cell_x * 24 + (index * 7) % (24 - side),
                    cell_y * 20 + (index * 3) % (20 - side),
                );
                let class = (index + object) % 2;
                for pixel in 0..side * side {
                    let at = 3 * ((top + pixel / side) * 48 + left + pixel % side);
                    image.rgb[at + class] = 220;
                }
                boxes.push(
                    json!({"id": boxes.len() + 1, "image_id": index, "category_id": class + 1,
                    "bbox": [left, top, side, side], "area": side * side, "iscrowd": 0}),
                );
            }
            let name = format!("{index}.png");
            let place = folder.join(split).join("images").join(&name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, encode_png(&image).unwrap()).unwrap();
            images.push(json!({"id": index, "file_name": name, "width": 48, "height": 40}));
        }
        let classes = json!([{"id": 1, "name": "red"}, {"id": 2, "name": "green"}]);
        let file = json!({"images": images, "annotations": boxes, "categories": classes});
        fs::write(folder.join(split).join("boxes.json"), file.to_string()).unwrap();
    }
}

/// A file with the one task `squares`.
fn task(folder: &Path) -> PathBuf {
    squares(&folder.join("squares"));
    let text = format!(
        "[[task]]\nname = \"squares\"\nhead = {{ kind = \"detection\", channels = 16 }}\nbatch = 8\ndata = {{ format = \"coco\", train = \"{0}/train/boxes.json\", test = \"{0}/test/boxes.json\", validation = 0.25 }}\naugment = {{ flip = 0.5, color = 0.2 }}\n",
        folder.join("squares").display()
    );
    let place = folder.join("squares.toml");
    fs::write(&place, text).unwrap();
    place
}

/// The last row of `ufo eval`.
fn result(arguments: &[&str]) -> Value {
    let output = ufo(&[&["eval", "--json"], arguments].concat());
    succeeds(&output);
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    rows.last().unwrap().clone()
}

#[test]
fn boxes_are_learned_judged_extracted_and_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let task = fs::read_to_string(task(folder.path())).unwrap();
    let config = folder.path().join("tasks.toml");
    let settings = "preset = \"demo\"\n[train]\nsteps = 150\nlr = 4e-3\nevaluations = 2\n";
    fs::write(&config, format!("{settings}{task}")).unwrap();
    let place = folder.path().join("run");
    succeeds(&train(&config, &place).output().unwrap());
    let run = place.display().to_string();
    let judged = result(&["--run", &run]);
    assert_eq!(judged["result"]["metric"], "ap");
    let metrics = judged["result"]["metrics"].as_array().unwrap();
    let metric = |name: &str| {
        let found = metrics.iter().find(|metric| metric[0] == name);
        found.unwrap_or_else(|| panic!("{name}: {judged}"))[1].as_f64().unwrap()
    };
    assert!(metric("ap50") > 0.5, "{judged}");
    assert!(metric("ap") <= metric("ap50") && metric("ap75") <= metric("ap50"), "{judged}");
    assert!((metric("ap.red") + metric("ap.green") - 2.0 * metric("ap")).abs() < 1e-9);
    assert!(judged["baseline_1nn"].as_f64().unwrap() > 0.0, "{judged}");

    let model = folder.path().join("model").display().to_string();
    let extract = ["extract", "--run", &run, "--tasks", "squares", "--out", &model];
    succeeds(&ufo(&[&extract[..], &["--quantize", "int8"]].concat()));
    let value = judged["result"]["value"].as_f64().unwrap();
    let onnx = format!("{model}/model.onnx");
    for place in [&model, &onnx] {
        let again = result(&["--run", &run, "--model", place])["result"]["value"].as_f64().unwrap();
        assert!((again - value).abs() < 0.02, "{place}: {again}, not {value}");
    }
    succeeds(&ufo(&["report", "--run", &run]));
    let report = fs::read_to_string(place.join("report.html")).unwrap();
    assert!(report.contains("on a true one") && report.contains("their true boxes"));

    let image = folder.path().join("squares/test/images/1.png").display().to_string();
    let masks = folder.path().join("pictures").display().to_string();
    let output = ufo(&["predict", &model, &image, "--masks", &masks, "--json"]);
    succeeds(&output);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let said = &said[0]["tasks"][0];
    let boxes = said["boxes"].as_array().unwrap();
    assert!(!boxes.is_empty());
    for found in boxes {
        let edge = |name: &str| found[name].as_f64().unwrap();
        assert!(0.0 <= edge("left") && edge("left") < edge("right") && edge("right") <= 48.0);
        assert!(0.0 <= edge("top") && edge("top") < edge("bottom") && edge("bottom") <= 40.0);
        assert!(["red", "green"].contains(&found["class"].as_str().unwrap()), "{found}");
    }
    let picture = ufo_data::decode(&fs::read(said["picture"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!((picture.width, picture.height), (48, 40));
    let output = ufo(&["predict", &model, &image, "--masks", &masks]);
    succeeds(&output);
    assert!(String::from_utf8_lossy(&output.stdout).contains("boxes (all: see --json)"));
}

#[test]
fn a_detection_joins_a_trained_run_and_leaves_the_others_their_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (run, _) = two_tasks(folder.path());
    let file = task(folder.path()).display().to_string();
    let place = folder.path().join("more");
    let out = place.display().to_string();
    let start = ["expand", "--run", &run, "--task", &file, "--out", &out, "--labels", "50%"];
    succeeds(&ufo(&[&start[..], &["--set", "train.steps=4"]].concat()));
    let report = read(&place.join("expand.json"));
    assert_eq!(report["others_unchanged"], true, "{report}");
    assert_eq!((&report["metric"], &report["images"]), (&"ap".into(), &9.into()), "{report}");
    let judged = result(&["--run", &out]);
    assert_eq!(judged["result"]["value"], report["value"]);

    let both = folder.path().join("both").display().to_string();
    succeeds(&ufo(&["extract", "--run", &out, "--tasks", "digits,squares", "--out", &both]));
    let chip = folder.path().join("chip").display().to_string();
    let slices = ["chip", "--run", &out, "--task", "squares", "--out", &chip];
    succeeds(&ufo(&[&slices[..], &["--set", "train.steps=2"]].concat()));
    let smallest = folder.path().join("smallest").display().to_string();
    let cut = ["extract", "--run", &chip, "--tasks", "squares", "--slice", "smallest"];
    succeeds(&ufo(&[&cut[..], &["--out", &smallest]].concat()));
}

#[test]
fn wrong_boxes_are_named_before_a_run_begins() {
    let folder = tempfile::tempdir().unwrap();
    let file = task(folder.path());
    let (config, out) = (folder.path().join("tasks.toml"), folder.path().join("run"));
    let settings = "preset = \"demo\"\n[train]\nsteps = 2\n";
    fs::write(&config, format!("{settings}{}", fs::read_to_string(&file).unwrap())).unwrap();
    let place = folder.path().join("squares/train/boxes.json");
    let good = read(&place);
    let refused = |pointer: &str, value: Value, words: &[&str]| {
        let mut wrong = good.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        fs::write(&place, wrong.to_string()).unwrap();
        fails(&train(&config, &out).output().unwrap(), words);
        assert!(!out.exists(), "{words:?}");
    };
    let bbox = "/annotations/0/bbox";
    let named = ["task `squares`", "boxes.json"];
    refused(bbox, json!([40, 2, 9, 9]), &[named[0], named[1], "inside of the image of 48 x 40"]);
    refused(bbox, json!([4, 2, -9, 9]), &[named[0], "annotation 1", "width and height above 0"]);
    refused("/annotations/0/category_id", json!(9), &[named[0], "category_id is 9"]);
    refused("/images/0/file_name", json!("x.png"), &[named[0], "x.png: no such image"]);
    refused("/images/0/width", json!(60), &[named[0], "48 x 40 pixels; allowed: 60 x 40"]);
    refused("/annotations", json!([]), &[named[0], "no training box of class 'red'"]);
    fs::write(&place, good.to_string()).unwrap();
    let mut command = train(&config, &out);
    command.args(["--set", "task.squares.data.labels=3-per-class"]);
    fails(&command.output().unwrap(), &["data.labels", "a percentage"]);
}
