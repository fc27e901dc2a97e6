//! What a search found: `pareto.json`.

use super::Plan;
use super::choice::{decide, nearest};
use super::cross::{self, Foretold};
use super::lab::Lab;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;
use ufo_nas::{
    Explorer, Guess, Limits, Measured, Predictor, Setting, Slice, TaskSamples, Transform,
    activation_bytes, hypervolume, macs, params, pareto_front,
};

/// What `pareto.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pareto {
    /// Version of the format, 1.
    pub(crate) version: u32,
    /// Task.
    pub(crate) task: String,
    /// Its metric.
    pub(crate) metric: String,
    /// Images that slices were judged on.
    pub(crate) split: String,
    /// Hash of the weights.
    pub(crate) checkpoint: String,
    /// How times were taken.
    pub(crate) setting: Setting,
    /// Bounds of the search.
    pub(crate) limits: Limits,
    /// Slices that were judged.
    pub(crate) samples: usize,
    /// Accuracy times milliseconds that the front dominates, up to the worst of each that was measured.
    pub(crate) hypervolume: f64,
    /// Slices that no other measured one beats in accuracy and latency, the fastest first.
    pub(crate) points: Vec<Point>,
    /// The largest slice that was judged.
    pub(crate) largest: Option<Point>,
    /// Every slice that was judged, in that order.
    pub(crate) measured: Vec<Point>,
    /// The best slice that keeps the bounds, timed once more; none without bounds.
    pub(crate) chosen: Option<Chosen>,
    /// How well each fifth of the slices is predicted from the others.
    pub(crate) foretold: Option<Foretold>,
}

/// A slice, what it costs and what it scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Point {
    /// `block:heads:ffn` of each kept block, as `--slice` takes it.
    pub(crate) slice: String,
    /// Parameters, the head excluded.
    pub(crate) params: u64,
    /// Multiply-accumulates of an image.
    pub(crate) macs: u64,
    /// Bytes of the largest sum of live activations of an image, an estimate; see [`ufo_nas::activation_bytes`].
    #[serde(default)]
    pub(crate) activation_bytes: u64,
    /// The metric and milliseconds that were measured; of another machine's file, the latter predicted.
    pub(crate) measured: Values,
    /// What the predictors believe of it, this measurement included.
    pub(crate) predicted: Guesses,
    /// The metric of the same slice of the network that was not trained to be cut; of the front's points and
    /// the largest, where that run is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) untrained: Option<f64>,
    /// The metric of a network of this size that was trained alone, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alone: Option<f64>,
}

/// Accuracy and latency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Values {
    pub(crate) accuracy: f64,
    pub(crate) latency_ms: f64,
}

/// Means and standard deviations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Guesses {
    pub(crate) accuracy: [f64; 2],
    pub(crate) latency_ms: [f64; 2],
}

/// The slice to use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chosen {
    pub(crate) point: Point,
    /// Milliseconds when it was timed once more; none with another machine's times.
    pub(crate) measured_again_ms: Option<f64>,
    /// Metric on the test images.
    pub(crate) test: f64,
    /// The same of the largest slice.
    pub(crate) test_of_largest: f64,
}

/// Chooses among what was measured; `alone` are the metrics of networks trained alone, of the slices' sizes.
///
/// # Errors
/// A slice that cannot be timed or judged; bounds that no measured slice keeps, with the nearest values.
pub(super) fn conclude(
    lab: &Lab,
    explorer: &Explorer,
    plan: &Plan,
    alone: &[(Slice, f64)],
) -> Result<Pareto> {
    let run = lab.run();
    let arch = &run.supernet.arch;
    let slices: Vec<Slice> = explorer.measured().iter().map(|one| one.slice.clone()).collect();
    let guesses = explorer.guess(&slices)?;
    let point = |(one, guess): (&Measured, &Guess)| Point {
        slice: one.slice.to_string(),
        params: params(arch, &one.slice).total(),
        macs: macs(arch, &one.slice).total(),
        activation_bytes: activation_bytes(arch, &one.slice),
        measured: Values { accuracy: one.accuracy, latency_ms: one.latency_ms },
        predicted: Guesses { accuracy: guess.accuracy, latency_ms: guess.latency_ms },
        untrained: None,
        alone: alone.iter().find(|(slice, _)| *slice == one.slice).map(|(_, value)| *value),
    };
    let measured: Vec<Point> = explorer.measured().iter().zip(&guesses).map(point).collect();
    let chosen = choose(lab, &measured, plan)?;
    let objectives: Vec<[f64; 2]> =
        measured.iter().map(|p| [p.measured.latency_ms, -p.measured.accuracy]).collect();
    let worst = [0, 1].map(|k| objectives.iter().map(|p| p[k]).fold(f64::NEG_INFINITY, f64::max));
    let mut points: Vec<Point> =
        pareto_front(&objectives)?.into_iter().map(|i| measured[i].clone()).collect();
    lab.judge_untrained(&mut points)?;
    let mut largest = measured.iter().max_by_key(|point| point.params).cloned();
    lab.judge_untrained(largest.as_mut_slice())?;
    let config = &run.tasks[0].config;
    Ok(Pareto {
        version: 1,
        task: config.name.clone(),
        metric: config.protocol().headline(),
        split: plan.split.name().to_string(),
        checkpoint: lab.checkpoint().to_string(),
        setting: lab.device().setting.clone(),
        limits: plan.limits,
        samples: measured.len(),
        hypervolume: hypervolume(&objectives, worst)?,
        points,
        largest,
        chosen,
        foretold: cross::validate(&run.encoding(), &lab.accuracies()?, &lab.latencies())?,
        measured,
    })
}

/// Accuracy and latency learned from all that was measured, as `ufo predictor fit` does; what is the same for all
/// slices is left out, and there is none where nothing is left.
pub(super) fn predictor(lab: &Lab, plan: &Plan) -> Result<Option<Predictor>> {
    let name = format!("{}.{}", lab.run().tasks[0].config.name, plan.split.name());
    let samples = |what: &str, transform, rows: Vec<(Slice, f64)>| {
        let (slices, values): (Vec<Slice>, Vec<f64>) = rows.into_iter().unzip();
        TaskSamples { task: format!("{name}.{what}"), transform, slices, values }
    };
    let mut tasks = vec![
        samples("accuracy", Transform::NormalScores, lab.accuracies()?),
        samples("latency_ms", Transform::Log, lab.latencies()),
    ];
    tasks.retain(|task| task.values.windows(2).any(|pair| pair[0].total_cmp(&pair[1]).is_ne()));
    if tasks.is_empty() {
        return Ok(None);
    }
    Ok(Some(Predictor::fit(lab.run().encoding(), tasks)?))
}

/// The measured slice within the bounds of which most is believed, timed once more; none without bounds.
fn choose(lab: &Lab, measured: &[Point], plan: &Plan) -> Result<Option<Chosen>> {
    let limits = &plan.limits;
    if *limits == Limits::default() {
        return Ok(None);
    }
    let mut again = |some: &[&Point]| {
        let slices: Result<Vec<Slice>, _> = some.iter().map(|point| point.slice.parse()).collect();
        lab.time_again(&slices?)
    };
    let decision = if lab.is_here() {
        decide(measured, limits, Some(&mut again))?
    } else {
        decide(measured, limits, None)?
    };
    let Some((point, measured_again_ms)) = decision.taken else {
        let nearest = nearest(measured, limits, &decision, lab.is_here());
        bail!("none of {} measured slices keeps every bound; {nearest}", measured.len());
    };
    let run = lab.run();
    let largest = run.space().largest(&run.supernet.arch);
    Ok(Some(Chosen {
        point: point.clone(),
        measured_again_ms,
        test: run.judge(0, &point.slice.parse()?)?.0.value,
        test_of_largest: run.judge(0, &largest)?.0.value,
    }))
}

impl Pareto {
    /// Reads the file.
    ///
    /// # Errors
    /// A file that `ufo search` did not write.
    pub(crate) fn read(place: &Path) -> Result<Self> {
        let at = || place.display().to_string();
        let text = std::fs::read_to_string(place).with_context(at)?;
        let found: Self = serde_json::from_str(&text)
            .with_context(|| format!("{}: not what `ufo search` writes", at()))?;
        if found.version != 1 {
            bail!("{}: version = {}: must be 1", at(), found.version);
        }
        Ok(found)
    }

    /// The front as a terminal table.
    pub(crate) fn table(&self) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
        let metric = format!("{} ({})", self.metric, self.split);
        table.set_header([
            "point",
            "ms",
            &metric,
            "parameters",
            "million MACs",
            "kB of activations",
            "slice (block:heads:ffn)",
        ]);
        for (index, point) in self.points.iter().enumerate() {
            table.add_row([
                index.to_string(),
                format!("{:.3}", point.measured.latency_ms),
                format!("{:.1} %", 100.0 * point.measured.accuracy),
                point.params.to_string(),
                format!("{:.1}", point.macs as f64 / 1e6),
                format!("{:.0}", point.activation_bytes as f64 / 1e3),
                point.slice.clone(),
            ]);
        }
        table
    }

    /// The choice, and how far the predictors are to be trusted.
    pub(crate) fn said(&self) -> String {
        let mut said = Vec::new();
        if let Some(Chosen { point, measured_again_ms, test, test_of_largest }) = &self.chosen {
            let again = measured_again_ms
                .map_or("as predicted".to_string(), |ms| format!("{ms:.3} ms, timed once more"));
            said.push(format!(
                "chosen: {} ({} parameters, {again}); on the test images {:.1} %, the largest {:.1} %",
                point.slice,
                point.params,
                100.0 * test,
                100.0 * test_of_largest
            ));
        }
        said.extend(self.foretold.as_ref().map(Foretold::said));
        said.join("\n")
    }
}
