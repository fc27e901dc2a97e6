//! Batch normalization of the channels of a map (arXiv 1502.03167).

use super::{Activation, Pass};
use crate::fused::{self, Input, Normalization, constant, contiguous, slice, with_scratch};
use crate::param::{Visit, Visitor, from_values, key, values};
use burn_tensor::{Device, Tensor, activation as functions};
use std::sync::Arc;
use ufo_kernels::batch_norm::measure;

/// `(x - mean) / sqrt(var + eps) * weight + bias`, with the mean and the biased variance of the batch
/// in training, and running ones in evaluation.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Scale, `(c)`.
    pub weight: Tensor<1>,
    /// Shift, `(c)`.
    pub bias: Tensor<1>,
    /// Mean of past batches, `(c)`.
    pub running_mean: Tensor<1>,
    /// Unbiased variance of past batches, `(c)`.
    pub running_var: Tensor<1>,
    /// How it is computed.
    pub settings: NormSettings,
}

/// The constants of a network's batch norms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormSettings {
    /// Added to the variance.
    pub eps: f32,
    /// Share of a new batch in the running statistics, 0 to 1.
    pub momentum: f32,
}

/// Mean and unbiased variance of one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// `(c)`.
    pub mean: Vec<f32>,
    /// `(c)`.
    pub var: Vec<f32>,
}

impl BatchNorm {
    /// Scale 1, shift 0, running mean 0 and variance 1.
    pub(crate) fn init(channels: usize, settings: NormSettings, device: &Device) -> Self {
        Self {
            weight: Tensor::ones([channels], device),
            bias: Tensor::zeros([channels], device),
            running_mean: Tensor::zeros([channels], device),
            running_var: Tensor::ones([channels], device),
            settings,
        }
    }

    /// `activation(norm(x) + residual)`.
    ///
    /// # Shapes
    /// `[b, h, w, c]` to the same.
    pub(crate) fn forward(
        &self,
        x_bhwc: Tensor<4>,
        (residual, activation): (Option<Tensor<4>>, Activation),
        pass: &mut Pass,
    ) -> Tensor<4> {
        match self.fused(&x_bhwc, (residual.as_ref(), activation), pass) {
            Some(y) => y,
            None => self.composed(x_bhwc, (residual, activation), pass),
        }
    }

    fn fused(
        &self,
        x_bhwc: &Tensor<4>,
        (residual, activation): (Option<&Tensor<4>>, Activation),
        pass: &mut Pass,
    ) -> Option<Tensor<4>> {
        let [b, h, w, c] = x_bhwc.dims();
        let x = Input::new(x_bhwc)?;
        let residual = residual.map(Input::new);
        let [weight, bias] = [&self.weight, &self.bias].map(Input::new);
        let moments = if let Some(moments) = &mut pass.moments {
            let x = contiguous(&constant(x_bhwc)?);
            let (mut mean, mut var) = (vec![0.0; c], vec![0.0; c]);
            with_scratch(|scratch| {
                measure(pass.level, slice(&x), [&mut mean, &mut var], scratch);
            });
            moments.push(Moments::of([mean.clone(), var.clone()], b * h * w));
            [mean, var]
        } else {
            [&self.running_mean, &self.running_var].map(values)
        };
        let op = Normalization {
            level: pass.level,
            eps: self.settings.eps,
            activation,
            moments: Arc::new(moments),
            measured: pass.moments.is_some(),
        };
        Some(match residual {
            Some(residual) => fused::apply(&op, fused::inputs([Some(x), weight, bias, residual])?),
            None => fused::apply(&op, fused::inputs([Some(x), weight, bias])?),
        })
    }

    fn composed(
        &self,
        x_bhwc: Tensor<4>,
        (residual, activation): (Option<Tensor<4>>, Activation),
        pass: &mut Pass,
    ) -> Tensor<4> {
        let [b, h, w, c] = x_bhwc.dims();
        let x = x_bhwc.reshape([b * h * w, c]);
        let y = if let Some(moments) = &mut pass.moments {
            let mean = x.clone().mean_dim(0);
            let centered = x - mean.clone();
            let var = (centered.clone() * centered.clone()).mean_dim(0);
            moments.push(Moments::of([&mean, &var].map(values), b * h * w));
            self.normalize(centered, var)
        } else {
            let row = |t: &Tensor<1>| t.clone().reshape([1, c]);
            self.normalize(x - row(&self.running_mean), row(&self.running_var))
        };
        let y = y.reshape([b, h, w, c]);
        let y = match residual {
            Some(residual) => y + residual,
            None => y,
        };
        activate(activation, y)
    }

    fn normalize(&self, centered: Tensor<2>, var: Tensor<2>) -> Tensor<2> {
        let row = |t: &Tensor<1>| t.clone().reshape([1, t.dims()[0]]);
        centered / (var + self.settings.eps).sqrt() * row(&self.weight) + row(&self.bias)
    }

    /// Puts the means of some batches' statistics in the place of the running ones.
    pub(crate) fn replace(&mut self, batches: &[&Moments]) {
        let mean = |of: fn(&Moments) -> &Vec<f32>| {
            let mut sums = vec![0.0; of(batches[0]).len()];
            for batch in batches {
                sums.iter_mut().zip(of(batch)).for_each(|(sum, value)| *sum += value);
            }
            sums.iter().map(|sum| sum / batches.len() as f32).collect::<Vec<f32>>()
        };
        let device = self.running_mean.device();
        let [mean, var] = [mean(|batch| &batch.mean), mean(|batch| &batch.var)];
        let channels = mean.len();
        self.running_mean = from_values(mean, [channels], &device);
        self.running_var = from_values(var, [channels], &device);
    }

    /// Moves the running statistics towards a batch's.
    pub(crate) fn update(&mut self, batch: &Moments) {
        let new = self.settings.momentum;
        let blend = |running: &Tensor<1>, batch: &[f32]| {
            let pairs = values(running).into_iter().zip(batch);
            let mixed = pairs.map(|(old, batch)| (1.0 - new) * old + new * batch).collect();
            from_values(mixed, [batch.len()], &running.device())
        };
        self.running_mean = blend(&self.running_mean, &batch.mean);
        self.running_var = blend(&self.running_var, &batch.var);
    }
}

/// An activation as burn's operations.
pub(crate) fn activate<const D: usize>(activation: Activation, x: Tensor<D>) -> Tensor<D> {
    match activation {
        Activation::None => x,
        Activation::Relu => functions::relu(x),
        Activation::Hardswish => x.clone() * (x + 3.0).clamp(0.0, 6.0) / 6.0,
    }
}

impl Moments {
    /// Of a mean and a biased variance over `count` values each.
    fn of([mean, var]: [Vec<f32>; 2], count: usize) -> Self {
        let unbiased = count as f32 / (count.max(2) - 1) as f32;
        Self { mean, var: var.into_iter().map(|var| var * unbiased).collect() }
    }
}

impl Visit for BatchNorm {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        visitor.tensor(&key(prefix, "weight"), &mut self.weight);
        visitor.tensor(&key(prefix, "bias"), &mut self.bias);
        visitor.buffer(&key(prefix, "running_mean"), &mut self.running_mean);
        visitor.buffer(&key(prefix, "running_var"), &mut self.running_var);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::{assert_all_same, gradients, random};
    use std::cell::RefCell;
    use ufo_kernels::Level;

    /// The output, its gradients and the moments of the batch.
    fn run(
        norm: &BatchNorm,
        activation: Activation,
        [residual, training, fused]: [bool; 3],
    ) -> Vec<Vec<f32>> {
        let batch = RefCell::default();
        let x = random([2, 5, 7, 9], 1).autodiff().require_grad();
        let mut found = gradients(norm, (x, true), |norm, x| {
            let mut pass =
                Pass { moments: training.then(Vec::new), ..Pass::evaluation(Level::detect()) };
            let residual = residual.then(|| x.clone() * 0.5);
            let y = if fused {
                norm.fused(&x, (residual.as_ref(), activation), &mut pass).unwrap()
            } else {
                norm.composed(x, (residual, activation), &mut pass)
            };
            batch.replace(pass.moments);
            y.reshape([2, 35, 9])
        });
        let batch = batch.into_inner().into_iter().flatten();
        found.extend(batch.flat_map(|Moments { mean, var }| [mean, var]));
        found
    }

    #[test]
    fn the_fused_norm_equals_burns() {
        let settings = NormSettings { eps: 1e-3, momentum: 0.1 };
        let norm = BatchNorm {
            weight: random([9], 2),
            bias: random([9], 3),
            running_mean: random([9], 4),
            running_var: random([9], 5) * 0.4 + 1.0,
            settings,
        };
        for activation in [Activation::None, Activation::Relu, Activation::Hardswish] {
            for residual in [true, false] {
                for training in [true, false] {
                    let [got, expected] = [true, false]
                        .map(|fused| run(&norm, activation, [residual, training, fused]));
                    assert_all_same(&got, &expected);
                }
            }
        }
    }
}
