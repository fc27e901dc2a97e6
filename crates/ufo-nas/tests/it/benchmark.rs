//! The benchmark's files and the figures of the independent programs.

use serde_json::Value;
use std::fs;
use std::path::Path;
use ufo_nas::Benchmark;

pub(crate) fn text(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::read_to_string(folder.join(name)).unwrap()
}

pub(crate) fn json(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap()
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

pub(crate) fn networks() -> Benchmark {
    Benchmark::scored(&text("nasbench/ufo_vitb_400.json")).unwrap()
}

#[test]
fn holds_400_networks_and_8_tasks() {
    let read = networks();
    assert_eq!((read.keys.len(), read.keys[399].as_str()), (400, "arch400"));
    let tasks = "cplfw market1501 dukemtmc msmt17 veri vehicleid veriwild sop";
    assert_eq!(read.tasks.join(" "), tasks);
    assert_eq!(read.scores[7][..3], [367.0, 302.0, 34.0]);
}

#[test]
fn the_accuracy_files_are_another_format() {
    let error = Benchmark::scored(&text("nasbench/cvpr21_track2_stage1.json")).unwrap_err();
    assert_eq!(error.to_string(), "arch1 = acc: must be `arch` or a task's name and `_rank`");
}
