//! What measuring a sub-network is expected to gain.

use crate::normal::{density, distribution};

/// Expected improvement of a normal prediction over `best`, higher values better:
/// `(m - b) F(z) + s f(z)`, `z = (m - b) / s` (Jones, Schonlau and Welch, 1998, equation 15).
pub fn expected_improvement(mean: f64, deviation: f64, best: f64) -> f64 {
    let gain = mean - best;
    if deviation <= 0.0 {
        return gain.max(0.0);
    }
    let z = gain / deviation;
    gain * distribution(z) + deviation * density(z)
}

/// Probability that a normal prediction is at most `limit`, such as a latency under its bound. Its product
/// with [`expected_improvement`] is the improvement expected under constraints (Gardner et al., 2014).
pub fn feasibility(mean: f64, deviation: f64, limit: f64) -> f64 {
    if deviation <= 0.0 {
        return f64::from(u8::from(mean <= limit));
    }
    distribution((limit - mean) / deviation)
}

/// Share of predictions whose error is within `band`, 0 to 1; absolute errors.
pub fn share_within(predicted: &[f64], truth: &[f64], band: f64) -> f64 {
    let within = predicted.iter().zip(truth).filter(|(a, b)| (*a - *b).abs() <= band).count();
    within as f64 / predicted.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn improvements_by_hand() {
        assert!((expected_improvement(1.0, 2.0, 1.0) - 2.0 * density(0.0)).abs() < 1e-15);
        assert!((expected_improvement(3.0, 0.0, 1.0) - 2.0).abs() < 1e-15);
        assert!(expected_improvement(0.0, 0.0, 1.0).abs() < 1e-15);
        // An integral of the positive part, by the midpoint rule.
        let (mean, deviation, best) = (0.4, 0.7, 0.9);
        let at = |i: i32| best + (f64::from(i) + 0.5) * 1e-3;
        let part = |x: f64| (x - best) * density((x - mean) / deviation) / deviation * 1e-3;
        let integral: f64 = (0..8000).map(|i| part(at(i))).sum();
        assert!((expected_improvement(mean, deviation, best) - integral).abs() < 1e-6);
    }

    #[test]
    fn feasibility_is_a_probability() {
        assert!((feasibility(2.0, 1.0, 2.0) - 0.5).abs() < 1e-15);
        assert!((feasibility(2.0, 0.0, 2.0) - 1.0).abs() < 1e-15);
        assert!(feasibility(9.0, 1.0, 2.0) < 1e-11);
    }

    #[test]
    fn bands_count_their_edge() {
        let (predicted, truth) = ([1.0, 2.0, 3.0, 4.0], [1.0, 2.5, 3.0, 5.0]);
        assert!((share_within(&predicted, &truth, 0.5) - 0.75).abs() < 1e-15);
    }
}
