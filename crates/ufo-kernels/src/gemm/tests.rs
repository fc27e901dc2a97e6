use proptest::prelude::*;

use super::*;
use crate::{
    Vectors,
    testing::{Stored, fixed_cases, values},
};

fn gelu_f64(x: f64) -> f64 {
    // Integral of the density by Simpson's rule: slow, but not the kernel's formula.
    let steps = 200;
    let h = x / f64::from(steps);
    let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let inner = |i: i32| if i % 2 == 1 { 4.0 } else { 2.0 } * density(f64::from(i) * h);
    let sum = density(0.0) + density(x) + (1..steps).map(inner).sum::<f64>();
    x * (0.5 + sum * h / 3.0)
}

fn product_f64(a: &Stored, b: &Stored) -> Vec<Vec<f64>> {
    let row = |i: usize| {
        (0..b.shape[1]).map(|j| (0..a.shape[1]).map(|l| a.at(i, l) * b.at(l, j)).sum()).collect()
    };
    (0..a.shape[0]).map(row).collect()
}

fn assert_close(name: &str, got: &Stored, want: impl Fn(usize, usize) -> f64, tolerance: f64) {
    for row in 0..got.shape[0] {
        for col in 0..got.shape[1] {
            let (got, want) = (got.at(row, col), want(row, col));
            assert!((got - want).abs() <= tolerance, "{name} ({row}, {col}): {got}, not {want}");
        }
    }
}

const SIZES: [usize; 13] = [1, 2, 3, 5, 6, 7, 16, 17, 31, 48, 49, 65, 97];

proptest! {
    #![proptest_config(fixed_cases(200))]

    #[test]
    fn a_product_is_the_sum_of_products_for_any_strides_and_either_right_operand(
        sizes in [0..13usize, 0..13, 0..13],
        layout in [any::<bool>(), any::<bool>(), any::<bool>()],
        seed in 0..1000u64,
    ) {
        let [m, n, k] = sizes.map(|i| SIZES[i]);
        let a = Stored::new(seed, [m, k], layout[0]);
        let b = Stored::new(seed + 1, [k, n], layout[1]);
        let want = product_f64(&a, &b);
        let mut scratch = Scratch::new();
        for level in Level::available() {
            let packed = Packed::new(level, b.mat());
            for right in [Right::from(b.mat()), Right::from(&packed)] {
                let mut c = Stored::new(seed + 2, [m, n], layout[2]);
                let before = c.data.clone();
                gemm(level, (a.mat(), right), c.mat_mut(), Epilogue::Store, &mut scratch);
                assert_close("store", &c, |i, j| want[i][j], 1e-5);
                let written = before.iter().zip(&c.data).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
                prop_assert!(written <= m * n, "{level:?}: values between the elements changed");
                gemm(level, (a.mat(), right), c.mat_mut(), Epilogue::Accumulate, &mut scratch);
                assert_close("accumulate", &c, |i, j| 2.0 * want[i][j], 3e-5);
            }
        }
    }

    #[test]
    fn epilogues_are_what_their_formulas_say(
        sizes in [0..13usize, 0..13],
        k in prop::sample::select(vec![0usize, 1, 9, 390]),
        layout in [any::<bool>(), any::<bool>()],
        seed in 0..1000u64,
    ) {
        let [m, n] = sizes.map(|i| SIZES[i]);
        let (a, b) = (Stored::new(seed, [m, k], false), Stored::new(seed + 1, [k, n], false));
        let bias = values(seed + 3, n);
        let other = Stored::new(seed + 4, [m, n], layout[0]);
        let want = product_f64(&a, &b);
        let (bias_at, tolerance) = (|j: usize| f64::from(bias[j]), 1e-4);
        let mut scratch = Scratch::new();
        for level in Level::available() {
            let mut c = Stored::new(seed + 2, [m, n], layout[1]);
            let mut extra = Stored::new(seed + 5, [m, n], layout[0]);
            let ab = (a.mat(), b.mat());
            gemm(level, ab, c.mat_mut(), Epilogue::Scale(0.25), &mut scratch);
            assert_close("scale", &c, |i, j| 0.25 * want[i][j], tolerance);
            let epilogue = Epilogue::Bias { bias: Some(&bias), residual: Some(other.mat()) };
            gemm(level, ab, c.mat_mut(), epilogue, &mut scratch);
            assert_close("bias", &c, |i, j| want[i][j] + bias_at(j) + other.at(i, j), tolerance);
            let epilogue = Epilogue::Gelu { bias: Some(&bias), pre: Some(extra.mat_mut()) };
            gemm(level, ab, c.mat_mut(), epilogue, &mut scratch);
            assert_close("pre", &extra, |i, j| want[i][j] + bias_at(j), tolerance);
            assert_close("gelu", &c, |i, j| gelu_f64(want[i][j] + bias_at(j)), tolerance);
            let epilogue = Epilogue::GeluGrad { pre: other.mat(), activated: Some(extra.mat_mut()) };
            gemm(level, ab, c.mat_mut(), epilogue, &mut scratch);
            let slope = |x: f64| (gelu_f64(x + 1e-4) - gelu_f64(x - 1e-4)) / 2e-4;
            assert_close("gelu gradient", &c, |i, j| want[i][j] * slope(other.at(i, j)), tolerance);
            assert_close("activated", &extra, |i, j| gelu_f64(other.at(i, j)), 1e-6);
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    for [m, n, k] in [[97, 130, 401], [1, 2000, 333], [2000, 3, 100], [61, 64, 1000]] {
        for transposed in [false, true] {
            let a = Stored::new(1, [m, k], transposed);
            let b = Stored::new(2, [k, n], false);
            let bias = values(3, n);
            for level in Level::available() {
                let packed = Packed::new(level, b.mat());
                let run = |threads: usize, right: Right<'_>| {
                    let pool =
                        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let mut c = Stored::new(4, [m, n], false);
                    let mut pre = Stored::new(5, [m, n], false);
                    pool.install(|| {
                        let epilogue =
                            Epilogue::Gelu { bias: Some(&bias), pre: Some(pre.mat_mut()) };
                        gemm(level, (a.mat(), right), c.mat_mut(), epilogue, &mut Scratch::new());
                    });
                    c.data.into_iter().chain(pre.data).map(f32::to_bits).collect::<Vec<u32>>()
                };
                let one = run(1, b.mat().into());
                for threads in 1..=5 {
                    assert!(one == run(threads, b.mat().into()), "{level:?} {threads} plain");
                    assert!(one == run(threads, (&packed).into()), "{level:?} {threads} packed");
                }
            }
        }
    }
}

#[test]
fn nan_and_infinity_reach_the_elements_that_they_belong_to_and_no_others() {
    for level in Level::available() {
        let (mut a, b) = (Stored::new(4, [9, 20], false), Stored::new(8, [20, 19], false));
        a.data[3 * 20] = f32::NAN;
        a.data[5 * 20 + 1] = f32::INFINITY;
        let mut c = Stored::new(8, [9, 19], false);
        gemm(level, (a.mat(), b.mat()), c.mat_mut(), Epilogue::Store, &mut Scratch::new());
        for row in 0..9 {
            for col in 0..19 {
                let value = c.at(row, col);
                match row {
                    3 => assert!(value.is_nan()),
                    5 => assert!(value.is_infinite()),
                    _ => assert!(value.is_finite()),
                }
            }
        }
    }
}

#[test]
fn a_packed_operand_can_be_packed_again() {
    let (a, b) = (Stored::new(1, [7, 30], false), Stored::new(2, [30, 21], true));
    for level in Level::available() {
        let mut packed = Packed::new(level, Stored::new(3, [50, 60], false).mat());
        packed.pack(b.mat());
        let mut c = Stored::new(4, [7, 21], false);
        gemm(level, (a.mat(), &packed), c.mat_mut(), Epilogue::Store, &mut Scratch::new());
        let want = product_f64(&a, &b);
        assert_close("packed", &c, |i, j| want[i][j], 1e-5);
    }
}

#[test]
fn wrong_shapes_panic_with_the_name_of_the_argument() {
    let message = |b: [usize; 2], c: [usize; 2], bias: usize| {
        let call = move || {
            let (a, b) = (Stored::new(0, [4, 5], false), Stored::new(0, b, false));
            let (mut c, bias) = (Stored::new(0, c, false), vec![0.0; bias]);
            let epilogue = Epilogue::Bias { bias: Some(&bias), residual: None };
            gemm(
                Vectors::Portable.into(),
                (a.mat(), b.mat()),
                c.mat_mut(),
                epilogue,
                &mut Scratch::new(),
            );
        };
        let panic = std::panic::catch_unwind(call).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    };
    assert!(message([6, 3], [4, 3], 3).starts_with("b: 6 rows"));
    assert!(message([5, 3], [4, 2], 3).starts_with("c: [4, 2]"));
    assert!(message([5, 3], [4, 3], 2).starts_with("bias: 2 values"));
}

mod bf16;
