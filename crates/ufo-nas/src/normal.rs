//! The standard normal distribution.

use std::f64::consts::PI;

/// Density at `x`.
pub(crate) fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
}

/// Probability of less than `x`, to 1e-15 of its size: the series of the error function near zero, the
/// continued fraction of its complement beyond (Abramowitz and Stegun, 7.1.6 and 7.1.14).
pub(crate) fn distribution(x: f64) -> f64 {
    if x.abs() > 3.0 {
        let tail = density(x) / fraction(x.abs());
        return if x < 0.0 { tail } else { 1.0 - tail };
    }
    let mut term = x;
    let mut sum = x;
    for k in 1..100 {
        term *= x * x / (2.0 * k as f64 + 1.0);
        sum += term;
        if term.abs() < 1e-17 * sum.abs() {
            break;
        }
    }
    0.5 + density(x) * sum
}

/// `x + 1/(x + 2/(x + 3/(x + ...)))`.
fn fraction(x: f64) -> f64 {
    (1..150).rev().fold(x, |rest, k| x + f64::from(k) / rest)
}

/// The number that a share `p` of the distribution is less than; `0 < p < 1`. A rational start
/// (Abramowitz and Stegun, 26.2.23) and Newton's steps on the distribution.
pub(crate) fn quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -quantile(1.0 - p);
    }
    let t = (-2.0 * p.ln()).sqrt();
    let top = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let bottom = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    (0..4).fold(top / bottom - t, |x, _| {
        // Halley's step: the density changes by -x of itself.
        let step = (distribution(x) - p) / density(x);
        x - step / (1.0 + 0.5 * x * step)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of scipy 1.17, `scipy.stats.norm`.
    #[test]
    #[allow(clippy::unreadable_literal, clippy::excessive_precision, reason = "as printed")]
    fn scipys_figures() {
        for (x, expected) in [
            (-9.0, 1.1285884059538324e-19),
            (-3.5, 0.00023262907903552502),
            (-2.9, 0.0018658133003840375),
            (-1.0, 0.15865525393145707),
            (0.0, 0.5),
            (0.3, 0.6179114221889526),
            (2.0, 0.9772498680518208),
            (4.0, 0.9999683287581669),
        ] {
            assert!((distribution(x) / expected - 1.0).abs() < 1e-13, "{x}");
        }
        for (p, expected) in [
            (1e-09, -5.9978070150076865),
            (0.001, -3.090232306167813),
            (0.02425, -1.972961051311885),
            (0.3, -0.5244005127080409),
            (0.5, 0.0),
            (0.9, 1.2815515655446004),
            (0.999, 3.090232306167813),
        ] {
            assert!((quantile(p) - expected).abs() < 1e-13 * (1.0 + expected.abs()), "{p}");
        }
    }

    #[test]
    fn the_quantile_inverts_the_distribution() {
        for i in 1..1000 {
            let p = f64::from(i) / 1000.0;
            assert!((distribution(quantile(p)) - p).abs() < 1e-14);
        }
    }
}
