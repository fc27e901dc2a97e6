//! Cholesky factors of symmetric positive definite matrices, by blocks of rows.

use crate::matrix::{Part, blocks, dot, product};
use crate::{Error, Matrix};
use std::ops::Range;

/// The lower triangle L of `A = L L^T`.
#[derive(Debug, Clone)]
pub struct Cholesky {
    lower: Matrix,
}

impl Cholesky {
    /// Factor of a symmetric matrix, of which only the lower triangle is read; `n^3 / 3` operations.
    ///
    /// # Errors
    /// A matrix that is not positive definite, with the first row where that shows.
    pub fn new(mut matrix: Matrix) -> Result<Self, Error> {
        assert_eq!(matrix.rows(), matrix.columns(), "a square matrix");
        let n = matrix.rows();
        for columns in blocks(0..n) {
            subtract_left(&mut matrix, &columns, &columns);
            let diagonal = factor(&mut matrix, &columns)?;
            for rows in blocks(columns.end..n) {
                subtract_left(&mut matrix, &rows, &columns);
                for row in rows {
                    solve_row(&diagonal, &mut matrix.row_mut(row)[columns.clone()]);
                }
            }
        }
        for row in 0..n {
            matrix.row_mut(row)[row + 1..].fill(0.0);
        }
        Ok(Self { lower: matrix })
    }

    /// L.
    pub fn lower(&self) -> &Matrix {
        &self.lower
    }

    /// Natural logarithm of the determinant of A.
    pub fn log_determinant(&self) -> f64 {
        2.0 * (0..self.lower.rows()).map(|i| self.lower.row(i)[i].ln()).sum::<f64>()
    }

    /// `L^-1 b` for every row b of `rows`.
    pub fn half_solve_rows(&self, mut rows: Matrix) -> Matrix {
        assert_eq!(rows.columns(), self.lower.rows(), "entries of a row");
        self.solve(&mut rows, |_| 0);
        rows
    }

    /// `A^-1 b`.
    pub fn solve_vector(&self, vector: &[f64]) -> Vec<f64> {
        let mut x = vector.to_vec();
        solve_row(&self.lower, &mut x);
        self.solve_transposed(&mut x);
        x
    }

    /// Puts `L^-T x` in the place of x.
    fn solve_transposed(&self, x: &mut [f64]) {
        for i in (0..x.len()).rev() {
            let row = self.lower.row(i);
            let value = x[i] / row[i];
            x[i] = value;
            x[..i].iter_mut().zip(row).for_each(|(x, l)| *x -= value * l);
        }
    }

    /// `A^-1`, both triangles.
    pub fn inverse(&self) -> Matrix {
        let n = self.lower.rows();
        // Row i of the transposed inverse of L is zero left of i.
        let mut upper = Matrix::from_fn(n, n, |i, j| if i == j { 1.0 } else { 0.0 });
        self.solve(&mut upper, |row| row);
        let mut inverse = Matrix::zeros(n, n);
        for rows in blocks(0..n) {
            for columns in blocks(0..rows.end) {
                let shared = rows.start..n;
                let a = Part { matrix: &upper, rows: rows.clone(), columns: shared.clone() };
                let b = Part { matrix: &upper, rows: columns.clone(), columns: shared };
                let block = product(&a, &b);
                for (i, row) in rows.clone().enumerate() {
                    inverse.row_mut(row)[columns.clone()].copy_from_slice(block.row(i));
                }
            }
        }
        for i in 0..n {
            for j in i + 1..n {
                inverse.row_mut(i)[j] = inverse.row(j)[i];
            }
        }
        inverse
    }

    /// Puts `L^-1 b` in the place of every row b, whose entries left of `first(row)` are zero; `first`
    /// ascends.
    fn solve(&self, x: &mut Matrix, first: fn(usize) -> usize) {
        let n = self.lower.rows();
        for rows in blocks(0..x.rows()) {
            let start = first(rows.start);
            for columns in blocks(start..n) {
                let left = start..columns.start;
                let a = Part { matrix: x, rows: rows.clone(), columns: left.clone() };
                let b = Part { matrix: &self.lower, rows: columns.clone(), columns: left };
                let update = product(&a, &b);
                let diagonal = block(&self.lower, &columns);
                for (i, row) in rows.clone().enumerate() {
                    let entries = &mut x.row_mut(row)[columns.clone()];
                    entries.iter_mut().zip(update.row(i)).for_each(|(x, u)| *x -= u);
                    solve_row(&diagonal, entries);
                }
            }
        }
    }
}

/// Lets the finished columns left of `columns` enter these rows: `A -= L L^T`.
fn subtract_left(matrix: &mut Matrix, rows: &Range<usize>, columns: &Range<usize>) {
    let part = |rows: &Range<usize>| Part { matrix, rows: rows.clone(), columns: 0..columns.start };
    let update = product(&part(rows), &part(columns));
    for (i, row) in rows.clone().enumerate() {
        let entries = &mut matrix.row_mut(row)[columns.clone()];
        entries.iter_mut().zip(update.row(i)).for_each(|(entry, u)| *entry -= u);
    }
}

/// Factors a block on the diagonal in place, and copies it.
fn factor(matrix: &mut Matrix, columns: &Range<usize>) -> Result<Matrix, Error> {
    let mut lower = block(matrix, columns);
    for i in 0..columns.len() {
        for j in 0..=i {
            let rest = lower.row(i)[j] - dot(&lower.row(i)[..j], &lower.row(j)[..j]);
            if i > j {
                lower.row_mut(i)[j] = rest / lower.row(j)[j];
                continue;
            }
            if rest.is_nan() || rest <= 0.0 {
                return Err(Error::NotPositiveDefinite {
                    row: columns.start + i,
                    pivot: rest.to_string(),
                });
            }
            lower.row_mut(i)[i] = rest.sqrt();
        }
        matrix.row_mut(columns.start + i)[columns.clone()].copy_from_slice(lower.row(i));
    }
    Ok(lower)
}

/// The square block on the diagonal.
fn block(matrix: &Matrix, columns: &Range<usize>) -> Matrix {
    let rows: Vec<&[f64]> = columns.clone().map(|row| &matrix.row(row)[columns.clone()]).collect();
    Matrix::from_rows(columns.len(), &rows)
}

/// Puts `L^-1 x` in the place of x.
fn solve_row(lower: &Matrix, x: &mut [f64]) {
    for i in 0..x.len() {
        let row = lower.row(i);
        x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
    }
}

#[cfg(test)]
mod tests;
