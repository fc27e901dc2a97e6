//! What a device or a user asks of a slice.

use crate::{Arch, Error, Slice, Space, macs, params};
use serde::{Deserialize, Serialize};

/// Bounds of a search; none is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most parameters of the network, its head excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_params: Option<u64>,
    /// Most multiply-accumulates of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_macs: Option<u64>,
    /// Most milliseconds of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_latency_ms: Option<f64>,
    /// Least accuracy, the task's metric as a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_accuracy: Option<f64>,
}

impl Limits {
    /// Checks the values, and the closed-form ones against the smallest slice.
    ///
    /// # Errors
    /// A bound out of range, or one that no slice can satisfy, with the nearest that can be.
    pub fn validate(&self, arch: &Arch, space: &Space) -> Result<(), Error> {
        if let Some(value) = self.max_latency_ms.filter(|value| value.is_nan() || *value <= 0.0) {
            return Err(Error::value("max_latency_ms", value, "must be above 0"));
        }
        if let Some(value) = self.min_accuracy.filter(|value| !(0.0..=1.0).contains(value)) {
            return Err(Error::value("min_accuracy", value, "must be 0 to 1"));
        }
        let smallest = space.smallest(arch);
        for (key, most, least) in [
            ("max_params", self.max_params, params(arch, &smallest).total()),
            ("max_macs", self.max_macs, macs(arch, &smallest).total()),
        ] {
            if let Some(most) = most.filter(|&most| most < least) {
                let allowed = format!("no slice has so few; the smallest has {least}");
                return Err(Error::value(key, most, allowed));
            }
        }
        Ok(())
    }

    /// Whether a slice satisfies the bounds that need no measurement.
    pub fn affords(&self, arch: &Arch, slice: &Slice) -> bool {
        self.max_params.is_none_or(|most| params(arch, slice).total() <= most)
            && self.max_macs.is_none_or(|most| macs(arch, slice).total() <= most)
    }

    /// Whether measured values satisfy the others.
    pub fn satisfied(&self, accuracy: f64, latency_ms: f64) -> bool {
        self.max_latency_ms.is_none_or(|most| latency_ms <= most)
            && self.min_accuracy.is_none_or(|least| accuracy >= least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;

    #[test]
    fn bounds_that_nothing_satisfies_name_the_nearest() {
        let arch = Preset::Demo.arch();
        let space = Space { depths: vec![2, arch.depth], ..Space::whole(&arch) };
        let least = params(&arch, &space.smallest(&arch)).total();
        let check = |limits: Limits| limits.validate(&arch, &space);
        let few = Limits { max_params: Some(least - 1), ..Limits::default() };
        let said = check(few).unwrap_err().to_string();
        let expected = format!("no slice has so few; the smallest has {least}");
        assert_eq!(said, format!("max_params = {}: {expected}", least - 1));
        check(Limits { max_params: Some(least), ..Limits::default() }).unwrap();
        for (limits, said) in [
            (
                Limits { max_latency_ms: Some(f64::NAN), ..Limits::default() },
                "max_latency_ms = NaN",
            ),
            (Limits { max_latency_ms: Some(0.0), ..Limits::default() }, "max_latency_ms = 0"),
            (Limits { min_accuracy: Some(1.5), ..Limits::default() }, "min_accuracy = 1.5"),
            (Limits { max_macs: Some(1), ..Limits::default() }, "max_macs = 1"),
        ] {
            assert!(check(limits).unwrap_err().to_string().starts_with(said));
        }
    }

    #[test]
    fn bounds_include_their_value() {
        let arch = Preset::Demo.arch();
        let whole = Slice::full(&arch);
        let (params, macs) = (params(&arch, &whole).total(), macs(&arch, &whole).total());
        let limits = Limits { max_params: Some(params), max_macs: Some(macs), ..Limits::default() };
        assert!(limits.affords(&arch, &whole));
        assert!(!Limits { max_macs: Some(macs - 1), ..limits }.affords(&arch, &whole));
        let limits =
            Limits { max_latency_ms: Some(2.0), min_accuracy: Some(0.5), ..Limits::default() };
        assert!(limits.satisfied(0.5, 2.0));
        assert!(!limits.satisfied(0.49, 2.0) && !limits.satisfied(0.5, 2.01));
    }
}
