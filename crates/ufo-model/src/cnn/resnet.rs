//! `ResNet` (arXiv 1512.03385); bottlenecks have their stride in the 3x3 convolution.

use super::batch_norm::NormSettings;
use super::{Activation, BatchNorm, ConvNorm, Pass, pool};
use crate::Linear;
use crate::param::{Visit, Visitor, from_values, key};
use burn_tensor::{Device, Tensor};
use rand::Rng;
use rand_distr::{Distribution, Uniform};

const NORM: NormSettings = NormSettings { eps: 1e-5, momentum: 0.1 };
/// Channels of the 3x3 convolutions of each stage.
const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// Stem, four stages of residual blocks, linear classifier.
#[derive(Debug, Clone)]
pub struct ResNet {
    /// 7x7, stride 2; names `conv1`, `bn1`.
    pub conv1: ConvNorm,
    /// `layer1` to `layer4`.
    pub stages: Vec<Vec<ResidualBlock>>,
    /// The classifier.
    pub fc: Linear,
}

/// `relu(convs(x) + x)`, x through a 1x1 convolution where its shape changes.
#[derive(Debug, Clone)]
pub struct ResidualBlock {
    /// Two 3x3, or 1x1, 3x3, 1x1 of four times the channels; names `conv1`, `bn1` and so on.
    pub convs: Vec<ConvNorm>,
    /// Names `downsample.0`, `downsample.1`.
    pub downsample: Option<ConvNorm>,
}

impl ResNet {
    /// Fresh weights of ResNet-50, or of ResNet-18 without bottlenecks.
    pub(super) fn init(
        bottleneck: bool,
        classes: usize,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let relu = Activation::Relu;
        let conv1 = ConvNorm::init([WIDTHS[0], 3, 7], NORM, rng, device);
        let conv1 = ConvNorm { stride: 2, activation: relu, ..conv1 };
        let depths = if bottleneck { [3, 4, 6, 3] } else { [2; 4] };
        let mut inputs = WIDTHS[0];
        let mut stages = Vec::new();
        for (stage, (width, depth)) in WIDTHS.into_iter().zip(depths).enumerate() {
            let mut block = |index: usize| {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let outputs = if bottleneck { 4 * width } else { width };
                let sizes: &[[usize; 4]] = if bottleneck {
                    &[[width, inputs, 1, 1], [width, width, 3, stride], [outputs, width, 1, 1]]
                } else {
                    &[[width, inputs, 3, stride], [width, width, 3, 1]]
                };
                let mut conv = |[outputs, inputs, kernel, stride]: [usize; 4], activation| {
                    let conv = ConvNorm::init([outputs, inputs, kernel], NORM, rng, device);
                    ConvNorm { stride, activation, ..conv }
                };
                let convs = sizes.iter().map(|&sizes| conv(sizes, relu)).collect();
                let downsample = (inputs != outputs || stride != 1)
                    .then(|| conv([outputs, inputs, 1, stride], Activation::None));
                inputs = outputs;
                ResidualBlock { convs, downsample }
            };
            stages.push((0..depth).map(&mut block).collect());
        }
        Self { conv1, stages, fc: classifier(inputs, classes, rng, device) }
    }

    /// # Shapes
    /// `[b, h, w, 3]` to `[b, d]`.
    pub(super) fn features(&self, images_bhwc: Tensor<4>, pass: &mut Pass) -> Tensor<2> {
        let mut x = pool::max(self.conv1.forward(images_bhwc, None, pass), pass.level);
        for block in self.stages.iter().flatten() {
            x = block.forward(x, pass);
            pass.see(&x);
        }
        pool::mean(x)
    }

    /// The batch norms in the order in which they run.
    pub(super) fn norms(&mut self) -> Vec<&mut BatchNorm> {
        let blocks = self.stages.iter_mut().flatten();
        let blocks = blocks.flat_map(|block| block.downsample.iter_mut().chain(&mut block.convs));
        std::iter::once(&mut self.conv1).chain(blocks).map(|conv| &mut conv.norm).collect()
    }
}

impl ResidualBlock {
    fn forward(&self, x: Tensor<4>, pass: &mut Pass) -> Tensor<4> {
        let (last, first) = self.convs.split_last().expect("a block has two or three convolutions");
        let shortcut = match &self.downsample {
            Some(conv) => conv.forward(x.clone(), None, pass),
            None => x.clone(),
        };
        let branch = first.iter().fold(x, |x, conv| conv.forward(x, None, pass));
        last.forward(branch, Some(shortcut), pass)
    }
}

/// Weights and bias uniform in `±1/sqrt(inputs)`, PyTorch's default.
fn classifier(inputs: usize, outputs: usize, rng: &mut impl Rng, device: &Device) -> Linear {
    let bound = 1.0 / (inputs as f32).sqrt();
    let uniform = Uniform::new(-bound, bound).expect("the bound is positive and finite");
    let mut draw = |count: usize| (0..count).map(|_| uniform.sample(rng)).collect();
    Linear {
        weight_io: from_values(draw(inputs * outputs), [inputs, outputs], device),
        bias: Some(from_values(draw(outputs), [outputs], device)),
    }
}

impl ResNet {
    /// All but the classifier.
    pub(super) fn visit_features(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        self.conv1.visit_named([&key(prefix, "conv1"), &key(prefix, "bn1")], visitor);
        for (stage, blocks) in self.stages.iter_mut().enumerate() {
            for (index, block) in blocks.iter_mut().enumerate() {
                block.visit(&key(prefix, &format!("layer{}.{index}", stage + 1)), visitor);
            }
        }
    }
}

impl Visit for ResNet {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        self.visit_features(prefix, visitor);
        self.fc.visit(&key(prefix, "fc"), visitor);
    }
}

impl Visit for ResidualBlock {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        for (index, conv) in self.convs.iter_mut().enumerate() {
            let names = ["conv", "bn"].map(|name| key(prefix, &format!("{name}{}", index + 1)));
            conv.visit_named(names.each_ref().map(String::as_str), visitor);
        }
        if let Some(conv) = &mut self.downsample {
            let names = ["downsample.0", "downsample.1"].map(|name| key(prefix, name));
            conv.visit_named(names.each_ref().map(String::as_str), visitor);
        }
    }
}
