//! A linear layer, `y = x W + b`, sliceable to its leading inputs and outputs (spec 2.3).

use crate::fused::{self, Input, Product};
use crate::param::{Visit, Visitor, from_values, key, truncated_normal, values};
use burn_tensor::{Device, Tensor, module};
use rand::Rng;
use ufo_kernels::Level;
use ufo_onnx::{Graph, INT8_RANGE, Value};

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
        self.fused(&x).unwrap_or_else(|| self.composed(x))
    }

    fn fused<const D: usize>(&self, x: &Tensor<D>) -> Option<Tensor<D>> {
        let [_, outputs] = self.weight_io.dims();
        let zeros = || Tensor::zeros([outputs], &x.device().inner());
        let bias = Input::new(&self.bias.clone().unwrap_or_else(zeros));
        let inputs = fused::inputs([Input::new(x), Input::new(&self.weight_io), bias])?;
        Some(fused::apply(&Product { level: Level::detect() }, inputs))
    }

    pub(crate) fn composed<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
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
        let (dims, weights) = ([inputs, outputs], values(&self.weight_io));
        let bias = match &self.bias {
            Some(bias) => Some(graph.weight(&key(name, "bias"), &[outputs], &values(bias))?),
            None => None,
        };
        if graph.int8() {
            let (bytes, scales) = to_bytes(&weights, outputs);
            let weight = graph.bytes(&key(name, "weight"), &dims, &bytes)?;
            let scale = graph.weight(&key(name, "scale"), &[outputs], &scales)?;
            return Ok(graph.linear_int8(x, [&weight, &scale], bias.as_ref()));
        }
        let weight = graph.weight(&key(name, "weight"), &dims, &weights)?;
        Ok(graph.linear(x, &weight, bias.as_ref()))
    }
}

/// Rows of `outputs` weights as 8-bit integers times a scale a column, up to [`INT8_RANGE`].
pub(crate) fn to_bytes(weights_io: &[f32], outputs: usize) -> (Vec<i8>, Vec<f32>) {
    let mut scales = vec![0.0_f32; outputs];
    for row in weights_io.chunks_exact(outputs) {
        for (scale, weight) in scales.iter_mut().zip(row) {
            *scale = scale.max(weight.abs() / f32::from(INT8_RANGE));
        }
    }
    let rows = weights_io.chunks_exact(outputs);
    // A column of zeros has scale 0, and 0 / 0 becomes 0.
    let byte = |(weight, scale): (&f32, &f32)| (weight / scale).round_ties_even() as i8;
    (rows.flat_map(|row| row.iter().zip(&scales).map(byte)).collect(), scales)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::{assert_all_same, gradients, random};

    #[test]
    fn bytes_times_scales_are_the_weights_within_half_a_step() {
        let weights = values(&random([40, 7], 1));
        let mut weights: Vec<f32> = weights.into_iter().map(|weight| weight * 3.0).collect();
        weights.iter_mut().skip(2).step_by(7).for_each(|weight| *weight = 0.0);
        let (bytes, scales) = to_bytes(&weights, 7);
        for (index, (byte, weight)) in bytes.iter().zip(&weights).enumerate() {
            let scale = scales[index % 7];
            assert!(
                byte.abs() <= INT8_RANGE
                    && (f32::from(*byte) * scale - weight).abs() <= 0.501 * scale
            );
        }
        assert!(
            scales[2] == 0.0
                && (0..7).all(|c| bytes.iter().skip(c).step_by(7).any(|b| b.abs() == 64) || c == 2)
        );
    }

    #[test]
    fn the_fused_layer_equals_burns_on_slices_and_without_a_bias() {
        let whole = Linear { weight_io: random([12, 40], 1), bias: Some(random([40], 2)) };
        let bare = Linear { bias: None, ..whole.clone() };
        for layer in [whole.slice(12, 7), whole, bare] {
            let run = |fused: bool, tracked: bool| {
                let x = random([5, 2, 12], 3);
                let x = if tracked { x.autodiff().require_grad() } else { x };
                gradients(&layer, (x, tracked), |layer, x: Tensor<3>| {
                    if fused { layer.fused(&x).unwrap() } else { layer.composed(x) }
                })
            };
            for tracked in [true, false] {
                assert_all_same(&run(true, tracked), &run(false, tracked));
            }
        }
    }
}
