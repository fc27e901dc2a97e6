//! Convolution, batch norm, activation: what both families are made of.

use super::batch_norm::NormSettings;
use super::{Activation, BatchNorm, Pass};
use crate::fused::{self, Convolution, Input};
use crate::param::{Visit, Visitor, from_values, key};
use burn_tensor::ops::ConvOptions;
use burn_tensor::{Device, Tensor, module};
use rand::Rng;
use rand_distr::{Distribution, Normal};
use ufo_kernels::Level;
use ufo_kernels::conv::{self, Groups, Layout};

/// A convolution without bias, padded so that stride 1 keeps the size, then batch norm and activation.
#[derive(Debug, Clone)]
pub struct ConvNorm {
    /// `(out, in, kernel, kernel)`, depthwise `(out, 1, kernel, kernel)`.
    pub weight: Tensor<4>,
    /// Normalization of the outputs.
    pub norm: BatchNorm,
    /// Step in pixels, both ways.
    pub stride: usize,
    /// Whether each channel is convolved alone.
    pub groups: Groups,
    /// What follows.
    pub activation: Activation,
}

impl ConvNorm {
    /// Weights normal of deviation `sqrt(2 / (out kernel^2))` (arXiv 1502.01852, outgoing).
    pub(crate) fn init(
        [outputs, inputs, kernel]: [usize; 3],
        norm: NormSettings,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        Self {
            weight: kaiming([outputs, inputs, kernel, kernel], rng, device),
            norm: BatchNorm::init(outputs, norm, device),
            stride: 1,
            groups: Groups::One,
            activation: Activation::None,
        }
    }

    /// # Shapes
    /// `[b, h, w, in]` to `[b, ceil(h / stride), ceil(w / stride), out]`, that of `residual`, which is
    /// added before the activation.
    pub(crate) fn forward(
        &self,
        x_bhwc: Tensor<4>,
        residual: Option<Tensor<4>>,
        pass: &mut Pass,
    ) -> Tensor<4> {
        let convolved = match self.fused(&x_bhwc, pass.level) {
            Some(convolved) => convolved,
            None => self.composed(x_bhwc),
        };
        self.norm.forward(convolved, (residual, self.activation), pass)
    }

    fn padding(&self) -> usize {
        self.weight.dims()[2] / 2
    }

    fn fused(&self, x_bhwc: &Tensor<4>, level: Level) -> Option<Tensor<4>> {
        let inputs = fused::inputs([Input::new(x_bhwc), Input::new(&self.weight)])?;
        let op = Convolution {
            level,
            layout: Layout::Nhwc,
            groups: self.groups,
            stride: self.stride,
            padding: self.padding(),
            activation: conv::Activation::None,
        };
        Some(fused::apply(&op, inputs))
    }

    fn composed(&self, x_bhwc: Tensor<4>) -> Tensor<4> {
        let groups = match self.groups {
            Groups::One => 1,
            Groups::Depthwise => self.weight.dims()[0],
        };
        let options = ConvOptions::new([self.stride; 2], [self.padding(); 2], [1, 1], groups);
        let x_bchw = x_bhwc.permute([0, 3, 1, 2]);
        module::conv2d(x_bchw, self.weight.clone(), None, options).permute([0, 2, 3, 1])
    }

    /// Calls `visitor` with the parameters of the convolution and the norm under their names.
    pub(crate) fn visit_named(&mut self, [conv, norm]: [&str; 2], visitor: &mut impl Visitor) {
        visitor.tensor(&key(conv, "weight"), &mut self.weight);
        self.norm.visit(norm, visitor);
    }
}

/// Convolution weights normal of deviation `sqrt(2 / (out kernel^2))`.
pub(crate) fn kaiming(shape: [usize; 4], rng: &mut impl Rng, device: &Device) -> Tensor<4> {
    let [outputs, _, rows, columns] = shape;
    let deviation = (2.0 / (outputs * rows * columns) as f32).sqrt();
    let normal = Normal::new(0.0, deviation).expect("a positive number is a valid deviation");
    let count = shape.iter().product();
    from_values((0..count).map(|_| normal.sample(rng)).collect(), shape, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::{assert_all_same, gradients, random};

    #[derive(Clone)]
    struct Weight(ConvNorm);

    impl Visit for Weight {
        fn visit(&mut self, _: &str, visitor: &mut impl Visitor) {
            visitor.tensor("weight", &mut self.0.weight);
        }
    }

    #[test]
    fn every_fused_convolution_equals_burns() {
        for (groups, [outputs, inputs, kernel, stride]) in [
            (Groups::One, [5, 9, 1, 1]),
            (Groups::One, [5, 9, 1, 2]),
            (Groups::One, [6, 4, 3, 2]),
            (Groups::One, [4, 3, 7, 2]),
            (Groups::Depthwise, [9, 1, 3, 1]),
            (Groups::Depthwise, [9, 1, 5, 2]),
        ] {
            let weight = random([outputs, inputs, kernel, kernel], 1);
            let norm = NormSettings { eps: 1e-5, momentum: 0.1 };
            let norm = BatchNorm::init(outputs, norm, &Device::flex());
            let conv = ConvNorm { weight, norm, stride, groups, activation: Activation::None };
            let channels = if groups == Groups::One { inputs } else { outputs };
            let run = |fused: bool, tracked: bool| {
                let x = random([2, 7, 6, channels], 3);
                let x = if tracked { x.autodiff().require_grad() } else { x };
                gradients(&Weight(conv.clone()), (x, tracked), |Weight(conv), x| {
                    let y = if fused {
                        conv.fused(&x, Level::detect()).unwrap()
                    } else {
                        conv.composed(x)
                    };
                    let [b, h, w, c] = y.dims();
                    y.reshape([b, h * w, c])
                })
            };
            for tracked in [true, false] {
                assert_all_same(&run(true, tracked), &run(false, tracked));
            }
        }
    }
}
