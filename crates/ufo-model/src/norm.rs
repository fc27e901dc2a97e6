//! Layer normalization over the last dimension, epsilon 1e-6 (spec 1.1; arXiv 1607.06450).

use crate::branch::Branch;
use crate::fused::{self, Factors, Input, Mode, Norm};
use crate::param::{Visit, Visitor, key, values};
use burn_tensor::{Device, Tensor, module};
use ufo_nas::Names;
use ufo_onnx::{Graph, Value};

/// `(x - mean) / sqrt(var + 1e-6) * weight + bias`.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// Scale, `(d)`.
    pub weight: Tensor<1>,
    /// Shift, `(d)`.
    pub bias: Tensor<1>,
}

impl LayerNorm {
    /// Added to the variance.
    pub(crate) const EPSILON: f32 = 1e-6;

    /// Scale 1, shift 0.
    pub fn init(dim: usize, device: &Device) -> Self {
        Self { weight: Tensor::ones([dim], device), bias: Tensor::zeros([dim], device) }
    }

    fn fused(&self, x_btd: &Tensor<3>, mode: Mode) -> Option<Tensor<3>> {
        let [weight, bias] = [&self.weight, &self.bias].map(Input::new);
        let inputs = fused::inputs([Input::new(x_btd), weight, bias])?;
        Some(fused::apply(&Norm { level: mode.level, eps: Self::EPSILON }, inputs))
    }

    pub(crate) fn composed(&self, x_btd: Tensor<3>) -> Tensor<3> {
        module::layer_norm(
            x_btd,
            self.weight.clone(),
            Some(self.bias.clone()),
            f64::from(Self::EPSILON),
        )
    }

    pub(crate) fn onnx(&self, graph: &mut Graph, name: &str, x: &Value) -> crate::Result<Value> {
        let dims = self.weight.dims();
        let weight = graph.weight(&key(name, "weight"), &dims, &values(&self.weight))?;
        let bias = graph.weight(&key(name, "bias"), &dims, &values(&self.bias))?;
        Ok(graph.layer_norm(x, &weight, &bias, Self::EPSILON))
    }
}

impl Branch for LayerNorm {
    /// It adds nothing to x and so takes no factors.
    fn forward(&self, x_btd: Tensor<3>, _factors: Option<&Factors>, mode: Mode) -> Tensor<3> {
        self.fused(&x_btd, mode).unwrap_or_else(|| self.composed(x_btd))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::{assert_all_same, outputs_and_grads, random};

    #[test]
    fn the_fused_norm_equals_burns() {
        let norm = LayerNorm { weight: random([24], 1), bias: random([24], 2) };
        let x = random([3, 5, 24], 3);
        let run = |fused: bool| {
            outputs_and_grads(&norm, x.clone(), |norm, x| {
                if fused { norm.fused(&x, Mode::default()).unwrap() } else { norm.composed(x) }
            })
        };
        assert_all_same(&run(true), &run(false));
    }
}
