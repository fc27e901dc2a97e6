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
    let of = |key: &str| report["tasks"]["msmt17"][key]["mean"].as_f64().unwrap();
    assert!(of("kendall_tau") > 0.8, "{report}");
    let (noise, ceiling) = (of("noise_variance"), of("kendall_tau_ceiling"));
    assert!(noise > 0.0 && noise < 0.3 && (0.6..1.0).contains(&ceiling), "{report}");
    assert!((ceiling - ufo_nas::tau_ceiling(noise)).abs() < 1e-12);
    let counts: Vec<u64> = report["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["count"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [25, 50]);

    // A bit a choice: another fit, about as good.
    let more = ["--test", test, "--samples", "0", "--encoding", "one-hot", "--json"];
    let other = ufo(&[&["predictor", "bench", "--train", train][..], &more].concat());
    succeeds(&other);
    let other: Value = serde_json::from_slice(&other.stdout).unwrap();
    let tau = other["tasks"]["msmt17"]["kendall_tau"]["mean"].as_f64().unwrap();
    assert!(tau > 0.8 && tau.to_bits() != of("kendall_tau").to_bits(), "{other}");
    let reference = |report: &Value| report["mean_reference_kendall_tau"]["mean"].clone();
    assert_eq!(reference(&other), reference(&report));

    let few = ["--folds", "8", "--samples", "0"];
    let table = ufo(&[&["predictor", "bench", "--train", train][..], &few].concat());
    succeeds(&table);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    for said in ["tau at most, by the noise", "to fit 70 networks"] {
        assert!(table.contains(said), "{said}: {table}");
    }
    assert!(!table.contains("chosen by each rule"), "{table}");
    let many = ufo(&["predictor", "bench", "--train", train, "--folds", "60"]);
    fails(&many, &["80 networks; must be 120 at least for --folds 60"]);
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

/// Lines of `samples.jsonl` of a network with 6 blocks.
fn measured(count: usize) -> Vec<Value> {
    let block = |block: usize, row: usize| json!({"block": block, "heads": 1 + row % 3, "ffn": 48 * (1 + row / 6)});
    let line = |row: usize| {
        let blocks: Vec<Value> = (0..=row % 6).map(|at| block(at, row + at)).collect();
        json!({"key": format!("k{row}"), "slice": {"blocks": blocks}, "task": "digits",
            "split": "validation", "accuracy": 0.5 + 0.01 * row as f64})
    };
    (0..count).map(line).collect()
}

#[test]
fn samples_of_a_search_are_learned_predicted_by_slice_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (samples, others, model, out) =
        (file("samples.jsonl"), file("others.jsonl"), file("model.json"), file("out.json"));
    let mut lines = measured(36);
    for line in &mut lines {
        let blocks = line["slice"]["blocks"].as_array().unwrap();
        let size: u64 = blocks.iter().map(|block| block["ffn"].as_u64().unwrap()).sum();
        line["latency_ms"] = json!(size as f64 / 100.0);
        line["accuracy"] = json!(1.0 - 10.0 / size as f64);
    }
    let text = |lines: &[Value]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    fs::write(&samples, text(&lines[..30])).unwrap();
    fs::write(&others, text(&lines[30..])).unwrap();
    succeeds(&predictor("fit", &[("--train", &samples), ("--out", &model)]));
    let files: [(_, &Path); 3] = [("--model", &model), ("--archs", &samples), ("--out", &out)];
    succeeds(&predictor("predict", &files));
    let predicted: Map<String, Value> =
        serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(predicted.len(), 30);
    let one = &predicted["0:1:48"];
    assert!((one["digits.validation.latency_ms"].as_f64().unwrap() - 0.48).abs() < 0.1, "{one}");
    assert!(one["digits.validation.accuracy"].is_f64());

    let report = |more: &[&str]| {
        let start = ["predictor", "bench", "--json", "--samples", "12", "--train"];
        let output = ufo(&[&start[..], &[samples.to_str().unwrap()], more].concat());
        succeeds(&output);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let test = report(&["--test", others.to_str().unwrap()]);
    let tau = |report: &Value, task: &str| report["tasks"][task]["kendall_tau"]["mean"].as_f64();
    assert!(tau(&test, "digits.validation.latency_ms").unwrap() > 0.8, "{test}");
    assert_eq!((&test["trained_on"], &test["samples"][0]["count"]), (&json!(30), &json!(12)));
    assert!(tau(&report(&["--folds", "3"]), "digits.validation.accuracy").unwrap() > 0.5);
    lines[3]["latency_ms"] = Value::Null;
    fs::write(&samples, text(&lines[..30])).unwrap();
    let output = ufo(&["predictor", "bench", "--train", samples.to_str().unwrap()]);
    fails(
        &output,
        &["samples.jsonl: digits.validation.latency_ms: is of 29 slices; must be of the 30"],
    );
}

#[test]
fn wrong_samples_are_named_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let (bad, out) = (folder.path().join("samples.jsonl"), folder.path().join("out.json"));
    let text = |lines: &[Value]| {
        lines.iter().map(|line| format!("{line}\n")).collect::<Vec<String>>().concat()
    };
    let good = measured(12);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut lines = good.clone();
        change(&mut lines[3]);
        text(&lines)
    };
    let second = |key: &str, accuracy: f64| {
        let mut line = good[3].clone();
        line["key"] = json!(key);
        line["accuracy"] = json!(accuracy);
        text(&[&good[..], &[line]].concat())
    };
    let raw = |value: &str| text(&good).replacen("0.53", value, 1);
    for (text, words) in [
        (second("k3", 0.9), vec!["samples.jsonl: line 13.key = k3: contradicts line 4"]),
        (second("x", 0.53), vec!["samples.jsonl: slice = 0:1:48,", "keys k3 and x; must have one"]),
        (raw("NaN"), vec!["samples.jsonl: line 4 = ", "must be a sample"]),
        (raw("1e999"), vec!["samples.jsonl: line 4 = number out of range"]),
        (raw("null"), vec!["samples.jsonl: line 4.accuracy = nothing"]),
        (
            changed(&|line| line["latency_ms"] = json!(-1.0)),
            vec!["samples.jsonl: line 4.latency_ms = -1: must be more than 0"],
        ),
        (
            changed(&|line| line["slice"]["blocks"] = json!([])),
            vec!["samples.jsonl: line 4.slice.blocks = []: must keep at least one block"],
        ),
        (
            changed(&|line| line["slice"]["blocks"][1]["block"] = json!(5)),
            vec!["samples.jsonl: slices = kept blocks: must follow one depth rule"],
        ),
    ] {
        fs::write(&bad, text).unwrap();
        fails(&predictor("fit", &[("--train", &bad), ("--out", &out)]), &words);
    }
    assert!(!out.exists());

    // The same line twice is one measurement.
    fs::write(&bad, text(&[&good[..], &good[3..4]].concat())).unwrap();
    succeeds(&predictor("fit", &[("--train", &bad), ("--out", &out)]));
    let fitted: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(fitted["tasks"][0]["values"].as_array().unwrap().len(), 12);

    // Slices that the configured network has not.
    fs::write(&bad, changed(&|line| line["slice"]["blocks"][0]["heads"] = json!(9))).unwrap();
    let config = crate::config(folder.path(), "tasks.toml", 1, "digits");
    let files: [(_, &Path); 3] = [("--train", &bad), ("--config", &config), ("--out", &out)];
    fails(&predictor("fit", &files), &["samples.jsonl: encoding.space.heads = [1, 2, 3, 9]"]);
}
