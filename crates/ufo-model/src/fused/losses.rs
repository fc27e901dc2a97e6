//! What losses are made of, as operations.

use super::{Op, contiguous, slice, tensor};
use burn_flex::FlexTensor;
use std::sync::Arc;
use ufo_kernels::Level;
use ufo_kernels::cross_entropy::{CrossEntropy, Targets, forward_backward};

/// The mean cross entropy `[1]` of the logits `scale (x - margin targets)`, both `[b, classes]`.
#[derive(Debug, Clone)]
pub(crate) struct MarginCrossEntropy {
    pub(crate) targets: FlexTensor,
    pub(crate) scale: f32,
    pub(crate) margin: f32,
}

impl Op<1> for MarginCrossEntropy {
    /// The gradient of the input.
    type Saved = Arc<Vec<f32>>;

    fn forward(&self, inputs: &[FlexTensor; 1]) -> FlexTensor {
        self.forward_saving(inputs).0
    }

    fn forward_saving(&self, [x]: &[FlexTensor; 1]) -> (FlexTensor, Self::Saved) {
        let (x, targets) = (contiguous(x), contiguous(&self.targets));
        let (x, classes, targets) = (slice(&x), x.layout().shape()[1], slice(&targets));
        let logit = |(x, target): (&f32, &f32)| self.scale * (x - self.margin * target);
        let logits: Vec<f32> = x.iter().zip(targets).map(logit).collect();
        let targets = Targets::Weights(targets);
        let given = CrossEntropy { logits: &logits, classes, targets, smoothing: 0.0 };
        let mut gradient = vec![0.0; logits.len()];
        let loss = forward_backward(Level::detect(), &given, &mut gradient);
        for g in &mut gradient {
            *g *= self.scale;
        }
        (tensor(vec![loss as f32], [1].into()), Arc::new(gradient))
    }

    fn backward(
        &self,
        [x]: &[FlexTensor; 1],
        saved: Self::Saved,
        gradient: &FlexTensor,
        _wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let factor = slice(gradient)[0];
        let dx = saved.iter().map(|g| factor * g).collect();
        [Some(tensor(dx, x.layout().shape().clone()))]
    }
}

/// Rows (`dim` 1) or columns (`dim` 0) divided by their Euclidean length, or by 1e-6 where they are
/// shorter.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) dim: usize,
}

const SHORTEST: f32 = 1e-6;

impl Unit {
    /// The dot product of each row or column of `a` with that of `b`, both of so many columns.
    fn dots(&self, a: &[f32], b: &[f32], columns: usize) -> Vec<f32> {
        let rows = a.chunks(columns).zip(b.chunks(columns));
        if self.dim == 1 {
            return rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum()).collect();
        }
        let mut sums = vec![0.0; columns];
        for (a, b) in rows {
            sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
        }
        sums
    }

    /// `value(row or column, element)` of every element.
    fn each(&self, shape: [usize; 2], value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let [rows, columns] = shape;
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let of = |(row, column)| (if self.dim == 1 { row } else { column }, row * columns + column);
        places.map(of).map(|(line, at)| value(line, at)).collect()
    }
}

impl Op<1> for Unit {
    /// The lengths.
    type Saved = Arc<Vec<f32>>;

    fn forward(&self, inputs: &[FlexTensor; 1]) -> FlexTensor {
        self.forward_saving(inputs).0
    }

    fn forward_saving(&self, [x]: &[FlexTensor; 1]) -> (FlexTensor, Self::Saved) {
        let x = contiguous(x);
        let shape: [usize; 2] = x.layout().shape().dims();
        let x = slice(&x);
        let squares = self.dots(x, x, shape[1]);
        let lengths: Vec<f32> = squares.into_iter().map(|s| s.sqrt().max(SHORTEST)).collect();
        let y = self.each(shape, |line, at| x[at] / lengths[line]);
        (tensor(y, shape.into()), Arc::new(lengths))
    }

    fn backward(
        &self,
        [x]: &[FlexTensor; 1],
        lengths: Self::Saved,
        gradient: &FlexTensor,
        _wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let x = contiguous(x);
        let shape: [usize; 2] = x.layout().shape().dims();
        let (x, dy) = (slice(&x), slice(gradient));
        let along: Vec<f32> = (self.dots(x, dy, shape[1]).iter().zip(&lengths[..]))
            .map(|(dot, length)| if *length > SHORTEST { dot / (length * length) } else { 0.0 })
            .collect();
        let dx = self.each(shape, |line, at| (dy[at] - x[at] * along[line]) / lengths[line]);
        [Some(tensor(dx, shape.into()))]
    }
}
