//! Convolutional students: `ResNet` (arXiv 1512.03385) and `MobileNetV3` (arXiv 1905.02244), with the
//! layers, parameter names and initial distributions of torchvision.
//!
//! Maps between layers have channels last. Shape legend: b batch, h height, w width, c channels.

mod batch_norm;
mod conv_norm;
mod mobilenet;
mod onnx;
mod pool;
mod resnet;
mod squeeze_excite;

use crate::param::{Visit, Visitor, from_values};
use crate::weights;
use burn_tensor::{Device, Tensor};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use ufo_kernels::Level;
use ufo_weights::State;

pub(crate) use batch_norm::NormSettings;
pub use batch_norm::{BatchNorm, Moments};
pub use conv_norm::ConvNorm;
pub use mobilenet::{InvertedResidual, MobileNetV3};
pub use resnet::{ResNet, ResidualBlock};
pub use squeeze_excite::SqueezeExcite;
pub use ufo_kernels::batch_norm::Activation;

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CnnKind {
    /// 18 layers of two-convolution blocks, 11.7M parameters with 1000 classes.
    #[serde(rename = "resnet18")]
    ResNet18,
    /// 50 layers of bottlenecks, 25.6M parameters with 1000 classes.
    #[serde(rename = "resnet50")]
    ResNet50,
    /// 2.5M parameters with 1000 classes.
    #[serde(rename = "mobilenet_v3_small")]
    MobileNetV3Small,
    /// 5.5M parameters with 1000 classes.
    #[serde(rename = "mobilenet_v3_large")]
    MobileNetV3Large,
}

/// A convolutional network with its classifier.
#[derive(Debug, Clone)]
pub struct Cnn {
    /// Its layers.
    pub layers: Layers,
    /// Instructions and precision of fused operations on the CPU.
    pub level: Level,
}

/// The layers of a network.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a program holds a few")]
pub enum Layers {
    /// ResNet-18 or ResNet-50.
    ResNet(ResNet),
    /// `MobileNetV3`, small or large.
    MobileNetV3(MobileNetV3),
}

/// One pass through a network: what its layers are told, and what batch norms found.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) level: Level,
    /// In training, the moments of each batch norm in the order in which they ran.
    pub(crate) moments: Option<Vec<Moments>>,
    /// The map of features to keep, if one is wanted.
    pub(crate) tap: Option<Tap>,
}

/// A map of features inside of a network: the last one with at least so many rows and columns, or the first of all.
#[derive(Debug)]
pub(crate) struct Tap {
    least: [usize; 2],
    map: Option<Tensor<4>>,
}

impl Pass {
    /// Evaluation.
    pub(crate) fn evaluation(level: Level) -> Self {
        Self { level, moments: None, tap: None }
    }

    /// Training, which keeps moments.
    pub(crate) fn training(level: Level) -> Self {
        Self { level, moments: Some(Vec::new()), tap: None }
    }

    /// Shows a map `[b, h, w, c]` that may be the one to keep.
    pub(crate) fn see(&mut self, map_bhwc: &Tensor<4>) {
        let Some(tap) = &mut self.tap else { return };
        let [_, rows, columns, _] = map_bhwc.dims();
        if tap.map.is_none() || (rows >= tap.least[0] && columns >= tap.least[1]) {
            tap.map = Some(map_bhwc.clone());
        }
    }
}

impl Cnn {
    /// Fresh weights; the rest of torchvision's defaults, too.
    pub fn init(kind: CnnKind, classes: usize, rng: &mut impl Rng, device: &Device) -> Self {
        let layers = match kind {
            CnnKind::ResNet18 | CnnKind::ResNet50 => {
                Layers::ResNet(ResNet::init(kind == CnnKind::ResNet50, classes, rng, device))
            }
            CnnKind::MobileNetV3Small | CnnKind::MobileNetV3Large => {
                let large = kind == CnnKind::MobileNetV3Large;
                Layers::MobileNetV3(MobileNetV3::init(large, classes, rng, device))
            }
        };
        Self { layers, level: Level::detect() }
    }

    /// Evaluation: the pooled features before the classifier, with running statistics.
    ///
    /// # Shapes
    /// `[b, 3, h, w]` to `[b, d]`; h and w are at least 1.
    pub fn features(&self, images_bchw: Tensor<4>) -> Tensor<2> {
        self.run(images_bchw, &mut Pass::evaluation(self.level))
    }

    /// Training: [`Self::features`] with the statistics of the batch, which are also returned for
    /// [`Self::update`].
    pub fn train(&self, images_bchw: Tensor<4>) -> (Tensor<2>, Vec<Moments>) {
        let mut pass = Pass::training(self.level);
        let features = self.run(images_bchw, &mut pass);
        (features, pass.moments.unwrap_or_default())
    }

    /// [`Self::train`], and between them the last map of features that has at least `least` rows and columns, or
    /// the first of all.
    ///
    /// # Shapes
    /// The map is `[b, h, w, c]`.
    pub fn train_with_map(
        &self,
        images_bchw: Tensor<4>,
        least: [usize; 2],
    ) -> (Tensor<2>, Tensor<4>, Vec<Moments>) {
        let tap = Some(Tap { least, map: None });
        let mut pass = Pass { tap, ..Pass::training(self.level) };
        let features = self.run(images_bchw, &mut pass);
        let map = pass.tap.and_then(|tap| tap.map).expect("a network shows its maps");
        (features, map, pass.moments.unwrap_or_default())
    }

    fn run(&self, images_bchw: Tensor<4>, pass: &mut Pass) -> Tensor<2> {
        let images_bhwc = images_bchw.permute([0, 2, 3, 1]);
        match &self.layers {
            Layers::ResNet(net) => net.features(images_bhwc, pass),
            Layers::MobileNetV3(net) => net.features(images_bhwc, pass),
        }
    }

    /// Logits of features; `dropout` multiplies `MobileNetV3`'s hidden layer and nothing of `ResNet`.
    ///
    /// # Shapes
    /// `[b, d]` to `[b, classes]`, `dropout` `[b, hidden]`.
    pub fn classify(&self, features_bd: Tensor<2>, dropout: Option<Tensor<2>>) -> Tensor<2> {
        match &self.layers {
            Layers::ResNet(net) => net.fc.forward(features_bd),
            Layers::MobileNetV3(net) => net.classify(features_bd, dropout),
        }
    }

    /// A mask for [`Self::classify`] in training: 0 with the probability that torchvision gives to the
    /// network (0.2, `ResNet` none), else 1 over that of 1.
    pub fn dropout(&self, batch: usize, rng: &mut impl Rng) -> Option<Tensor<2>> {
        const DROPPED: f32 = 0.2;
        let Layers::MobileNetV3(net) = &self.layers else { return None };
        let [_, hidden] = net.hidden.weight_io.dims();
        let factor = |dropped: bool| if dropped { 0.0 } else { 1.0 / (1.0 - DROPPED) };
        let factors = (0..batch * hidden).map(|_| factor(rng.random::<f32>() < DROPPED)).collect();
        Some(from_values(factors, [batch, hidden], &net.hidden.weight_io.device().inner()))
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        match &self.layers {
            Layers::ResNet(net) => net.fc.weight_io.device().inner(),
            Layers::MobileNetV3(net) => net.hidden.weight_io.device().inner(),
        }
    }

    /// Outputs of the classifier.
    pub fn classes(&self) -> usize {
        match &self.layers {
            Layers::ResNet(net) => net.fc.weight_io.dims()[1],
            Layers::MobileNetV3(net) => net.classes.weight_io.dims()[1],
        }
    }

    /// Width d of the features.
    pub fn width(&self) -> usize {
        match &self.layers {
            Layers::ResNet(net) => net.fc.weight_io.dims()[0],
            Layers::MobileNetV3(net) => net.hidden.weight_io.dims()[0],
        }
    }

    /// Moves the running statistics towards those of a batch.
    ///
    /// # Panics
    /// If they are not those of [`Self::train`] of a network of this kind.
    pub fn update(&mut self, batch: &[Moments]) {
        let norms = self.norms();
        assert_eq!(norms.len(), batch.len(), "moments: not one for each batch norm");
        for (norm, moments) in norms.into_iter().zip(batch) {
            norm.update(moments);
        }
    }

    /// Puts the means of some batches' statistics in the place of the running ones, which lag behind: those
    /// of `MobileNetV3` keep a share of their initial values for hundreds of steps. None changes nothing.
    ///
    /// # Panics
    /// If they are not those of [`Self::train`] of a network of this kind.
    pub fn replace(&mut self, batches: &[Vec<Moments>]) {
        if batches.is_empty() {
            return;
        }
        let norms = self.norms();
        assert_eq!(norms.len(), batches[0].len(), "moments: not one for each batch norm");
        for (index, norm) in norms.into_iter().enumerate() {
            norm.replace(&batches.iter().map(|batch| &batch[index]).collect::<Vec<_>>());
        }
    }

    fn norms(&mut self) -> Vec<&mut BatchNorm> {
        match &mut self.layers {
            Layers::ResNet(net) => net.norms(),
            Layers::MobileNetV3(net) => net.norms(),
        }
    }
}

impl Cnn {
    /// Sets everything before the classifier from `state`, which came `from` a file with torchvision's names and may
    /// hold more.
    ///
    /// # Errors
    /// Names the first tensor that is missing or of another shape.
    pub fn load_features(&mut self, state: &State, from: &str) -> crate::Result<()> {
        struct Features<'a>(&'a mut Cnn);
        impl Visit for Features<'_> {
            fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
                self.0.visit_features(prefix, visitor);
            }
        }
        weights::fill(&mut Features(self), "", state, from).map(|_| ())
    }

    /// Calls `visitor` for each parameter before the classifier.
    pub fn visit_features(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        match &mut self.layers {
            Layers::ResNet(net) => net.visit_features(prefix, visitor),
            Layers::MobileNetV3(net) => net.visit_features(prefix, visitor),
        }
    }
}

impl Visit for Cnn {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        match &mut self.layers {
            Layers::ResNet(net) => net.visit(prefix, visitor),
            Layers::MobileNetV3(net) => net.visit(prefix, visitor),
        }
    }
}

#[cfg(test)]
mod tests;
