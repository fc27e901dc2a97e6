//! Training in bf16: near f32, not equal to it, and the same bits on any number of threads.

use crate::{config, succeeds, train};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Losses of every logged step.
fn losses(run: &Path) -> Vec<f64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let trained = lines.filter(|line| line["kind"] == "train");
    let of_line = |line: Value| -> Vec<f64> {
        line["loss"].as_object().unwrap().values().map(|loss| loss.as_f64().unwrap()).collect()
    };
    trained.flat_map(of_line).collect()
}

#[test]
fn bf16_trains_near_f32_with_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = config(folder.path(), "one.toml", 1, "digits");
    let run = |name: &str, precision: &str, threads: usize| {
        let out = folder.path().join(name);
        let sets = [
            "train.steps=4".to_string(),
            "train.log_every=1".to_string(),
            format!("train.precision={precision}"),
            format!("train.threads={threads}"),
        ];
        let mut command = train(&tasks, &out);
        let output = command.args(sets.iter().flat_map(|set| ["--set", set])).output().unwrap();
        succeeds(&output);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("products in {precision}")), "{said}");
        losses(&out)
    };
    let whole = run("f32", "f32", 2);
    let rounded = run("bf16", "bf16", 2);
    assert!(whole.len() >= 8 && whole.len() == rounded.len(), "{whole:?}");
    assert_ne!(whole, rounded);
    for (whole, rounded) in whole.iter().zip(&rounded) {
        assert!((whole - rounded).abs() < 0.03 * whole.abs(), "{whole} {rounded}");
    }
    assert_eq!(run("bf16-1", "bf16", 1), rounded);
    // Unless it is set, the processor decides, and the log says how.
    let automatic = folder.path().join("auto");
    let output = train(&tasks, &automatic).args(["--set", "train.steps=1"]).output().unwrap();
    succeeds(&output);
    let chosen = if ufo_kernels::Level::detect().has_fast_bf16() { "bf16" } else { "f32" };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("products in {chosen}")), "{said}");
    let mut wrong = train(&tasks, &folder.path().join("wrong"));
    let output = wrong.args(["--set", "train.precision=\"f16\""]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("`f32`, `bf16`, `auto`"), "{said}");
}
