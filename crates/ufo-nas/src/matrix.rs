//! Dense row-major matrices of `f64`, and the one product that everything here is built of.
//!
//! `C += s * A B^T` reads rows of A and B from left to right, so Cholesky, triangular solves and
//! inverses written by rows of blocks spend their time in it. It adds in a fixed order: the bits
//! depend on whether the CPU has AVX2 and FMA, and on nothing else.

use std::ops::Range;

/// A dense row-major matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    data: Vec<f64>,
}

impl Matrix {
    /// Zeros of shape `(rows, columns)`.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, data: vec![0.0; rows * columns] }
    }

    /// Entry `(i, j)` is `entry(i, j)`.
    pub fn from_fn(rows: usize, columns: usize, entry: impl Fn(usize, usize) -> f64) -> Self {
        let indices = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
        Self { rows, columns, data: indices.map(|(i, j)| entry(i, j)).collect() }
    }

    /// A row each; every row must have `columns` entries.
    pub fn from_rows<R: AsRef<[f64]>>(columns: usize, rows: &[R]) -> Self {
        let data: Vec<f64> = rows.iter().flat_map(AsRef::as_ref).copied().collect();
        assert_eq!(data.len(), rows.len() * columns, "every row has {columns} entries");
        Self { rows: rows.len(), columns, data }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.columns..][..self.columns]
    }

    /// Row `i`, to write.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.data[i * self.columns..][..self.columns]
    }

    /// The transpose.
    #[must_use]
    pub fn transposed(&self) -> Self {
        Self::from_fn(self.columns, self.rows, |i, j| self.row(j)[i])
    }

    /// The rows of these indices, in that order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let rows: Vec<&[f64]> = rows.iter().map(|&row| self.row(row)).collect();
        Self::from_rows(self.columns, &rows)
    }

    /// `self * vector`.
    pub fn times(&self, vector: &[f64]) -> Vec<f64> {
        (0..self.rows).map(|i| dot(self.row(i), vector)).collect()
    }

    /// `self * other^T`.
    #[must_use]
    pub fn times_transposed(&self, other: &Self) -> Self {
        assert_eq!(self.columns, other.columns, "inner sizes");
        product(&self.whole(), &other.whole())
    }

    fn whole(&self) -> Part<'_> {
        Part { matrix: self, rows: 0..self.rows, columns: 0..self.columns }
    }
}

/// Rows and columns of a matrix.
#[derive(Clone)]
pub(crate) struct Part<'a> {
    pub(crate) matrix: &'a Matrix,
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

impl<'a> Part<'a> {
    fn row(&self, i: usize) -> &'a [f64] {
        &self.matrix.row(self.rows.start + i)[self.columns.clone()]
    }
}

/// Rows of a block: two blocks and their product stay in the first-level cache.
pub(crate) const BLOCK: usize = 48;

/// `range` in pieces of [`BLOCK`], the last one shorter.
pub(crate) fn blocks(range: Range<usize>) -> impl DoubleEndedIterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(BLOCK).map(move |start| start..(start + BLOCK).min(end))
}

/// Sum of the products of the entries, over the shorter of the two.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a4, a_rest) = a[..a.len().min(b.len())].as_chunks::<4>();
    let (b4, b_rest) = b[..a.len().min(b.len())].as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (a, b) in a4.iter().zip(b4) {
        for lane in 0..4 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

/// `a * b^T`.
pub(crate) fn product(a: &Part, b: &Part) -> Matrix {
    let mut product = Matrix::zeros(a.rows.len(), b.rows.len());
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        #[allow(unsafe_code, reason = "both instruction sets were just found")]
        unsafe {
            fill_fma(&mut product, a, b);
        }
        return product;
    }
    fill::<false>(&mut product, a, b);
    product
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn fill_fma(product: &mut Matrix, a: &Part, b: &Part) {
    fill::<true>(product, a, b);
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "compiled once for each instruction set")]
fn fill<const FMA: bool>(product: &mut Matrix, a: &Part, b: &Part) {
    for rows in blocks(0..a.rows.len()) {
        for columns in blocks(0..b.rows.len()) {
            for i in rows.clone().step_by(4) {
                for j in columns.clone().step_by(2) {
                    // A tile over the edge computes its last row again and does not store it.
                    let a_rows = [0, 1, 2, 3].map(|k| a.row((i + k).min(rows.end - 1)));
                    let b_rows = [0, 1].map(|k| b.row((j + k).min(columns.end - 1)));
                    let sums = tile::<FMA>(a_rows, b_rows);
                    for (row, sums) in (i..rows.end).zip(sums) {
                        let end = columns.end.min(j + 2);
                        product.row_mut(row)[j..end].copy_from_slice(&sums[..end - j]);
                    }
                }
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "compiled once for each instruction set")]
#[allow(clippy::needless_range_loop, reason = "four arrays are walked together")]
fn tile<const FMA: bool>(a: [&[f64]; 4], b: [&[f64]; 2]) -> [[f64; 2]; 4] {
    let a4 = a.map(|row| row.as_chunks::<4>().0);
    let b4 = b.map(|row| row.as_chunks::<4>().0);
    let chunks = a4[0].len();
    let (a4, b4) = (a4.map(|row| &row[..chunks]), b4.map(|row| &row[..chunks]));
    let mut sums = [[[0.0_f64; 4]; 2]; 4];
    for chunk in 0..chunks {
        for i in 0..4 {
            for j in 0..2 {
                for lane in 0..4 {
                    let (x, y) = (a4[i][chunk][lane], b4[j][chunk][lane]);
                    let sum = &mut sums[i][j][lane];
                    *sum = if FMA { x.mul_add(y, *sum) } else { *sum + x * y };
                }
            }
        }
    }
    let mut total = [[0.0; 2]; 4];
    for i in 0..4 {
        for j in 0..2 {
            let [s0, s1, s2, s3] = sums[i][j];
            let rest = a[i][4 * chunks..].iter().zip(&b[j][4 * chunks..]).map(|(x, y)| x * y);
            total[i][j] = (s0 + s1) + (s2 + s3) + rest.sum::<f64>();
        }
    }
    total
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Matrix;
    use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

    /// Entries uniform from -1 to 1.
    pub(crate) fn random(rows: usize, columns: usize, seed: u64) -> Matrix {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut matrix = Matrix::zeros(rows, columns);
        matrix.data.fill_with(|| rng.random_range(-1.0..1.0));
        matrix
    }
}

#[cfg(test)]
mod tests {
    use super::testing::random;
    use super::*;
    use proptest::prelude::*;

    fn plain(a: &Matrix, b: &Matrix) -> Matrix {
        let entry = |i, j| a.row(i).iter().zip(b.row(j)).map(|(x, y)| x * y).sum();
        Matrix::from_fn(a.rows(), b.rows(), entry)
    }

    proptest! {
        #[test]
        fn products_equal_sums_of_products(m in 1_usize..70, n in 1_usize..70, k in 0_usize..40) {
            let (a, b) = (random(m, k, 1), random(n, k, 2));
            let (fast, slow) = (a.times_transposed(&b), plain(&a, &b));
            for (x, y) in fast.data.iter().zip(&slow.data) {
                prop_assert!((x - y).abs() < 1e-13);
            }
        }

        #[test]
        fn both_instruction_sets_agree(m in 1_usize..20, n in 1_usize..20, k in 0_usize..40) {
            let (a, b) = (random(m, k, 3), random(n, k, 4));
            let mut portable = Matrix::zeros(m, n);
            fill::<false>(&mut portable, &a.whole(), &b.whole());
            for (x, y) in portable.data.iter().zip(&a.times_transposed(&b).data) {
                prop_assert!((x - y).abs() < 1e-13);
            }
        }
    }

    #[test]
    fn transposes_selects_and_multiplies() {
        let matrix = Matrix::from_rows(2, &[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        assert_eq!(matrix.transposed().row(1), [2.0, 4.0, 6.0]);
        assert_eq!(matrix.select(&[2, 0]).row(0), [5.0, 6.0]);
        assert_eq!(matrix.times(&[1.0, -1.0]), [-1.0, -1.0, -1.0]);
    }
}
