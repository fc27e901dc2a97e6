//! Searches of a chip supernet: what is measured, kept, resumed, merged, chosen, extracted and refused.

use crate::bad_input::fails;
use crate::{config, succeeds, train, ufo};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

struct Chip {
    folder: tempfile::TempDir,
    run: PathBuf,
}

impl Chip {
    /// A run of two tasks, and a chip supernet of one.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tasks = config(folder.path(), "tasks.toml", 1, "digits");
        let (whole, run) = (folder.path().join("whole"), folder.path().join("chip"));
        succeeds(&train(&tasks, &whole).output().unwrap());
        let [from, out] = [&whole, &run].map(|path| path.to_str().unwrap());
        // The same networks on all machines, as far as possible.
        let sets = [
            ["--set", "train.steps=80"],
            ["--set", "train.lr=2e-3"],
            ["--set", "train.precision=\"f32\""],
        ]
        .concat();
        let start = ["chip", "--run", from, "--task", "digits", "--out", out];
        succeeds(&ufo(&[&start[..], &sets].concat()));
        Self { folder, run }
    }

    fn search(&self, out: &Path, more: &[&str]) -> Output {
        let [run, out] = [&self.run, out].map(|path| path.to_str().unwrap());
        let start = ["search", "--run", run, "--out", out, "--split", "test", "--rounds", "2"];
        ufo(&[&start[..], more].concat())
    }

    fn command(&self, name: &str, more: &[&str]) -> Output {
        ufo(&[&[name, "--run", self.run.to_str().unwrap()][..], more].concat())
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn a_search_measures_once_chooses_within_limits_and_its_choice_is_extracted() {
    let chip = Chip::new();
    let out = chip.run.join("search");
    succeeds(&chip.search(&out, &["--samples", "14", "--held-out", "5"]));
    let first = fs::read(out.join("samples.jsonl")).unwrap();
    assert_eq!((lines(&out.join("samples.jsonl")), lines(&out.join("held-out.jsonl"))), (14, 5));
    let device = read(&out.join("device.json"));
    assert_eq!(device["rows"].as_array().unwrap().len(), 19);
    let held_out = read(&out.join("held-out.json"));
    assert_eq!(held_out["predictions"][0]["learned_from"], 14);
    let open = read(&out.join("pareto.json"));
    assert!(open["chosen"].is_null() && open["points"][0]["untrained"].is_f64());
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("<h2>Choices</h2>"));

    // Limits need no new measurement, and are kept when the choice is timed once more.
    let middle = open["measured"][2]["params"].as_u64().unwrap().to_string();
    let slow = device["whole_ms"].as_f64().unwrap() * 100.0;
    let limits = ["--max-params", &middle, "--max-latency-ms", &slow.to_string()];
    let output = chip.search(&out, &[&["--samples", "14", "--json"][..], &limits].concat());
    succeeds(&output);
    assert!(fs::read(out.join("samples.jsonl")).unwrap() == first);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let chosen = &found["chosen"];
    assert!(chosen["measured_again_ms"].as_f64().unwrap() <= slow);
    assert!(chosen["point"]["params"].as_u64().unwrap() <= middle.parse().unwrap());

    predicted(&chip, &out);

    // The choice and points of the front go into one model, which scores what they did. Times are this machine's: the
    // fastest network may be the best one, too, and the front that point alone.
    let both = chip.folder.path().join("both");
    let count = found["points"].as_array().unwrap().len().min(2);
    let numbers = ["0", "0,1"][count - 1];
    let points = ["--tasks", "digits", "--pareto", numbers, "--out", both.to_str().unwrap()];
    succeeds(&chip.command("extract", &points));
    let judged = chip.command("eval", &["--model", both.to_str().unwrap(), "--json"]);
    let judged: Value = serde_json::from_slice(&judged.stdout).unwrap();
    for point in 0..count {
        let result = &judged[point]["result"];
        let name = if count == 1 { "digits".into() } else { format!("digits-{point}") };
        assert_eq!(result["name"], name);
        assert_eq!(result["value"], found["points"][point]["measured"]["accuracy"]);
    }
    kept(&chip, &both, (&found, &judged));
    let several = chip.folder.path().join("several");
    let [run, whole] =
        [&chip.run, &chip.folder.path().join("whole")].map(|p| p.display().to_string());
    let parts = [format!("{run}=chosen"), format!("{whole}=largest")];
    let place = several.to_str().unwrap();
    succeeds(&ufo(&["extract", "--part", &parts[0], "--part", &parts[1], "--out", place]));
    let manifest = read(&several.join("manifest.json"));
    let names: Vec<&str> =
        manifest["tasks"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["digits-0", "digits-1", "emoji"]);
    refused(&chip, &out);
}

/// A predictor of the samples that a search wrote, and the one that it wrote itself.
fn predicted(chip: &Chip, out: &Path) {
    let [samples, config, fitted, own, to] = [
        out.join("samples.jsonl"),
        chip.run.join("config.toml"),
        chip.folder.path().join("fitted.json"),
        out.join("predictor.json"),
        chip.folder.path().join("predicted.json"),
    ]
    .map(|path| path.to_str().unwrap().to_string());
    let fit = ["--train", &samples, "--config", &config, "--out", &fitted];
    succeeds(&ufo(&[&["predictor", "fit"][..], &fit].concat()));
    let predict = |model: &str, archs: &str| {
        let files = ["--model", model, "--archs", archs, "--out", &to];
        succeeds(&ufo(&[&["predictor", "predict"][..], &files].concat()));
        read(Path::new(&to))
    };
    let lines: Vec<Value> = fs::read_to_string(&samples)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_fitted = predict(&fitted, &samples);
    assert_eq!(of_fitted.as_object().unwrap().len(), lines.len());
    let pareto = read(&out.join("pareto.json"));
    let both = predict(&own, &samples);
    for (line, point) in lines.iter().zip(pareto["measured"].as_array().unwrap()) {
        let slice = point["slice"].as_str().unwrap();
        // What the search believes is what the file says, and what is learned of the samples alone.
        let accuracy = &both[slice]["digits.test.accuracy"];
        assert_eq!(accuracy, &of_fitted[slice]["digits.test.accuracy"]);
        let said = accuracy.as_f64().unwrap();
        assert!((said - point["predicted"]["accuracy"][0].as_f64().unwrap()).abs() < 1e-9);
        assert!((said - line["accuracy"].as_f64().unwrap()).abs() < 0.2);
        assert!(both[slice]["digits.test.latency_ms"].as_f64().unwrap() > 0.0);
    }
    // Slices that were never seen, of the run's space.
    let held = out.join("held-out.jsonl");
    assert_eq!(predict(&fitted, held.to_str().unwrap()).as_object().unwrap().len(), 5);
}

/// What a model brings along for the server: the front, and what it scored in every form.
fn kept(chip: &Chip, model: &Path, (found, judged): (&Value, &Value)) {
    let fronts = read(&model.join("fronts.json"));
    let points = found["points"].as_array().unwrap();
    assert_eq!(fronts[0]["points"].as_array().unwrap().len(), points.len());
    let last = points.len() - 1;
    assert_eq!(fronts[0]["points"][last]["accuracy"], points[last]["measured"]["accuracy"]);
    succeeds(&chip.command("eval", &["--model", model.to_str().unwrap(), "--keep"]));
    let results = read(&model.join("results.json"));
    let rows = results.as_array().unwrap();
    let forms: Vec<&str> = rows.iter().map(|row| row["as"].as_str().unwrap()).collect();
    let of_each = |form| std::iter::repeat_n(form, points.len().min(2));
    assert!(forms.into_iter().eq(["f32", "int8", "model.onnx"].into_iter().flat_map(of_each)));
    let last = points.len().min(2) - 1;
    assert_eq!(rows[last]["value"], judged[last]["result"]["value"]);
    assert_eq!(rows[last]["task"], judged[last]["result"]["name"]);
}

/// Limits that nothing keeps, points that are not, files of other runs; nothing is changed by them.
fn refused(chip: &Chip, out: &Path) {
    let before = fs::read(out.join("samples.jsonl")).unwrap();
    let found = ["pareto.json", "report.html"].map(|name| fs::read(out.join(name)).unwrap());
    let pareto: Value = serde_json::from_slice(&found[0]).unwrap();
    let smallest = &pareto["measured"][0];
    let least = smallest["params"].to_string();
    let accuracy = smallest["measured"]["accuracy"].as_f64().unwrap();
    let within = format!("--min-accuracy 1: the best within the other bounds has {accuracy:.4}");
    for (more, said) in [
        (&["--max-latency-ms", "1e-6"][..], "no slice is so fast; the fastest measured"),
        (&["--max-params", "1"], "no slice has so few; the smallest has"),
        (&["--max-macs", "1k"], "max_macs = 1000"),
        (&["--min-accuracy", "1"], "--min-accuracy 1: the best has 0."),
        (&["--threads", "2"], "device.json: setting"),
        // Another bound counts in what is named as nearest: the best there is would be larger.
        (&["--min-accuracy", "1", "--max-params", &least], &within),
    ] {
        fails(&chip.search(out, &[&["--samples", "14"], more].concat()), &[said]);
    }
    assert!(fs::read(out.join("samples.jsonl")).unwrap() == before);
    // An earlier choice stays in force.
    assert!(found == ["pareto.json", "report.html"].map(|name| fs::read(out.join(name)).unwrap()));
    fails(&chip.command("eval", &["--slice", "pareto.99"]), &["must be pareto.0 to pareto."]);
    fails(&chip.command("search", &[]), &["holds no images out"]);
    let whole = chip.folder.path().join("whole");
    fails(&ufo(&["search", "--run", whole.to_str().unwrap()]), &["make one with `ufo chip`"]);

    // A measurement of this run's weights, of a slice that the space has not.
    let stray = json!({"blocks": (0..6).map(|block| json!({"block": block, "heads": 1, "ffn": 50})).collect::<Vec<_>>()});
    let name: Vec<String> = (0..6).map(|block| format!("{block}:1:50")).collect();
    let hashed = json!([pareto["checkpoint"], name.join(","), "digits", "test", 1000]).to_string();
    let key = blake3::hash(hashed.as_bytes()).to_hex()[..32].to_string();
    let line =
        json!({"key": key, "slice": stray, "task": "digits", "split": "test", "accuracy": 0.5});
    let astray = chip.folder.path().join("astray");
    fs::create_dir(&astray).unwrap();
    fs::write(astray.join("samples.jsonl"), format!("{line}\n")).unwrap();
    fails(
        &chip.search(&astray, &["--samples", "8"]),
        &["samples.jsonl: slice = 0:1:50,", "must be of the run's space"],
    );

    // Times of another space are refused; those of this one are taken as they are.
    let device = out.join("device.json");
    let other = chip.folder.path().join("other.json");
    let elsewhere = chip.folder.path().join("elsewhere");
    let file = ["--samples", "8", "--device-file", other.to_str().unwrap()];
    let mut times = read(&device);
    times["space"]["depths"] = json!([6]);
    times["rows"] = json!([]);
    fs::write(&other, times.to_string()).unwrap();
    let search = |more: &[&str]| {
        let [run, out] = [&chip.run, &elsewhere].map(|path| path.to_str().unwrap());
        ufo(&[&["search", "--run", run, "--out", out, "--split", "test"][..], more].concat())
    };
    fails(&search(&file), &["must be the run's"]);
    fs::copy(&device, &other).unwrap();
    let most = read(&device)["whole_ms"].as_f64().unwrap() * 2.0;
    succeeds(&search(&[&file[..], &["--max-latency-ms", &most.to_string()]].concat()));
    let found = read(&elsewhere.join("pareto.json"));
    assert!(found["chosen"]["measured_again_ms"].is_null());
    assert!(!elsewhere.join("device.json").exists());
}

#[test]
fn a_search_stops_by_its_budget_and_what_is_held_out_is_never_learned_from() {
    let chip = Chip::new();
    let out = chip.folder.path().join("search");
    let [samples, held] = ["samples.jsonl", "held-out.jsonl"].map(|name| out.join(name));
    // No time to learn anything.
    let nothing = chip.search(&out, &["--samples", "14", "--budget", "0s"]);
    fails(&nothing, &["--budget: over after 0 of 14 slices, too few", "samples.jsonl"]);
    assert_eq!(lines(&samples), 0);
    succeeds(&chip.search(&out, &["--samples", "8", "--task", "digits"]));
    let eight = fs::read(&samples).unwrap();
    // What is known is kept and concluded from; more and held-out slices are left out.
    let more = ["--samples", "14", "--held-out", "3"];
    let stopped = chip.search(&out, &[&more[..], &["--budget", "0s"]].concat());
    succeeds(&stopped);
    let said = String::from_utf8_lossy(&stopped.stderr).into_owned();
    for word in ["--budget: over after 8 of 14 slices", "over after 0 of 3 held-out slices"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(fs::read(&samples).unwrap() == eight);
    assert_eq!(read(&out.join("pareto.json"))["samples"], 8);
    // The same command goes on.
    succeeds(&chip.search(&out, &more));
    assert!(fs::read(&samples).unwrap().starts_with(&eight));
    assert_eq!((lines(&samples), lines(&held)), (14, 3));

    // Half of what the design would measure is held out beforehand, one slice is in both files.
    let text = fs::read_to_string(&samples).unwrap();
    let all: Vec<&str> = text.lines().collect();
    fs::write(&samples, format!("{}\n", all[0])).unwrap();
    fs::write(&held, all[..5].iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let leaked = chip.search(&out, &["--samples", "14"]);
    succeeds(&leaked);
    assert!(String::from_utf8_lossy(&leaked.stderr).contains("1 slices are among the samples"));
    let text = fs::read_to_string(&samples).unwrap();
    assert_eq!(text.lines().count(), 14);
    assert!(all[1..5].iter().all(|held| text.lines().all(|line| line != *held)), "{text}");
    // Without --held-out the pictures of what is held out stay.
    let predicted = read(&out.join("held-out.json"));
    assert_eq!(predicted["predictions"][0]["accuracies"].as_array().unwrap().len(), 4);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<h2>Choices</h2>") && page.contains("Order of held-out slices"));

    compared(&chip, &out);
    let other = chip.search(&out, &["--task", "emoji"]);
    fails(&other, &["--task emoji:", "is a chip supernet of digits"]);
}

/// A network trained alone stands beside the slice of its size, one of another size is refused.
fn compared(chip: &Chip, out: &Path) {
    let tasks = chip.folder.path().join("tasks.toml");
    let [small, shallow] = [3, 2].map(|depth| {
        let run = chip.folder.path().join(format!("alone-{depth}"));
        let depth = format!("arch.depth={depth}");
        let sets = ["--set", &depth, "--set", "arch.heads=2", "--set", "arch.ffn=96"];
        succeeds(&train(&tasks, &run).args(sets).output().unwrap());
        run
    });
    let small = small.to_str().unwrap();
    succeeds(&chip.search(out, &["--samples", "14", "--alone", small]));
    let found = read(&out.join("pareto.json"));
    let measured = found["measured"].as_array().unwrap();
    let alone: Vec<&Value> = measured.iter().filter(|point| point["alone"].is_f64()).collect();
    assert_eq!(alone.len(), 1);
    assert_eq!(alone[0]["slice"], "0:2:96,1:2:96,2:2:96");
    let judged = ufo(&["eval", "--run", small, "--json"]);
    let judged: Value = serde_json::from_slice(&judged.stdout).unwrap();
    assert_eq!(alone[0]["alone"], judged[0]["result"]["value"]);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("trained alone") && page.contains("0:2:96,1:2:96,2:2:96"));
    assert!(page.contains("hypervolume"), "{page}");
    let refused = chip.search(out, &["--samples", "14", "--alone", shallow.to_str().unwrap()]);
    fails(
        &refused,
        &["--alone", "2 blocks of 2 heads and 96 hidden units; must be of depths [3, 4"],
    );
}

#[test]
fn parts_are_judged_apart_and_merged() {
    let chip = Chip::new();
    let parts = ["0/2", "1/2"].map(|part| {
        let out = chip.folder.path().join(part.replace('/', "-"));
        succeeds(&chip.search(&out, &["--samples", "9", "--shard", part]));
        assert!(!out.join("pareto.json").exists());
        out.join("samples.jsonl")
    });
    assert_eq!(parts.each_ref().map(|part| lines(part)), [5, 4]);
    let all = chip.folder.path().join("all");
    let merged = all.join("samples.jsonl");
    let [a, b, to] = [&parts[0], &parts[1], &merged].map(|path| path.to_str().unwrap());
    succeeds(&ufo(&["search", "merge", a, b, "--out", to]));
    // Once more adds nothing; a line that a kill cut off is measured again.
    succeeds(&ufo(&["search", "merge", a, b, "--out", to]));
    let whole = fs::read_to_string(&merged).unwrap();
    assert_eq!(whole.lines().count(), 9);
    fs::write(&merged, &whole[..whole.len() - 7]).unwrap();
    succeeds(&chip.search(&all, &["--samples", "9"]));
    let again = fs::read_to_string(&merged).unwrap();
    let kept: Vec<&str> = whole.lines().take(8).collect();
    assert!(again.lines().take(8).eq(kept) && again.lines().count() == 9, "{again}");

    let other = whole.lines().next().unwrap().replace("\"accuracy\":0", "\"accuracy\":1");
    let contradiction = chip.folder.path().join("other.jsonl");
    fs::write(&contradiction, format!("{other}\n")).unwrap();
    let output = ufo(&["search", "merge", contradiction.to_str().unwrap(), "--out", to]);
    fails(&output, &["a key has one measurement"]);
    for other in [["--shard", "0/2"], ["--device-file", "times.json"]] {
        let usage = chip.search(&all, &[&["--held-out", "3"][..], &other].concat());
        assert_eq!(usage.status.code(), Some(2));
    }
    let none = chip.folder.path().join("none");
    let part = chip.search(&none, &["--samples", "9", "--shard", "0/2", "--budget", "0s"]);
    succeeds(&part);
    assert!(
        String::from_utf8_lossy(&part.stderr).contains("--budget: over, 5 slices are left out")
    );
    assert!(String::from_utf8_lossy(&part.stdout).contains("0 slices, part 0 of 2"));
    let usage = chip.search(&all, &["--shard", "2/2"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&usage.stderr).contains("i from 0 to n - 1"));
}
