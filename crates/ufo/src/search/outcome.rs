//! What a search found: `pareto.json`.

use super::Plan;
use super::cross::{self, Foretold};
use super::lab::Lab;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;
use ufo_nas::{
    Explorer, Guess, Limits, Measured, Setting, Slice, hypervolume, macs, params, pareto_front,
};

/// Slices that are timed once more together before one is chosen.
const FINALISTS: usize = 8;

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
    /// The best slice that keeps the bounds, timed once more; none without bounds or where none does.
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
    /// The metric and milliseconds that were measured; of another machine's file, the latter predicted.
    pub(crate) measured: Values,
    /// What the predictors believe of it, this measurement included.
    pub(crate) predicted: Guesses,
    /// The metric of the same slice of the network that was not trained to be cut; of the front's points and
    /// the largest, where that run is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) untrained: Option<f64>,
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

/// Chooses among what was measured.
///
/// # Errors
/// A slice that cannot be timed or judged.
pub(super) fn conclude(lab: &Lab, explorer: &Explorer, plan: &Plan) -> Result<Pareto> {
    let run = lab.run();
    let arch = &run.supernet.arch;
    let slices: Vec<Slice> = explorer.measured().iter().map(|one| one.slice.clone()).collect();
    let guesses = explorer.guess(&slices)?;
    let point = |(one, guess): (&Measured, &Guess)| Point {
        slice: one.slice.to_string(),
        params: params(arch, &one.slice).total(),
        macs: macs(arch, &one.slice).total(),
        measured: Values { accuracy: one.accuracy, latency_ms: one.latency_ms },
        predicted: Guesses { accuracy: guess.accuracy, latency_ms: guess.latency_ms },
        untrained: None,
    };
    let measured: Vec<Point> = explorer.measured().iter().zip(&guesses).map(point).collect();
    let objectives: Vec<[f64; 2]> =
        measured.iter().map(|p| [p.measured.latency_ms, -p.measured.accuracy]).collect();
    let worst = [0, 1].map(|k| objectives.iter().map(|p| p[k]).fold(f64::NEG_INFINITY, f64::max));
    let mut points: Vec<Point> =
        pareto_front(&objectives)?.into_iter().map(|i| measured[i].clone()).collect();
    lab.judge_untrained(&mut points)?;
    let mut largest = measured.iter().max_by_key(|point| point.params).cloned();
    lab.judge_untrained(largest.as_mut_slice())?;
    let chosen = choose(lab, &measured, plan)?;
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

/// The measured slice within the bounds of which most is believed, timed once more.
fn choose(lab: &Lab, measured: &[Point], plan: &Plan) -> Result<Option<Chosen>> {
    let limits = &plan.limits;
    if *limits == Limits::default() {
        return Ok(None);
    }
    let by_speed = limits.max_latency_ms.is_none() && limits.min_accuracy.is_some();
    let arch = &lab.run().supernet.arch;
    let mut within = Vec::new();
    for point in measured {
        let slice: Slice = point.slice.parse()?;
        let Values { accuracy, latency_ms } = point.measured;
        // Another machine's times cannot be taken again: what is only predicted must be safe.
        let sure = if lab.is_here() {
            latency_ms
        } else {
            latency_ms + 2.0 * point.predicted.latency_ms[1]
        };
        if limits.affords(arch, &slice) && limits.satisfied(accuracy, sure) {
            within.push((slice, point));
        }
    }
    within.sort_by(|(_, a), (_, b)| {
        let faster = a.measured.latency_ms.total_cmp(&b.measured.latency_ms);
        let better = b.predicted.accuracy[0].total_cmp(&a.predicted.accuracy[0]);
        if by_speed { faster.then(better) } else { better.then(faster) }
    });
    for some in within.chunks(FINALISTS) {
        let slices: Vec<Slice> = some.iter().map(|(slice, _)| slice.clone()).collect();
        let again = if lab.is_here() { Some(lab.time_again(&slices)?) } else { None };
        for (row, (slice, point)) in some.iter().enumerate() {
            let again = again.as_ref().map(|times| times[row]);
            if again.is_none_or(|ms| limits.satisfied(point.measured.accuracy, ms)) {
                let run = lab.run();
                let largest = run.space().largest(arch);
                return Ok(Some(Chosen {
                    point: (*point).clone(),
                    measured_again_ms: again,
                    test: run.judge(0, slice)?.0.value,
                    test_of_largest: run.judge(0, &largest)?.0.value,
                }));
            }
        }
    }
    Ok(None)
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

    /// An error where bounds were given and no measured slice keeps them, with the nearest values.
    pub(super) fn keeps_limits(&self) -> Result<()> {
        if self.chosen.is_some() || self.limits == Limits::default() {
            return Ok(());
        }
        let Limits { max_latency_ms, min_accuracy, max_params, max_macs } = self.limits;
        let affords = |p: &&Point| {
            max_params.is_none_or(|most| p.params <= most)
                && max_macs.is_none_or(|most| p.macs <= most)
        };
        let mut said = Vec::new();
        if let Some(least) = min_accuracy {
            let fast = |p: &&Point| max_latency_ms.is_none_or(|most| p.measured.latency_ms <= most);
            let best =
                self.measured.iter().filter(affords).filter(fast).map(|p| p.measured.accuracy);
            let best = best.max_by(f64::total_cmp).unwrap_or(f64::NAN);
            said.push(format!(
                "--min-accuracy {least}: the best within the other bounds has {best:.4}"
            ));
        }
        if let Some(most) = max_latency_ms {
            let good = |p: &&Point| min_accuracy.is_none_or(|least| p.measured.accuracy >= least);
            let fast =
                self.measured.iter().filter(affords).filter(good).map(|p| p.measured.latency_ms);
            let fast = fast.min_by(f64::total_cmp).unwrap_or(f64::NAN);
            said.push(format!(
                "--max-latency-ms {most}: the fastest within the other bounds takes {fast:.3} ms"
            ));
        }
        bail!("none of {} measured slices keeps every bound; {}", self.samples, said.join("; "));
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
            "slice (block:heads:ffn)",
        ]);
        for (index, point) in self.points.iter().enumerate() {
            table.add_row([
                index.to_string(),
                format!("{:.3}", point.measured.latency_ms),
                format!("{:.1} %", 100.0 * point.measured.accuracy),
                point.params.to_string(),
                format!("{:.1}", point.macs as f64 / 1e6),
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
