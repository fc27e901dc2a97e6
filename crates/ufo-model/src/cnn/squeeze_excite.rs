//! Squeeze-and-excitation (arXiv 1709.01507) with the hard sigmoid of `MobileNetV3`.

use super::conv_norm::kaiming;
use super::pool;
use crate::fused::{self, Excitation, Input};
use crate::param::{Visit, Visitor, key};
use burn_tensor::{Device, Tensor, activation};
use rand::Rng;
use ufo_kernels::Level;

/// Channels times `hardsigmoid(fc2 relu(fc1 mean))`, `hardsigmoid(x) = min(max(x + 3, 0), 6) / 6`; the
/// layers are 1x1 convolutions by name and shape.
#[derive(Debug, Clone)]
pub struct SqueezeExcite {
    /// `(squeezed, c, 1, 1)` and `(squeezed)`.
    pub fc1: (Tensor<4>, Tensor<1>),
    /// `(c, squeezed, 1, 1)` and `(c)`.
    pub fc2: (Tensor<4>, Tensor<1>),
}

impl SqueezeExcite {
    /// Weights as those of convolutions, biases 0.
    pub(super) fn init(
        [channels, squeezed]: [usize; 2],
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let mut layer = |outputs, inputs| {
            let weight = kaiming([outputs, inputs, 1, 1], rng, device);
            (weight, Tensor::zeros([outputs], device))
        };
        Self { fc1: layer(squeezed, channels), fc2: layer(channels, squeezed) }
    }

    /// # Shapes
    /// `[b, h, w, c]` to the same.
    pub(super) fn forward(&self, x_bhwc: Tensor<4>, level: Level) -> Tensor<4> {
        self.fused(&x_bhwc, level).unwrap_or_else(|| self.composed(x_bhwc))
    }

    fn fused(&self, x_bhwc: &Tensor<4>, level: Level) -> Option<Tensor<4>> {
        let [(weight1, bias1), (weight2, bias2)] = [&self.fc1, &self.fc2];
        let [weight1, weight2] = [weight1, weight2].map(Input::new);
        let [bias1, bias2] = [bias1, bias2].map(Input::new);
        let inputs = fused::inputs([Input::new(x_bhwc), weight1, bias1, weight2, bias2])?;
        Some(fused::apply(&Excitation { level }, inputs))
    }

    fn composed(&self, x_bhwc: Tensor<4>) -> Tensor<4> {
        let [b, _, _, c] = x_bhwc.dims();
        let hidden = activation::relu(linear(&self.fc1, pool::mean(x_bhwc.clone())));
        let scale = (linear(&self.fc2, hidden) + 3.0).clamp(0.0, 6.0) / 6.0;
        x_bhwc * scale.reshape([b, 1, 1, c])
    }
}

fn linear((weight, bias): &(Tensor<4>, Tensor<1>), x: Tensor<2>) -> Tensor<2> {
    let [outputs, inputs, ..] = weight.dims();
    let weight_io = weight.clone().reshape([outputs, inputs]).transpose();
    x.matmul(weight_io) + bias.clone().reshape([1, outputs])
}

impl Visit for SqueezeExcite {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        for (name, (weight, bias)) in [("fc1", &mut self.fc1), ("fc2", &mut self.fc2)] {
            let name = key(prefix, name);
            visitor.tensor(&key(&name, "weight"), weight);
            visitor.tensor(&key(&name, "bias"), bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::{assert_all_same, gradients, random};

    #[test]
    fn the_fused_layer_equals_burns() {
        let layer = SqueezeExcite {
            fc1: (random([3, 11, 1, 1], 1), random([3], 2)),
            fc2: (random([11, 3, 1, 1], 3), random([11], 4) * 4.0),
        };
        let run = |fused: bool| {
            let x = random([4, 5, 3, 11], 5).autodiff().require_grad();
            gradients(&layer, (x, true), |layer, x| {
                let y = if fused {
                    layer.fused(&x, Level::detect()).unwrap()
                } else {
                    layer.composed(x)
                };
                y.reshape([4, 15, 11])
            })
        };
        assert_all_same(&run(true), &run(false));
    }
}
