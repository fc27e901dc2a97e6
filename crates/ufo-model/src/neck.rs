//! The BN neck of embedding heads (arXiv 1903.07071): batch normalization with a learned scale and
//! a frozen shift, epsilon 1e-5, running statistics `0.9 running + 0.1 batch` (spec 1.5).
//!
//! The original's synchronized variant swapped the two initial values (scale 0, shift 1, never
//! repaired; spec 11.3 #1); here the scale starts at 1 and the shift stays 0.

use crate::param::{Visit, Visitor, from_values, key, values};
use burn_tensor::{Device, Tensor};
use ufo_onnx::{Graph, Value};

const EPSILON: f32 = 1e-5;
const KEPT: f32 = 0.9;

/// Batch normalization over the rows of `[b, d]`.
#[derive(Debug, Clone)]
pub struct BnNeck {
    /// Scale, `(d)`.
    pub weight: Tensor<1>,
    /// Shift, `(d)`, never trained.
    pub bias: Tensor<1>,
    /// Mean of past batches, `(d)`.
    pub running_mean: Tensor<1>,
    /// Unbiased variance of past batches, `(d)`.
    pub running_var: Tensor<1>,
}

/// Mean and unbiased variance of one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct NeckStatistics {
    /// `(d)`.
    pub mean: Vec<f32>,
    /// `(d)`.
    pub var: Vec<f32>,
}

impl BnNeck {
    /// Scale 1, shift 0, running mean 0 and variance 1.
    pub fn init(dim: usize, device: &Device) -> Self {
        Self {
            weight: Tensor::ones([dim], device),
            bias: Tensor::zeros([dim], device),
            running_mean: Tensor::zeros([dim], device),
            running_var: Tensor::ones([dim], device),
        }
    }

    /// Evaluation: running statistics.
    ///
    /// # Shapes
    /// `[b, d]` to `[b, d]`.
    pub fn forward(&self, x_bd: Tensor<2>) -> Tensor<2> {
        let [_, d] = x_bd.dims();
        let scale = (self.running_var.clone() + EPSILON).sqrt();
        let row = |t: &Tensor<1>| t.clone().reshape([1, d]);
        (x_bd - row(&self.running_mean)) / scale.reshape([1, d]) * row(&self.weight)
            + row(&self.bias)
    }

    /// Training: statistics of the batch, which are also returned for [`BnNeck::update`].
    pub fn train(&self, x_bd: Tensor<2>) -> (Tensor<2>, NeckStatistics) {
        let [b, d] = x_bd.dims();
        let mean = x_bd.clone().mean_dim(0);
        let centered = x_bd - mean.clone();
        let var = (centered.clone() * centered.clone()).mean_dim(0);
        let unbiased = b as f32 / (b.max(2) - 1) as f32;
        let statistics = NeckStatistics {
            mean: values(&mean),
            var: values(&var).into_iter().map(|v| v * unbiased).collect(),
        };
        let row = |t: &Tensor<1>| t.clone().reshape([1, d]);
        let y = centered / (var + EPSILON).sqrt() * row(&self.weight) + row(&self.bias);
        (y, statistics)
    }

    /// Puts a batch's statistics in the place of the running ones.
    pub fn replace(&mut self, batch: &NeckStatistics) {
        let device = self.running_mean.device();
        self.running_mean = from_values(batch.mean.clone(), [batch.mean.len()], &device);
        self.running_var = from_values(batch.var.clone(), [batch.var.len()], &device);
    }

    /// Moves the running statistics a tenth of the way to a batch's.
    pub fn update(&mut self, batch: &NeckStatistics) {
        let blend = |running: &Tensor<1>, new: &[f32]| {
            let old = values(running);
            let mixed = old.iter().zip(new).map(|(o, n)| KEPT * o + (1.0 - KEPT) * n).collect();
            from_values(mixed, [new.len()], &running.device())
        };
        self.running_mean = blend(&self.running_mean, &batch.mean);
        self.running_var = blend(&self.running_var, &batch.var);
    }

    pub(crate) fn to_onnx(&self, graph: &mut Graph, name: &str, x: &Value) -> crate::Result<Value> {
        let (weight, var) = (values(&self.weight), values(&self.running_var));
        let (bias, mean) = (values(&self.bias), values(&self.running_mean));
        let scale: Vec<f32> =
            weight.iter().zip(&var).map(|(w, v)| w / (v + EPSILON).sqrt()).collect();
        let shift: Vec<f32> =
            bias.iter().zip(mean.iter().zip(&scale)).map(|(b, (m, s))| b - m * s).collect();
        let dims = [scale.len()];
        let scale = graph.weight(&key(name, "scale"), &dims, &scale)?;
        let shift = graph.weight(&key(name, "shift"), &dims, &shift)?;
        let scaled = graph.node("Mul", &[x, &scale], &[]);
        Ok(graph.node("Add", &[&scaled, &shift], &[]))
    }
}

impl Visit for BnNeck {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        visitor.tensor(&key(prefix, "weight"), &mut self.weight);
        visitor.buffer(&key(prefix, "bias"), &mut self.bias);
        visitor.buffer(&key(prefix, "running_mean"), &mut self.running_mean);
        visitor.buffer(&key(prefix, "running_var"), &mut self.running_var);
    }
}
