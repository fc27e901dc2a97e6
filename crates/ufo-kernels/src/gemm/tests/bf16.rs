//! Products in bf16 against those of rounded operands in double precision.

use proptest::prelude::*;

use super::{SIZES, Stored, assert_close, product_f64};
use crate::{
    Level, Scratch,
    gemm::{Epilogue, Packed, Right, gemm},
    simd::bf16,
    testing::{fixed_cases, values},
};

/// The matrix with all values rounded.
fn rounded(stored: &Stored) -> Stored {
    let data = stored.data.iter().map(|&x| f32::from_bits(bf16::round(x))).collect();
    Stored { data, ..*stored }
}

/// All vectors with both ways to hold factors.
fn levels() -> impl Iterator<Item = Level> {
    let held = |level: Level| [level.pairs(), level.bf16()];
    Level::available().into_iter().flat_map(held)
}

proptest! {
    #![proptest_config(fixed_cases(200))]

    #[test]
    fn a_product_is_that_of_rounded_operands_for_any_strides_and_either_right_operand(
        sizes in [0..13usize, 0..13],
        k in prop::sample::select(vec![1usize, 2, 3, 16, 31, 97, 769, 1023]),
        layout in [any::<bool>(), any::<bool>(), any::<bool>()],
        seed in 0..1000u64,
    ) {
        let [m, n] = sizes.map(|i| SIZES[i]);
        let (a, b) = (Stored::new(seed, [m, k], layout[0]), Stored::new(seed + 1, [k, n], layout[1]));
        let want = product_f64(&rounded(&a), &rounded(&b));
        let tolerance = 1e-6 * (10.0 + k as f64);
        let bias = values(seed, n);
        let mut scratch = Scratch::new();
        for level in levels() {
            let packed = Packed::new(level, b.mat());
            for right in [Right::from(b.mat()), Right::from(&packed)] {
                let mut c = Stored::new(seed + 2, [m, n], layout[2]);
                gemm(level, (a.mat(), right), c.mat_mut(), Epilogue::Store, &mut scratch);
                assert_close("store", &c, |i, j| want[i][j], tolerance);
                gemm(level, (a.mat(), right), c.mat_mut(), Epilogue::Accumulate, &mut scratch);
                assert_close("accumulate", &c, |i, j| 2.0 * want[i][j], 3.0 * tolerance);
                let epilogue = Epilogue::Bias { bias: Some(&bias), residual: None };
                gemm(level, (a.mat(), right), c.mat_mut(), epilogue, &mut scratch);
                assert_close("bias", &c, |i, j| want[i][j] + f64::from(bias[j]), 2.0 * tolerance);
            }
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    for [m, n, k] in [[97, 130, 1001], [1, 2000, 333], [2000, 3, 100], [61, 64, 1000]] {
        for transposed in [false, true] {
            let (a, b) = (Stored::new(1, [m, k], transposed), Stored::new(2, [k, n], false));
            crate::testing::assert_same_for_any_threads(|level| {
                let level = if transposed { level.bf16() } else { level.pairs() };
                let packed = Packed::new(level, b.mat());
                let [mut plain, mut other] = [0, 1].map(|_| Stored::new(4, [m, n], false));
                let (epilogue, mut scratch) = (Epilogue::Store, Scratch::new());
                gemm(level, (a.mat(), b.mat()), plain.mat_mut(), epilogue, &mut scratch);
                let epilogue = Epilogue::Store;
                gemm(level, (a.mat(), &packed), other.mat_mut(), epilogue, &mut scratch);
                assert!(plain.data == other.data, "{level:?}: packed before or not");
                plain.data
            });
        }
    }
}

#[test]
fn nan_and_infinity_stay_what_they_are() {
    for level in levels() {
        let (mut a, b) = (Stored::new(4, [9, 20], false), Stored::new(8, [20, 19], false));
        // A NaN whose upper half alone would be an infinity.
        a.data[3 * 20] = f32::from_bits(0x7F80_0001);
        a.data[5 * 20 + 1] = f32::INFINITY;
        let mut c = Stored::new(8, [9, 19], false);
        gemm(level, (a.mat(), b.mat()), c.mat_mut(), Epilogue::Store, &mut Scratch::new());
        for (row, col) in (0..9).flat_map(|row| (0..19).map(move |col| (row, col))) {
            let value = c.at(row, col);
            match row {
                3 => assert!(value.is_nan()),
                5 => assert!(value.is_infinite()),
                _ => assert!(value.is_finite()),
            }
        }
    }
}

#[test]
#[should_panic(expected = "b: packed for Level")]
fn an_operand_that_was_packed_in_another_precision_is_refused() {
    let (a, b) = (Stored::new(1, [4, 5], false), Stored::new(2, [5, 6], false));
    let packed = Packed::new(Level::detect(), b.mat());
    let mut c = Stored::new(3, [4, 6], false);
    let level = Level::detect().bf16();
    gemm(level, (a.mat(), &packed), c.mat_mut(), Epilogue::Store, &mut Scratch::new());
}
