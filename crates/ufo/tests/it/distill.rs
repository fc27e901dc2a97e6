//! Students of a run's task.

use crate::bad_input::fails;
use crate::expand::{read, two_tasks};
use crate::{succeeds, ufo};
use serde_json::Value;
use std::fs;

/// The value of the one task of a model by `ufo eval --model`.
fn judged(run: &str, model: &str) -> Value {
    let output = ufo(&["eval", "--run", run, "--model", model, "--json"]);
    succeeds(&output);
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    rows[0]["result"]["value"].clone()
}

#[test]
fn students_learn_from_runs_and_models_and_are_models() {
    let folder = tempfile::tempdir().unwrap();
    let (run, _) = two_tasks(folder.path());
    let teacher = folder.path().join("teacher").display().to_string();
    succeeds(&ufo(&["extract", "--run", &run, "--tasks", "digits,emoji", "--out", &teacher]));
    for (task, student, of_folder) in
        [("digits", "mobilenet_v3_small", true), ("emoji", "resnet18", false)]
    {
        let place = folder.path().join(student);
        let out = place.display().to_string();
        let source = if of_folder { &teacher } else { &run };
        let start = |set: &str| {
            let what = ["--task", task, "--student", student, "--out", &out, "--set", set];
            let what = [&what[..], &["--quantize", "int8"]].concat();
            ufo(&[&["distill", "--teacher", source, "--run", &run][..], &what].concat())
        };
        succeeds(&start("train.steps=3"));
        let report = read(&place.join("distill.json"));
        let [params, teacher] =
            ["params", "teacher_params"].map(|key| report["model"][key].as_f64().unwrap());
        assert_eq!(report["model"]["compression"].as_f64(), Some(teacher / params));
        let model = place.join("model").display().to_string();
        // By rten and by the training library: the last bits of outputs may differ, ranks hardly.
        let values = [judged(&run, &model), report["value"].clone()];
        let [other, own] = values.map(|value| value.as_f64().unwrap());
        assert!((other - own).abs() < 0.06, "{task}: {other} {own}");
        let int8 = report["model"]["int8_max_rel_err"].as_f64().unwrap();
        // Norms of images of one color magnify what is rounded without a bound.
        assert!(int8 > 0.0 && int8.is_finite(), "{report}");
        let bytes = ["eval", "--run", &run, "--model", &model, "--precision"];
        succeeds(&ufo(&[&bytes[..], &["int8"]].concat()));
        fails(&ufo(&[&bytes[..], &["bf16"]].concat()), &["--precision bf16", "model.int8.onnx"]);
        let image = folder.path().join(format!("{task}/test/dark/0.png")).display().to_string();
        let said = ufo(&["predict", &model, &image, "--json"]);
        succeeds(&said);
        assert!(String::from_utf8_lossy(&said.stdout).contains(task));

        // It goes on where it ended, and is no supernet.
        succeeds(&start("train.steps=4"));
        assert!(place.join("checkpoints/step-00000004/student.safetensors").exists());
        fails(&ufo(&["eval", "--run", &out]), &["a student's run", "model"]);
        let other = start("distill.student=resnet50");
        fails(&other, &["distill.student", "another run folder"]);
    }
}

#[test]
fn wrong_teachers_and_students_say_what_is_wrong_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (run, place) = two_tasks(folder.path());
    let digits = folder.path().join("only-digits").display().to_string();
    succeeds(&ufo(&["extract", "--run", &run, "--tasks", "digits", "--out", &digits]));
    let nothing = folder.path().display().to_string();
    let before = fs::read(place.join("config.toml")).unwrap();
    let out = folder.path().join("out");
    let text = out.display().to_string();
    for (arguments, words) in [
        (vec!["--teacher", &run, "--task", "cats"], vec!["--task cats", "digits, emoji"]),
        (vec!["--teacher", &nothing, "--task", "digits"], vec!["neither a run", "config.toml"]),
        (vec!["--teacher", &digits, "--task", "digits"], vec!["--run", "`digits`"]),
        (
            vec!["--teacher", &digits, "--run", &run, "--task", "emoji"],
            vec!["a teacher of digits, not of `emoji`"],
        ),
        (
            vec![
                "--teacher",
                &digits,
                "--run",
                &run,
                "--task",
                "digits",
                "--set",
                "mean=[0.1,0,0]",
            ],
            vec!["mean [0.5, 0.5, 0.5]"],
        ),
        (
            vec!["--teacher", &run, "--task", "digits", "--set", "distill.temperature=0"],
            vec!["distill.temperature = 0", "above 0"],
        ),
    ] {
        let what = ["distill", "--student", "resnet18", "--out", &text];
        fails(&ufo(&[&what[..], &arguments].concat()), &words);
        assert!(!out.exists(), "{words:?}");
    }
    let unknown = ["distill", "--teacher", &run, "--task", "digits", "--out", &text];
    let refused = ufo(&[&unknown[..], &["--student", "resnet19"]].concat());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("mobilenet_v3_small"), "{said}");
    assert_eq!(fs::read(place.join("config.toml")).unwrap(), before);
}
