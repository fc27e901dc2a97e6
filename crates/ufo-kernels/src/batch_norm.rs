//! Batch normalization (arXiv 1502.03167) of the channels of a map, with what follows it in a network:
//! a residual and an activation.
//!
//! With the mean `m` and the biased variance `v` of a channel over all `n` rows, `r = 1 / sqrt(v + eps)`:
//! ```text
//! pre = (x - m) r weight + bias + residual          y = activation(pre)
//! g = dy activation'(pre)          dresidual = g
//! dbias = sum of g over rows, dweight = r sum of g (x - m)
//! dx = r weight (g - dbias / n - (x - m) r dweight / n), or r weight g of given moments
//! ```
#![allow(unsafe_code, reason = "pieces of rows are written from several threads")]

mod activation;
mod lines;
mod passes;

use crate::level::Level;
use crate::scratch::Scratch;
use crate::split::Shared;
use lines::{Cut, add_pieces, tile};
use passes::{Apply, InputGradient, Measure, Sums};

pub use activation::Activation;

/// The parameters; the length of `weight` is the number of channels.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Factor of each channel.
    pub weight: &'a [f32],
    /// Added to each channel.
    pub bias: &'a [f32],
    /// Mean of each channel.
    pub mean: &'a [f32],
    /// Biased variance of each channel.
    pub var: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
    /// What follows.
    pub activation: Activation,
}

/// What [`backward`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// The input of the forward pass, `[n, c]`.
    pub x: &'a [f32],
    /// The residual of the forward pass, `[n, c]`.
    pub residual: Option<&'a [f32]>,
    /// The gradient of the output, `[n, c]`.
    pub dy: &'a [f32],
    /// Whether mean and variance are those of x, so that they depend on it, and not given.
    pub measured: bool,
}

/// What [`backward`] overwrites.
#[derive(Debug)]
pub struct Grads<'a> {
    /// The gradient of the input, `[n, c]`.
    pub dx: &'a mut [f32],
    /// The gradient of the residual, `[n, c]`, where there is one.
    pub dresidual: Option<&'a mut [f32]>,
    /// The gradient of the weight, `[c]`.
    pub dweight: &'a mut [f32],
    /// The gradient of the bias, `[c]`.
    pub dbias: &'a mut [f32],
}

/// Writes mean and biased variance of the channels of `x`, `[n, c]`; both are 0 of no rows.
///
/// # Panics
/// If a length does not fit.
pub fn measure(level: Level, x: &[f32], [mean, var]: [&mut [f32]; 2], scratch: &mut Scratch) {
    let c = mean.len();
    assert!(c > 0 && x.len().is_multiple_of(c), "x: {} values for {c} channels", x.len());
    assert!(var.len() == c, "var: {} values for {c} channels", var.len());
    let cut = Cut::of(x.len(), c);
    let ([moments], _) = scratch.lend([cut.pieces() * 2 * cut.line], 0);
    let shared = Shared::new(moments);
    cut.for_each(|i, piece| {
        // SAFETY: each piece has its own moments.
        let moments = unsafe { shared.part(i * 2 * cut.line, 2 * cut.line) };
        level.run(Measure { x: &x[piece], channels: c, moments });
    });
    let (mut means, mut squares) = (vec![0.0_f64; c], vec![0.0_f64; c]);
    let rows = (x.len() / c).max(1) as f64;
    for (i, moments) in moments.chunks_exact(2 * cut.line).enumerate() {
        let share = (cut.piece(i).len() / c) as f64 / rows;
        means.iter_mut().zip(moments).for_each(|(mean, m)| *mean += share * f64::from(*m));
    }
    for (i, moments) in moments.chunks_exact(2 * cut.line).enumerate() {
        let count = (cut.piece(i).len() / c) as f64;
        let pairs = moments[..c].iter().zip(&moments[cut.line..]);
        for ((square, mean), (m, s)) in squares.iter_mut().zip(&means).zip(pairs) {
            *square += f64::from(*s) + count * (f64::from(*m) - mean).powi(2);
        }
    }
    mean.iter_mut().zip(means).for_each(|(to, mean)| *to = mean as f32);
    var.iter_mut().zip(squares).for_each(|(to, square)| *to = (square / rows) as f32);
}

/// Computes `y` of `x` and the residual, all `[n, c]`.
///
/// # Panics
/// If a length does not fit.
pub fn forward(
    level: Level,
    norm: &BatchNorm<'_>,
    (x, residual): (&[f32], Option<&[f32]>),
    y: &mut [f32],
    scratch: &mut Scratch,
) {
    let cut = norm.cut(x, [Some(&*y), residual]);
    let ([lines], _) = scratch.lend([3 * cut.line], 0);
    let lines = norm.lines(cut.line, lines);
    let shared = Shared::new(y);
    cut.for_each(|_, piece| {
        // SAFETY: pieces are disjoint.
        let y = unsafe { shared.part(piece.start, piece.len()) };
        let residual = residual.map(|residual| &residual[piece.clone()]);
        let activation = norm.activation;
        level.run(Apply { lines, activation, x: &x[piece], residual, y });
    });
}

/// Computes all gradients.
///
/// # Panics
/// If a length does not fit, or only one of the residual and its gradient is given.
pub fn backward(
    level: Level,
    norm: &BatchNorm<'_>,
    given: &Backward<'_>,
    grads: Grads<'_>,
    scratch: &mut Scratch,
) {
    let Grads { dx, dresidual, dweight, dbias } = grads;
    let Backward { x, residual, dy, measured } = *given;
    let c = norm.weight.len();
    let cut = norm.cut(x, [Some(dy), residual]);
    norm.cut(x, [Some(&*dx), dresidual.as_deref()]);
    assert!(residual.is_some() == dresidual.is_some(), "dresidual: not as residual");
    assert!([dweight.len(), dbias.len()] == [c, c], "dweight, dbias: not one a channel");
    let ([lines, sums, back], _) =
        scratch.lend([3 * cut.line, cut.pieces() * 2 * cut.line, 2 * cut.line], 0);
    let lines = norm.lines(cut.line, lines);
    let (shared_sums, shared_dx) = (Shared::new(sums), Shared::new(dx));
    let shared_dresidual = dresidual.map(Shared::new);
    cut.for_each(|i, piece| {
        // SAFETY: pieces are disjoint, each with its own sums.
        let (sums, g) = unsafe {
            let g = shared_dresidual.as_ref().map(|all| all.part(piece.start, piece.len()));
            (shared_sums.part(i * 2 * cut.line, 2 * cut.line), g)
        };
        let residual = residual.map(|residual| &residual[piece.clone()]);
        let (x, dy) = (&x[piece.clone()], &dy[piece]);
        level.run(Sums { lines, activation: norm.activation, x, residual, dy, g, of: sums });
    });
    add_pieces(sums, cut.line, [&mut *dbias, &mut *dweight]);
    norm.input_lines(measured.then_some(x.len() / c), [&*dbias, dweight], back);
    dweight.iter_mut().zip(norm.var).for_each(|(dweight, var)| *dweight *= norm.rstd(*var));
    let back = &*back;
    cut.for_each(|_, piece| {
        // SAFETY: pieces are disjoint; the gradient of the residual is only read.
        let (dx, g) = unsafe {
            let g = shared_dresidual.as_ref().map(|all| &*all.part(piece.start, piece.len()));
            (shared_dx.part(piece.start, piece.len()), g)
        };
        let (x, dy) = (&x[piece.clone()], &dy[piece]);
        level.run(InputGradient { lines, activation: norm.activation, back, x, dy, g, dx });
    });
}

impl BatchNorm<'_> {
    fn rstd(&self, var: f32) -> f32 {
        1.0 / (var + self.eps).sqrt()
    }

    /// How the rows of `x` are cut, after checking that all lengths fit.
    fn cut(&self, x: &[f32], others: [Option<&[f32]>; 2]) -> Cut {
        let c = self.weight.len();
        for (name, of) in [("bias", self.bias), ("mean", self.mean), ("var", self.var)] {
            assert!(of.len() == c, "{name}: {} values for {c} channels", of.len());
        }
        assert!(c > 0 && x.len().is_multiple_of(c), "x: {} values for {c} channels", x.len());
        for other in others.into_iter().flatten() {
            assert!(other.len() == x.len(), "y, dy, dx, residual: not of the length of x");
        }
        Cut::of(x.len(), c)
    }

    /// Lines of `[mean, rstd weight, bias]`.
    fn lines<'b>(&self, line: usize, buffer: &'b mut [f32]) -> [&'b [f32]; 3] {
        let (mean, rest) = buffer.split_at_mut(line);
        let (scale, bias) = rest.split_at_mut(line);
        let pairs = self.weight.iter().zip(self.var);
        tile(self.mean.iter().copied(), mean);
        tile(pairs.map(|(weight, var)| weight * self.rstd(*var)), scale);
        tile(self.bias.iter().copied(), bias);
        [mean, scale, bias]
    }

    /// Lines of what is added to `rstd weight g` in the gradient of the input, a factor of `x - mean` and
    /// a constant, from the sums over so many rows of g and of `g (x - mean)`; zeros where there are none.
    fn input_lines(&self, rows: Option<usize>, [g, gx]: [&[f32]; 2], buffer: &mut [f32]) {
        let Some(rows) = rows else { return buffer.fill(0.0) };
        let (factor, constant) = buffer.split_at_mut(buffer.len() / 2);
        let share = |weight: &f32, var: &f32| -weight * self.rstd(*var) / rows as f32;
        let channels = || self.weight.iter().zip(self.var);
        let factors = channels().zip(gx);
        tile(factors.map(|((w, v), gx)| share(w, v) * gx * self.rstd(*v).powi(2)), factor);
        tile(channels().zip(g).map(|((w, v), g)| share(w, v) * g), constant);
    }
}

#[cfg(test)]
mod tests;
