//! The linear layer `y = x W + b`, its weight `[in, out]` anywhere in a larger matrix.
//!
//! ```text
//! dx = dy W^T        dW = x^T dy        db = sum of dy over rows
//! ```
#![allow(unsafe_code, reason = "columns are summed in several threads")]

use crate::{
    gemm::{Epilogue, gemm},
    level::{Kernel, Level},
    mat::{Mat, MatMut},
    scratch::Scratch,
    simd::Simd,
    split::{self, Shared},
};

/// Columns that are summed at a time.
const SUM_COLS: usize = 256;

/// The parameters.
#[derive(Clone, Copy, Debug)]
pub struct LinearWeights<'a> {
    /// `[in, out]`
    pub weight: Mat<'a>,
    /// `[out]`
    pub bias: Option<&'a [f32]>,
}

/// What [`backward`] overwrites.
#[derive(Debug)]
pub struct Grads<'a> {
    /// The gradient of the input, `[m, in]`, where it is needed.
    pub dx: Option<MatMut<'a>>,
    /// The gradient of the weight, `[in, out]`, where it is needed.
    pub dweight: Option<MatMut<'a>>,
    /// The gradient of the bias, `[out]`, where there is one.
    pub dbias: Option<&'a mut [f32]>,
}

/// Computes `y`.
///
/// # Shapes
/// `x` `[m, in]`, `y` `[m, out]`.
pub fn forward<'a>(
    level: Level,
    weights: &LinearWeights<'a>,
    x: Mat<'a>,
    y: MatMut<'a>,
    scratch: &mut Scratch,
) {
    let epilogue = Epilogue::Bias { bias: weights.bias, residual: None };
    gemm(level, (x, weights.weight), y, epilogue, scratch);
}

/// Computes all gradients from the input `x` and the gradient `dy` of the output.
///
/// # Shapes
/// `x` `[m, in]`, `dy` `[m, out]`.
pub fn backward<'a>(
    level: Level,
    weight: Mat<'a>,
    (x, dy): (Mat<'a>, Mat<'a>),
    grads: Grads<'a>,
    scratch: &mut Scratch,
) {
    assert!(dy.rows() == x.rows(), "dy: {} rows, but x has {}", dy.rows(), x.rows());
    if let Some(dx) = grads.dx {
        gemm(level, (dy, weight.transposed()), dx, Epilogue::Store, scratch);
    }
    if let Some(dweight) = grads.dweight {
        gemm(level, (x.transposed(), dy), dweight, Epilogue::Store, scratch);
    }
    if let Some(dbias) = grads.dbias {
        sum_rows(level, dy, dbias, false);
    }
}

/// Writes the sum of all rows to `sums`, or adds it there.
///
/// # Panics
/// If `sums` has not one value a column.
pub(crate) fn sum_rows(level: Level, mat: Mat<'_>, sums: &mut [f32], add: bool) {
    let cols = mat.cols();
    assert!(sums.len() == cols, "dbias: {} values for {cols} columns", sums.len());
    let shared = Shared::new(sums);
    split::for_each(cols.div_ceil(SUM_COLS), mat.rows() * cols, |piece| {
        let col = piece * SUM_COLS;
        let width = SUM_COLS.min(cols - col);
        // SAFETY: pieces are disjoint runs of columns.
        let sums = unsafe { shared.part(col, width) };
        if !add {
            sums.fill(0.0);
        }
        level.run(SumRows { mat: mat.block([0, col], [mat.rows(), width]), sums });
    });
}

/// Adds all rows to `sums`.
struct SumRows<'a> {
    mat: Mat<'a>,
    sums: &'a mut [f32],
}

impl Kernel for SumRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { mat, sums } = self;
        if mat.col_stride() != 1 {
            for row in 0..mat.rows() {
                for (col, sum) in sums.iter_mut().enumerate() {
                    *sum += mat.at(row, col);
                }
            }
            return;
        }
        // Sums stay in registers while all rows pass.
        for (chunk, sums) in sums.chunks_mut(4 * S::LANES).enumerate() {
            let mut parts = [s.splat(0.0); 4];
            for (part, sums) in parts.iter_mut().zip(sums.chunks(S::LANES)) {
                *part = s.read(sums);
            }
            for row in 0..mat.rows() {
                let start = row * mat.row_stride() + chunk * 4 * S::LANES;
                let row = &mat.data()[start..start + sums.len()];
                for (part, row) in parts.iter_mut().zip(row.chunks(S::LANES)) {
                    *part = s.add(*part, s.read(row));
                }
            }
            for (part, sums) in parts.into_iter().zip(sums.chunks_mut(S::LANES)) {
                s.write(sums, part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{
        assert_bf16_is_close, assert_close, assert_same_for_any_threads, differences, doubles,
        fixed_cases, values,
    };

    /// `y = x W + b` in double precision, of row-major `[m, i]` and `[i, o]`.
    fn reference([m, i, o]: [usize; 3], x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
        let dot = |r: usize, c: usize| (0..i).map(|k| x[r * i + k] * w[k * o + c]).sum::<f64>();
        (0..m * o).map(|at| dot(at / o, at % o) + b[at % o]).collect()
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// `[y, dx, dw, db]` of the kernels, with the weight in the corner of a larger matrix.
    fn run(level: Level, [m, i, o]: [usize; 3]) -> [Vec<f32>; 4] {
        let (x, dy, b) = (values(1, m * i), values(2, m * o), values(3, o));
        let large = values(4, (i + 2) * (o + 3));
        let weight = Mat::new(&large, [i, o], [o + 3, 1]);
        let (x, dy) = (Mat::row_major(&x, m, i), Mat::row_major(&dy, m, o));
        let [mut y, mut dx] = [m * o, m * i].map(|len| vec![f32::NAN; len]);
        let [mut dw, mut db] = [i * o, o].map(|len| vec![f32::NAN; len]);
        let mut scratch = Scratch::new();
        let weights = LinearWeights { weight, bias: Some(&b) };
        forward(level, &weights, x, MatMut::row_major(&mut y, m, o), &mut scratch);
        let grads = Grads {
            dx: Some(MatMut::row_major(&mut dx, m, i)),
            dweight: Some(MatMut::row_major(&mut dw, i, o)),
            dbias: Some(&mut db),
        };
        backward(level, weight, (x, dy), grads, &mut scratch);
        [y, dx, dw, db]
    }

    proptest! {
        #![proptest_config(fixed_cases(40))]

        #[test]
        fn output_and_gradients_are_those_of_the_formula(
            shape in prop::array::uniform3(prop::sample::select(vec![1usize, 2, 3, 5, 17, 40])),
        ) {
            let [m, i, o] = shape;
            let (x, dy) = (doubles(&values(1, m * i)), doubles(&values(2, m * o)));
            let (b, large) = (doubles(&values(3, o)), doubles(&values(4, (i + 2) * (o + 3))));
            let w: Vec<f64> = (0..i * o).map(|at| large[at / o * (o + 3) + at % o]).collect();
            let loss = |x: &[f64], w: &[f64], b: &[f64]| dot(&reference(shape, x, w, b), &dy);
            let expected = [
                reference(shape, &x, &w, &b),
                differences(&x, |x| loss(x, &w, &b)),
                differences(&w, |w| loss(&x, w, &b)),
                differences(&b, |b| loss(&x, &w, b)),
            ];
            for level in Level::available() {
                let got = run(level, shape);
                for (k, name) in ["y", "dx", "dw", "db"].into_iter().enumerate() {
                    assert_close(name, &got[k], &expected[k], 1e-5);
                }
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        assert_same_for_any_threads(|level| run(level, [700, 65, 530]).concat());
    }

    #[test]
    fn products_in_bf16_are_close_to_those_in_f32() {
        assert_bf16_is_close(|level| run(level, [333, 65, 130]).to_vec());
    }

    #[test]
    fn no_rows_give_zero_weight_gradients() {
        for level in Level::available() {
            let [_, _, dw, db] = run(level, [0, 3, 5]);
            assert!(dw.iter().chain(&db).all(|v| v.to_bits() == 0), "{level:?}");
        }
    }
}
