//! What a predictor learns in the place of measured values: numbers close to a normal distribution.

use crate::rank_correlation::ranks;
use crate::{Error, normal};
use serde::{Deserialize, Serialize};

/// A monotone map of measured values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transform {
    /// The normal quantile of the rank among the training values: for ranks and accuracies.
    NormalScores,
    /// The logarithm: for latencies, whose errors are relative.
    Log,
}

impl Transform {
    /// What is learned in the place of a task's values.
    ///
    /// # Errors
    /// Values that are not finite, not positive for a logarithm, or all equal; named by the task.
    pub fn scores(self, task: &str, values: &[f64]) -> Result<Vec<f64>, Error> {
        let target = Target::new(task, self, values)?;
        Ok(values.iter().map(|&value| target.of(value)).collect())
    }
}

/// A transform that has seen the training values of a task.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    transform: Transform,
    /// Value and what it becomes, ascending, each value once; two at least.
    points: Vec<(f64, f64)>,
}

impl Target {
    /// Learns from `values`.
    ///
    /// # Errors
    /// Values that are not finite, not positive for a logarithm, or all equal.
    pub(crate) fn new(task: &str, transform: Transform, values: &[f64]) -> Result<Self, Error> {
        let least = if transform == Transform::Log { f64::MIN_POSITIVE } else { f64::MIN };
        if let Some(value) = values.iter().find(|v| !v.is_finite() || **v < least) {
            let allowed = match transform {
                Transform::Log => "must be finite and more than 0",
                Transform::NormalScores => "must be finite",
            };
            return Err(Error::value(task, value, allowed));
        }
        let becomes = |(value, rank): (f64, f64)| match transform {
            Transform::NormalScores => normal::quantile((rank + 0.5) / values.len() as f64),
            Transform::Log => value.ln(),
        };
        let pairs = values.iter().copied().zip(ranks(values));
        let mut points: Vec<_> = pairs.map(|(v, rank)| (v, becomes((v, rank)))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup();
        if points.len() < 2 {
            let got = format!("{} samples of one value", values.len());
            return Err(Error::value(task, got, "must have samples of different values"));
        }
        Ok(Self { transform, points })
    }

    /// What a training value becomes.
    pub(crate) fn of(&self, value: f64) -> f64 {
        let at = self.points.partition_point(|point| point.0 < value).min(self.points.len() - 1);
        self.points[at].1
    }

    /// The value that becomes `score`: linear between training values and beyond them.
    pub(crate) fn value(&self, score: f64) -> f64 {
        if self.transform == Transform::Log {
            return score.exp();
        }
        let after = self.points.partition_point(|point| point.1 < score);
        let after = after.clamp(1, self.points.len() - 1);
        let ((x0, y0), (x1, y1)) = (self.points[after - 1], self.points[after]);
        x0 + (score - y0) * (x1 - x0) / (y1 - y0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_become_quantiles_and_come_back() {
        let target =
            Target::new("sop", Transform::NormalScores, &[30.0, 10.0, 20.0, 20.0]).unwrap();
        assert!((target.of(10.0) - normal::quantile(0.125)).abs() < 1e-15);
        assert!(target.of(20.0).abs() < 1e-15);
        for value in [10.0, 20.0, 30.0] {
            assert!((target.value(target.of(value)) - value).abs() < 1e-12);
        }
        let halfway = target.value(0.5 * normal::quantile(0.125));
        assert!((halfway - 15.0).abs() < 1e-12);
        assert!(target.value(9.0) > target.value(8.0));
    }

    #[test]
    fn latencies_become_logarithms() {
        let target = Target::new("latency_ms", Transform::Log, &[2.0, 8.0]).unwrap();
        assert!((target.of(8.0) - 8.0_f64.ln()).abs() < 1e-15);
        assert!((target.value(4.0_f64.ln()) - 4.0).abs() < 1e-14);
    }

    #[test]
    fn bad_values_are_named() {
        let error = |transform, values: &[f64]| {
            Target::new("sop", transform, values).unwrap_err().to_string()
        };
        let nan = error(Transform::NormalScores, &[1.0, f64::NAN]);
        assert_eq!(nan, "sop = NaN: must be finite");
        let zero = error(Transform::Log, &[1.0, 0.0]);
        assert_eq!(zero, "sop = 0: must be finite and more than 0");
        let equal = error(Transform::NormalScores, &[1.0, 1.0]);
        assert_eq!(equal, "sop = 2 samples of one value: must have samples of different values");
    }
}
