//! How well the predictors of a search foretell what they did not see.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use ufo_nas::{Encoding, Explorer, Limits, Slice, kendall_tau};

/// Parts of a cross-validation.
const FOLDS: usize = 5;

/// Predictions of values that were measured, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Foretold {
    /// Slices that the predictors learned from.
    pub(crate) learned_from: usize,
    /// Kendall's tau of accuracies; none where they are all equal.
    pub(crate) accuracy_tau: Option<f64>,
    /// Absolute errors of accuracies that 50, 90 and 99 % of slices keep within, fractions.
    pub(crate) accuracy_errors: [f64; 3],
    /// Kendall's tau of latencies; none where they are all equal.
    pub(crate) latency_tau: Option<f64>,
    /// Relative errors of latencies that 50, 90 and 99 % of slices keep within.
    pub(crate) latency_errors: [f64; 3],
    /// Predicted and measured accuracy of each slice.
    pub(crate) accuracies: Vec<[f64; 2]>,
    /// Predicted and measured milliseconds of each slice.
    pub(crate) latencies: Vec<[f64; 2]>,
}

impl Foretold {
    pub(super) fn new(
        learned_from: usize,
        accuracies: Vec<[f64; 2]>,
        latencies: Vec<[f64; 2]>,
    ) -> Self {
        let tau = |pairs: &[[f64; 2]]| {
            let of = |k: usize| pairs.iter().map(|pair| pair[k]).collect::<Vec<_>>();
            kendall_tau(&of(0), &of(1)).ok()
        };
        let absolute = |[predicted, measured]: &[f64; 2]| (predicted - measured).abs();
        let relative = |[predicted, measured]: &[f64; 2]| (predicted / measured - 1.0).abs();
        Self {
            learned_from,
            accuracy_tau: tau(&accuracies),
            accuracy_errors: bands(accuracies.iter().map(absolute)),
            latency_tau: tau(&latencies),
            latency_errors: bands(latencies.iter().map(relative)),
            accuracies,
            latencies,
        }
    }

    /// A sentence.
    pub(crate) fn said(&self) -> String {
        let percent =
            |errors: [f64; 3]| errors.map(|error| format!("{:.2}", 100.0 * error)).join(" / ");
        format!(
            "{} slices predicted from {} others: accuracy tau {}, off by {} points for 50 / 90 / 99 % of them; latency tau {}, off by {} %",
            self.accuracies.len(),
            self.learned_from,
            tau_text(self.accuracy_tau),
            percent(self.accuracy_errors),
            tau_text(self.latency_tau),
            percent(self.latency_errors),
        )
    }
}

/// Tau as it is printed.
pub(super) fn tau_text(tau: Option<f64>) -> String {
    tau.map_or("–".to_string(), |tau| format!("{tau:.3}"))
}

/// The errors that 50, 90 and 99 % are not above.
fn bands(errors: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut errors: Vec<f64> = errors.collect();
    errors.sort_by(f64::total_cmp);
    [0.5, 0.9, 0.99].map(|share| {
        let rank = (share * errors.len() as f64).ceil() as usize;
        errors.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    })
}

/// Each slice predicted from four fifths of the others; none where they are too few or all alike.
pub(super) fn validate(
    encoding: &Encoding,
    accuracies: &[(Slice, f64)],
    latencies: &[(Slice, f64)],
) -> Result<Option<Foretold>> {
    if accuracies.len() < 2 * FOLDS {
        return Ok(None);
    }
    let (mut predicted, mut timed) = (Vec::new(), Vec::new());
    for fold in 0..FOLDS {
        let part = |rows: &[(Slice, f64)], held: bool| -> Vec<(Slice, f64)> {
            let rows = rows.iter().enumerate().filter(|(i, _)| (i % FOLDS == fold) == held);
            rows.map(|(_, row)| row.clone()).collect()
        };
        let Ok(explorer) = Explorer::fit(
            encoding,
            Limits::default(),
            &part(accuracies, false),
            &part(latencies, false),
        ) else {
            return Ok(None);
        };
        let unseen = |rows: &[(Slice, f64)]| -> Result<Vec<(ufo_nas::Guess, f64)>> {
            let (slices, values): (Vec<Slice>, Vec<f64>) = part(rows, true).into_iter().unzip();
            Ok(explorer.guess(&slices)?.into_iter().zip(values).collect())
        };
        predicted.extend(unseen(accuracies)?.iter().map(|(guess, v)| [guess.accuracy[0], *v]));
        timed.extend(unseen(latencies)?.iter().map(|(guess, v)| [guess.latency_ms[0], *v]));
    }
    let learned_from = accuracies.len() * (FOLDS - 1) / FOLDS;
    Ok(Some(Foretold::new(learned_from, predicted, timed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_ranks_of_errors() {
        let errors: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(
            bands(errors.into_iter()).map(f64::round).map(|error| error as u32),
            [50, 90, 99]
        );
        let pairs = vec![[0.5, 0.5], [0.6, 0.7], [0.9, 0.8]];
        let all = Foretold::new(7, pairs.clone(), pairs);
        assert_eq!(all.accuracy_tau, all.latency_tau);
        assert!(all.accuracy_tau.is_some());
        let equal = Foretold::new(7, vec![[0.5, 1.0]; 4], vec![[0.5, 0.5]; 4]);
        assert!(equal.accuracy_tau.is_none() && equal.said().contains("tau –"), "{}", equal.said());
        assert!((all.accuracy_errors[0] - 0.1).abs() < 1e-12);
        assert!((all.latency_errors[2] - 0.1 / 0.7).abs() < 1e-12);
        assert!(all.said().contains("3 slices predicted from 7"), "{}", all.said());
    }
}
