//! Models side by side: what they scored, their size, and the time of one image on this machine.

use crate::served::Served;
use crate::{Engine, Result};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most times that each is run, and at least.
const ROUNDS: [usize; 2] = [3, 40];
/// After which no further round begins.
const LONGEST: Duration = Duration::from_secs(2);

/// A task of a model beside others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Model.
    pub model: String,
    /// `ufo` or `onnx`.
    pub platform: &'static str,
    /// Numbers that its layers multiply in; those of an ONNX file are its own.
    pub precision: Option<&'static str>,
    /// Task.
    pub task: String,
    /// Bytes of its weights file.
    pub bytes: u64,
    /// Parameters, heads included.
    pub params: Option<u64>,
    /// Metric on the test images, where the folder tells it.
    pub metric: Option<String>,
    /// Its value, a fraction.
    pub value: Option<f64>,
    /// Milliseconds of one image: a tenth, half and nine tenths of the runs were faster.
    pub latency_ms: [f64; 3],
}

/// Runs each task of each model on one image, in turns, with nothing in between, in the engine's threads; of all
/// tasks or those of a name.
///
/// # Errors
/// A model that fails.
pub fn compare(
    engine: &Engine,
    models: &[Arc<Served>],
    task: Option<&str>,
) -> Result<Vec<Compared>> {
    let all = models.iter().flat_map(|model| (0..model.tasks.len()).map(move |task| (model, task)));
    let asked: Vec<(&Arc<Served>, usize)> =
        all.filter(|(model, at)| task.is_none_or(|name| model.tasks[*at].name == name)).collect();
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); asked.len()];
    let started = Instant::now();
    for round in 0..=ROUNDS[1] {
        if round > ROUNDS[0] && started.elapsed() > LONGEST {
            break;
        }
        for ((model, task), times) in asked.iter().zip(&mut times) {
            let image = vec![0.5; model.image_len()];
            let begun = Instant::now();
            engine.compute(|| model.run(*task, &image))?;
            // The first round warms memory and caches.
            if round > 0 {
                times.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    Ok(asked.into_iter().zip(times).map(|((model, task), times)| row(model, task, times)).collect())
}

fn row(model: &Served, task: usize, mut times: Vec<f64>) -> Compared {
    times.sort_unstable_by(f64::total_cmp);
    let at = |tenths: usize| times[(times.len() - 1) * tenths / 10];
    let name = &model.tasks[task].name;
    let scored = model.papers.results.iter().find(|scored| scored.task == *name);
    Compared {
        model: model.name.clone(),
        platform: model.platform,
        precision: model.precision.map(ufo_runtime::Precision::name),
        task: name.clone(),
        bytes: model.papers.bytes,
        params: model.papers.params,
        metric: scored.map(|scored| scored.metric.clone()),
        value: scored.map(|scored| scored.value),
        latency_ms: [at(1), at(5), at(9)],
    }
}
