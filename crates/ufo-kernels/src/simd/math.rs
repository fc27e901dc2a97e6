//! The exponential and GELU on vectors.
//!
//! `gelu(x) = x Phi(x)`, `gelu'(x) = Phi(x) + x phi(x)` with the normal distribution `Phi` and its
//! density `phi(x) = exp(-x^2 / 2) / sqrt(2 pi)`. With `a = |x|` and `q = 1 - Phi(a)`:
//! `gelu(x) = max(x, 0) - a q`, and `q = t p(t) exp(-a^2 / 2) / 2` for `t = 1 / (1 + 0.3275911 a / sqrt(2))`
//! (Abramowitz and Stegun 7.1.26, error 1.5e-7 in `erf`), so value and derivative share one exponential.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use super::Simd;

/// `ln 2` with few bits, so that its product with an exponent is exact, and the remainder.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Beyond it `a q` and the density are below 1e-30; before it no value is subnormal.
const GELU_TAIL: f32 = 12.0;
const INV_SQRT_2_PI: f32 = 0.398_942_3;

/// `exp(v)` to a relative error of 2e-7; infinity above 88.73, subnormal and then 0 below -87.4.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, v: S::V) -> S::V {
    let v = s.max(s.splat(-104.0), s.min(s.splat(89.0), v));
    let (mantissa, n) = reduced_exp(s, v);
    s.scale(mantissa, n)
}

/// `(m, n)` with `exp(v) = m 2^n`, `n` an integer (Cephes' `expf`).
#[inline(always)]
fn reduced_exp<S: Simd>(s: S, v: S::V) -> (S::V, S::V) {
    let n = s.round(s.mul(v, s.splat(LOG2_E)));
    let r = s.fma(n, s.splat(-LN_2_HIGH), v);
    let r = s.fma(n, s.splat(-LN_2_LOW), r);
    let mut p = s.splat(1.987_569_2e-4);
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_58e-2, 1.666_666_5e-1, 0.5] {
        p = s.fma(p, r, s.splat(c));
    }
    (s.add(s.fma(s.mul(r, r), p, r), s.splat(1.0)), n)
}

/// `(a, q, e)`: `min(|x|, GELU_TAIL)`, the normal distribution's upper tail there, `exp(-a^2 / 2)`.
#[inline(always)]
fn normal_tail<S: Simd>(s: S, x: S::V) -> (S::V, S::V, S::V) {
    let a = s.min(s.splat(GELU_TAIL), s.abs(x));
    let (mantissa, n) = reduced_exp(s, s.mul(s.mul(a, a), s.splat(-0.5)));
    let e = s.mul(mantissa, s.pow2(n));
    let one = s.splat(1.0);
    let t = s.reciprocal(s.fma(a, s.splat(0.327_591_1 * FRAC_1_SQRT_2), one));
    // Half the published coefficients, since q is half of erfc.
    let mut p = s.splat(0.5 * 1.061_405_4);
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = s.fma(p, t, s.splat(0.5 * c));
    }
    (a, s.mul(s.mul(p, t), e), e)
}

/// GELU in its exact (erf) form, to an absolute error of 5e-7.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    let (a, q, _) = normal_tail(s, x);
    s.sub(s.max(s.splat(0.0), x), s.mul(a, q))
}

/// GELU and its derivative, each to an absolute error of 5e-7.
#[inline(always)]
pub(crate) fn gelu_and_derivative<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let (a, q, e) = normal_tail(s, x);
    let value = s.sub(s.max(s.splat(0.0), x), s.mul(a, q));
    let half = s.splat(0.5);
    let phi = s.mul(s.mul(a, e), s.splat(INV_SQRT_2_PI));
    // Phi(x) - 1/2 and x phi(x) are odd, so both take the sign of x; their sum is never negative.
    let odd = s.add(s.sub(half, q), phi);
    (value, s.add(half, s.copysign(odd, x)))
}
