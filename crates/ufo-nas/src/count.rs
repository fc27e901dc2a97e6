//! Numbers of paths and slices: exact while they fit 128 bits, else by logarithm (spec 2.5).

use serde::{Deserialize, Serialize};
use std::{fmt, iter::Sum};

/// A whole number that may be astronomically large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "CountText", try_from = "CountText")]
pub struct Count {
    /// Decimal logarithm; `-inf` for 0.
    pub log10: f64,
    /// The number itself when less than 2^128.
    pub exact: Option<u128>,
}

impl Count {
    /// An exactly known number.
    pub fn exact(value: u128) -> Self {
        Self { log10: (value as f64).log10(), exact: Some(value) }
    }

    /// `base^exponent`; 0^0 is 1.
    pub fn power(base: u128, exponent: u64) -> Self {
        Self::exact(base).pow(exponent)
    }

    /// `self^exponent`; 0^0 is 1.
    #[must_use]
    pub fn pow(self, exponent: u64) -> Self {
        let narrow = u32::try_from(exponent).ok();
        let exact = match (self.exact, narrow) {
            (Some(base), Some(exponent)) => base.checked_pow(exponent),
            (Some(base @ (0 | 1)), None) => Some(base),
            _ => None,
        };
        exact.map_or_else(|| Self { log10: self.log10 * exponent as f64, exact }, Self::exact)
    }

    /// Product.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        let exact = self.exact.zip(other.exact).and_then(|(a, b)| a.checked_mul(b));
        exact.map_or_else(|| Self { log10: self.log10 + other.log10, exact }, Self::exact)
    }

    fn plus(self, other: Self) -> Self {
        let exact = self.exact.zip(other.exact).and_then(|(a, b)| a.checked_add(b));
        let (less, more) = (self.log10.min(other.log10), self.log10.max(other.log10));
        let log10 = more + (10_f64.powf(less - more)).ln_1p() / std::f64::consts::LN_10;
        exact.map_or_else(|| Self { log10, exact }, Self::exact)
    }
}

impl Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::exact(0), Self::plus)
    }
}

/// Decimal digits when less than 2^128, else scientific notation with four digits, `3.524e60`.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(value) = self.exact {
            return write!(f, "{value}");
        }
        let exponent = self.log10.floor();
        let thousandths = (10_f64.powf(self.log10 - exponent) * 1000.0).round();
        let (thousandths, exponent) = if thousandths >= 10_000.0 {
            (1000.0, exponent + 1.0)
        } else {
            (thousandths, exponent)
        };
        write!(f, "{:.3}e{exponent}", thousandths / 1000.0)
    }
}

/// In files the number is text, since JSON readers keep 53 bits only.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountText {
    log10: f64,
    text: String,
}

impl From<Count> for CountText {
    fn from(count: Count) -> Self {
        Self { log10: count.log10, text: count.to_string() }
    }
}

impl TryFrom<CountText> for Count {
    type Error = crate::Error;

    fn try_from(count: CountText) -> Result<Self, Self::Error> {
        if let Ok(value) = count.text.parse() {
            return Ok(Self::exact(value));
        }
        if count.text.parse::<f64>().is_ok() {
            return Ok(Self { log10: count.log10, exact: None });
        }
        Err(crate::Error::value("text", count.text, "must be a whole number"))
    }
}

/// Numbers of FFN paths for T tasks, R widths and L blocks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathCounts {
    /// The paper's number, `(T R)^L`: a block runs one of T task experts at one of R widths.
    pub seed: Count,
    /// Paths of one task, `(2R)^L`: two experts, R widths.
    pub per_task: Count,
    /// Paths of all tasks jointly, choices independent, `(2R)^(L T)`.
    pub joint: Count,
    /// The same with one width of the shared expert for all tasks in a block, `(R (R+1)^T)^L`.
    pub joint_shared_width: Count,
}

impl PathCounts {
    /// Counts for `tasks` tasks, `widths` FFN widths and `blocks` blocks.
    pub fn new(tasks: u32, widths: u32, blocks: u32) -> Self {
        let [tasks, blocks] = [u64::from(tasks), u64::from(blocks)];
        let widths = u128::from(widths);
        let block = Count::exact(widths).times(Count::power(widths + 1, tasks));
        Self {
            seed: Count::power(u128::from(tasks) * widths, blocks),
            per_task: Count::power(2 * widths, blocks),
            joint: Count::power(2 * widths, blocks * tasks),
            joint_shared_width: block.pow(blocks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_papers_number_of_paths() {
        let counts = PathCounts::new(26, 3, 32);
        assert_eq!(counts.seed.to_string(), "3.524e60");
        assert_eq!(counts.per_task, Count::exact(6_u128.pow(32)));
        assert!((counts.joint.log10 - 32.0 * 26.0 * 6_f64.log10()).abs() < 1e-9);
        let shared = 32.0 * (3_f64.log10() + 26.0 * 4_f64.log10());
        assert!((counts.joint_shared_width.log10 - shared).abs() < 1e-9);
    }

    #[test]
    fn small_path_counts_by_hand() {
        let counts = PathCounts::new(2, 3, 2);
        assert_eq!(counts.seed, Count::exact(36));
        assert_eq!(counts.per_task, Count::exact(36));
        assert_eq!(counts.joint, Count::exact(1296));
        assert_eq!(counts.joint_shared_width, Count::exact((3 * 16) * (3 * 16)));
    }

    #[test]
    fn the_mantissa_never_shows_ten() {
        assert_eq!(Count { log10: 41.999_999_9, exact: None }.to_string(), "1.000e42");
        assert_eq!(Count::exact(u128::MAX).to_string(), u128::MAX.to_string());
        assert_eq!(Count::power(2, 128).to_string(), "3.403e38");
    }

    proptest! {
        #[test]
        fn logarithms_and_exact_numbers_agree(base in 1_u64..1000, exponent in 0_u64..12, more in 1_u64..1000) {
            let power = Count::power(base.into(), exponent);
            prop_assert!((power.log10 - exponent as f64 * (base as f64).log10()).abs() < 1e-9);
            let big = Count { exact: None, ..power };
            let sum: Count = [big, Count::exact(more.into())].into_iter().sum();
            let exact = power.exact.unwrap() + u128::from(more);
            prop_assert!((sum.log10 - (exact as f64).log10()).abs() < 1e-9);
        }

        #[test]
        fn survives_json(base in 1_u64..100, exponent in 0_u64..60) {
            let count = Count::power(base.into(), exponent);
            let read: Count = serde_json::from_str(&serde_json::to_string(&count).unwrap()).unwrap();
            prop_assert_eq!(read.exact, count.exact);
            prop_assert!((read.log10 - count.log10).abs() <= 1e-12 * count.log10.abs());
        }
    }
}
