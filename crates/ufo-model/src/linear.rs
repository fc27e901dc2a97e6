//! A linear layer, `y = x W + b`, sliceable to its leading inputs and outputs (spec 2.3).

use crate::param::{Visit, Visitor, from_values, key, truncated_normal, values};
use burn_tensor::{Device, Tensor, module};
use rand::Rng;
use ufo_onnx::{Graph, Value};

/// Shape legend of this crate: b batch, t tokens, d width, h heads, i inputs, o outputs, c classes.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Weight, `(in, out)` in memory.
    pub weight_io: Tensor<2>,
    /// Bias, `(out)`.
    pub bias: Option<Tensor<1>>,
}

impl Linear {
    /// Weights truncated normal of Glorot's deviation `sqrt(2 / (in + out))`, bias 0.
    ///
    /// The original's fixed 0.02 (spec 1.1) is near it at its widths (0.036 for 768 x 768) and far too
    /// small for narrow networks, whose first hundreds of steps it wastes (ARCHITECTURE.md).
    pub fn init(
        inputs: usize,
        outputs: usize,
        bias: bool,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let weight = truncated_normal(inputs * outputs, glorot(inputs, outputs), rng);
        Self {
            weight_io: from_values(weight, [inputs, outputs], device),
            bias: bias.then(|| Tensor::zeros([outputs], device)),
        }
    }

    /// # Shapes
    /// `[.., in]` to `[.., out]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        module::linear(x, self.weight_io.clone(), self.bias.clone())
    }

    /// The layer of the first `inputs` inputs and first `outputs` outputs.
    #[must_use]
    pub fn slice(&self, inputs: usize, outputs: usize) -> Self {
        if self.weight_io.dims() == [inputs, outputs] {
            return self.clone();
        }
        Self {
            weight_io: self.weight_io.clone().slice([0..inputs, 0..outputs]),
            bias: self.bias.clone().map(|bias| bias.slice([0..outputs])),
        }
    }

    pub(crate) fn to_onnx(&self, graph: &mut Graph, name: &str, x: &Value) -> crate::Result<Value> {
        let [inputs, outputs] = self.weight_io.dims();
        let dims = [inputs, outputs];
        let weight = graph.weight(&key(name, "weight"), &dims, &values(&self.weight_io))?;
        let bias = match &self.bias {
            Some(bias) => Some(graph.weight(&key(name, "bias"), &[outputs], &values(bias))?),
            None => None,
        };
        Ok(graph.linear(x, &weight, bias.as_ref()))
    }
}

fn glorot(inputs: usize, outputs: usize) -> f32 {
    (2.0 / (inputs + outputs) as f32).sqrt()
}

impl Visit for Linear {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        visitor.linear(&key(prefix, "weight"), &mut self.weight_io);
        if let Some(bias) = &mut self.bias {
            visitor.tensor(&key(prefix, "bias"), bias);
        }
    }
}
