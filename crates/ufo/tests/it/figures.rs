//! `ufo params` and `ufo bench`: figures for programs to read.

use crate::{succeeds, ufo};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

/// Spec 2.5: 26 tasks at 3 widths in 32 blocks have 78^32 paths.
#[test]
fn params_count_paths_at_several_widths() {
    let output = ufo(&["params", "--preset", "ufo-17b", "--ratio", "3", "--json"]);
    succeeds(&output);
    let counted: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(counted["path_params"], 630_851_840);
    assert_eq!(counted["path_counts"]["seed"]["text"], "3.524e60");
}

#[test]
fn a_benchmark_gives_rows_and_serves_steps() {
    let output = ufo(&["bench", "infer-S-b1-f32", "--rounds", "1", "--json"]);
    succeeds(&output);
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows["rows"][0]["name"], "infer-S-b1-f32");
    assert!(rows["rows"][0]["ours_ms"].as_f64().unwrap() > 0.0);

    let mut child = Command::new(env!("CARGO_BIN_EXE_ufo"))
        .args(["bench", "serve", "infer-S-b1-f32"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"step\nstep\n").unwrap();
    let output = child.wait_with_output().unwrap();
    succeeds(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let facts: Value = serde_json::from_str(lines[0].strip_prefix("ready ").unwrap()).unwrap();
    assert_eq!(facts["name"], "infer-S-b1-f32");
    assert!(lines[1..3].iter().all(|line| line.parse::<f64>().unwrap() > 0.0), "{text}");

    // A folder that is missing costs its own row alone.
    let output = Command::new(env!("CARGO_BIN_EXE_ufo"))
        .args(["bench", "loader-jpeg", "infer-S-b1-f32", "--rounds", "1", "--json"])
        .env("UFO_BENCH_DATA", "/nothing/here")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows["rows"][0]["name"], "infer-S-b1-f32");
    assert!(rows["rows"][1]["skipped"].as_str().unwrap().contains("/nothing/here"));

    let output = Command::new(env!("CARGO_BIN_EXE_ufo"))
        .args(["bench", "infer-S-b1-f32"])
        .env("UFO_THREADS", "two")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("UFO_THREADS = two: must be 1 to"));
    assert_eq!(output.status.code(), Some(1));

    let group = ufo(&["bench", "kernels", "--rounds", "1", "--json"]);
    succeeds(&group);
    let rows: Value = serde_json::from_slice(&group.stdout).unwrap();
    let names: Vec<&str> =
        rows["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["kernels-gemm-f32", "kernels-gemm-bf16", "kernels-gemm-int8"]);
    assert_eq!(ufo(&["bench", "kern"]).status.code(), Some(2));

    let unknown = ufo(&["bench", "serve", "nothing"]);
    assert_eq!(unknown.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("infer-S-b1-f32"));
}
