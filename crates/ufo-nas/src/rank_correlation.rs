//! How well scores order what they score: Kendall's tau-b and Spearman's rho, with ties.

use crate::Error;
use std::f64::consts::FRAC_2_PI;

/// Kendall's tau-b, -1 to 1: the surplus of pairs in equal order over pairs in opposite order, divided by
/// the geometric mean of the pairs that are untied in `a` and in `b` (Kendall, 1945); `n ln n` steps
/// (Knight, 1966). Equals `scipy.stats.kendalltau`.
///
/// # Errors
/// Lengths that differ, a number that is not finite, or a side whose values are all equal, for which
/// it is undefined.
pub fn kendall_tau(a: &[f64], b: &[f64]) -> Result<f64, Error> {
    checked(a, b)?;
    let mut pairs: Vec<(f64, f64)> = a.iter().copied().zip(b.iter().copied()).collect();
    pairs.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.total_cmp(&y.1)));
    let n = a.len() as u64;
    let all = n * (n - 1) / 2;
    let tied_a = tied(&pairs, |x, y| x.0.total_cmp(&y.0).is_eq());
    let tied_both = tied(&pairs, |x, y| x.0.total_cmp(&y.0).then(x.1.total_cmp(&y.1)).is_eq());
    let mut seconds: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    let discordant = inversions(&mut seconds);
    let tied_b = tied(&seconds, |x, y| x.total_cmp(y).is_eq());
    let concordant = (all + tied_both) as f64 - (tied_a + tied_b + discordant) as f64;
    let untied = ((all - tied_a) as f64).sqrt() * ((all - tied_b) as f64).sqrt();
    Ok((concordant - discordant as f64) / untied)
}

/// Kendall's tau that a predictor of all but the noise would have: `2/pi asin sqrt(1 - noise)`, the tau of two normal
/// variables of correlation `sqrt(1 - noise)` (Greiner's relation: Kruskal, 1958). `noise` is its share of the measured
/// values' variance; less than 0 counts as none, more than 1 as all.
pub fn tau_ceiling(noise: f64) -> f64 {
    FRAC_2_PI * (1.0 - noise).clamp(0.0, 1.0).sqrt().asin()
}

/// Spearman's rho, -1 to 1: the correlation of the ranks, where ties share the mean of theirs. Equals
/// `scipy.stats.spearmanr`.
///
/// # Errors
/// As [`kendall_tau`].
pub fn spearman(a: &[f64], b: &[f64]) -> Result<f64, Error> {
    checked(a, b)?;
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let sum = |x: &[f64], y: &[f64]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum()
    };
    Ok(sum(&a, &b) / (sum(&a, &a) * sum(&b, &b)).sqrt())
}

/// Rank of every value from 0 for the least; equal values share the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for equal in order.chunk_by(|&i, &j| values[i].total_cmp(&values[j]).is_eq()) {
        let mean = first as f64 + (equal.len() as f64 - 1.0) / 2.0;
        for &i in equal {
            ranks[i] = mean;
        }
        first += equal.len();
    }
    ranks
}

fn checked(a: &[f64], b: &[f64]) -> Result<(), Error> {
    if a.len() != b.len() {
        return Err(Error::value("scores", b.len(), format!("must be {}, as many", a.len())));
    }
    for values in [a, b] {
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::value("scores", value, "must be finite"));
        }
        if values.windows(2).all(|pair| pair[0].total_cmp(&pair[1]).is_eq()) {
            let got = format!("{} equal values", values.len());
            return Err(Error::value("scores", got, "must differ for a rank correlation"));
        }
    }
    Ok(())
}

/// Pairs within runs of equal neighbors.
fn tied<T>(sorted: &[T], equal: impl FnMut(&T, &T) -> bool) -> u64 {
    sorted.chunk_by(equal).map(|run| run.len() as u64 * (run.len() as u64 - 1) / 2).sum()
}

/// Sorts and counts the pairs that were in falling order.
fn inversions(values: &mut [f64]) -> u64 {
    if values.len() < 2 {
        return 0;
    }
    let middle = values.len() / 2;
    let (left, right) = values.split_at_mut(middle);
    let mut count = inversions(left) + inversions(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        if left[i] <= right[j] {
            merged.push(left[i]);
            i += 1;
        } else {
            merged.push(right[j]);
            j += 1;
            count += (left.len() - i) as u64;
        }
    }
    merged.extend_from_slice(&left[i..]);
    merged.extend_from_slice(&right[j..]);
    values.copy_from_slice(&merged);
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normal;
    use proptest::prelude::*;
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    /// Figures of scipy 1.17 for `a = [12, 2, 1, 12, 2, 7, 5]`, `b = [1, 4, 7, 1, 0, 3, 3]`.
    #[test]
    fn scipys_figures() {
        let (a, b) = ([12.0, 2.0, 1.0, 12.0, 2.0, 7.0, 5.0], [1.0, 4.0, 7.0, 1.0, 0.0, 3.0, 3.0]);
        assert!((kendall_tau(&a, &b).unwrap() + 0.526_315_789_473_684_2).abs() < 1e-12);
        assert!((spearman(&a, &b).unwrap() + 0.537_037_037_037_037_1).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn tau_equals_counting_pairs(pairs in proptest::collection::vec((0_u8..9, 0_u8..9), 2..60)) {
            let (a, b): (Vec<f64>, Vec<f64>) =
                pairs.iter().map(|&(x, y)| (f64::from(x), f64::from(y))).unzip();
            let (mut surplus, mut untied) = (0.0, [0.0_f64; 2]);
            for i in 0..a.len() {
                for j in 0..i {
                    let sign = |v: &[f64]| f64::from(v[i].total_cmp(&v[j]) as i8);
                    surplus += sign(&a) * sign(&b);
                    untied[0] += sign(&a).abs();
                    untied[1] += sign(&b).abs();
                }
            }
            prop_assume!(untied[0] > 0.0 && untied[1] > 0.0);
            let expected = surplus / (untied[0] * untied[1]).sqrt();
            prop_assert!((kendall_tau(&a, &b).unwrap() - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
    }

    #[test]
    fn the_ceiling_by_hand_and_by_drawing() {
        for (noise, expected) in [(0.0, 1.0), (0.5, 0.5), (0.75, 1.0 / 3.0), (1.0, 0.0), (1.2, 0.0)]
        {
            assert!((tau_ceiling(noise) - expected).abs() < 1e-12, "{noise}");
        }
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut normals = |scale: f64| -> Vec<f64> {
            let draw = |_| scale * normal::quantile(rng.random_range(1e-9..1.0 - 1e-9));
            (0..4000).map(draw).collect()
        };
        let (truth, noise) = (normals(0.3_f64.sqrt()), normals(0.7_f64.sqrt()));
        let measured: Vec<f64> = truth.iter().zip(noise).map(|(a, b)| a + b).collect();
        let tau = kendall_tau(&truth, &measured).unwrap();
        assert!((tau - tau_ceiling(0.7)).abs() < 0.02, "{tau} {}", tau_ceiling(0.7));
    }

    #[test]
    fn what_has_no_order_is_refused() {
        let error = |a: &[f64], b: &[f64]| kendall_tau(a, b).unwrap_err().to_string();
        assert_eq!(error(&[1.0], &[1.0, 2.0]), "scores = 2: must be 1, as many");
        let equal = "scores = 2 equal values: must differ for a rank correlation";
        assert_eq!(error(&[1.0, 1.0], &[1.0, 2.0]), equal);
        assert_eq!(error(&[1.0, f64::NAN], &[1.0, 2.0]), "scores = NaN: must be finite");
    }
}
