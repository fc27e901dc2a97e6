//! What measuring a sub-network is expected to gain.

use crate::normal::{density, distribution};
use crate::{Error, pareto_front};

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

/// Expected growth of [`crate::hypervolume`] by a sub-network whose objectives, both minimized, are
/// independent normal predictions. The volume grows by the integral over x of what the second objective
/// falls below the front left of x, for x beyond the first objective; so a strip of the front from a to b
/// below t adds `(G1(b) - G1(a)) G2(t)` with `G(c) = E max(c - y, 0)` (Yang et al., 2019).
///
/// # Errors
/// A coordinate that is not finite.
pub fn expected_hypervolume_improvement(
    mean: [f64; 2],
    deviation: [f64; 2],
    front: &[[f64; 2]],
    reference: [f64; 2],
) -> Result<f64, Error> {
    let below = |k: usize, bound: f64| expected_improvement(-mean[k], deviation[k], -bound);
    let (mut from, mut top, mut sum) = (0.0, reference[1], 0.0);
    for i in pareto_front(front)? {
        let [x, y] = front[i];
        if x >= reference[0] {
            break;
        }
        let to = below(0, x);
        sum += (to - from) * below(1, top);
        (from, top) = (to, top.min(y));
    }
    Ok(sum + (below(0, reference[0]) - from) * below(1, top))
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
    fn volumes_equal_the_mean_of_many_draws() {
        use crate::hypervolume;
        use crate::normal::quantile;
        let (front, reference) = ([[1.0, 3.0], [2.0, 1.5], [4.5, 1.0], [0.5, 9.0]], [4.0, 4.0]);
        let (mean, deviation) = ([1.8, 1.7], [0.9, 0.6]);
        let expected =
            expected_hypervolume_improvement(mean, deviation, &front, reference).unwrap();
        let before = hypervolume(&front, reference).unwrap();
        let at = |k: usize, i: i32| mean[k] + deviation[k] * quantile((f64::from(i) + 0.5) / 300.0);
        let grown = |i, j| {
            let mut points = front.to_vec();
            points.push([at(0, i), at(1, j)]);
            hypervolume(&points, reference).unwrap() - before
        };
        let sum: f64 =
            (0..300).flat_map(|i| (0..300).map(move |j| (i, j))).map(|(i, j)| grown(i, j)).sum();
        assert!((sum / 90_000.0 - expected).abs() < 2e-3, "{} {expected}", sum / 90_000.0);
        let sure =
            |mean| expected_hypervolume_improvement(mean, [0.0; 2], &front, reference).unwrap();
        assert!(sure([3.0, 3.0]).abs() < 1e-15);
        assert!((sure([1.5, 2.0]) - 0.5).abs() < 1e-12, "{}", sure([1.5, 2.0]));
        assert!(
            (expected_hypervolume_improvement(mean, [0.0; 2], &[], reference).unwrap() - 2.2 * 2.3)
                .abs()
                < 1e-12
        );
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
