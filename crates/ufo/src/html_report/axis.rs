//! An axis of a chart: its range, where a value lies in it, and ticks at round values.

use super::text::{fixed, number, scientific};

/// Values this large or larger are not drawn; differences of smaller ones stay finite.
const LARGEST: f64 = 1e100;
/// Ranges narrower than this share of their values count as one value.
const NARROWEST: f64 = 1e-9;
/// About as many intervals stand between the ends of an axis.
const INTERVALS: f64 = 5.0;

/// How an axis runs.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Linear, from the first value to the last.
    Tight,
    /// Linear, from tick to tick.
    Rounded,
    /// Logarithmic, from tick to tick.
    Log,
}

/// A labeled place on an axis.
pub(crate) struct Tick {
    /// Its value.
    pub(crate) value: f64,
    /// Its label.
    pub(crate) label: String,
}

/// The range of an axis with its ticks in rising order.
pub(crate) struct Axis {
    kind: Kind,
    low: f64,
    high: f64,
    /// Ticks within the range.
    pub(crate) ticks: Vec<Tick>,
}

/// Whether a value has a place on an axis of this kind.
pub(crate) fn drawable(value: f64, kind: Kind) -> bool {
    value.abs() < LARGEST && (kind != Kind::Log || value > 1.0 / LARGEST)
}

impl Axis {
    /// An axis that shows all of the drawable `values`; none if there are none.
    pub(crate) fn new(values: impl Iterator<Item = f64>, kind: Kind) -> Option<Self> {
        let (low, high) = values
            .filter(|&value| drawable(value, kind))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        if low > high {
            return None;
        }
        Some(if kind == Kind::Log { log(low, high) } else { linear(low, high, kind) })
    }

    /// Place of `value`: 0 at the low end, 1 at the high end.
    pub(crate) fn place(&self, value: f64) -> f64 {
        if self.kind == Kind::Log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }
}

fn linear(low: f64, high: f64, kind: Kind) -> Axis {
    let (mut low, mut high) = (low, high);
    let size = low.abs().max(high.abs());
    if high - low <= NARROWEST * size || high - low < 1.0 / LARGEST {
        let room = if size < 1.0 / LARGEST { 1.0 } else { 0.1 * size };
        (low, high) = (low - room, high + room);
    }
    if low > 0.0 && low < 0.2 * high {
        low = 0.0;
    }
    let step = round_step((high - low) / INTERVALS);
    if kind == Kind::Rounded {
        low = (low / step + NARROWEST).floor() * step;
        high = (high / step - NARROWEST).ceil() * step;
    }
    Axis { kind, low, high, ticks: multiples(low, high, step) }
}

fn log(low: f64, high: f64) -> Axis {
    let decades = (high / low).log10();
    if decades < 0.7 {
        return narrow_log(low, high);
    }
    let mantissas: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let stride = (decades / 7.0).ceil().max(1.0) as i32;
    let first = (low.log10().floor() as i32).div_euclid(stride);
    let last = (high.log10().ceil() as i32).div_euclid(stride) + 1;
    let values: Vec<f64> = (first..=last)
        .flat_map(|index| mantissas.iter().map(move |m| m * 10f64.powi(index * stride)))
        .collect();
    let start = values.iter().rposition(|&v| v <= low * (1.0 + NARROWEST)).unwrap_or(0);
    let end = values.iter().position(|&v| v >= high * (1.0 - NARROWEST));
    let values = &values[start..=end.unwrap_or(values.len() - 1)];
    let label = |value| if value < 1e6 { number(value) } else { scientific(value, 0) };
    let ticks = values.iter().map(|&value| Tick { value, label: label(value) }).collect();
    Axis { kind: Kind::Log, low: values[0], high: values[values.len() - 1], ticks }
}

/// Within a factor of five powers of ten say little: a logarithmic axis with ticks at even steps.
fn narrow_log(low: f64, high: f64) -> Axis {
    let (low, high) = if high < low * 1.01 { (low / 1.1, high * 1.1) } else { (low, high) };
    let step = round_step((high - low) / INTERVALS);
    let floor = (low / step + NARROWEST).floor() * step;
    // A step may reach below the lowest value to 0, which has no logarithm.
    let low = if floor > 0.0 { floor } else { low };
    let high = (high / step - NARROWEST).ceil() * step;
    Axis { kind: Kind::Log, low, high, ticks: multiples(low, high, step) }
}

/// The least of 1, 2, 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powi(step.log10().floor() as i32);
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * 0.999);
    factor.unwrap_or(10.0) * power
}

/// The multiples of `step` from `low` to `high`.
fn multiples(low: f64, high: f64, step: f64) -> Vec<Tick> {
    let first = (low / step - NARROWEST).ceil();
    let count = ((high / step + NARROWEST).floor() - first) as usize;
    (0..=count)
        .map(|index| {
            let value = (first + index as f64) * step;
            Tick { value, label: label(value, low.abs().max(high.abs()), step) }
        })
        .collect()
}

/// A tick's label, with as many digits as set it apart from its neighbors.
fn label(value: f64, size: f64, step: f64) -> String {
    let decimals = (-(step * 1.001).log10().floor()).max(0.0) as usize;
    if value == 0.0 {
        "0".to_string()
    } else if size >= 1e7 || decimals > 4 {
        let digits = (value.abs() * 1.001 / step).log10().floor().max(0.0) as usize;
        scientific(value, digits)
    } else {
        fixed(value, decimals)
    }
}
