//! A task's head: what turns a feature into logits or an embedding (spec 1.5).

use crate::fused::{self, Input, Unit};
use crate::param::{Visit, Visitor, from_values, key, truncated_normal};
use crate::{BnNeck, Linear, NeckStatistics};
use burn_tensor::{Device, Tensor};
use rand::Rng;
use serde::{Deserialize, Serialize};
use ufo_nas::HeadShape;
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
}

impl HeadConfig {
    /// The head's shape for `classes` classes or identities.
    pub fn shape(&self, classes: usize) -> HeadShape {
        match *self {
            Self::Linear => HeadShape::Linear { classes },
            Self::Embedding { dim, .. } => HeadShape::Embedding { dim, classes },
        }
    }
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
    /// Fresh weights for features of width `dim` and `classes` training classes.
    pub fn init(
        config: &HeadConfig,
        dim: usize,
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
        }
    }

    /// Evaluation output: logits `[b, classes]`, or the embedding after the neck `[b, dim]`.
    pub fn forward(&self, features_bd: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Linear(linear) => linear.forward(features_bd),
            Self::Embedding(head) => head.neck.forward(head.project(features_bd)),
        }
    }

    /// Width of the evaluation output.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Linear(linear) => linear.weight_io.dims()[1],
            Self::Embedding(head) => head.neck.weight.dims()[0],
        }
    }

    /// Adds the evaluation output to an ONNX graph.
    pub fn to_onnx(&self, graph: &mut Graph, name: &str, features: &Value) -> crate::Result<Value> {
        match self {
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
