//! Which sub-networks to measure: greedy choices from a pool that need no measurement yet.
//!
//! With the covariance C of the pool, noise on its diagonal, variances given other members are Schur
//! complements of C. Mutual information picks the x of greatest `var(x | chosen) / var(x | pool without
//! chosen and x)`: what is unknown of x, and told by x of the rest of the pool (Krause, Singh and Guestrin,
//! 2008, algorithm 1); it is within a factor 1 - 1/e of the best choice while few of the pool are
//! chosen. Variance picks the first factor alone, which favors the rim of a space.

use crate::{Cholesky, Error, Matrix};
use rand::{Rng, RngExt};

/// What the next member is chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// Mutual information between the chosen and the rest of the pool.
    Information,
    /// Largest variance given the chosen.
    Variance,
}

/// Indices of `count` members of a pool in the order of their choice; of equals the first.
///
/// # Shapes
/// `covariance (n, n)` of the pool, the variance of the noise on its diagonal.
///
/// # Errors
/// A matrix that is not square or not positive definite, or a count beyond the pool.
pub fn choose(rule: Sampling, covariance: &Matrix, count: usize) -> Result<Vec<usize>, Error> {
    let n = covariance.rows();
    if covariance.columns() != n {
        let got = format!("{n} by {}", covariance.columns());
        return Err(Error::value("covariance", got, "must be square"));
    }
    checked(n, count)?;
    // Of the members that are left: their covariance given the chosen, and the inverse of their covariance.
    let mut given = covariance.clone();
    let mut precision = match rule {
        Sampling::Information => Cholesky::new(covariance.clone())?.inverse(),
        Sampling::Variance => Matrix::zeros(0, 0),
    };
    let mut left: Vec<usize> = (0..n).collect();
    let mut chosen = Vec::with_capacity(count);
    for _ in 0..count {
        let score = |x: usize| match rule {
            // The variance given all others left is one over the entry of the precision.
            Sampling::Information => given.row(x)[x] * precision.row(x)[x],
            Sampling::Variance => given.row(x)[x],
        };
        let better = |best: usize, &x: &usize| if score(x) > score(best) { x } else { best };
        let next = left.iter().skip(1).fold(left[0], better);
        let pivot = given.row(next)[next];
        if pivot.is_nan() || pivot <= 0.0 {
            return Err(Error::NotPositiveDefinite { row: next, pivot: pivot.to_string() });
        }
        left.retain(|&x| x != next);
        eliminate(&mut given, next, &left);
        if rule == Sampling::Information {
            eliminate(&mut precision, next, &left);
        }
        chosen.push(next);
    }
    Ok(chosen)
}

/// Indices of `count` members of a pool of `n`, each set as likely as any other.
///
/// # Errors
/// A count beyond the pool.
pub fn choose_at_random(n: usize, count: usize, rng: &mut impl Rng) -> Result<Vec<usize>, Error> {
    checked(n, count)?;
    let mut all: Vec<usize> = (0..n).collect();
    for i in 0..count {
        let other = rng.random_range(i..n);
        all.swap(i, other);
    }
    all.truncate(count);
    Ok(all)
}

/// `M - m m^T / M[at, at]` on the rows and columns of `left`, m the column `at`: of a covariance what is left
/// given this member, of a precision the inverse without it.
fn eliminate(matrix: &mut Matrix, at: usize, left: &[usize]) {
    let column = matrix.row(at).to_vec();
    for &i in left {
        let share = column[i] / column[at];
        matrix.row_mut(i).iter_mut().zip(&column).for_each(|(x, m)| *x -= share * m);
    }
}

fn checked(n: usize, count: usize) -> Result<(), Error> {
    if count > n {
        return Err(Error::value("count", count, format!("must be at most {n}, the pool")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::testing::random;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::ChaCha8Rng};

    fn covariance(n: usize, seed: u64) -> Matrix {
        let x = random(n, 3, seed);
        let square = x.times_transposed(&x);
        Matrix::from_fn(n, n, |i, j| square.row(i)[j] + if i == j { 0.1 } else { 0.0 })
    }

    /// Variance of x given some others, from the definition.
    fn given(covariance: &Matrix, x: usize, others: &[usize]) -> f64 {
        let inner = |i: usize, j: usize| covariance.row(others[i])[others[j]];
        let cholesky = Cholesky::new(Matrix::from_fn(others.len(), others.len(), inner)).unwrap();
        let column: Vec<f64> = others.iter().map(|&i| covariance.row(x)[i]).collect();
        let told: f64 = column.iter().zip(cholesky.solve_vector(&column)).map(|(a, b)| a * b).sum();
        covariance.row(x)[x] - told
    }

    proptest! {
        #[test]
        fn every_choice_is_the_best_by_definition(n in 2_usize..14, seed in 0_u64..40) {
            let covariance = covariance(n, seed);
            for rule in [Sampling::Information, Sampling::Variance] {
                let chosen = choose(rule, &covariance, n - 1).unwrap();
                for (count, &next) in chosen.iter().enumerate() {
                    let before = &chosen[..count];
                    let score = |x: usize| {
                        let rest: Vec<usize> =
                            (0..n).filter(|&y| y != x && !before.contains(&y)).collect();
                        given(&covariance, x, before) / match rule {
                            Sampling::Information => given(&covariance, x, &rest),
                            Sampling::Variance => 1.0,
                        }
                    };
                    let best = (0..n).filter(|x| !before.contains(x)).map(score).fold(0.0, f64::max);
                    prop_assert!((score(next) / best - 1.0).abs() < 1e-6, "{:?} {}", rule, count);
                }
            }
        }
    }

    #[test]
    fn information_takes_the_middle_where_variance_takes_the_rim() {
        let entry = |i: usize, j: usize| {
            let near = (-((i as f64 - j as f64) / 3.0).powi(2)).exp();
            near + if i == j { 0.1 + 0.01 * (i as f64 - 3.0).abs() } else { 0.0 }
        };
        let line = Matrix::from_fn(7, 7, entry);
        assert_eq!(choose(Sampling::Information, &line, 1).unwrap(), [3]);
        assert_eq!(choose(Sampling::Variance, &line, 2).unwrap(), [0, 6]);
    }

    #[test]
    fn a_pool_is_not_exceeded() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut all = choose_at_random(9, 9, &mut rng).unwrap();
        all.sort_unstable();
        assert_eq!(all, (0..9).collect::<Vec<_>>());
        let error = choose(Sampling::Variance, &covariance(3, 1), 4).unwrap_err().to_string();
        assert_eq!(error, "count = 4: must be at most 3, the pool");
        let singular = Matrix::zeros(2, 2);
        assert!(choose(Sampling::Variance, &singular, 1).is_err());
    }
}
