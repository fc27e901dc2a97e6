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
    succeeds(&ufo(&["report", "--run", &text]));
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("emoji") && !page.contains("http://"));
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
