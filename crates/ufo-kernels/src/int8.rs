//! Products of 8-bit integers for inference: the weights are quantized once, the rows of the left
//! operand in each call.
//!
//! Both are symmetric: a value `x` becomes the integer nearest to `x / scale`, of two the even one, where
//! `scale` is the largest magnitude divided by 127, of a column of the weights and of a row of the left
//! operand (arXiv 2004.09602, sections 3 and 4). Integers are multiplied and summed exactly, so they are
//! the same at every level and for any number of threads:
//! ```text
//! C = epilogue(row_scale col_scale sum of integers)
//! ```
//! A row or column whose magnitudes are below 1e-36 counts as zero. One with a NaN or an infinity gives
//! NaN in the product, and spoils no other.

use crate::{
    gemm::{self, Epilogue, INT8_STEPS, Int8, Integers, Lines, Panels, Word, words_len},
    level::{Kernel, Level},
    mat::{Mat, MatMut},
    scratch::Scratch,
    simd::Simd,
};

/// Most rows of weights: sums of more products might not fit into 32 bits.
pub const MAX_ROWS: usize = 1 << 16;

/// Weights `[k, n]` in 8-bit integers, in the order in which the products of a level read them.
#[derive(Clone, Debug)]
pub struct Quantized {
    level: Level,
    rows: usize,
    cols: usize,
    panels: Lines,
    scales: Vec<f32>,
    /// 128 times the sum of each column, in integers of 32 bits.
    offsets: Vec<f32>,
}

impl Quantized {
    /// The matrix in integers, one scale a column (1 where all values are zero), for products at `level`
    /// of either precision.
    ///
    /// # Panics
    /// If there are more than [`MAX_ROWS`] rows, or this machine lacks the level.
    pub fn new(level: Level, mat: Mat<'_>) -> Self {
        let (level, rows, cols) = (level.f32(), mat.rows(), mat.cols());
        assert!(rows <= MAX_ROWS, "mat: {rows} rows, more than {MAX_ROWS}");
        let (scales, inverses): (Vec<f32>, Vec<f32>) =
            (0..cols).map(|col| scales(mat, col)).unzip();
        let mut integers = Vec::with_capacity(rows * cols);
        for row in 0..rows {
            integers.extend(inverses.iter().enumerate().map(|(col, inverse)| {
                (mat.at(row, col) * inverse).round_ties_even().clamp(-INT8_STEPS, INT8_STEPS)
            }));
        }
        let mut sums = vec![0_i32; cols];
        for row in integers.chunks_exact(cols.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += 128 * (*x as i32));
        }
        let offsets = sums.into_iter().map(|sum| f32::from_bits(sum.cast_unsigned())).collect();
        let integers = Mat::row_major(&integers, rows, cols);
        let mut panels = Lines::default();
        let words = panels.resized(words_len::<Int8>(level, integers));
        Panels::of_words::<Int8>(level, integers, words);
        Self { level, rows, cols, panels, scales, offsets }
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// What one step of a column's integers stands for; NaN where the column has a NaN or an infinity.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The integers, `[k, n]` row by row, all from -127 to 127.
    pub fn values(&self) -> Vec<i8> {
        let Self { rows, cols, ref panels, .. } = *self;
        Int8::run(self.level, Unpack { shape: [rows, cols], words: panels.words() })
    }

    /// Bytes of memory that the integers, their scales and their sums take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.panels.words())
            + size_of_val(&self.scales[..])
            + size_of_val(&self.offsets[..])
    }
}

/// The scale of a column and its reciprocal.
fn scales(mat: Mat<'_>, col: usize) -> (f32, f32) {
    let mut largest = 0.0_f32;
    for row in 0..mat.rows() {
        let x = mat.at(row, col).abs();
        largest = if x.is_finite() { largest.max(x) } else { f32::NAN };
        if largest.is_nan() {
            return (f32::NAN, 0.0);
        }
    }
    let [scale, inverse] = gemm::quantize(largest);
    (if inverse > 0.0 { scale } else { 1.0 }, inverse)
}

/// `C = epilogue(A B)`, with the rows of A rounded to 8-bit integers.
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`.
///
/// # Panics
/// If shapes do not fit, or `b` was made at a level of other vectors, or this machine lacks them.
pub fn gemm<'a>(
    level: Level,
    (a, b): (Mat<'a>, &'a Quantized),
    c: MatMut<'a>,
    epilogue: Epilogue<'a>,
    scratch: &mut Scratch,
) {
    gemm::gemm(level, (a, b.integers()), c, epilogue, scratch);
}

/// [`gemm()`] in this thread alone, for callers that split their work themselves: the same bits.
///
/// # Panics
/// As [`gemm()`].
pub fn gemm_alone<'a>(
    level: Level,
    (a, b): (Mat<'a>, &'a Quantized),
    c: MatMut<'a>,
    epilogue: Epilogue<'a>,
    scratch: &mut Scratch,
) {
    gemm::gemm_alone(level, (a, b.integers()), c, epilogue, scratch);
}

impl Quantized {
    /// As an operand of a product.
    fn integers(&self) -> Integers<'_> {
        let Self { level, rows, cols, ref panels, ref scales, ref offsets } = *self;
        let panels = Panels { level, rows, cols, values: panels.words() };
        Integers { panels, scales, offsets }
    }
}

/// Puts the integers back in order.
struct Unpack<'a> {
    shape: [usize; 2],
    words: &'a [f32],
}

impl Kernel for Unpack<'_> {
    type Output = Vec<i8>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Vec<i8> {
        let ([rows, cols], depth) = (self.shape, S::INT8_DEPTH);
        let wide = S::TILE_VECTORS * S::LANES;
        let element = |row: usize, col: usize| {
            let first = col - col % wide;
            let stride = wide.min(cols - first).next_multiple_of(S::LANES);
            let word = first * gemm::words::<S, Int8>(rows) + row / depth * stride + col % wide;
            (self.words[word].to_bits() >> (row % depth * (32 / depth))) as i8
        };
        (0..rows * cols).map(|at| element(at / cols, at % cols)).collect()
    }
}

#[cfg(test)]
mod tests;
