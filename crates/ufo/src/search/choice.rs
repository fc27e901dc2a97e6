//! Which measured slice a search takes, and what it says where none keeps the bounds.

use super::outcome::{Point, Values};
use anyhow::Result;
use std::cmp::Ordering;
use std::collections::HashMap;
use ufo_nas::Limits;

/// Slices that are timed once more together before one is chosen.
const FINALISTS: usize = 8;

/// The slice that was taken, and the times that were taken to decide.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Decision<'a> {
    /// The first of the most promising that keeps the bounds, and its milliseconds when it was timed once more.
    pub(super) taken: Option<(&'a Point, Option<f64>)>,
    /// Milliseconds of every slice that was timed once more.
    again: HashMap<&'a str, f64>,
}

/// Times points once more; milliseconds of each.
type Again<'t, 'a> = &'t mut dyn FnMut(&[&'a Point]) -> Result<Vec<f64>>;

/// Goes through the points within the bounds, those of which most is believed first (with a bound on accuracy
/// alone the fastest), until one keeps them when it is timed once more. `again` gives milliseconds now of the
/// points that it is told; without it times are another machine's and must hold with two deviations to spare.
///
/// # Errors
/// Those of `again`.
pub(super) fn decide<'a>(
    points: &'a [Point],
    limits: &Limits,
    again: Option<Again<'_, 'a>>,
) -> Result<Decision<'a>> {
    let here = again.is_some();
    let mut within: Vec<&Point> = points
        .iter()
        .filter(|point| affords(point, limits))
        .filter(|point| limits.satisfied(point.measured.accuracy, sure(point, here)))
        .collect();
    within.sort_by(|a, b| promising(a, b, limits));
    let mut decision = Decision::default();
    let Some(again) = again else {
        decision.taken = within.first().map(|point| (*point, None));
        return Ok(decision);
    };
    for some in within.chunks(FINALISTS) {
        let times = again(some)?;
        decision.again.extend(some.iter().map(|point| point.slice.as_str()).zip(times.clone()));
        let mut timed = some.iter().zip(times);
        let kept = timed.find(|(point, ms)| limits.satisfied(point.measured.accuracy, *ms));
        if let Some((point, ms)) = kept {
            decision.taken = Some((*point, Some(ms)));
            return Ok(decision);
        }
    }
    Ok(decision)
}

fn promising(a: &Point, b: &Point, limits: &Limits) -> Ordering {
    let faster = a.measured.latency_ms.total_cmp(&b.measured.latency_ms);
    let better = b.predicted.accuracy[0].total_cmp(&a.predicted.accuracy[0]);
    let by_speed = limits.max_latency_ms.is_none() && limits.min_accuracy.is_some();
    if by_speed { faster.then(better) } else { better.then(faster) }
}

fn affords(point: &Point, limits: &Limits) -> bool {
    limits.max_params.is_none_or(|most| point.params <= most)
        && limits.max_macs.is_none_or(|most| point.macs <= most)
}

/// Milliseconds that a point does not exceed: what another machine's times only predict must be safe.
fn sure(point: &Point, here: bool) -> f64 {
    let Values { latency_ms, .. } = point.measured;
    if here { latency_ms } else { latency_ms + 2.0 * point.predicted.latency_ms[1] }
}

/// A bound, the value of a point that it is on, and how values are said.
struct Bound {
    /// As it was typed.
    typed: String,
    /// These limits without it.
    others: Limits,
    /// Of two points the nearer to the bound.
    nearer: fn(&Known, &Known) -> Ordering,
    /// What is said of the nearest.
    said: fn(&Known) -> String,
}

/// A point with the time that counts: the second one where there is one.
struct Known<'a> {
    point: &'a Point,
    ms: f64,
}

impl Known<'_> {
    fn keeps(&self, limits: &Limits) -> bool {
        affords(self.point, limits) && limits.satisfied(self.point.measured.accuracy, self.ms)
    }
}

/// For each bound the nearest value of a measured slice that keeps the others, or of all where none does; values
/// are rounded to what the slice still keeps.
pub(super) fn nearest<'a>(
    points: &'a [Point],
    limits: &Limits,
    decision: &Decision<'a>,
    here: bool,
) -> String {
    let known = |point: &'a Point| {
        let again = decision.again.get(point.slice.as_str()).copied();
        Known { point, ms: again.unwrap_or_else(|| sure(point, here)) }
    };
    let all: Vec<Known> = points.iter().map(known).collect();
    let bounds = bounds(limits);
    let alone = bounds.len() == 1;
    let say = |bound: &Bound| {
        let kept = all.iter().filter(|known| known.keeps(&bound.others));
        let nearest = kept.min_by(|a, b| (bound.nearer)(a, b));
        let (among, nearest) = match nearest {
            Some(nearest) if alone => ("", Some(nearest)),
            Some(nearest) => (" within the other bounds", Some(nearest)),
            None => (
                " of all (none keeps the other bounds)",
                all.iter().min_by(|a, b| (bound.nearer)(a, b)),
            ),
        };
        let value = nearest.map_or("none was measured".to_string(), bound.said);
        format!("{}: {}", bound.typed, value.replace("{}", among))
    };
    bounds.iter().map(say).collect::<Vec<_>>().join("; ")
}

fn bounds(limits: &Limits) -> Vec<Bound> {
    let Limits { max_params, max_macs, max_latency_ms, min_accuracy } = *limits;
    let accuracy = min_accuracy.map(|least| Bound {
        typed: format!("--min-accuracy {least}"),
        others: Limits { min_accuracy: None, ..*limits },
        nearer: |a, b| b.point.measured.accuracy.total_cmp(&a.point.measured.accuracy),
        said: |known| format!("the best{{}} has {:.4}", floor(known.point.measured.accuracy)),
    });
    let latency = max_latency_ms.map(|most| Bound {
        typed: format!("--max-latency-ms {most}"),
        others: Limits { max_latency_ms: None, ..*limits },
        nearer: |a, b| a.ms.total_cmp(&b.ms),
        said: |known| format!("the fastest{{}} takes {:.4} ms", -floor(-known.ms)),
    });
    let params = max_params.map(|most| Bound {
        typed: format!("--max-params {most}"),
        others: Limits { max_params: None, ..*limits },
        nearer: |a, b| a.point.params.cmp(&b.point.params),
        said: |known| format!("the smallest{{}} has {}", known.point.params),
    });
    let macs = max_macs.map(|most| Bound {
        typed: format!("--max-macs {most}"),
        others: Limits { max_macs: None, ..*limits },
        nearer: |a, b| a.point.macs.cmp(&b.point.macs),
        said: |known| format!("the least{{}} has {}", known.point.macs),
    });
    [accuracy, latency, params, macs].into_iter().flatten().collect()
}

/// Rounded down to four digits; what has no more stays.
fn floor(value: f64) -> f64 {
    (value * 1e4 + 1e-6).floor() / 1e4
}

#[cfg(test)]
mod tests;
