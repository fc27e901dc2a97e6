//! A class for each pixel: from folders of images and masks to masks of new images.

use crate::bad_input::fails;
use crate::expand::{read, two_tasks};
use crate::{succeeds, train, ufo};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use ufo_data::{Image, Mask, Palette, encode_png};

/// Images of 24x40 pixels, dark on the left of a border and bright on its right, with their masks.
fn scenes(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("classes.txt"), "dark\nbright\n").unwrap();
    for (split, count) in [("train", 12), ("test", 3)] {
        for index in 0..count {
            let border = 8 + 2 * index;
            let ids: Vec<u8> = (0..24 * 40).map(|at| u8::from(at % 40 >= border)).collect();
            let noise = |at: usize| (at * 7919 % 40) as u8;
            let value = |(at, id): (usize, &u8)| [30 + 150 * id + noise(at); 3];
            let rgb = ids.iter().enumerate().flat_map(value).collect();
            let image = Image { width: 40, height: 24, rgb };
            let mask = Mask { width: 40, height: 24, ids };
            for (kind, bytes) in [
                ("images", encode_png(&image).unwrap()),
                ("masks", mask.encode(Palette::Voc).unwrap()),
            ] {
                let place = folder.join(format!("{split}/{kind}/{index}.png"));
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::write(place, bytes).unwrap();
            }
        }
    }
}

/// A file with the one task `halves`.
fn task(folder: &Path) -> PathBuf {
    scenes(&folder.join("halves"));
    let text = format!(
        "[[task]]\nname = \"halves\"\nhead = {{ kind = \"segmentation\", channels = 8 }}\nbatch = 4\ndata = {{ format = \"masks\", train = \"{0}/train\", test = \"{0}/test\", validation = 0.25 }}\naugment = {{ flip = 0.5, random_scale = {{}}, color = 0.2 }}\n",
        folder.join("halves").display()
    );
    let place = folder.join("halves.toml");
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
fn masks_are_learned_judged_extracted_and_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let task = fs::read_to_string(task(folder.path())).unwrap();
    let task = task.replace("channels = 8", "channels = 8, detail = true");
    let config = folder.path().join("tasks.toml");
    let settings = "preset = \"demo\"\n[train]\nsteps = 60\nlr = 5e-3\nevaluations = 2\n";
    fs::write(&config, format!("{settings}{task}")).unwrap();
    let place = folder.path().join("run");
    succeeds(&train(&config, &place).output().unwrap());
    let run = place.display().to_string();
    let judged = result(&["--run", &run]);
    assert_eq!(judged["result"]["metric"], "miou");
    let value = judged["result"]["value"].as_f64().unwrap();
    assert!(value > 0.9, "{judged}");
    assert!(judged["baseline_1nn"].as_f64().unwrap() > 0.9, "colors tell the classes: {judged}");
    let pixels = judged["result"]["confusion"].as_array().unwrap().iter();
    let pixels = pixels.flat_map(|row| row.as_array().unwrap()).map(|n| n.as_u64().unwrap());
    assert_eq!(pixels.sum::<u64>(), 3 * 24 * 40);

    let model = folder.path().join("model").display().to_string();
    let extract = ["extract", "--run", &run, "--tasks", "halves", "--out", &model];
    succeeds(&ufo(&[&extract[..], &["--by-effect", "--quantize", "int8"]].concat()));
    let onnx = format!("{model}/model.onnx");
    for place in [&model, &onnx] {
        let again = result(&["--run", &run, "--model", place])["result"]["value"].as_f64().unwrap();
        assert!(again > 0.9, "{place}: {again}");
    }
    // Windows of twice the side, on positions that were resized.
    let large = folder.path().join("large").display().to_string();
    let sized = ["extract", "--run", &run, "--tasks", "halves", "--image-size"];
    succeeds(&ufo(&[&sized[..], &["64", "--out", &large]].concat()));
    let said = read(&Path::new(&large).join("manifest.json"));
    assert_eq!(said["preprocess"]["size"], serde_json::json!([64, 64]), "{said}");
    result(&["--run", &run, "--model", &large]);
    fails(&ufo(&[&sized[..], &["7", "--out", "x"]].concat()), &["--image-size", "head.doublings"]);
    succeeds(&ufo(&["report", "--run", &run]));
    let report = fs::read_to_string(place.join("report.html")).unwrap();
    assert!(report.contains("of pixels right") && report.contains("dark #000000"));

    // A mask of the size of the image, with the classes of most of its pixels.
    let image = folder.path().join("halves/test/images/1.png").display().to_string();
    let masks = folder.path().join("masks").display().to_string();
    let output = ufo(&["predict", &model, &image, "--masks", &masks, "--json"]);
    succeeds(&output);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let said = &said[0]["tasks"][0];
    let shares: f64 =
        said["shares"].as_array().unwrap().iter().map(|s| s["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-6, "{said}");
    let mask = fs::read(said["mask"].as_str().unwrap()).unwrap();
    let shown = ufo_data::decode(&mask).unwrap();
    assert_eq!((shown.width, shown.height), (40, 24));
    let colors = [0, 1].map(|id| Palette::Voc.color(id));
    assert!(shown.rgb.as_chunks::<3>().0.iter().all(|color| colors.contains(color)));
    succeeds(&ufo(&["predict", &model, &image, "--masks", &masks]));
}

#[test]
fn a_segmentation_joins_a_trained_run_and_leaves_the_others_their_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (run, _) = two_tasks(folder.path());
    let file = task(folder.path()).display().to_string();
    let place = folder.path().join("more");
    let out = place.display().to_string();
    let start = ["expand", "--run", &run, "--task", &file, "--out", &out, "--labels", "50%"];
    succeeds(&ufo(&[&start[..], &["--set", "train.steps=4"]].concat()));
    let report = read(&place.join("expand.json"));
    assert_eq!(report["others_unchanged"], true, "{report}");
    assert_eq!((&report["metric"], &report["images"]), (&"miou".into(), &5.into()), "{report}");
    assert_eq!(report["training_mb"], Value::Null, "{report}");
    let judged = result(&["--run", &out]);
    assert_eq!(judged["result"]["value"], report["value"]);

    let both = folder.path().join("both").display().to_string();
    succeeds(&ufo(&["extract", "--run", &out, "--tasks", "digits,halves", "--out", &both]));
    let chip = folder.path().join("chip").display().to_string();
    let slices = ["chip", "--run", &out, "--task", "halves", "--out", &chip];
    succeeds(&ufo(&[&slices[..], &["--set", "train.steps=2"]].concat()));
    let smallest = folder.path().join("smallest").display().to_string();
    let cut = ["extract", "--run", &chip, "--tasks", "halves", "--slice", "smallest"];
    succeeds(&ufo(&[&cut[..], &["--out", &smallest]].concat()));
}

#[test]
fn wrong_masks_are_named_before_a_run_begins() {
    let folder = tempfile::tempdir().unwrap();
    let file = task(folder.path());
    let config = folder.path().join("tasks.toml");
    let out = folder.path().join("run");
    let refused = |set: &str, words: &[&str]| {
        let settings = "preset = \"demo\"\n[train]\nsteps = 2\n";
        fs::write(&config, format!("{settings}{}", fs::read_to_string(&file).unwrap())).unwrap();
        let mut command = train(&config, &out);
        if !set.is_empty() {
            command.args(["--set", set]);
        }
        fails(&command.output().unwrap(), words);
        assert!(!out.exists(), "{words:?}");
    };
    let place = folder.path().join("halves/train/masks/3.png");
    let good = fs::read(&place).unwrap();
    let mask = |width: usize, id: u8| {
        let mask = Mask { width, height: 24, ids: vec![id; width * 24] };
        fs::write(&place, mask.encode(Palette::Voc).unwrap()).unwrap();
    };
    mask(41, 0);
    refused("", &["task `halves`", "masks/3.png", "41 x 24 pixels; allowed: 40 x 24"]);
    mask(40, 2);
    refused("", &["task `halves`", "masks/3.png", "class 2 at x 0, y 0; allowed: 0 to 1"]);
    fs::remove_file(&place).unwrap();
    refused("", &["task `halves`", "images/3.png: no mask"]);
    fs::write(&place, good).unwrap();
    refused("task.halves.data.labels=3-per-class", &["data.labels", "a percentage"]);
    for index in 0..12 {
        let place = folder.path().join(format!("halves/train/masks/{index}.png"));
        let mask = Mask { width: 40, height: 24, ids: vec![0; 960] };
        fs::write(&place, mask.encode(Palette::Voc).unwrap()).unwrap();
    }
    refused("task.halves.data.labels=50%", &["data.labels = 50%", "no pixel of class 'bright'"]);
}
