//! `report.html` of a search: its front, how far its predictors are to be trusted, what cutting costs.

use super::cross::{Foretold, tau_text};
use super::held_out::HeldOut;
use super::outcome::{Pareto, Point};
use crate::html_report::{Chart, Marks, Report, Series, TextTable};
use std::path::Path;

pub(super) fn page(run: &Path, pareto: &Pareto, held_out: Option<&HeldOut>) -> String {
    let foretold = held_out.and_then(|held| held.predictions.last()).or(pareto.foretold.as_ref());
    let mut curves = vec![
        front(pareto, "milliseconds of a batch", |point| point.measured.latency_ms),
        front(pareto, "thousand parameters", |point| point.params as f64 / 1e3),
    ];
    if let Some(foretold) = foretold {
        let title = format!("{}, predicted and measured", pareto.metric);
        let pairs: Vec<[f64; 2]> =
            foretold.accuracies.iter().map(|pair| pair.map(|value| 100.0 * value)).collect();
        let errors = foretold.accuracy_errors.map(|error| 100.0 * error);
        curves.push(scatter(&title, "%", &pairs, &|x, band| x + errors[band.0] * band.1));
        let errors = foretold.latency_errors;
        let title = "Latency, predicted and measured";
        let edge = |x, (band, side): Edge| slowest(x, side * errors[band]);
        curves.push(scatter(title, "ms", &foretold.latencies, &edge));
    }
    if let Some(held_out) = held_out {
        curves.push(learning(held_out));
    }
    let tables = [Some(retention(pareto)), foretold.map(errors), held_out.map(choices)];
    let title = format!("ufo search {}", run.display());
    let tables = tables.into_iter().flatten().collect();
    Report { title, facts: facts(pareto), curves, tables, ..Report::default() }.html()
}

fn facts(pareto: &Pareto) -> Vec<(String, String)> {
    let fact = |name: &str, value: String| (name.to_string(), value);
    let setting = &pareto.setting;
    let mut facts = vec![
        fact("task", pareto.task.clone()),
        fact("judged on", format!("{} images", pareto.split)),
        fact("slices measured", pareto.samples.to_string()),
        fact("hypervolume", format!("{:.4} (accuracy times ms)", pareto.hypervolume)),
        fact("processor", setting.cpu.clone()),
        fact("runtime", setting.runtime.clone()),
        fact("threads, batch", format!("{}, {}", setting.threads, setting.batch)),
    ];
    if let Some(chosen) = &pareto.chosen {
        facts.push(fact("chosen", chosen.point.slice.clone()));
        facts.push(fact("on the test images", percent(chosen.test)));
        facts.push(fact("largest there", percent(chosen.test_of_largest)));
        let again = chosen.measured_again_ms;
        facts.extend(again.map(|ms| fact("timed once more", format!("{ms:.3} ms"))));
    }
    facts
}

fn percent(fraction: f64) -> String {
    format!("{:.1} %", 100.0 * fraction)
}

/// All slices by cost and accuracy, and those that none beats in both.
fn front(pareto: &Pareto, x_label: &str, cost: impl Fn(&Point) -> f64) -> Chart {
    let at = |point: &Point| (cost(point), 100.0 * point.measured.accuracy);
    let all: Vec<(f64, f64)> = pareto.measured.iter().map(at).collect();
    let objectives: Vec<[f64; 2]> = all.iter().map(|(cost, metric)| [*cost, -metric]).collect();
    let best = ufo_nas::pareto_front(&objectives).unwrap_or_default();
    let mut series = vec![
        dots("slices", all.clone()),
        Series {
            name: "front".to_string(),
            points: best.into_iter().map(|index| all[index]).collect(),
            ..Series::default()
        },
    ];
    if let Some(chosen) = &pareto.chosen {
        let (name, points) = ("chosen".to_string(), vec![at(&chosen.point)]);
        series.push(Series { name, points, ..Series::default() });
    }
    Chart {
        title: format!("{} by {x_label}", pareto.metric),
        x_label: x_label.to_string(),
        y_label: format!("{} in % ({})", pareto.metric, pareto.split),
        log_y: false,
        series,
    }
}

fn dots(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series { marks: Marks::Dots, name: name.to_string(), points, reference: None }
}

/// A band's place in [`BANDS`], and its side: -1 below, 1 above.
type Edge = (usize, f64);
/// Percent of slices within each band.
const BANDS: [u32; 3] = [50, 90, 99];

/// What was measured where `predicted` is `error` of it too little: errors are shares of measured values.
fn slowest(predicted: f64, error: f64) -> f64 {
    predicted / (1.0 - error).max(0.2)
}

/// Measured by predicted values, and the bands that 50, 90 and 99 % keep within; `edge` gives a band's edge at a
/// predicted value.
fn scatter(title: &str, unit: &str, pairs: &[[f64; 2]], edge: &dyn Fn(f64, Edge) -> f64) -> Chart {
    let least = pairs.iter().map(|pair| pair[0]).fold(f64::INFINITY, f64::min);
    let most = pairs.iter().map(|pair| pair[0]).fold(f64::NEG_INFINITY, f64::max);
    let as_predicted = Series {
        name: "as predicted".to_string(),
        points: vec![(least, least), (most, most)],
        ..Series::default()
    };
    let band = |(index, percent): (usize, &u32)| {
        let corners = [(least, -1.0), (most, -1.0), (most, 1.0), (least, 1.0)];
        Series {
            marks: Marks::Area,
            name: format!("{percent} % are within"),
            points: corners.map(|(x, side)| (x, edge(x, (index, side)))).to_vec(),
            reference: None,
        }
    };
    let slices = dots("slices", pairs.iter().map(|[x, y]| (*x, *y)).collect());
    Chart {
        title: title.to_string(),
        x_label: format!("predicted, {unit}"),
        y_label: format!("measured, {unit}"),
        log_y: false,
        series: [slices, as_predicted]
            .into_iter()
            .chain(BANDS.iter().enumerate().map(band))
            .collect(),
    }
}

/// Rank correlation of held-out slices by the number of samples.
fn learning(held_out: &HeldOut) -> Chart {
    let series = |name: &str, of: fn(&Foretold) -> Option<f64>| Series {
        name: name.to_string(),
        points: held_out
            .predictions
            .iter()
            .map(|p| (p.learned_from as f64, of(p).unwrap_or(f64::NAN)))
            .collect(),
        ..Series::default()
    };
    Chart {
        title: "Order of held-out slices".to_string(),
        x_label: "slices learned from".to_string(),
        y_label: "Kendall tau".to_string(),
        log_y: false,
        series: vec![
            series("accuracy", |foretold| foretold.accuracy_tau),
            series("latency", |foretold| foretold.latency_tau),
        ],
    }
}

/// What the points of the front keep of the largest slice.
fn retention(pareto: &Pareto) -> TextTable {
    let largest = pareto.largest.as_ref();
    let row = |(name, point): (String, &Point)| {
        let ratio = largest.map_or(1.0, |largest| largest.params as f64 / point.params as f64);
        let lost =
            largest.map_or(0.0, |largest| largest.measured.accuracy - point.measured.accuracy);
        let or_none = |value: Option<f64>| value.map_or("–".to_string(), percent);
        vec![
            format!("{name}: {}", point.slice),
            format!("{:.3}", point.measured.latency_ms),
            point.params.to_string(),
            format!("{ratio:.1}x"),
            percent(point.measured.accuracy),
            format!("{:.1}", 100.0 * lost),
            or_none(point.untrained),
            or_none(point.alone),
        ]
    };
    let points = pareto.points.iter().enumerate();
    let points = points.map(|(index, point)| (index.to_string(), point));
    let largest_row = largest.map(|point| ("largest".to_string(), point));
    // Slices beside the front that a network trained alone is compared with.
    let shown = |point: &Point| pareto.points.iter().chain(largest).any(|p| p.slice == point.slice);
    let others = pareto.measured.iter().filter(|point| point.alone.is_some() && !shown(point));
    let others = others.map(|point| ("compared".to_string(), point));
    let columns = [
        "slice (block:heads:ffn)",
        "ms",
        "parameters",
        "smaller",
        &pareto.metric,
        "points lost",
        "cut without training for it",
        "trained alone",
    ];
    TextTable {
        title: "Front".to_string(),
        note: "Smaller and lost: beside the largest slice that was measured. Cut: the same slice of the network \
               that the chip supernet began from. Trained alone: networks of the same size, those of --alone."
            .to_string(),
        columns: columns.map(str::to_string).to_vec(),
        rows: points.chain(largest_row).chain(others).map(row).collect(),
    }
}

fn errors(foretold: &Foretold) -> TextTable {
    let row = |name: &str, tau: Option<f64>, errors: [f64; 3], unit: &str| {
        let errors = errors.map(|error| format!("{:.2} {unit}", 100.0 * error));
        [vec![name.to_string(), tau_text(tau)], errors.to_vec()].concat()
    };
    let columns = ["", "Kendall tau", "50 % within", "90 % within", "99 % within"];
    TextTable {
        title: "Predictions".to_string(),
        note: format!(
            "{} slices that were not seen, predicted from {} that were.",
            foretold.accuracies.len(),
            foretold.learned_from
        ),
        columns: columns.map(str::to_string).to_vec(),
        rows: vec![
            row("accuracy", foretold.accuracy_tau, foretold.accuracy_errors, "points"),
            row("latency", foretold.latency_tau, foretold.latency_errors, "%"),
        ],
    }
}

fn choices(held_out: &HeldOut) -> TextTable {
    let row = |one: &super::held_out::Regret| {
        vec![
            format!("{:.3} ms", one.max_latency_ms),
            one.searched.map_or("–".to_string(), percent),
            percent(one.foretold),
            percent(one.best),
        ]
    };
    TextTable {
        title: "Choices".to_string(),
        note: "Search: the sample of which the predictors believe most. Predicted: the held-out slice that \
               predictions alone choose. Best: of the held-out slices."
            .to_string(),
        columns: ["latency at most", "search", "predicted", "best"].map(str::to_string).to_vec(),
        rows: held_out.choices.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_hold_as_many_slices_as_they_say() {
        // Relative errors from 0 to 0.198 of the measured value, too much and too little in turns.
        let pair = |i: i32| {
            let (measured, side) = (1.0 + f64::from(i % 7), if i % 2 == 0 { 1.0 } else { -1.0 });
            [measured * (1.0 + side * 0.002 * f64::from(i)), measured]
        };
        let pairs: Vec<[f64; 2]> = (0..100).map(pair).collect();
        let errors = Foretold::new(10, pairs.clone(), pairs.clone()).latency_errors;
        let edge = |x, (band, side): Edge| slowest(x, side * errors[band]);
        let chart = scatter("t", "ms", &pairs, &edge);
        assert_eq!(chart.series.len(), 5);
        for (band, percent) in BANDS.into_iter().enumerate() {
            let area = &chart.series[2 + band];
            assert_eq!((area.marks, &area.name), (Marks::Area, &format!("{percent} % are within")));
            let [lower, _, _, upper] = area.points[..] else { panic!("{:?}", area.points) };
            // The edges are lines through the origin.
            let within = |[x, y]: &&[f64; 2]| {
                let (low, high) = (x * lower.1 / lower.0, x * upper.1 / upper.0);
                (low - 1e-9..=high + 1e-9).contains(y)
            };
            assert_eq!(pairs.iter().filter(within).count(), percent as usize);
        }
    }
}
