//! Layer normalization over the last dimension, epsilon 1e-6 (spec 1.1; arXiv 1607.06450).

use crate::branch::Branch;
use crate::param::{Names, Visit, Visitor, key, values};
use burn_tensor::{Device, Tensor, module};
use ufo_onnx::{Graph, Value};

const EPSILON: f64 = 1e-6;

/// `(x - mean) / sqrt(var + 1e-6) * weight + bias`.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// Scale, `(d)`.
    pub weight: Tensor<1>,
    /// Shift, `(d)`.
    pub bias: Tensor<1>,
}

impl LayerNorm {
    /// Scale 1, shift 0.
    pub fn init(dim: usize, device: &Device) -> Self {
        Self { weight: Tensor::ones([dim], device), bias: Tensor::zeros([dim], device) }
    }

    pub(crate) fn onnx(&self, graph: &mut Graph, name: &str, x: &Value) -> crate::Result<Value> {
        let dims = self.weight.dims();
        let weight = graph.weight(&key(name, "weight"), &dims, &values(&self.weight))?;
        let bias = graph.weight(&key(name, "bias"), &dims, &values(&self.bias))?;
        Ok(graph.layer_norm(x, &weight, &bias, EPSILON as f32))
    }
}

impl Branch for LayerNorm {
    fn forward(&self, x_btd: Tensor<3>) -> Tensor<3> {
        module::layer_norm(x_btd, self.weight.clone(), Some(self.bias.clone()), EPSILON)
    }

    fn to_onnx(&self, graph: &mut Graph, names: &Names, x: &Value) -> crate::Result<Value> {
        self.onnx(graph, &names.norm, x)
    }

    fn visit_named(&mut self, names: &Names, visitor: &mut impl Visitor) {
        self.visit(&names.norm, visitor);
    }
}

impl Visit for LayerNorm {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        visitor.tensor(&key(prefix, "weight"), &mut self.weight);
        visitor.tensor(&key(prefix, "bias"), &mut self.bias);
    }
}
