//! Receiver operating characteristic of scored pairs: TAR at FAR and equal error rate (spec 4.2).

use crate::{Error, rows};
use serde::{Deserialize, Serialize};

/// The curve at every distinct score, from accepting nothing to accepting all; none is dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct Roc {
    /// False-accept rate: share of different pairs accepted, ascending from 0 to 1.
    pub far: Vec<f64>,
    /// True-accept rate: share of same pairs accepted, ascending from 0 to 1.
    pub tar: Vec<f64>,
    /// Least score accepted; infinite at the first point.
    pub thresholds: Vec<f64>,
}

/// A point of a [`Roc`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// False-accept rate.
    pub far: f64,
    /// True-accept rate.
    pub tar: f64,
    /// Least score accepted; none where nothing is.
    pub threshold: Option<f64>,
}

/// The curve of `scores`, higher for pairs more alike (give the negative of a distance), where
/// `same` tells which pairs are.
///
/// # Errors
/// Lengths that differ, a score that is not finite, no same pair or no different pair.
pub fn roc(scores: &[f64], same: &[bool]) -> Result<Roc, Error> {
    rows::same_length("same", scores.len(), same.len())?;
    check_scores("scores", scores)?;
    let all_same = same.iter().filter(|same| **same).count();
    let all_different = same.len() - all_same;
    check_both_kinds("ROC", all_same, all_different)?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut curve = Roc { far: vec![0.0], tar: vec![0.0], thresholds: vec![f64::INFINITY] };
    let (mut true_accepts, mut false_accepts) = (0_usize, 0_usize);
    // In falling order, a score that is not greater than the next is equal to it.
    for tied in order.chunk_by(|&a, &b| scores[a] <= scores[b]) {
        let accepted = tied.iter().filter(|&&pair| same[pair]).count();
        true_accepts += accepted;
        false_accepts += tied.len() - accepted;
        curve.far.push(false_accepts as f64 / all_different as f64);
        curve.tar.push(true_accepts as f64 / all_same as f64);
        curve.thresholds.push(scores[tied[0]]);
    }
    Ok(curve)
}

impl Roc {
    /// The point whose false-accept rate is nearest to `far`; of several, the one with the highest
    /// true-accept rate. With fewer than `1 / far` different pairs this can be far from `far`: see
    /// the returned rate.
    pub fn tar_at_far(&self, far: f64) -> OperatingPoint {
        let nearer = |best: usize, point| {
            let distance = |point: usize| (self.far[point] - far).abs();
            if distance(point) <= distance(best) { point } else { best }
        };
        let point = (1..self.far.len()).fold(0, nearer);
        OperatingPoint {
            far: self.far[point],
            tar: self.tar[point],
            threshold: (point > 0).then(|| self.thresholds[point]),
        }
    }

    /// The rate at which false accepts and false rejects are equal, on the curve joined by lines.
    pub fn equal_error_rate(&self) -> f64 {
        // FAR - FRR grows from -1 to 1 along the curve.
        let excess = |point: usize| self.far[point] + self.tar[point] - 1.0;
        let after = (1..self.far.len() - 1).find(|&point| excess(point) >= 0.0);
        let after = after.unwrap_or(self.far.len() - 1);
        let before = after - 1;
        let share = -excess(before) / (excess(after) - excess(before));
        self.far[before] + share * (self.far[after] - self.far[before])
    }
}

pub(crate) fn check_scores(what: &'static str, scores: &[f64]) -> Result<(), Error> {
    match scores.iter().position(|score| !score.is_finite()) {
        Some(row) => Err(Error::Number { what, row, got: scores[row], allowed: "finite" }),
        None => Ok(()),
    }
}

pub(crate) fn check_both_kinds(
    metric: &'static str,
    same: usize,
    different: usize,
) -> Result<(), Error> {
    if same == 0 {
        return Err(Error::Undefined { metric, reason: "there is no same pair" });
    }
    if different == 0 {
        return Err(Error::Undefined { metric, reason: "there is no different pair" });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
