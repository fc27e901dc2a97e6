//! The weights of a filter along one side.

use super::Interpolation;

/// Fractional bits of a weight.
pub(super) const FRACTION_BITS: u32 = 22;

/// One side of the source: `length` of the `input` pixels from `start` on are stretched.
#[derive(Clone, Copy)]
pub(super) struct Side {
    pub(super) input: usize,
    pub(super) start: f64,
    pub(super) length: f64,
}

/// For each output pixel, the weights of `taps` input pixels from `first` on.
#[derive(Default)]
pub(super) struct Weights {
    pub(super) first: Vec<usize>,
    /// `first.len() * taps` integers; those of a pixel that needs fewer taps are filled up with 0.
    pub(super) values: Vec<i32>,
    /// As many as the pixel that needs most, and never more than there are input pixels.
    pub(super) taps: usize,
    raw: Vec<f64>,
}

impl Weights {
    /// The weights for `output` pixels; memory of earlier ones is used again.
    pub(super) fn set(&mut self, side: Side, output: usize, filter: Interpolation) {
        let scale = side.length / output as f64;
        let centers = (0..output).map(|index| side.start + (index as f64 + 0.5) * scale);
        // Nearest takes the pixel under the center, however much the image shrinks.
        let stretch = if filter == Interpolation::Nearest { 0.0 } else { scale.max(1.0) };
        let support = support(filter) * stretch;
        let range = |center: f64| {
            if filter == Interpolation::Nearest {
                let first = (center as usize).min(side.input - 1);
                return first..first + 1;
            }
            let first = ((center - support + 0.5).max(0.0) as usize).min(side.input - 1);
            let end = ((center + support + 0.5).max(0.0) as usize).min(side.input);
            first..end.max(first + 1)
        };
        self.taps = centers.clone().map(|center| range(center).len()).max().unwrap_or(1);
        self.first.clear();
        self.values.clear();
        self.values.resize(output * self.taps, 0);
        for (center, values) in centers.zip(self.values.chunks_exact_mut(self.taps)) {
            let range = range(center);
            let first = range.start.min(side.input - self.taps);
            let values = &mut values[range.start - first..][..range.len()];
            self.first.push(first);
            if filter == Interpolation::Nearest {
                values[0] = 1 << FRACTION_BITS;
                continue;
            }
            let inverse = 1.0 / stretch;
            let raw = range.map(|at| response(filter, (at as f64 - center + 0.5) * inverse));
            self.raw.clear();
            self.raw.extend(raw);
            let sum: f64 = self.raw.iter().sum();
            for (value, &raw) in values.iter_mut().zip(&self.raw) {
                *value = fixed(raw, sum);
            }
        }
    }

    /// The last output pixel becomes the first.
    pub(super) fn mirror(&mut self) {
        self.first.reverse();
        self.values.reverse();
        for weights in self.values.chunks_exact_mut(self.taps) {
            weights.reverse();
        }
    }
}

fn fixed(value: f64, sum: f64) -> i32 {
    let normalized = if sum == 0.0 { value } else { value / sum };
    let scaled = normalized * f64::from(1 << FRACTION_BITS);
    (scaled + 0.5_f64.copysign(scaled)) as i32
}

fn support(filter: Interpolation) -> f64 {
    match filter {
        Interpolation::Nearest => 0.0,
        Interpolation::Bilinear => 1.0,
        Interpolation::Bicubic => 2.0,
    }
}

fn response(filter: Interpolation, x: f64) -> f64 {
    let x = x.abs();
    match filter {
        Interpolation::Nearest => f64::from(u8::from(x < 0.5)),
        Interpolation::Bilinear => (1.0 - x).max(0.0),
        Interpolation::Bicubic => {
            const A: f64 = -0.5;
            if x < 1.0 {
                ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
            } else if x < 2.0 {
                (((x - 5.0) * x + 8.0) * x - 4.0) * A
            } else {
                0.0
            }
        }
    }
}
