//! `ufo predictor`: from the public benchmark's file to predictions, and what wrong files are told.

use crate::bad_input::fails;
use crate::{succeeds, ufo};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

const NETWORKS: &str = "../ufo-nas/tests/fixtures/nasbench/ufo_vitb_400.json";

/// The first networks of the benchmark with the scores of two tasks.
fn networks(count: usize) -> Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(NETWORKS);
    let all: Map<String, Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let two = |network: &Value| {
        let keys = ["arch", "msmt17_rank", "sop_rank"];
        keys.iter().map(|&key| (key.to_string(), network[key].clone())).collect()
    };
    all.iter().take(count).map(|(key, network)| (key.clone(), two(network))).collect()
}

fn write(folder: &Path, name: &str, networks: &Map<String, Value>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, serde_json::to_string(networks).unwrap()).unwrap();
    path
}

fn predictor(command: &str, options: &[(&str, &Path)]) -> Output {
    let options = options.iter().flat_map(|(name, path)| [*name, path.to_str().unwrap()]);
    ufo(&["predictor", command].into_iter().chain(options).collect::<Vec<_>>())
}

#[test]
fn fits_predicts_and_measures() {
    let folder = tempfile::tempdir().unwrap();
    let train = write(folder.path(), "train.json", &networks(80));
    let (model, out) = (folder.path().join("predictor.json"), folder.path().join("predicted.json"));
    succeeds(&predictor("fit", &[("--train", &train), ("--out", &model)]));
    let mut unknown = networks(100);
    unknown.values_mut().for_each(|network| network["msmt17_rank"] = json!("?"));
    let archs = write(folder.path(), "archs.json", &unknown);
    let files: [(_, &Path); 3] = [("--model", &model), ("--archs", &archs), ("--out", &out)];
    succeeds(&predictor("predict", &files));
    let predicted: Map<String, Value> =
        serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(predicted.len(), 100);
    assert!(
        predicted["arch100"]["msmt17_rank"].is_f64() && predicted["arch100"]["sop_rank"].is_f64()
    );

    let test: Map<String, Value> = networks(160).into_iter().skip(80).collect();
    let test = write(folder.path(), "test.json", &test);
    let [train, test] = [&train, &test].map(|path| path.to_str().unwrap());
    let report = ufo(&["predictor", "bench", "--train", train, "--test", test, "--json"]);
    succeeds(&report);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert!(report["tasks"]["msmt17"]["kendall_tau"]["mean"].as_f64().unwrap() > 0.8, "{report}");
    let counts: Vec<u64> = report["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["count"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [25, 50]);
}

#[test]
fn wrong_files_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (good, out) = (networks(12), folder.path().join("out.json"));
    let changed = |change: &dyn Fn(&mut Map<String, Value>)| {
        let mut bad = good.clone();
        change(&mut bad);
        serde_json::to_string(&bad).unwrap()
    };
    let again = |score: Value| {
        changed(&|bad| {
            let mut copy = bad["arch3"].clone();
            if !score.is_null() {
                copy["sop_rank"] = score.clone();
            }
            bad.insert("copy".into(), copy);
        })
    };
    let outside = |bad: &mut Map<String, Value>| {
        bad["arch2"]["arch"] = json!("j411231321311311221231121111231000000");
    };
    let text = serde_json::to_string(&good).unwrap();
    let nan = text.replacen("\"msmt17_rank\":", "\"msmt17_rank\":NaN,\"x\":", 1);
    for (text, words) in [
        ("[1, 2]".to_string(), vec!["bad.json", "must be an object"]),
        ("{}".to_string(), vec!["bad.json", "must hold at least one network"]),
        (again(Value::Null), vec!["bad.json", "copy.arch", "repeats `arch3`"]),
        (again(json!(-1)), vec!["bad.json", "copy.arch", "contradicts `arch3`"]),
        (nan, vec!["bad.json", "must be an object"]),
        (changed(&|bad| bad["arch4"]["sop_rank"] = Value::Null), vec!["arch4.sop_rank", "number"]),
        (changed(&outside), vec!["arch2.arch", "character 1 is `4`, must be 1, 2 or 3"]),
    ] {
        let bad = folder.path().join("bad.json");
        fs::write(&bad, text).unwrap();
        fails(&predictor("fit", &[("--train", &bad), ("--out", &out)]), &words);
    }
    assert!(!out.exists());
    let train = write(folder.path(), "train.json", &good);
    let files: [(_, &Path); 3] = [("--model", &train), ("--archs", &train), ("--out", &out)];
    fails(&predictor("predict", &files), &["train.json", "not a predictor that `fit` wrote"]);
}
