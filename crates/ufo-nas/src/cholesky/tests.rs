use super::*;
use crate::matrix::testing::random;
use proptest::prelude::*;

fn positive(n: usize, seed: u64) -> Matrix {
    let factor = random(n, n, seed);
    let mut matrix = factor.times_transposed(&factor);
    (0..n).for_each(|i| matrix.row_mut(i)[i] += 1.0);
    matrix
}

fn distance(a: &Matrix, b: &Matrix) -> f64 {
    let rows = (0..a.rows()).flat_map(|i| a.row(i).iter().zip(b.row(i)));
    rows.map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

proptest! {
    #[test]
    fn the_factor_multiplies_back(n in 1_usize..150, seed in 0_u64..100) {
        let matrix = positive(n, seed);
        let cholesky = Cholesky::new(matrix.clone()).unwrap();
        let lower = cholesky.lower();
        prop_assert!(distance(&lower.times_transposed(lower), &matrix) < 1e-10);
    }

    #[test]
    fn the_inverse_and_the_solutions_multiply_back(n in 1_usize..150, seed in 0_u64..100) {
        let matrix = positive(n, seed);
        let cholesky = Cholesky::new(matrix.clone()).unwrap();
        let one = Matrix::from_fn(n, n, |i, j| f64::from(u8::from(i == j)));
        prop_assert!(distance(&cholesky.inverse().times_transposed(&matrix), &one) < 1e-9);
        let rows = random(7, n, seed + 1);
        let halves = cholesky.half_solve_rows(rows.clone());
        prop_assert!(distance(&halves.times_transposed(cholesky.lower()), &rows) < 1e-10);
        let solution = matrix.times(&cholesky.solve_vector(rows.row(0)));
        let error = solution.iter().zip(rows.row(0)).map(|(x, y)| (x - y).abs());
        prop_assert!(error.fold(0.0, f64::max) < 1e-9);
    }
}

#[test]
fn the_determinant_of_a_diagonal() {
    let matrix = Matrix::from_rows(2, &[[4.0, 0.0], [0.0, 9.0]]);
    let cholesky = Cholesky::new(matrix).unwrap();
    assert!((cholesky.log_determinant() - 36.0_f64.ln()).abs() < 1e-15);
}

#[test]
fn the_upper_triangle_is_not_read() {
    let matrix = Matrix::from_rows(2, &[[4.0, f64::NAN], [2.0, 9.0]]);
    let cholesky = Cholesky::new(matrix).unwrap();
    assert_eq!(cholesky.lower().row(0), [2.0, 0.0]);
}

#[test]
fn what_has_no_factor_is_told_by_its_row() {
    let mut matrix = positive(100, 3);
    matrix.row_mut(60)[60] = -1.0;
    let error = Cholesky::new(matrix).unwrap_err().to_string();
    assert!(error.starts_with("row 60 of a covariance"), "{error}");
}
