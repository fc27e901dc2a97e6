//! A run that was cut short, by whatever it was, goes on to the same bits as one that was not.

use crate::{config, last_weights, succeeds, train};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

/// A finished run of 12 steps, and a copy of it that stands at step 9.
struct Runs {
    folder: TempDir,
    config: PathBuf,
    whole: PathBuf,
}

impl Runs {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "one.toml", 1, "digits");
        let whole = folder.path().join("whole");
        succeeds(&train(&config, &whole).output().unwrap());
        Self { folder, config, whole }
    }

    fn cut(&self) -> PathBuf {
        let cut = self.folder.path().join("cut");
        copy(&self.whole, &cut);
        fs::remove_dir_all(cut.join("checkpoints/step-00000012")).unwrap();
        cut
    }

    fn goes_on_to_the_same_end(&self, run: &Path) {
        succeeds(&train(&self.config, run).output().unwrap());
        assert_eq!(last_weights(run), last_weights(&self.whole));
        assert_eq!(losses(run), losses(&self.whole));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Every line of the log but the speed, a clock's figure.
fn losses(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["images_per_s"].take();
        line
    });
    lines.collect()
}

fn wait_for_step_6(child: &mut std::process::Child, run: &Path) {
    while !run.join("checkpoints/step-00000006/manifest.json").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn on_more_threads_and_loader_workers() {
    let runs = Runs::new();
    let two = config(runs.folder.path(), "two.toml", 2, "digits");
    let other = runs.folder.path().join("other");
    succeeds(&train(&two, &other).args(["--set", "train.threads=4"]).output().unwrap());
    assert_eq!(last_weights(&other), last_weights(&runs.whole));
    assert_eq!(losses(&other), losses(&runs.whole));
}

#[test]
fn after_kill_9() {
    let runs = Runs::new();
    let run = runs.folder.path().join("killed");
    let mut child = train(&runs.config, &run).stderr(Stdio::null()).spawn().unwrap();
    wait_for_step_6(&mut child, &run);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!run.join("checkpoints/step-00000012").exists(), "killed too late to resume");
    runs.goes_on_to_the_same_end(&run);
}

#[test]
#[cfg(unix)]
fn after_ctrl_c() {
    let runs = Runs::new();
    let run = runs.folder.path().join("stopped");
    let mut child = train(&runs.config, &run).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_step_6(&mut child, &run);
    succeeds(&Command::new("kill").args(["-INT", &child.id().to_string()]).output().unwrap());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("continue with: ") && said.contains("train --config"), "{said}");
    assert!(!run.join("checkpoints/step-00000012").exists(), "stopped too late to resume");
    runs.goes_on_to_the_same_end(&run);
}

/// Writes fail as on a full disk: the limit on file size, its signal ignored.
#[test]
#[cfg(unix)]
fn after_a_full_disk() {
    let runs = Runs::new();
    let cut = runs.cut();
    let script = format!(
        "trap '' XFSZ; ulimit -f 200; exec '{}' train --config '{}' --out '{}'",
        env!("CARGO_BIN_EXE_ufo"),
        runs.config.display(),
        cut.display()
    );
    let full = Command::new("bash").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&full.stderr);
    assert_eq!(full.status.code(), Some(1), "{said}");
    assert!(said.contains("writing") && said.contains("supernet.safetensors"), "{said}");
    assert!(cut.join("checkpoints/step-00000009/manifest.json").exists());
    runs.goes_on_to_the_same_end(&cut);
}

#[test]
fn after_a_loss_that_is_not_finite() {
    let runs = Runs::new();
    let cut = runs.cut();
    let output = train(&runs.config, &cut).args(["--set", "train.lr=1e30"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in ["step 10: the loss of task `", "train.lr", "checkpoints/step-00000010"] {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    // As the advice says.
    fs::remove_dir_all(cut.join("checkpoints/step-00000010")).unwrap();
    runs.goes_on_to_the_same_end(&cut);
}

#[test]
fn beside_what_is_no_checkpoint() {
    let runs = Runs::new();
    let cut = runs.cut();
    let checkpoints = cut.join("checkpoints");
    copy(&checkpoints.join("step-00000009"), &checkpoints.join("best"));
    copy(&checkpoints.join("step-00000009"), &checkpoints.join("unfinished"));
    fs::remove_file(checkpoints.join("unfinished/manifest.json")).unwrap();
    fs::create_dir(checkpoints.join("step-00000011")).unwrap();
    runs.goes_on_to_the_same_end(&cut);
    assert!(checkpoints.join("best/manifest.json").exists());
    assert!(checkpoints.join("step-00000011").exists());
}
