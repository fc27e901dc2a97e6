//! Reproducible values and comparisons for the tests of all kernels.

use proptest::test_runner::{Config, RngSeed};

use crate::{Level, Mat, MatMut};

/// So many random cases, the same in each run.
pub(crate) fn fixed_cases(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() }
}

/// `len` values in -1 to 1, the same for the same seed (`SplitMix64`).
pub(crate) fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A matrix of values inside a larger one, row-major or column-major.
pub(crate) struct Stored {
    pub(crate) data: Vec<f32>,
    pub(crate) shape: [usize; 2],
    pub(crate) strides: [usize; 2],
}

impl Stored {
    pub(crate) fn new(seed: u64, shape: [usize; 2], transposed: bool) -> Self {
        let pad = (seed % 4) as usize;
        let strides = if transposed { [1, shape[0] + pad] } else { [shape[1] + pad, 1] };
        Self { data: values(seed, (shape[0] + pad) * (shape[1] + pad)), shape, strides }
    }

    pub(crate) fn mat(&self) -> Mat<'_> {
        Mat::new(&self.data, self.shape, self.strides)
    }

    pub(crate) fn mat_mut(&mut self) -> MatMut<'_> {
        MatMut::new(&mut self.data, self.shape, self.strides)
    }

    pub(crate) fn at(&self, row: usize, col: usize) -> f64 {
        f64::from(self.mat().at(row, col))
    }

    pub(crate) fn row(&self, row: usize) -> Vec<f32> {
        (0..self.shape[1]).map(|col| self.mat().at(row, col)).collect()
    }

    pub(crate) fn col(&self, col: usize) -> Vec<f32> {
        (0..self.shape[0]).map(|row| self.mat().at(row, col)).collect()
    }
}

/// The same values in double precision.
pub(crate) fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Panics where `got` differs from `expected` by more than `tolerance` times the largest expected
/// magnitude.
pub(crate) fn assert_close(name: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    let scale = expected.iter().fold(0.0_f64, |scale, v| scale.max(v.abs()));
    assert_within(name, got, expected, tolerance * scale);
}

/// Panics where `got` differs from `expected` by more than `limit`.
pub(crate) fn assert_within(name: &str, got: &[f32], expected: &[f64], limit: f64) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let off = (f64::from(got) - expected).abs();
        assert!(off <= limit, "{name}[{i}] is {got}, not {expected}: off by {off:e} > {limit:e}");
    }
}

/// Central differences of `f` at `x`, for checks of references in double precision.
pub(crate) fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let at = x[i];
            x[i] = at + STEP;
            let above = f(&x);
            x[i] = at - STEP;
            let below = f(&x);
            x[i] = at;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

/// Panics unless `f`, at every level, gives the same bits in pools of 1, 2 and 3 threads.
pub(crate) fn assert_same_for_any_threads(f: impl Fn(Level) -> Vec<f32> + Sync) {
    for level in Level::available() {
        let [one, two, three] = [1, 2, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| f(level)).into_iter().map(f32::to_bits).collect::<Vec<_>>()
        });
        assert!(one == two && one == three, "{level:?}: bits depend on the number of threads");
    }
}

/// Panics unless the results of `f` with products in bf16 are within 2% of the largest magnitude of
/// those in f32, not just the same, and have the same bits in pools of 1, 2 and 3 threads.
pub(crate) fn assert_bf16_is_close(f: impl Fn(Level) -> Vec<Vec<f32>> + Sync) {
    for level in Level::available() {
        let (precise, rounded) = (f(level), f(level.bf16()));
        for (i, (rounded, precise)) in rounded.iter().zip(&precise).enumerate() {
            assert_close(&format!("{i} at {level:?}"), rounded, &doubles(precise), 2e-2);
        }
        assert!(precise.concat() != rounded.concat(), "{level:?}: nothing is rounded");
    }
    assert_same_for_any_threads(|level| f(level.bf16()).concat());
}
