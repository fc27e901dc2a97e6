//! `MobileNetV3` (arXiv 1905.02244, tables 1 and 2).

use super::batch_norm::{NormSettings, activate};
use super::{Activation, BatchNorm, ConvNorm, Pass, SqueezeExcite, pool};
use crate::Linear;
use crate::param::{Visit, Visitor, from_values, key};
use burn_tensor::{Device, Tensor};
use rand::Rng;
use rand_distr::{Distribution, Normal};
use ufo_kernels::conv::Groups;

const NORM: NormSettings = NormSettings { eps: 1e-3, momentum: 0.01 };

/// Stem, inverted residuals, a last 1x1 convolution, two-layer classifier.
#[derive(Debug, Clone)]
pub struct MobileNetV3 {
    /// 3x3, stride 2; names `features.0.0`, `features.0.1`.
    pub first: ConvNorm,
    /// `features.1` and so on.
    pub blocks: Vec<InvertedResidual>,
    /// 1x1 to the features' width, in `features` after the blocks.
    pub last: ConvNorm,
    /// `classifier.0`, followed by hardswish.
    pub hidden: Linear,
    /// `classifier.3`.
    pub classes: Linear,
}

/// `project(squeeze(depthwise(expand x)))`, plus x where the shape stays.
#[derive(Debug, Clone)]
pub struct InvertedResidual {
    /// 1x1 to the expanded channels, where there are more of them than of x.
    pub expand: Option<ConvNorm>,
    /// Depthwise.
    pub depthwise: ConvNorm,
    /// After the depthwise convolution.
    pub squeeze: Option<SqueezeExcite>,
    /// 1x1, no activation.
    pub project: ConvNorm,
}

/// A row of the paper's tables.
#[derive(Clone, Copy)]
struct Row {
    kernel: usize,
    expanded: usize,
    outputs: usize,
    squeeze: bool,
    activation: Activation,
    stride: usize,
}

const fn row(
    [kernel, expanded, outputs, stride]: [usize; 4],
    squeeze: bool,
    activation: Activation,
) -> Row {
    Row { kernel, expanded, outputs, squeeze, activation, stride }
}

const RELU: Activation = Activation::Relu;
const SWISH: Activation = Activation::Hardswish;
/// Channels of the stem.
const STEM: usize = 16;

const LARGE: [Row; 15] = [
    row([3, 16, 16, 1], false, RELU),
    row([3, 64, 24, 2], false, RELU),
    row([3, 72, 24, 1], false, RELU),
    row([5, 72, 40, 2], true, RELU),
    row([5, 120, 40, 1], true, RELU),
    row([5, 120, 40, 1], true, RELU),
    row([3, 240, 80, 2], false, SWISH),
    row([3, 200, 80, 1], false, SWISH),
    row([3, 184, 80, 1], false, SWISH),
    row([3, 184, 80, 1], false, SWISH),
    row([3, 480, 112, 1], true, SWISH),
    row([3, 672, 112, 1], true, SWISH),
    row([5, 672, 160, 2], true, SWISH),
    row([5, 960, 160, 1], true, SWISH),
    row([5, 960, 160, 1], true, SWISH),
];

const SMALL: [Row; 11] = [
    row([3, 16, 16, 2], true, RELU),
    row([3, 72, 24, 2], false, RELU),
    row([3, 88, 24, 1], false, RELU),
    row([5, 96, 40, 2], true, SWISH),
    row([5, 240, 40, 1], true, SWISH),
    row([5, 240, 40, 1], true, SWISH),
    row([5, 120, 48, 1], true, SWISH),
    row([5, 144, 48, 1], true, SWISH),
    row([5, 288, 96, 2], true, SWISH),
    row([5, 576, 96, 1], true, SWISH),
    row([5, 576, 96, 1], true, SWISH),
];

/// The multiple of 8 nearest to `channels`, at least 8 and at least 9 tenths of it.
fn divisible(channels: usize) -> usize {
    let nearest = ((channels + 4) / 8 * 8).max(8);
    if 10 * nearest < 9 * channels { nearest + 8 } else { nearest }
}

impl MobileNetV3 {
    /// Fresh weights; linear layers normal of deviation 0.01 and bias 0.
    pub(super) fn init(large: bool, classes: usize, rng: &mut impl Rng, device: &Device) -> Self {
        let (rows, hidden) = if large { (&LARGE[..], 1280) } else { (&SMALL[..], 1024) };
        let first = ConvNorm::init([STEM, 3, 3], NORM, rng, device);
        let first = ConvNorm { stride: 2, activation: SWISH, ..first };
        let mut inputs = STEM;
        let mut blocks = Vec::new();
        for row in rows {
            blocks.push(InvertedResidual::init(inputs, *row, rng, device));
            inputs = row.outputs;
        }
        let width = 6 * inputs;
        let last = ConvNorm::init([width, inputs, 1], NORM, rng, device);
        Self {
            first,
            blocks,
            last: ConvNorm { activation: SWISH, ..last },
            hidden: linear(width, hidden, rng, device),
            classes: linear(hidden, classes, rng, device),
        }
    }

    /// # Shapes
    /// `[b, h, w, 3]` to `[b, d]`.
    pub(super) fn features(&self, images_bhwc: Tensor<4>, pass: &mut Pass) -> Tensor<2> {
        let mut x = self.first.forward(images_bhwc, None, pass);
        for block in &self.blocks {
            x = block.forward(x, pass);
            pass.see(&x);
        }
        pool::mean(self.last.forward(x, None, pass))
    }

    /// # Shapes
    /// `[b, d]` to `[b, classes]`, `dropout` `[b, hidden]`.
    pub(super) fn classify(&self, features_bd: Tensor<2>, dropout: Option<Tensor<2>>) -> Tensor<2> {
        let hidden = activate(SWISH, self.hidden.forward(features_bd));
        self.classes.forward(match dropout {
            Some(factors) => hidden * factors,
            None => hidden,
        })
    }

    /// The batch norms in the order in which they run.
    pub(super) fn norms(&mut self) -> Vec<&mut BatchNorm> {
        let blocks = self.blocks.iter_mut().flat_map(|block| {
            block.expand.iter_mut().chain([&mut block.depthwise, &mut block.project])
        });
        let convs = std::iter::once(&mut self.first).chain(blocks).chain([&mut self.last]);
        convs.map(|conv| &mut conv.norm).collect()
    }
}

impl InvertedResidual {
    fn init(inputs: usize, row: Row, rng: &mut impl Rng, device: &Device) -> Self {
        let Row { kernel, expanded, outputs, squeeze, activation, stride } = row;
        let mut conv = |sizes| ConvNorm::init(sizes, NORM, rng, device);
        let expand =
            (expanded != inputs).then(|| ConvNorm { activation, ..conv([expanded, inputs, 1]) });
        let depthwise = conv([expanded, 1, kernel]);
        let depthwise = ConvNorm { stride, activation, groups: Groups::Depthwise, ..depthwise };
        let project = conv([outputs, expanded, 1]);
        let sizes = [expanded, divisible(expanded / 4)];
        let squeeze = squeeze.then(|| SqueezeExcite::init(sizes, rng, device));
        Self { expand, depthwise, squeeze, project }
    }

    fn forward(&self, x: Tensor<4>, pass: &mut Pass) -> Tensor<4> {
        let mut inner = x.clone();
        if let Some(expand) = &self.expand {
            inner = expand.forward(inner, None, pass);
        }
        inner = self.depthwise.forward(inner, None, pass);
        if let Some(squeeze) = &self.squeeze {
            inner = squeeze.forward(inner, pass.level);
        }
        self.project.forward(inner, self.adds_input().then_some(x), pass)
    }

    /// Whether the shape stays, so that x is added.
    pub(super) fn adds_input(&self) -> bool {
        let [expanded, ..] = self.depthwise.weight.dims();
        let inputs = self.expand.as_ref().map_or(expanded, |expand| expand.weight.dims()[1]);
        self.depthwise.stride == 1 && inputs == self.project.weight.dims()[0]
    }
}

fn linear(inputs: usize, outputs: usize, rng: &mut impl Rng, device: &Device) -> Linear {
    let normal = Normal::new(0.0, 0.01).expect("a positive number is a valid deviation");
    let weight = (0..inputs * outputs).map(|_| normal.sample(rng)).collect();
    Linear {
        weight_io: from_values(weight, [inputs, outputs], device),
        bias: Some(Tensor::zeros([outputs], device)),
    }
}

impl MobileNetV3 {
    /// All but the classifier.
    pub(super) fn visit_features(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        let features = key(prefix, "features");
        visit_conv(&mut self.first, &key(&features, "0"), visitor);
        for (index, block) in self.blocks.iter_mut().enumerate() {
            block.visit(&key(&features, &format!("{}.block", index + 1)), visitor);
        }
        let last = key(&features, &(self.blocks.len() + 1).to_string());
        visit_conv(&mut self.last, &last, visitor);
    }
}

impl Visit for MobileNetV3 {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        self.visit_features(prefix, visitor);
        self.hidden.visit(&key(prefix, "classifier.0"), visitor);
        self.classes.visit(&key(prefix, "classifier.3"), visitor);
    }
}

impl Visit for InvertedResidual {
    /// Its layers are numbered, those that are missing left out.
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        let mut number = 0..;
        let mut next = || key(prefix, &number.next().unwrap_or(0).to_string());
        if let Some(expand) = &mut self.expand {
            visit_conv(expand, &next(), visitor);
        }
        visit_conv(&mut self.depthwise, &next(), visitor);
        if let Some(squeeze) = &mut self.squeeze {
            squeeze.visit(&next(), visitor);
        }
        visit_conv(&mut self.project, &next(), visitor);
    }
}

fn visit_conv(conv: &mut ConvNorm, prefix: &str, visitor: &mut impl Visitor) {
    conv.visit_named([&key(prefix, "0"), &key(prefix, "1")], visitor);
}
