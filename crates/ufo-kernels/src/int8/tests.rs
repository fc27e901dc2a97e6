use proptest::prelude::*;

use super::*;
use crate::{
    Vectors,
    testing::{Stored, assert_same_for_any_threads, assert_within, doubles, fixed_cases, values},
};

/// The integers of a row or column and its scale, by the definition.
fn integers(values: &[f32]) -> (Vec<i64>, f32) {
    let largest = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    if largest < 1e-36 {
        return (vec![0; values.len()], 0.0);
    }
    let inverse = 127.0 / largest;
    (values.iter().map(|x| (x * inverse).round_ties_even() as i64).collect(), largest / 127.0)
}

/// The product by plain loops, with the same roundings in f32.
fn reference(a: &Stored, b: &Stored) -> Vec<f32> {
    let cols: Vec<_> = (0..b.shape[1]).map(|col| integers(&b.col(col))).collect();
    let mut c = Vec::new();
    for row in 0..a.shape[0] {
        let (x, row_scale) = integers(&a.row(row));
        for (w, col_scale) in &cols {
            let sum = x.iter().zip(w).map(|(x, w)| x * w).sum::<i64>();
            c.push(sum as f32 * row_scale * if *col_scale > 0.0 { *col_scale } else { 1.0 });
        }
    }
    c
}

fn product(level: Level, a: Mat<'_>, b: Mat<'_>) -> Vec<f32> {
    let quantized = Quantized::new(level, b);
    let mut c = vec![f32::NAN; a.rows() * b.cols()];
    let to = MatMut::row_major(&mut c, a.rows(), b.cols());
    gemm(level, (a, &quantized), to, Epilogue::Store, &mut Scratch::new());
    c
}

fn bits(values: &[f32]) -> Vec<u32> {
    // Zeros of both signs are the same.
    values.iter().map(|v| (v + 0.0).to_bits()).collect()
}

const SIZES: [usize; 13] = [1, 2, 3, 5, 6, 7, 16, 17, 31, 48, 49, 65, 97];

proptest! {
    #![proptest_config(fixed_cases(150))]

    #[test]
    fn a_product_is_exactly_that_of_the_integers(
        sizes in [0..13usize, 0..13, 0..13],
        layout in any::<[bool; 2]>(),
        seed in 0..1000u64,
    ) {
        let [m, n, k] = sizes.map(|i| SIZES[i]);
        let (a, b) = (Stored::new(seed, [m, k], layout[0]), Stored::new(seed + 1, [k, n], layout[1]));
        let want = bits(&reference(&a, &b));
        let exact: Vec<f64> = (0..m * n)
            .map(|at| {
                let (x, w) = (doubles(&a.row(at / n)), doubles(&b.col(at % n)));
                x.iter().zip(w).map(|(x, w)| x * w).sum()
            })
            .collect();
        for level in Level::available() {
            let c = product(level, a.mat(), b.mat());
            prop_assert!(bits(&c) == want, "{level:?}");
            prop_assert!(bits(&product(level.bf16(), a.mat(), b.mat())) == want, "{level:?} bf16");
            // Each factor, at most 1, is off by half a step of 1/127 at most.
            assert_within("c", &c, &exact, k as f64 / 127.0);
        }
    }

    #[test]
    fn integers_can_be_read_back(
        sizes in [0..13usize, 0..13], transposed in any::<bool>(), seed in 0..1000u64,
    ) {
        let [k, n] = sizes.map(|i| SIZES[i]);
        let b = Stored::new(seed, [k, n], transposed);
        let columns: Vec<_> = (0..n).map(|col| integers(&b.col(col))).collect();
        for level in Level::available() {
            let quantized = Quantized::new(level, b.mat());
            let values: Vec<i64> = quantized.values().into_iter().map(i64::from).collect();
            let want: Vec<i64> = (0..k * n).map(|at| columns[at % n].0[at / n]).collect();
            prop_assert_eq!(&values, &want);
            let scales: Vec<f32> = columns.iter().map(|column| column.1).collect();
            prop_assert_eq!(bits(quantized.scales()), bits(&scales));
            prop_assert!(quantized.bytes() >= k * n);
            prop_assert_eq!([quantized.rows(), quantized.cols()], [k, n]);
        }
    }
}

#[test]
fn many_inner_elements_are_summed_exactly() {
    // The largest sums there are, and others in several blocks.
    for k in [MAX_ROWS, 5000, 3077] {
        let (a, mut b) = (Stored::new(0, [2, k], false), Stored::new(1, [k, 3], false));
        let a = Stored { data: a.data.iter().map(|x| x.abs().max(0.5)).collect(), ..a };
        b.data.iter_mut().for_each(|x| *x = x.signum());
        let [ones, minus] =
            [1.0, -1.0].map(|x| Stored { data: vec![x; 2 * k], ..Stored::new(0, [2, k], false) });
        let one_sign = Stored { data: vec![1.0; 4 * k + 4], ..Stored::new(1, [k, 3], false) };
        for a in [&a, &ones, &minus] {
            for b in [&b, &one_sign] {
                let want = bits(&reference(a, b));
                for level in Level::available() {
                    assert!(bits(&product(level, a.mat(), b.mat())) == want, "{level:?} {k}");
                }
            }
        }
    }
}

#[test]
fn epilogues_take_the_scaled_product() {
    for [m, n, k] in [[7, 19, 33], [13, 48, 1700], [1, 1, 1]] {
        let (a, b) = (Stored::new(1, [m, k], false), Stored::new(2, [k, n], true));
        let (bias, residual) = (values(3, n), values(4, m * n));
        let p = doubles(&reference(&a, &b));
        let added: Vec<f64> =
            p.iter().enumerate().map(|(at, p)| p + f64::from(bias[at % n])).collect();
        let gelu = |x: f64| {
            let steps = 400;
            let h = x / f64::from(steps);
            let density = |i: i32| (-(f64::from(i) * h).powi(2) / 2.0).exp();
            let weight = |i: i32| if i % 2 == 1 { 4.0 } else { 2.0 };
            let inner: f64 = (1..steps).map(|i| weight(i) * density(i)).sum();
            let sum = density(0) + density(steps) + inner;
            x * (0.5 + sum * h / 3.0 / (2.0 * std::f64::consts::PI).sqrt())
        };
        let largest = p.iter().fold(1.0_f64, |largest, p| largest.max(p.abs()));
        let close = |name: &str, got: &[f32], want: Vec<f64>| {
            assert_within(name, got, &want, 2e-6 * largest);
        };
        for level in Level::available() {
            let quantized = Quantized::new(level, b.mat());
            let mut scratch = Scratch::new();
            let mut run = |c: &mut [f32], epilogue: Epilogue<'_>| {
                gemm(
                    level,
                    (a.mat(), &quantized),
                    MatMut::row_major(c, m, n),
                    epilogue,
                    &mut scratch,
                );
            };
            let (mut c, mut pre) = (residual.clone(), vec![f32::NAN; m * n]);
            run(&mut c, Epilogue::Accumulate);
            close(
                "accumulate",
                &c,
                p.iter().zip(&residual).map(|(p, r)| p + f64::from(*r)).collect(),
            );
            run(&mut c, Epilogue::Scale(-0.5));
            close("scale", &c, p.iter().map(|p| -0.5 * p).collect());
            let mat = Mat::row_major(&residual, m, n);
            run(&mut c, Epilogue::Bias { bias: Some(&bias), residual: Some(mat) });
            close(
                "bias",
                &c,
                added.iter().zip(&residual).map(|(p, r)| p + f64::from(*r)).collect(),
            );
            let kept = MatMut::row_major(&mut pre, m, n);
            run(&mut c, Epilogue::Gelu { bias: Some(&bias), pre: Some(kept) });
            close("pre", &pre, added.clone());
            close("gelu", &c, added.iter().map(|&x| gelu(x)).collect());
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    for [m, n, k] in [[97, 130, 401], [1, 2000, 333], [2000, 3, 100], [65, 192, 1700]] {
        let (a, b) = (Stored::new(1, [m, k], false), Stored::new(2, [k, n], false));
        assert_same_for_any_threads(|level| product(level, a.mat(), b.mat()));
    }
}

#[test]
fn zero_rows_and_columns_give_zeros() {
    for tiny in [0.0, 1e-38] {
        let (mut a, mut b) = (Stored::new(4, [9, 20], false), Stored::new(8, [20, 19], false));
        a.data[60..80].fill(tiny);
        (0..20).for_each(|row| b.data[row * 19 + 4] = -tiny);
        for level in Level::available() {
            let c = product(level, a.mat(), b.mat());
            for (at, value) in c.iter().enumerate() {
                assert_eq!(*value == 0.0, at / 19 == 3 || at % 19 == 4, "{level:?} {at}: {value}");
            }
            assert!((Quantized::new(level, b.mat()).scales()[4] - 1.0).abs() < 1e-9);
        }
    }
}

#[test]
fn nan_and_infinity_give_nan_in_their_rows_and_columns_and_nowhere_else() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (mut a, mut b) = (Stored::new(4, [9, 20], false), Stored::new(8, [20, 19], false));
        a.data[3 * 20 + 7] = bad;
        a.data[5 * 20] = f32::MAX;
        b.data[7 * 19 + 11] = bad;
        for level in Level::available() {
            let c = product(level, a.mat(), b.mat());
            for (at, value) in c.iter().enumerate() {
                let spoiled = at / 19 == 3 || at % 19 == 11;
                assert_eq!(value.is_nan(), spoiled, "{level:?} {bad} {at}: {value}");
            }
        }
    }
}

#[test]
fn empty_matrices_are_taken() {
    for level in Level::available() {
        for [m, k, n] in [[0, 4, 5], [4, 0, 5], [4, 5, 0]] {
            let (a, b) = (vec![1.0; m * k], vec![1.0; k * n]);
            let c = product(level, Mat::row_major(&a, m, k), Mat::row_major(&b, k, n));
            assert!(c.iter().all(|v| v.to_bits() == 0), "{level:?}");
        }
    }
}

#[test]
#[should_panic(expected = "mat: 65537 rows, more than 65536")]
fn too_many_rows_are_refused() {
    let data = vec![0.0; MAX_ROWS + 1];
    let _ = Quantized::new(Level::detect(), Mat::row_major(&data, MAX_ROWS + 1, 1));
}

#[test]
#[should_panic(expected = "b: for Level")]
fn weights_for_other_vectors_are_refused() {
    let quantized = Quantized::new(Vectors::Wide.into(), Mat::row_major(&[1.0; 6], 2, 3));
    let (a, mut c) = ([1.0; 2], [0.0; 3]);
    let (a, c) = (Mat::row_major(&a, 1, 2), MatMut::row_major(&mut c, 1, 3));
    gemm(Vectors::Portable.into(), (a, &quantized), c, Epilogue::Store, &mut Scratch::new());
}
