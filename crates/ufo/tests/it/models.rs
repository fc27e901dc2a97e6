//! Extracted folders: what is written, what reads it back, and what is refused.

use crate::{config, succeeds, train, ufo};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn models_are_extracted_checked_read_back_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = config(folder.path(), "one.toml", 1, "digits");
    let run = folder.path().join("run");
    let held_out = ["digits", "emoji"].map(|task| format!("task.{task}.data.validation=0.1"));
    let mut command = train(&tasks, &run);
    succeeds(&command.args(["--set", &held_out[0], "--set", &held_out[1]]).output().unwrap());
    let text = run.display().to_string();
    let models = ["digits", "emoji", "digits,emoji"].map(|tasks| {
        let out = folder.path().join(tasks);
        let place = out.display().to_string();
        succeeds(&ufo(&["extract", "--run", &text, "--tasks", tasks, "--out", &place]));
        out
    });
    let params: Vec<u64> = models
        .iter()
        .map(|model| json(&model.join("manifest.json"))["params"].as_u64().unwrap())
        .collect();
    assert!(params[2] < params[0] + params[1], "shared modules are there once: {params:?}");
    for model in &models {
        let manifest = json(&model.join("manifest.json"));
        assert!(manifest["parity"]["onnx_max_rel_err"].as_f64().unwrap() < 1e-4);
        for (file, sum) in manifest["sha256"].as_object().unwrap() {
            assert!(model.join(file).exists() && sum.as_str().unwrap().len() == 64);
        }
    }
    predictions_agree(folder.path(), &models);
    judged_alike(&text, &models);
    bytes_are_judged(&text, folder.path());

    // Exists already; named twice; unknown.
    let place = models[0].display().to_string();
    for (tasks, out, word) in [
        ("digits", place.as_str(), "exists already"),
        ("digits,digits", "new", "named twice"),
        ("cats", "new", "this supernet has: digits, emoji"),
    ] {
        let output = ufo(&["extract", "--run", &text, "--tasks", tasks, "--out", out]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(word), "{said}");
    }

    // By measured effect, and the page.
    let best = folder.path().join("best").display().to_string();
    let output =
        ufo(&["extract", "--run", &text, "--tasks", "digits,emoji", "--by-effect", "--out", &best]);
    succeeds(&output);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for origin in ["router", "all shared", "all specific"] {
        assert!(said.contains(origin), "{said}");
    }
    // Each table's first row is the path that was written.
    let card = fs::read_to_string(Path::new(&best).join("README.md")).unwrap();
    let mut lines = said.lines();
    for task in ["digits", "emoji"] {
        let row = lines.by_ref().skip_while(|line| !line.starts_with('╞')).nth(1).unwrap();
        let path = row.rsplit('┆').next().unwrap().trim_end_matches(['│', ' ']).trim();
        let path = path.replace('|', " norm ");
        let row = card.lines().find(|line| line.starts_with(&format!("| {task} |"))).unwrap();
        assert!(row.contains(&path), "{row}: {said}");
    }
    succeeds(&ufo(&["report", "--run", &text]));
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("emoji") && !page.contains("http://"));
}

/// A folder's metrics are the supernet's, since its outputs are the same bits.
fn judged_alike(run: &str, models: &[std::path::PathBuf]) {
    let eval = |model: Option<&str>| -> Value {
        let mut args = vec!["eval", "--run", run, "--json"];
        args.extend(model.map(|model| ["--model", model]).into_iter().flatten());
        let output = ufo(&args);
        succeeds(&output);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (whole, both) = (eval(None), eval(models[2].to_str()));
    for index in 0..2 {
        assert_eq!(whole[index]["result"], both[index]["result"]);
    }
    assert_eq!(eval(models[1].to_str())[0], both[1]);
}

/// 8-bit weights make a quarter of the file, and a table says what they cost.
fn bytes_are_judged(run: &str, folder: &Path) {
    let out = folder.join("int8");
    let place = out.display().to_string();
    let tasks = ["--tasks", "digits,emoji", "--quantize", "int8"];
    let output = ufo(&[&["extract", "--run", run, "--out", &place][..], &tasks].concat());
    succeeds(&output);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.matches("points lost").count() == 4 && said.contains("rank1"), "{said}");
    let size = |file: &str| fs::metadata(out.join(file)).unwrap().len();
    assert!(size("model.int8.onnx") * 2 < size("model.onnx"));
    let error = json(&out.join("manifest.json"))["parity"]["int8_max_rel_err"].as_f64().unwrap();
    assert!(error > 0.0 && error < 0.2, "{error}");
    let onnx = format!("{place}/model.int8.onnx");
    for (model, precision, word) in [
        (&onnx, "bf16", "an ONNX file has its own; name the folder"),
        (&place, "f16", "must be one of f32, bf16, int8"),
    ] {
        let output = ufo(&["eval", "--run", run, "--model", model, "--precision", precision]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(word), "{said}");
    }
    let mut config = json(&out.join("config.json"));
    config["ufo"]["tasks"][1]["name"] = "cats".into();
    fs::write(out.join("config.json"), config.to_string()).unwrap();
    let output = ufo(&["eval", "--run", run, "--model", &onnx]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("task `cats`, but the run has: digits, emoji"), "{said}");
}

/// The single model and the two-task model say the same of a picture, bit for bit.
fn predictions_agree(folder: &Path, models: &[std::path::PathBuf]) {
    let image = folder.join("gray.png");
    let pixels = ufo_data::Image::filled(28, 28, [90; 3]);
    fs::write(&image, ufo_data::encode_png(&pixels).unwrap()).unwrap();
    let predict = |model: &Path| -> Value {
        let output =
            ufo(&["predict", &model.display().to_string(), &image.display().to_string(), "--json"]);
        succeeds(&output);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let both = predict(&models[2]);
    for (index, alone) in models[..2].iter().enumerate() {
        assert_eq!(predict(alone)[0]["tasks"][0], both[0]["tasks"][index]);
    }
    // A broken picture is named, the others are still answered.
    let broken = folder.join("broken.png");
    fs::write(&broken, b"no image").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ufo"))
        .arg("predict")
        .args([&models[0], &broken, &image])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("broken.png"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("gray.png"));
    // A weights file of another model is refused by the tensor's name.
    let mixed = folder.join("mixed");
    fs::create_dir(&mixed).unwrap();
    fs::copy(models[0].join("config.json"), mixed.join("config.json")).unwrap();
    fs::copy(models[1].join("model.safetensors"), mixed.join("model.safetensors")).unwrap();
    let output = ufo(&["predict", &mixed.display().to_string(), &image.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("tensor `head."), "{said}");
}

#[test]
fn init_writes_a_configuration_that_trains() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tasks.toml").display().to_string();
    let [digits, emoji] = ["digits", "emoji"].map(|n| format!("{n}={}", data.join(n).display()));
    succeeds(&ufo(&["init", "--task", &digits, "--task", &emoji, "--out", &out]));
    let text = fs::read_to_string(&out).unwrap();
    assert!(text.contains("kind = \"linear\"") && text.contains("kind = \"embedding\""), "{text}");
    let run = folder.path().join("run");
    let mut command = train(Path::new(&out), &run);
    succeeds(&command.args(["--set", "train.steps=2"]).output().unwrap());
    assert!(run.join("metrics.jsonl").exists());
    let nothing = ufo(&["init", "--task", "x=/nothing/here", "--out", "other.toml"]);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("--task x=/nothing/here"));
    let again = ufo(&["init", "--task", &digits, "--out", &out]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists already"));
}

#[test]
fn every_protocol_judges_and_the_architecture_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = config(folder.path(), "one.toml", 1, "digits");
    for protocol in [
        r#"{ kind = "reid" }"#,
        r#"{ kind = "retrieval", ks = [1, 5] }"#,
        r#"{ kind = "verification", fars = [0.1] }"#,
    ] {
        let kind = protocol.split('"').nth(1).unwrap();
        let run = folder.path().join(kind);
        let changes = [
            "train.steps=1",
            "arch.depth=2",
            "arch.dim=24",
            r#"arch.stem={ kind = "patch", size = 8, stride = 4 }"#,
            "mean=[0.1, 0.2, 0.3]",
            "task.digits.eval.kind=classification",
            "task.digits.eval.metric=mean-per-class",
        ];
        let eval = format!("task.emoji.eval={protocol}");
        let sets = changes.iter().copied().chain([eval.as_str()]).flat_map(|set| ["--set", set]);
        succeeds(&train(&tasks, &run).args(sets).output().unwrap());
        let output = ufo(&["eval", "--run", &run.display().to_string(), "--json"]);
        succeeds(&output);
        let results: Value = serde_json::from_slice(&output.stdout).unwrap();
        let digits = &results[0]["result"];
        assert_eq!(digits["metric"], "mean_per_class");
        let confusion = digits["confusion"].as_array().unwrap();
        let counts = confusion.iter().flat_map(|row| row.as_array().unwrap());
        let images: u64 = counts.map(|count| count.as_u64().unwrap()).sum();
        let test = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/digits/test");
        let labels = ufo_data::Dataset::open(ufo_data::Format::Idx, &test).unwrap();
        assert_eq!(images as usize, labels.len());
        let emoji = &results[1];
        let expected = [("reid", "rank1"), ("retrieval", "recall@1"), ("verification", "accuracy")];
        let expected = expected.iter().find(|(name, _)| *name == kind).unwrap().1;
        assert_eq!(emoji["result"]["metric"], expected);
        assert!(emoji["baseline_1nn"].as_f64().unwrap() > 0.0);
    }
    let taken = folder.path().join("reid");
    let output = train(&tasks, &taken).args(["--resume", "never"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("holds a run already"), "{said}");
}
