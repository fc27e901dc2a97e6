//! Nearest neighbor on raw pixels, the baseline that a trained network must beat.

use crate::{Error, products, rows};

/// Share of `test`, `[m, dim]`, whose nearest row of `train`, `[n, dim]`, by Euclidean distance has
/// the same label. Of equally near rows the first counts.
///
/// Distances are screened as `|b|² - 2ab` in single precision; every row within the rounding error
/// of the least is measured again as `Σ (a - b)²` in double precision, so the answer is exact.
///
/// # Errors
/// Lengths that do not fit, an empty set, a value beyond 1e12 or not a number.
pub fn nearest_neighbor_accuracy(
    train: &[f32],
    train_labels: &[u32],
    test: &[f32],
    test_labels: &[u32],
    dim: usize,
) -> Result<f64, Error> {
    let train_rows = rows::count("train", train, dim)?;
    rows::same_length("train_labels", train_rows, train_labels.len())?;
    let test_rows = rows::count("test", test, dim)?;
    rows::same_length("test_labels", test_rows, test_labels.len())?;
    let norms: Vec<f64> = train.chunks_exact(dim).map(rows::squared_norm).collect();
    let longest = norms.iter().copied().fold(0.0, f64::max).sqrt();
    let right = products::map_queries(test, train, dim, |row, products| {
        let query = &test[row * dim..(row + 1) * dim];
        // A screened distance errs by twice the error of its product; the third is for the rest.
        let error =
            3.0 * products::relative_error(dim) * longest * rows::squared_norm(query).sqrt();
        let screened = |index: usize| norms[index] - 2.0 * f64::from(products[index]);
        let least = (0..train_rows).map(screened).fold(f64::INFINITY, f64::min);
        let exact = (0..train_rows).filter(|&index| screened(index) <= least + 2.0 * error);
        let measured = exact.map(|index| {
            (rows::squared_distance(query, &train[index * dim..(index + 1) * dim]), index)
        });
        let nearest = measured.min_by(|a, b| a.0.total_cmp(&b.0));
        nearest.is_some_and(|(_, index)| train_labels[index] == test_labels[row])
    });
    Ok(right.iter().filter(|right| **right).count() as f64 / test_rows as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_points_by_hand() {
        let train = [0.0, 0.0, 10.0, 0.0];
        let test = [4.0, 3.0, 6.0, 3.0, 5.0, 0.0];
        let accuracy =
            |labels: &[u32]| nearest_neighbor_accuracy(&train, &[7, 8], &test, labels, 2).unwrap();
        assert!((accuracy(&[7, 8, 7]) - 1.0).abs() < 1e-15);
        assert!((accuracy(&[8, 7, 8]) - 0.0).abs() < 1e-15);
    }

    /// Far from the origin single precision cannot tell the two rows apart.
    #[test]
    fn a_common_offset_does_not_hide_the_nearest() {
        let train = [4096.0, 4096.0, 4096.25, 4096.0];
        let test = [4096.25, 4096.0];
        let right = nearest_neighbor_accuracy(&train, &[0, 1], &test, &[1], 2).unwrap();
        assert!((right - 1.0).abs() < 1e-15);
    }

    #[test]
    fn wrong_lengths_are_named() {
        let run = |train: &[f32], labels: &[u32], test: &[f32]| {
            nearest_neighbor_accuracy(train, labels, test, &[0], 2).unwrap_err().to_string()
        };
        assert_eq!(run(&[0.0; 3], &[0], &[0.0; 2]), "train: expected 2 values, got 3");
        assert_eq!(run(&[], &[], &[0.0; 2]), "train: expected 2 values, got 0");
        assert_eq!(run(&[0.0; 2], &[0, 1], &[0.0; 2]), "train_labels: expected 1 values, got 2");
        assert_eq!(run(&[0.0; 2], &[0], &[0.0; 4]), "test_labels: expected 2 values, got 1");
        assert_eq!(
            run(&[0.0; 2], &[0], &[0.0, f32::NAN]),
            "test: row 0 holds NaN, must be -1e12 to 1e12"
        );
    }

    proptest! {
        #[test]
        fn equals_the_plain_search(
            dim in 1_usize..30,
            pixels in prop::collection::vec(0_u8..4, 30 * 40),
            labels in prop::collection::vec(0_u32..3, 40),
        ) {
            let values: Vec<f32> = pixels.iter().map(|&p| 100.0 + f32::from(p) / 3.0).collect();
            let (train, test) = values[..40 * dim].split_at(25 * dim);
            let nearest = |query: &[f32]| {
                let far = |row: usize| {
                    let row = &train[row * dim..(row + 1) * dim];
                    row.iter().zip(query).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum::<f64>()
                };
                (0..25).min_by(|&a, &b| far(a).total_cmp(&far(b))).unwrap()
            };
            let right =
                (0..15).filter(|&row| labels[nearest(&test[row * dim..][..dim])] == labels[25 + row]);
            let expected = right.count() as f64 / 15.0;
            let got =
                nearest_neighbor_accuracy(train, &labels[..25], test, &labels[25..], dim).unwrap();
            prop_assert!((got - expected).abs() < 1e-12);
        }
    }
}
