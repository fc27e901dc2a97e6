//! The commands that each kind of work is made of.

use super::intake::Folders;
use super::job::{Kind, Wanted};
use super::{Project, StudioConfig};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Slices that a search judges.
const SAMPLES: u32 = 24;
/// Images of a class's training split from which a validation split is held out.
const HELD_OUT_FROM: usize = 10;

/// Identities to train on from which a tenth is held out: among fewer than 20 everyone is found.
const IDENTITIES_HELD_OUT_FROM: usize = 200;

/// A command of the program.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// What it does, for people.
    pub(super) what: &'static str,
    pub(super) words: Vec<OsString>,
    /// How long it trains, in seconds.
    pub(super) budget: Option<u64>,
}

/// Words of a command; folders are words, too, so that nothing in a name is more than a name.
macro_rules! words {
    ($($word:expr),* $(,)?) => { vec![$(OsString::from($word)),*] };
}

/// The work's commands, and folders of earlier work that it begins anew: models in them are not served any more.
pub(super) fn plan(
    config: &StudioConfig,
    project: &Project,
    wanted: &Wanted,
) -> Result<(Vec<Step>, Vec<PathBuf>), String> {
    let step = |what, words, budget| Step { what, words, budget };
    let budget = format!("{}s", wanted.seconds);
    let training = Some(wanted.seconds);
    let [run, chip, student] = ["run", "chip", "student"].map(|name| project.folder.join(name));
    let name = project.name.as_str();
    let trained = || {
        let there = run.join("expand.json").exists();
        if there { Ok(()) } else { Err("train the task first".to_string()) }
    };
    match wanted.kind {
        Kind::Train => {
            let model = project.folder.join("models");
            let task = project.folder.join("task.toml");
            let mut words = words!["expand", "--run", &config.run, "--task", task, "--out", &run];
            words.extend(words!["--update", &wanted.update, "--budget", budget]);
            words.extend(words!["--set", "train.log_every=5", "--set", "train.evaluations=12"]);
            let whole = model.join("whole");
            let mut steps = vec![step("training", words, training)];
            steps.extend(model_steps(&run, name, &["--quantize", "int8"], whole));
            let anew = if wanted.resume { vec![model] } else { vec![run, chip, student, model] };
            Ok((steps, anew))
        }
        Kind::Sizes => {
            trained()?;
            let mut words = words!["chip", "--run", &run, "--task", name, "--out", &chip];
            words.extend(words!["--budget", budget, "--set", "train.log_every=5"]);
            let samples = SAMPLES.to_string();
            let split = if project.holds_out()? { "validation" } else { "test" };
            let search = words!["search", "--run", &chip, "--samples", samples, "--split", split];
            let steps = vec![
                step("training smaller networks", words, training),
                step("measuring smaller networks", search, None),
            ];
            Ok((steps, if wanted.resume { vec![] } else { vec![chip] }))
        }
        Kind::Pick => {
            let front = project.front()?.ok_or("search smaller networks first")?;
            let point = wanted.point.filter(|point| *point < front.points.len());
            let point = point.ok_or_else(|| {
                format!("point: must be 0 to {}", front.points.len().saturating_sub(1))
            })?;
            let model = project.folder.join("models").join(format!("size-{point}"));
            let point = point.to_string();
            let more = ["--pareto", &point, "--quantize", "int8"];
            Ok((model_steps(&chip, name, &more, model.clone()), vec![model]))
        }
        Kind::Student => {
            trained()?;
            let anew = if wanted.resume { student.join("model") } else { student.clone() };
            Ok((student_steps(&run, name, wanted, &student), vec![anew]))
        }
    }
}

/// Teaches a student and judges it.
fn student_steps(run: &Path, task: &str, wanted: &Wanted, out: &Path) -> Vec<Step> {
    let mut words = words!["distill", "--teacher", run, "--task", task, "--out", out];
    let budget = format!("{}s", wanted.seconds);
    words.extend(words!["--student", &wanted.network, "--budget", budget]);
    words.extend(words!["--set", "train.log_every=5"]);
    let eval = words!["eval", "--run", run, "--model", out.join("model"), "--keep"];
    vec![
        Step { what: "training a student", words, budget: Some(wanted.seconds) },
        Step { what: "judging it", words: eval, budget: None },
    ]
}

/// Extracts a model and judges it.
fn model_steps(run: &Path, task: &str, more: &[&str], model: PathBuf) -> Vec<Step> {
    let mut words = words!["extract", "--run", run, "--tasks", task, "--out", &model];
    words.extend(more.iter().map(OsString::from));
    let eval = words!["eval", "--run", run, "--model", model, "--keep"];
    vec![
        Step { what: "writing the model", words, budget: None },
        Step { what: "judging the model", words: eval, budget: None },
    ]
}

/// The `task.toml` of a project that will lie at a place: how its images are trained on.
pub(super) fn task_toml(project: &Project, at: &Path) -> Result<String, String> {
    let checks = project.checks()?;
    let images: usize = checks.classes.iter().map(|class| class.train).sum();
    let place =
        |split: &str| toml::Value::String(at.join("images").join(split).display().to_string());
    let validation = if project.holds_out()? { 0.1 } else { 0.0 };
    let (head, batch) = match checks.folders {
        Folders::Classes => ("head = { kind = \"linear\" }", images.clamp(2, 32)),
        // Pairs of an identity's images, of as many identities as there are.
        Folders::Identities => (
            "head = { kind = \"embedding\", scale = 20.0 }\n\
             sampler = { kind = \"identity\", per_identity = 2 }\ntriplet = {}\n\
             eval = { kind = \"retrieval\", ks = [1, 5] }",
            2 * checks.trained().clamp(2, 16),
        ),
    };
    Ok(format!(
        "[[task]]\nname = {}\n{head}\nbatch = {batch}\n\
         data = {{ format = \"image-folder\", train = {}, test = {}, validation = {validation:?} }}\n\
         augment = {{ flip = 0.5, pad_crop = 2 }}\n",
        toml::Value::String(project.name.clone()),
        place("train"),
        place("test"),
    ))
}

impl Project {
    /// Whether images of each class, or identities, are enough to hold some out to choose by.
    pub(super) fn holds_out(&self) -> Result<bool, String> {
        let checks = self.checks()?;
        Ok(match checks.folders {
            Folders::Classes => checks.classes.iter().all(|class| class.train >= HELD_OUT_FROM),
            Folders::Identities => checks.trained() >= IDENTITIES_HELD_OUT_FROM,
        })
    }
}
