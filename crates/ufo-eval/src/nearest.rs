//! Nearest neighbor on raw pixels, the baseline that a trained network must beat.

use crate::{Error, products, rows};

/// For each row of `test`, `[m, dim]`, the label of the nearest row of `train`, `[n, dim]`, by Euclidean
/// distance. Of equally near rows the first counts.
///
/// Distances are screened as `|b|² - 2ab` in single precision; every row within the rounding error
/// of the least is measured again as `Σ (a - b)²` in double precision, so the answer is exact.
///
/// # Errors
/// Lengths that do not fit, an empty set, a value beyond 1e12 or not a number.
pub fn nearest_labels(
    train: &[f32],
    train_labels: &[u32],
    test: &[f32],
    dim: usize,
) -> Result<Vec<u32>, Error> {
    let train_rows = rows::count("train", train, dim)?;
    rows::same_length("train_labels", train_rows, train_labels.len())?;
    rows::count("test", test, dim)?;
    let norms: Vec<f64> = train.chunks_exact(dim).map(rows::squared_norm).collect();
    let longest = norms.iter().copied().fold(0.0, f64::max).sqrt();
    Ok(products::map_queries(test, train, dim, |row, products| {
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
        train_labels[nearest.expect("a row lies within the error of the least").1]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_points_by_hand() {
        let train = [0.0, 0.0, 10.0, 0.0];
        let test = [4.0, 3.0, 6.0, 3.0, 5.0, 0.0];
        assert_eq!(nearest_labels(&train, &[7, 8], &test, 2).unwrap(), [7, 8, 7]);
    }

    /// Far from the origin single precision cannot tell the two rows apart.
    #[test]
    fn a_common_offset_does_not_hide_the_nearest() {
        let train = [4096.0, 4096.0, 4096.25, 4096.0];
        let test = [4096.25, 4096.0];
        assert_eq!(nearest_labels(&train, &[0, 1], &test, 2).unwrap(), [1]);
    }

    #[test]
    fn wrong_lengths_are_named() {
        let run = |train: &[f32], labels: &[u32], test: &[f32]| {
            nearest_labels(train, labels, test, 2).unwrap_err().to_string()
        };
        assert_eq!(run(&[0.0; 3], &[0], &[0.0; 2]), "train: expected 2 values, got 3");
        assert_eq!(run(&[], &[], &[0.0; 2]), "train: expected 2 values, got 0");
        assert_eq!(run(&[0.0; 2], &[0, 1], &[0.0; 2]), "train_labels: expected 1 values, got 2");
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
            let expected: Vec<u32> =
                (0..15).map(|row| labels[nearest(&test[row * dim..][..dim])]).collect();
            prop_assert_eq!(nearest_labels(train, &labels[..25], test, dim).unwrap(), expected);
        }
    }
}
