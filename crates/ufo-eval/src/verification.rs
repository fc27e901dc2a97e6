//! Verification of pairs by ten folds: LFW, CALFW, CPLFW, CFP, AgeDB-30 (spec 4.1).

use crate::roc::{check_both_kinds, check_scores};
use crate::{Error, Metric, rows};
use serde::{Deserialize, Serialize};
use std::ops::Range;

const FOLDS: usize = 10;
/// Thresholds 0, 0.01, … 3.99.
const STEPS: usize = 400;
/// Thresholds 0, 0.001, … 3.999, of [`val_at_far`].
const FINE_STEPS: usize = 4000;

/// Result of [`verification`]; rates are fractions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// Pairs judged.
    pub pairs: usize,
    /// Mean of the folds' accuracies.
    pub accuracy: f64,
    /// Mean of the folds' thresholds, in squared distance.
    pub threshold: f64,
    /// Accuracy of each held-out fold.
    pub fold_accuracies: Vec<f64>,
    /// Threshold of each fold, chosen on the other nine.
    pub fold_thresholds: Vec<f64>,
}

impl Verification {
    /// The scalar metrics by name.
    pub fn metrics(&self) -> Vec<Metric> {
        vec![Metric::new("accuracy", self.accuracy), Metric::new("threshold", self.threshold)]
    }
}

/// Squared Euclidean distances, 0 to 4, of the L2-normalized rows 2i and 2i + 1 of `features`,
/// `[2 * pairs, dim]`.
///
/// # Errors
/// An odd number of rows, an incomplete row, a value beyond 1e12 or not a number.
pub fn pair_distances(features: &[f32], dim: usize) -> Result<Vec<f64>, Error> {
    let rows = rows::count("features", features, dim)?;
    if !rows.is_multiple_of(2) {
        let expected = (rows + 1) * dim;
        return Err(Error::Length { what: "features", expected, got: features.len() });
    }
    let unit = rows::normalized(features, dim);
    let distance = |pair: &[f32]| rows::squared_distance(&pair[..dim], &pair[dim..]);
    Ok(unit.chunks_exact(2 * dim).map(distance).collect())
}

/// Accuracy by ten contiguous folds, not shuffled. For each, the threshold is the first of 0, 0.01,
/// … 3.99 with the highest accuracy on the other nine, where a pair is accepted if its distance is
/// less. The first `n mod 10` folds have one pair more.
///
/// # Errors
/// Lengths that differ, fewer than ten pairs, a distance that is not finite.
pub fn verification(distances: &[f64], same: &[bool]) -> Result<Verification, Error> {
    check_pairs(distances, same)?;
    let folds = folds(same.len());
    let right_by_fold: Vec<Vec<usize>> = folds
        .iter()
        .map(|fold| right_by_threshold(&distances[fold.clone()], &same[fold.clone()]))
        .collect();
    let right = |step: usize| right_by_fold.iter().map(|fold| fold[step]).sum::<usize>();
    let right_in_all: Vec<usize> = (0..STEPS).map(right).collect();
    let (mut fold_accuracies, mut fold_thresholds) = (Vec::new(), Vec::new());
    for (held, fold) in right_by_fold.iter().zip(&folds) {
        let others = |step: usize| right_in_all[step] - held[step];
        let better = |best, step| if others(step) > others(best) { step } else { best };
        let best = (1..STEPS).fold(0, better);
        fold_accuracies.push(held[best] as f64 / fold.len() as f64);
        fold_thresholds.push(best as f64 * 0.01);
    }
    Ok(Verification {
        pairs: same.len(),
        accuracy: mean(&fold_accuracies),
        threshold: mean(&fold_thresholds),
        fold_accuracies,
        fold_thresholds,
    })
}

/// Result of [`val_at_far`]; rates are fractions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValAtFar {
    /// Mean over held-out folds of the share of same pairs accepted.
    pub val: f64,
    /// Mean over held-out folds of the share of different pairs accepted.
    pub far: f64,
}

/// Validation rate at a false-accept rate, by the folds of [`verification`]. For each, the threshold
/// is where the false-accept rate of the other nine, on the grid 0, 0.001, … 3.999, crosses `far`
/// for the last time, between grid points by linear interpolation; it is 0 if the rate stays below. A
/// held-out fold without pairs of a kind has no say in that kind's mean.
///
/// # Errors
/// As [`verification`]; also a `far` outside 0 to 1, and no same or no different pair.
pub fn val_at_far(distances: &[f64], same: &[bool], far: f64) -> Result<ValAtFar, Error> {
    check_pairs(distances, same)?;
    if !(0.0..=1.0).contains(&far) {
        return Err(Error::value("far", far, "must be 0 to 1"));
    }
    let all_same = same.iter().filter(|same| **same).count();
    check_both_kinds("VAL at FAR", all_same, same.len() - all_same)?;
    let (mut vals, mut fars) = (Vec::new(), Vec::new());
    for fold in folds(same.len()) {
        let pick = |wanted: bool, inside: bool| -> Vec<f64> {
            let chosen = |row: &usize| same[*row] == wanted && fold.contains(row) == inside;
            (0..same.len()).filter(chosen).map(|row| distances[row]).collect()
        };
        let threshold = threshold_at_far(pick(false, false), far);
        vals.extend(share_below(&pick(true, true), threshold));
        fars.extend(share_below(&pick(false, true), threshold));
    }
    Ok(ValAtFar { val: mean(&vals), far: mean(&fars) })
}

/// Threshold at which the share of `different` that is less crosses `far`.
fn threshold_at_far(mut different: Vec<f64>, far: f64) -> f64 {
    different.sort_unstable_by(f64::total_cmp);
    let threshold = |step: usize| step as f64 * 0.001;
    let rate = |step: usize| {
        let below = different.partition_point(|&distance| distance < threshold(step));
        below as f64 / different.len() as f64
    };
    if different.is_empty() || rate(FINE_STEPS - 1) < far {
        return 0.0;
    }
    match (0..FINE_STEPS).rfind(|&step| rate(step) <= far) {
        Some(step) if step + 1 < FINE_STEPS => {
            let share = (far - rate(step)) / (rate(step + 1) - rate(step));
            threshold(step) + share * 0.001
        }
        Some(step) => threshold(step),
        None => 0.0,
    }
}

fn share_below(distances: &[f64], threshold: f64) -> Option<f64> {
    let below = distances.iter().filter(|&&distance| distance < threshold).count();
    (!distances.is_empty()).then(|| below as f64 / distances.len() as f64)
}

fn check_pairs(distances: &[f64], same: &[bool]) -> Result<(), Error> {
    rows::same_length("same", distances.len(), same.len())?;
    if same.len() < FOLDS {
        return Err(Error::value("pairs", same.len(), "must be at least 10, one a fold"));
    }
    check_scores("distances", distances)
}

fn folds(pairs: usize) -> Vec<Range<usize>> {
    let start = |fold: usize| fold * (pairs / FOLDS) + fold.min(pairs % FOLDS);
    (0..FOLDS).map(|fold| start(fold)..start(fold + 1)).collect()
}

/// For every threshold, how many pairs are judged rightly.
fn right_by_threshold(distances: &[f64], same: &[bool]) -> Vec<usize> {
    let right = |threshold: f64| {
        let judged = distances.iter().zip(same);
        judged.filter(|(distance, same)| (**distance < threshold) == **same).count()
    };
    (0..STEPS).map(|step| right(step as f64 * 0.01)).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests;
