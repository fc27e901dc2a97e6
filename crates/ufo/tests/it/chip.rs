//! Chip supernets: slices of one task's path, trained, judged and extracted.

use crate::{config, succeeds, train, ufo};
use serde_json::Value;
use std::fs;
use std::path::Path;
use ufo_nas::DeviceFile;

fn printed(arguments: &[&str]) -> Value {
    let output = ufo(arguments);
    succeeds(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn slices_are_trained_judged_and_extracted() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run").display().to_string();
    let tasks = config(folder.path(), "tasks.toml", 1, "digits");
    succeeds(&train(&tasks, run.as_ref()).output().unwrap());
    for task in ["digits", "emoji"] {
        let chip = folder.path().join(format!("chip-{task}"));
        let text = chip.display().to_string();
        let start =
            |set: &str| ufo(&["chip", "--run", &run, "--task", task, "--out", &text, "--set", set]);
        succeeds(&start("train.steps=6"));
        let slices: Value =
            serde_json::from_slice(&fs::read(chip.join("slices.json")).unwrap()).unwrap();
        let rows = slices["slices"].as_array().unwrap();
        let params: Vec<u64> = rows.iter().map(|row| row["params"].as_u64().unwrap()).collect();
        assert!(params.is_sorted_by(|a, b| a >= b) && params[0] > 4 * params[6], "{params:?}");
        let bytes: Vec<u64> =
            rows.iter().map(|row| row["activation_bytes"].as_u64().unwrap()).collect();
        // The stem's maps may be the largest of all slices.
        assert!(bytes.is_sorted_by(|a, b| a >= b) && bytes[6] > 0, "{bytes:?}");
        let whole = printed(&["eval", "--run", &run, "--json"]);
        let one =
            whole.as_array().unwrap().iter().find(|one| one["result"]["name"] == task).unwrap();
        assert_eq!(rows[0]["before"], one["result"]["value"]);
        let log = fs::read_to_string(chip.join("metrics.jsonl")).unwrap();
        assert_eq!(log.matches("gradient_cosine").count(), 6, "{log}");

        // The folder of a slice scores what the slice does, and is as small as it says.
        let small = rows[6]["slice"].as_str().unwrap();
        let place = folder.path().join(format!("small-{task}"));
        let out = place.display().to_string();
        let extract = ["extract", "--run", &text, "--tasks", task, "--slice", "smallest"];
        succeeds(&ufo(&[&extract[..], &["--out", &out]].concat()));
        let slice = printed(&["eval", "--run", &text, "--slice", small, "--json"]);
        let model = printed(&["eval", "--run", &text, "--model", &out, "--json"]);
        assert_eq!(slice[0]["result"]["value"], model[0]["result"]["value"]);
        assert_eq!(slice[0]["result"]["value"], rows[6]["value"]);
        let bytes = fs::metadata(place.join("model.safetensors")).unwrap().len();
        let whole = fs::metadata(chip.join("checkpoints/step-00000006/supernet.safetensors"));
        assert!(bytes * 4 < whole.unwrap().len(), "{bytes}");

        // A longer one goes on; another space is another run.
        succeeds(&start("train.steps=8"));
        assert!(chip.join("checkpoints/step-00000008").exists());
        let other = start("chip.space.heads=[1]");
        let said = String::from_utf8_lossy(&other.stderr).into_owned();
        assert!(other.status.code() == Some(1) && said.contains("chip.space"), "{said}");
    }

    profiles(folder.path(), &run);
    let out = folder.path().join("none").display().to_string();
    for (arguments, said) in [
        (["--task", "cats", "--set", "seed=0"], "the run has digits, emoji"),
        (["--task", "digits", "--set", "chip.space.heads=[4]"], "space.heads = [4]"),
        (["--task", "digits", "--set", "chip.random=-1"], "chip.random"),
    ] {
        let output = ufo(&[&["chip", "--run", &run, "--out", &out][..], &arguments].concat());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && message.contains(said), "{message}");
    }
    for (slice, said) in [("0:9:9", "heads = 9"), ("x", "block:heads:ffn")] {
        let output = ufo(&["eval", "--run", &run, "--slice", slice]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && message.contains(said), "{message}");
    }
    assert!(!std::path::Path::new(&out).exists(), "nothing is left of what was refused");
}

/// Device files of a chip supernet, and none of a run that is none.
fn profiles(folder: &Path, run: &str) {
    let chip = folder.join("chip-digits").display().to_string();
    let file = folder.join("device.json");
    let place = file.display().to_string();
    for (runtime, precision) in [("ufo", "f32"), ("ufo", "int8"), ("rten", "f32")] {
        let few = ["--samples", "11", "--rounds", "2", "--batch", "2", "--runtime", runtime];
        let few = [&few[..], &["--precision", precision]].concat();
        let output = ufo(&[&["profile", "--run", &chip, "--out", &place][..], &few].concat());
        succeeds(&output);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("predicted from 10 slices"), "{said}");
        let device = DeviceFile::parse(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!((device.rows.len(), device.setting.batch, device.setting.threads), (13, 2, 1));
        let name = &device.setting.runtime;
        assert!(name.starts_with(runtime) && name.ends_with(precision), "{name}");
        assert!(device.pinned.is_some());
    }
    let mixed = ["--runtime", "rten", "--precision", "bf16"];
    let output = ufo(&[&["profile", "--run", &chip, "--out", &place][..], &mixed].concat());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("--precision bf16: rten runs files of f32"), "{message}");
    let output = ufo(&["profile", "--run", run, "--out", &place]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && message.contains("ufo chip"), "{message}");
}
