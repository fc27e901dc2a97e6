//! What is done with the lines of a piece. Lines of parameters are a value a channel, repeated.

use super::Activation;
use crate::{level::Kernel, simd::Simd};

/// Mean of each channel and sum of squares around it.
pub(super) struct Measure<'a> {
    pub(super) x: &'a [f32],
    pub(super) channels: usize,
    /// Two lines; the results are in the first channels of each.
    pub(super) moments: &'a mut [f32],
}

impl Kernel for Measure<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, channels, moments } = self;
        moments.fill(0.0);
        let line = moments.len() / 2;
        let (means, squares) = moments.split_at_mut(line);
        for x in x.chunks(line) {
            for (mean, x) in means.chunks_mut(S::LANES).zip(x.chunks(S::LANES)) {
                let sum = s.add(s.read(mean), s.read(x));
                s.write(&mut mean[..x.len()], sum);
            }
        }
        fold(means, channels);
        let rows = (x.len() / channels) as f32;
        means[..channels].iter_mut().for_each(|mean| *mean /= rows);
        repeat(means, channels);
        for x in x.chunks(line) {
            let pairs = means.chunks(S::LANES).zip(x.chunks(S::LANES));
            for (square, (mean, x)) in squares.chunks_mut(S::LANES).zip(pairs) {
                let off = s.sub(s.read(x), s.read(&mean[..x.len()]));
                let sum = s.fma(off, off, s.read(square));
                s.write(&mut square[..x.len()], sum);
            }
        }
        fold(squares, channels);
    }
}

/// Adds all rows of a line to its first.
#[inline(always)]
fn fold(line: &mut [f32], channels: usize) {
    let (first, rest) = line.split_at_mut(channels);
    for row in rest.chunks_exact(channels) {
        first.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

/// Copies the first row of a line to all others.
#[inline(always)]
fn repeat(line: &mut [f32], channels: usize) {
    let (first, rest) = line.split_at_mut(channels);
    rest.chunks_exact_mut(channels).for_each(|row| row.copy_from_slice(first));
}

/// The value before the activation, of lines of mean, scale and bias, at `i` of `x`.
#[inline(always)]
fn pre<S: Simd>(s: S, lines: [&[f32]; 3], (x, i): (&[f32], usize)) -> S::V {
    let [mean, scale, bias] = lines.map(|line| s.read(&line[i..]));
    s.fma(s.sub(s.read(&x[i..]), mean), scale, bias)
}

/// `y`
pub(super) struct Apply<'a> {
    /// Mean, scale and bias.
    pub(super) lines: [&'a [f32]; 3],
    pub(super) activation: Activation,
    pub(super) x: &'a [f32],
    pub(super) residual: Option<&'a [f32]>,
    pub(super) y: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { lines, activation, x, residual, y } = self;
        let line = lines[0].len();
        for (n, (x, y)) in x.chunks(line).zip(y.chunks_mut(line)).enumerate() {
            if let Some(residual) = residual {
                let residual = &residual[n * line..][..x.len()];
                for i in (0..x.len()).step_by(S::LANES) {
                    let pre = s.add(pre(s, lines, (x, i)), s.read(&residual[i..]));
                    s.write(&mut y[i..], activation.value(s, pre));
                }
            } else {
                for i in (0..x.len()).step_by(S::LANES) {
                    s.write(&mut y[i..], activation.value(s, pre(s, lines, (x, i))));
                }
            }
        }
    }
}

/// The gradient before the activation, `g`, and its sums.
pub(super) struct Sums<'a> {
    /// Mean, scale and bias.
    pub(super) lines: [&'a [f32]; 3],
    pub(super) activation: Activation,
    pub(super) x: &'a [f32],
    pub(super) residual: Option<&'a [f32]>,
    pub(super) dy: &'a [f32],
    /// Where there is a residual, whose gradient it is.
    pub(super) g: Option<&'a mut [f32]>,
    /// Two lines: the sums of `g` and of `g (x - mean)`.
    pub(super) of: &'a mut [f32],
}

impl Kernel for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { lines, activation, x, residual, dy, mut g, of: sums } = self;
        sums.fill(0.0);
        let line = lines[0].len();
        let (sum, sum_x) = sums.split_at_mut(line);
        for (n, (x, dy)) in x.chunks(line).zip(dy.chunks(line)).enumerate() {
            let here = n * line..n * line + x.len();
            let residual = residual.map(|residual| &residual[here.clone()]);
            let mut g = g.as_deref_mut().map(|g| &mut g[here]);
            for i in (0..x.len()).step_by(S::LANES) {
                let mut pre = pre(s, lines, (x, i));
                if let Some(residual) = residual {
                    pre = s.add(pre, s.read(&residual[i..]));
                }
                // Lanes beyond the line have a zero dy.
                let gradient = activation.gradient(s, pre, s.read(&dy[i..]));
                if let Some(g) = &mut g {
                    s.write(&mut g[i..], gradient);
                }
                let off = s.sub(s.read(&x[i..]), s.read(&lines[0][i..]));
                let (total, total_x) = (s.read(&sum[i..]), s.read(&sum_x[i..]));
                s.write(&mut sum[i..], s.add(total, gradient));
                s.write(&mut sum_x[i..], s.fma(gradient, off, total_x));
            }
        }
    }
}

/// The gradient of the input.
pub(super) struct InputGradient<'a> {
    /// Mean, scale and bias.
    pub(super) lines: [&'a [f32]; 3],
    pub(super) activation: Activation,
    /// Two lines: the factor of `x - mean` and the constant that are added to `scale g`.
    pub(super) back: &'a [f32],
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    /// The gradient before the activation, where it was kept.
    pub(super) g: Option<&'a [f32]>,
    pub(super) dx: &'a mut [f32],
}

impl Kernel for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { lines, activation, back, x, dy, g, dx } = self;
        let [mean, scale, _] = lines;
        let line = mean.len();
        let (factor, constant) = back.split_at(line);
        let rows = x.chunks(line).zip(dx.chunks_mut(line));
        for (n, (x, dx)) in rows.enumerate() {
            let from = &g.unwrap_or(dy)[n * line..][..x.len()];
            for i in (0..x.len()).step_by(S::LANES) {
                let mut gradient = s.read(&from[i..]);
                if g.is_none() {
                    gradient = activation.gradient(s, pre(s, lines, (x, i)), gradient);
                }
                let off = s.sub(s.read(&x[i..]), s.read(&mean[i..]));
                let rest = s.fma(off, s.read(&factor[i..]), s.read(&constant[i..]));
                s.write(&mut dx[i..], s.fma(gradient, s.read(&scale[i..]), rest));
            }
        }
    }
}
