//! What follows a norm.

use crate::simd::Simd;

/// A function of each value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// The value itself.
    #[default]
    None,
    /// `max(x, 0)`
    Relu,
    /// `x min(max(x + 3, 0), 6) / 6` (arXiv 1905.02244)
    Hardswish,
}

impl Activation {
    #[inline(always)]
    pub(super) fn value<S: Simd>(self, s: S, v: S::V) -> S::V {
        match self {
            Self::None => v,
            // NaN, as the second, stays.
            Self::Relu => s.max(s.splat(0.0), v),
            Self::Hardswish => {
                let gate = s.max(s.splat(0.0), s.min(s.splat(6.0), s.add(v, s.splat(3.0))));
                s.mul(s.mul(v, gate), s.splat(1.0 / 6.0))
            }
        }
    }

    /// `dy` times the derivative at `v`; that of a kink is the one below it.
    #[inline(always)]
    pub(super) fn gradient<S: Simd>(self, s: S, v: S::V, dy: S::V) -> S::V {
        match self {
            Self::None => dy,
            Self::Relu => s.mul(dy, s.positive(v)),
            Self::Hardswish => {
                let inside = s.max(s.splat(-3.0), s.min(s.splat(3.0), v));
                let slope = s.fma(inside, s.splat(1.0 / 3.0), s.splat(0.5));
                let (above, over) = (s.add(v, s.splat(3.0)), s.sub(v, s.splat(3.0)));
                // From slope 1.5 to slope 1 above 3.
                let slope = s.fma(s.positive(over), s.splat(-0.5), slope);
                s.mul(dy, s.mul(slope, s.positive(above)))
            }
        }
    }
}
