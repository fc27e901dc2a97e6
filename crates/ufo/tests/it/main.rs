//! The binary on the bundled data: what a killed, resumed or wrongly started run leaves behind.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

mod bad_input;
mod chip;
mod detection;
mod distill;
mod expand;
mod figures;
mod models;
mod precision;
mod predictor;
mod resume;
mod search;
mod segmentation;
mod serve;

const FILES: [&str; 2] = ["supernet.safetensors", "optimizer.safetensors"];

fn config(folder: &Path, name: &str, workers: usize, task: &str) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    let text = format!(
        r#"preset = "demo"
[train]
steps = 12
workers = {workers}
checkpoint_every = 3
log_every = 1
evaluations = 2
[[task]]
name = "{task}"
head = {{ kind = "linear" }}
batch = 8
data = {{ format = "idx", train = "{0}/digits/train", test = "{0}/digits/test" }}
augment = {{ pad_crop = 2, mixup = 0.2 }}
[[task]]
name = "emoji"
head = {{ kind = "embedding" }}
batch = 8
data = {{ format = "idx", train = "{0}/emoji/train", test = "{0}/emoji/test" }}
sampler = {{ kind = "identity", per_identity = 2 }}
triplet = {{}}
"#,
        data.display()
    );
    let place = folder.join(name);
    fs::write(&place, text).unwrap();
    place
}

fn train(config: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ufo"));
    command.arg("train").arg("--config").arg(config).arg("--out").arg(out);
    command
}

fn ufo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ufo")).args(arguments).output().unwrap()
}

fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn last_weights(run: &Path) -> Vec<Vec<u8>> {
    let folder = run.join("checkpoints/step-00000012");
    FILES.iter().map(|file| fs::read(folder.join(file)).unwrap()).collect()
}

#[test]
fn another_configuration_is_refused_and_the_earlier_run_stays_usable() {
    let folder = tempfile::tempdir().unwrap();
    let first = config(folder.path(), "first.toml", 1, "digits");
    let other = config(folder.path(), "other.toml", 1, "numbers");
    let run = folder.path().join("run");
    succeeds(&train(&first, &run).output().unwrap());
    let before = fs::read(run.join("config.toml")).unwrap();
    let refused = train(&other, &run).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    for word in ["made with tasks = digits, emoji, now it is numbers, emoji", "another run folder"]
    {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    assert_eq!(fs::read(run.join("config.toml")).unwrap(), before);

    let weights = run.join("checkpoints/step-00000012/supernet.safetensors");
    let cut = fs::read(&weights).unwrap()[..1000].to_vec();
    fs::write(&weights, cut).unwrap();
    let mut extract = Command::new(env!("CARGO_BIN_EXE_ufo"));
    extract.arg("extract").arg("--run").arg(&run);
    let output = extract.args(["--tasks", "digits,emoji", "--out"]).arg(run.join("both")).output();
    let output = output.unwrap();
    succeeds(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("skipping a damaged checkpoint"));
    assert!(run.join("both/model.onnx").exists());
}
