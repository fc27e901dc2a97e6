//! A task's head: what turns a feature into logits or an embedding (spec 1.5), or tokens into a class a pixel or into
//! boxes.

use crate::cnn::Moments;
use crate::fused::{self, Input, Unit};
use crate::param::{Visit, Visitor, from_values, key, truncated_normal};
use crate::{BnNeck, DetectionHead, Linear, NeckStatistics, SegmentationHead, Vit};
use burn_tensor::{Device, Tensor};
use rand::Rng;
use serde::{Deserialize, Serialize};
use ufo_nas::{HeadShape, Keys};
use ufo_onnx::{Graph, Value};

/// What a head predicts and how it is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HeadConfig {
    /// Logits of the classes.
    Linear,
    /// An embedding behind a BN neck, trained by CosFace over the training identities.
    Embedding {
        /// Width of the embedding; 0 keeps the backbone's.
        #[serde(default)]
        dim: usize,
        /// CosFace scale s, above 0.
        #[serde(default = "default_scale")]
        scale: f32,
        /// CosFace margin m, 0 to 1.
        #[serde(default = "default_margin")]
        margin: f32,
    },
    /// A class a pixel, by convolutions on the patch tokens (SETR-PUP).
    Segmentation {
        /// Channels of the convolutions, 1 to 4096; default 256.
        #[serde(default = "default_channels")]
        channels: usize,
        /// How often the map of patches is doubled in size between convolutions, 0 to 6; default 3, which is
        /// to half the image with patches of 16 pixels.
        #[serde(default = "default_doublings")]
        doublings: usize,
        /// Weight of the loss of each auxiliary head, at least 0; 0 is without; default 0.4.
        #[serde(default = "default_auxiliary")]
        auxiliary: f32,
        /// Blocks, counted from 0 and ascending, behind which auxiliary heads read; default four, a sixth of
        /// the depth apart, the last block among them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taps: Option<[usize; 4]>,
        /// Factor of the learning rate of the head, above 0; default 1.
        #[serde(default = "default_lr_scale")]
        lr_scale: f32,
        /// Whether the last convolution also sees features of the image's pixels, for borders finer than patches;
        /// `doublings` must then lead to the size of the image; default false.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        detail: bool,
    },
    /// Boxes with their classes, by convolutions on the patch tokens (FCOS).
    Detection {
        /// Channels of the convolutions, 1 to 4096; default 128.
        #[serde(default = "default_box_channels")]
        channels: usize,
        /// Convolutions, 1 to 8; default 2.
        #[serde(default = "default_convolutions")]
        convolutions: usize,
        /// How often the map of patches is doubled in size, before the second convolution and those that follow,
        /// 0 to below `convolutions`; default 1, which is a place every 8 pixels with patches of 16.
        #[serde(default = "default_box_doublings")]
        doublings: usize,
        /// How far around the middle of a box places learn it, in distances between places; 0 is all of the box;
        /// default 1.5.
        #[serde(default = "default_radius")]
        radius: f32,
        /// Factor of the learning rate of the head, above 0; default 1.
        #[serde(default = "default_lr_scale")]
        lr_scale: f32,
    },
}

impl HeadConfig {
    /// The head's shape for `classes` classes or identities.
    pub fn shape(&self, classes: usize) -> HeadShape {
        match *self {
            Self::Linear => HeadShape::Linear { classes },
            Self::Embedding { dim, .. } => HeadShape::Embedding { dim, classes },
            Self::Segmentation { channels, doublings, auxiliary, detail, .. } => {
                let auxiliary = auxiliary > 0.0;
                HeadShape::Segmentation { channels, doublings, classes, auxiliary, detail }
            }
            Self::Detection { channels, convolutions, doublings, .. } => {
                HeadShape::Detection { channels, convolutions, doublings, classes }
            }
        }
    }

    /// Whether it gives a class for each pixel.
    pub fn segments(&self) -> bool {
        matches!(self, Self::Segmentation { .. })
    }

    /// Whether it gives boxes.
    pub fn detects(&self) -> bool {
        matches!(self, Self::Detection { .. })
    }

    /// Whether it reads all tokens, and not the class token's feature alone.
    pub fn reads_tokens(&self) -> bool {
        self.segments() || self.detects()
    }

    /// The blocks of `depth` behind which auxiliary heads read.
    pub fn taps(&self, depth: usize) -> Vec<usize> {
        let Self::Segmentation { auxiliary, taps, .. } = *self else { return Vec::new() };
        if auxiliary == 0.0 {
            return Vec::new();
        }
        let step = depth.div_ceil(6);
        let even = || [3, 2, 1, 0].map(|before| (depth - 1).saturating_sub(before * step));
        let mut taps = taps.unwrap_or_else(even).to_vec();
        taps.dedup();
        taps
    }
}

fn default_channels() -> usize {
    256
}

fn default_doublings() -> usize {
    3
}

fn default_box_channels() -> usize {
    128
}

fn default_convolutions() -> usize {
    2
}

fn default_box_doublings() -> usize {
    1
}

fn default_radius() -> f32 {
    1.5
}

fn default_auxiliary() -> f32 {
    0.4
}

fn default_lr_scale() -> f32 {
    1.0
}

fn default_scale() -> f32 {
    30.0
}

fn default_margin() -> f32 {
    0.2
}

/// A task's head.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a supernet has one a task")]
pub enum Head {
    /// `W f + b`.
    Linear(Linear),
    /// Projection, neck and CosFace weights.
    Embedding(EmbeddingHead),
    /// Convolutions on the map of tokens.
    Segmentation(SegmentationHead),
    /// Boxes from the map of tokens.
    Detection(DetectionHead),
}

/// What the batch norms of a head measured of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum HeadStatistics {
    /// An embedding's neck.
    Neck(NeckStatistics),
    /// The convolutions of a segmentation or detection head.
    Maps(Vec<Moments>),
}

/// Embedding head: optional projection, BN neck, CosFace class weights.
#[derive(Debug, Clone)]
pub struct EmbeddingHead {
    /// `(D, dim)` without bias, when the embedding's width differs.
    pub projection: Option<Linear>,
    /// Normalization over the batch.
    pub neck: BnNeck,
    /// Class weights, `(dim, classes)`.
    pub classes: Linear,
}

/// What an embedding head gives in training.
#[derive(Debug)]
pub struct Embedded {
    /// Embedding before the neck, `[b, dim]`, which the triplet loss uses.
    pub before: Tensor<2>,
    /// Embedding behind the neck, normalized by the batch, `[b, dim]`.
    pub after: Tensor<2>,
    /// Cosines to every class, `[b, classes]`.
    pub cosines: Tensor<2>,
    /// What the neck measured of the batch.
    pub statistics: NeckStatistics,
}

impl Head {
    /// Fresh weights for features of width `dim` of images of so many channels, and `classes` training classes.
    pub fn init(
        config: &HeadConfig,
        [dim, image_channels]: [usize; 2],
        classes: usize,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        match *config {
            HeadConfig::Linear => Self::Linear(Linear::init(dim, classes, true, rng, device)),
            HeadConfig::Embedding { dim: wanted, .. } => {
                let width = if wanted == 0 { dim } else { wanted };
                let project = width != dim;
                let weights = truncated_normal(width * classes, 0.02, rng);
                Self::Embedding(EmbeddingHead {
                    projection: project.then(|| Linear::init(dim, width, false, rng, device)),
                    neck: BnNeck::init(width, device),
                    classes: Linear {
                        weight_io: from_values(weights, [width, classes], device),
                        bias: None,
                    },
                })
            }
            HeadConfig::Segmentation { channels, doublings, auxiliary, detail, .. } => {
                let sizes = [dim, channels, doublings, classes];
                let optional = (auxiliary > 0.0, detail.then_some(image_channels));
                Self::Segmentation(SegmentationHead::init(sizes, optional, rng, device))
            }
            HeadConfig::Detection { channels, convolutions, doublings, .. } => {
                let sizes = [dim, channels, convolutions, doublings, classes];
                Self::Detection(DetectionHead::init(sizes, rng, device))
            }
        }
    }

    /// Evaluation output of images: logits `[b, classes]`, the embedding after the neck `[b, dim]`, the
    /// logits of each pixel `[b, classes * height * width]`, or the outputs of each place of the map of boxes
    /// `[b, (classes + 5) * rows * columns]`.
    pub fn run(&self, vit: &Vit, images_bchw: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Segmentation(head) => head.forward(&vit.tokens(images_bchw, None, &[]), vit.mode),
            Self::Detection(head) => head.forward(&vit.tokens(images_bchw, None, &[]), vit.mode),
            _ => self.forward(vit.forward(images_bchw, None)),
        }
    }

    /// Evaluation output of features: logits `[b, classes]`, or the embedding after the neck `[b, dim]`.
    ///
    /// # Panics
    /// For a segmentation or detection head, which reads tokens: see [`Head::run`].
    pub fn forward(&self, features_bd: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Linear(linear) => linear.forward(features_bd),
            Self::Embedding(head) => head.neck.forward(head.project(features_bd)),
            Self::Segmentation(_) | Self::Detection(_) => {
                unreachable!("a head of maps reads tokens, not features")
            }
        }
    }

    /// Sizes of the evaluation output of an image of height and width `size` with a `grid` of patches.
    pub fn output_sizes(&self, size: [usize; 2], grid: [usize; 2]) -> Vec<usize> {
        match self {
            Self::Linear(linear) => vec![linear.weight_io.dims()[1]],
            Self::Embedding(head) => vec![head.neck.weight.dims()[0]],
            Self::Segmentation(head) => vec![head.classes.weight_io.dims()[1], size[0], size[1]],
            Self::Detection(head) => {
                let [rows, columns] = head.map_size(grid);
                vec![head.outputs.weight_io.dims()[1], rows, columns]
            }
        }
    }

    /// The head as models have it that are extracted, without what only training needs.
    #[must_use]
    pub fn extracted(&self) -> Self {
        match self {
            Self::Segmentation(head) => {
                Self::Segmentation(SegmentationHead { auxiliary: None, ..head.clone() })
            }
            head => head.clone(),
        }
    }

    /// Takes up what the batch norms measured of a batch.
    pub fn absorb(&mut self, measured: &HeadStatistics) {
        match (self, measured) {
            (Self::Embedding(head), HeadStatistics::Neck(batch)) => head.neck.update(batch),
            (Self::Segmentation(head), HeadStatistics::Maps(moments)) => head.update(moments),
            (Self::Detection(head), HeadStatistics::Maps(moments)) => head.update(moments),
            _ => {}
        }
    }

    /// Adds the network `vit`, with the names `keys`, and the evaluation output to an ONNX graph.
    ///
    /// # Errors
    /// When a name is taken, or the network is still routed.
    pub fn run_onnx(
        &self,
        graph: &mut Graph,
        (vit, keys, name): (&Vit, &Keys, &str),
        (images, size): (&Value, [usize; 2]),
    ) -> crate::Result<Value> {
        let grid = vit.stem.grid(size);
        match self {
            Self::Segmentation(head) => {
                let tokens = vit.onnx_tokens(graph, (keys, images), false)?;
                head.to_onnx(graph, name, (images, &tokens), [grid, size])
            }
            Self::Detection(head) => {
                let tokens = vit.onnx_tokens(graph, (keys, images), false)?;
                head.to_onnx(graph, name, &tokens, grid)
            }
            _ => {
                let features = vit.to_onnx(graph, keys, images)?;
                self.to_onnx(graph, name, &features)
            }
        }
    }

    /// Adds the evaluation output of features to an ONNX graph.
    ///
    /// # Errors
    /// When a name is taken.
    ///
    /// # Panics
    /// As [`Head::forward`].
    pub fn to_onnx(&self, graph: &mut Graph, name: &str, features: &Value) -> crate::Result<Value> {
        match self {
            Self::Segmentation(_) | Self::Detection(_) => {
                unreachable!("a head of maps reads tokens, not features")
            }
            Self::Linear(linear) => linear.to_onnx(graph, name, features),
            Self::Embedding(head) => {
                let projected = match &head.projection {
                    Some(linear) => linear.to_onnx(graph, &key(name, "projection"), features)?,
                    None => features.clone(),
                };
                head.neck.to_onnx(graph, &key(name, "neck"), &projected)
            }
        }
    }
}

impl EmbeddingHead {
    /// The embedding before the neck, which the triplet loss uses.
    pub fn project(&self, features_bd: Tensor<2>) -> Tensor<2> {
        match &self.projection {
            Some(linear) => linear.forward(features_bd),
            None => features_bd,
        }
    }

    /// Training pass of features `[b, D]`.
    pub fn train(&self, features_bd: Tensor<2>) -> Embedded {
        let before = self.project(features_bd);
        let (after, statistics) = self.neck.train(before.clone());
        let weight_io = normalized(self.classes.weight_io.clone(), 0);
        let cosines = Linear { weight_io, bias: None }.forward(normalized(after.clone(), 1));
        Embedded { before, after, cosines, statistics }
    }
}

/// Rows divided by their Euclidean length.
pub fn unit_rows(x: Tensor<2>) -> Tensor<2> {
    normalized(x, 1)
}

/// Rows (`dim` 1) or columns (`dim` 0) divided by their Euclidean length.
pub(crate) fn normalized(x: Tensor<2>, dim: usize) -> Tensor<2> {
    match Input::new(&x) {
        Some(input) => fused::apply(&Unit { dim }, [input]),
        None => divided(x, dim),
    }
}

fn divided(x: Tensor<2>, dim: usize) -> Tensor<2> {
    let length = (x.clone() * x.clone()).sum_dim(dim).clamp_min(1e-12).sqrt();
    x / length
}

impl Visit for Head {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        match self {
            Self::Linear(linear) => linear.visit(prefix, visitor),
            Self::Embedding(head) => {
                if let Some(projection) = &mut head.projection {
                    projection.visit(&key(prefix, "projection"), visitor);
                }
                head.neck.visit(&key(prefix, "neck"), visitor);
                head.classes.visit(&key(prefix, "classes"), visitor);
            }
            Self::Segmentation(head) => head.visit(prefix, visitor),
            Self::Detection(head) => head.visit(prefix, visitor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::{assert_all_same, random};
    use crate::values;

    #[test]
    fn the_fused_normalization_and_its_gradient_equal_burns() {
        for dim in [0, 1] {
            let run = |normalize: fn(Tensor<2>, usize) -> Tensor<2>| {
                // One row and one column of nothing but zeros.
                let mask = (0..35).map(|at| f32::from(u8::from(at / 7 != 2 && at % 7 != 3)));
                let mask = from_values(mask.collect(), [5, 7], &Device::flex());
                let x = (random([5, 7], 1) * mask).autodiff().require_grad();
                let y = normalize(x.clone(), dim);
                let mut grads = (y.clone() * random([5, 7], 2).autodiff()).sum().backward();
                [values(&y), values(&x.grad_remove(&mut grads).unwrap())]
            };
            assert_all_same(&run(normalized), &run(divided));
        }
    }
}
