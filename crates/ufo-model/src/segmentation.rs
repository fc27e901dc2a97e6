//! A class for each pixel from patch tokens: progressive upsampling of SETR (arXiv 2012.15840, spec 7.4).
//!
//! ```text
//! main       tokens behind the final norm as a map -> (3x3 conv, batch norm, ReLU), doubled in size between
//!            -> classes -> the size of the image
//! detail     an option that SETR has not: 3x3 conv, batch norm of the image, added to what the last stage reads, ReLU
//! auxiliary  tokens behind some blocks -> layer norm -> 3x3 conv, batch norm, ReLU -> classes
//!            -> four times the size -> the size of the image; one module for all of them, as the original
//! ```
//! Resizing is bilinear and corners are not aligned. The original resizes the auxiliary map before its 1x1
//! convolution to classes, which gives the same: both are linear and the weights of a resize sum to 1.

use crate::cnn::{Activation, ConvNorm, Moments, NormSettings, Pass};
use crate::fused::{self, Input, Upsample};
use crate::param::{Visit, Visitor, from_values, key, values};
use crate::vit::Tokens;
use crate::{Branch, LayerNorm, Linear, Mode};
use burn_tensor::{Device, Tensor};
use rand::Rng;
use ufo_kernels::Level;
use ufo_kernels::upsample::{Mix, mixes};
use ufo_onnx::{Graph, Value};

/// PyTorch's constants.
const NORM: NormSettings = NormSettings { eps: 1e-5, momentum: 0.1 };
/// How much larger the map of an auxiliary head becomes before the size of the image.
const AUXILIARY_FACTOR: usize = 4;

/// The head of a segmentation task.
#[derive(Debug, Clone)]
pub struct SegmentationHead {
    /// Convolutions; the map is doubled after all but the last.
    pub stages: Vec<ConvNorm>,
    /// From the image's pixels to channels that are added to the map before the last stage.
    pub detail: Option<ConvNorm>,
    /// Channels to classes.
    pub classes: Linear,
    /// What only training needs.
    pub auxiliary: Option<AuxiliaryHead>,
}

/// The head of tokens inside of the network.
#[derive(Debug, Clone)]
pub struct AuxiliaryHead {
    /// Norm of the tokens.
    pub norm: LayerNorm,
    /// The convolution.
    pub conv: ConvNorm,
    /// Channels to classes.
    pub classes: Linear,
}

/// What a segmentation head gives in training.
#[derive(Debug)]
pub struct Segmented {
    /// Logits of each pixel, `[b * height * width, classes]`.
    pub logits: Tensor<2>,
    /// The same by the auxiliary head, of each tap.
    pub auxiliary: Vec<Tensor<2>>,
    /// What the batch norms measured, for [`SegmentationHead::update`].
    pub moments: Vec<Moments>,
}

impl SegmentationHead {
    /// Fresh weights for tokens of width `dim`, with an auxiliary head, and detail of images of so many channels.
    pub(crate) fn init(
        [dim, channels, doublings, classes]: [usize; 4],
        (auxiliary, detail): (bool, Option<usize>),
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let conv = |inputs: usize, rng: &mut _| convolution([channels, inputs], rng, device);
        let stage = |index: usize| if index == 0 { dim } else { channels };
        let stages = (0..=doublings).map(|index| conv(stage(index), rng)).collect();
        Self {
            stages,
            classes: Linear::init(channels, classes, true, rng, device),
            auxiliary: auxiliary.then(|| AuxiliaryHead {
                norm: LayerNorm::init(dim, device),
                conv: conv(dim, rng),
                classes: Linear::init(channels, classes, true, rng, device),
            }),
            detail: detail.map(|pixel| conv(pixel, rng)),
        }
    }

    /// Evaluation: the logits of each pixel.
    ///
    /// # Shapes
    /// Tokens to `[b, classes * height * width]`, class by class.
    pub fn forward(&self, tokens: &Tokens, mode: Mode) -> Tensor<2> {
        let mut pass = Pass::evaluation(mode.level);
        let logits_bpc = self.logits(tokens, &mut pass);
        let [b, pixels, classes] = logits_bpc.dims();
        logits_bpc.swap_dims(1, 2).reshape([b, classes * pixels])
    }

    /// Training: the logits of each pixel and those of the auxiliary head, with the statistics of the batch.
    pub fn train(&self, tokens: &Tokens, mode: Mode) -> Segmented {
        let [_, _, height, width] = tokens.images.dims();
        let size = [height, width];
        let mut pass = Pass::training(mode.level);
        let rows = |logits: Tensor<3>| {
            let [b, pixels, classes] = logits.dims();
            logits.reshape([b * pixels, classes])
        };
        let logits = rows(self.logits(tokens, &mut pass));
        let mut auxiliary = Vec::new();
        if let Some(head) = &self.auxiliary {
            for tap in &tokens.taps {
                let normed = head.norm.forward(tap.clone(), None, mode);
                let map = head.conv.forward(as_map(normed, tokens.grid), None, &mut pass);
                let logits = pixelwise(&head.classes, map);
                let larger = [0, 1].map(|axis| {
                    (AUXILIARY_FACTOR * tokens.grid[axis]).min(size[axis].max(tokens.grid[axis]))
                });
                let logits = resized(resized(logits, larger, mode.level), size, mode.level);
                auxiliary.push(rows(flat(logits)));
            }
        }
        Segmented { logits, auxiliary, moments: pass.moments.unwrap_or_default() }
    }

    /// Moves the running statistics of the batch norms towards a batch's.
    pub fn update(&mut self, moments: &[Moments]) {
        let mut main = 0;
        for (conv, moments) in self.main_mut().zip(moments) {
            conv.norm.update(moments);
            main += 1;
        }
        let auxiliary = &moments[main..];
        if let Some(head) = &mut self.auxiliary {
            for moments in auxiliary {
                head.conv.norm.update(moments);
            }
        }
    }

    /// Puts the means of some batches' statistics in the place of the running ones of the main head.
    pub fn replace(&mut self, batches: &[Vec<Moments>]) {
        for (index, conv) in self.main_mut().enumerate() {
            let of_conv: Vec<&Moments> = batches.iter().map(|batch| &batch[index]).collect();
            conv.norm.replace(&of_conv);
        }
    }

    /// The convolutions of the main head in the order of the forward pass.
    fn main_mut(&mut self) -> impl Iterator<Item = &mut ConvNorm> {
        let (last, before) = self.stages.split_last_mut().expect("there is a stage");
        before.iter_mut().chain(self.detail.as_mut()).chain([last])
    }

    /// `[b, pixels, classes]`
    fn logits(&self, tokens: &Tokens, pass: &mut Pass) -> Tensor<3> {
        let [_, _, height, width] = tokens.images.dims();
        let mut map = as_map(tokens.last.clone(), tokens.grid);
        for (index, stage) in self.stages.iter().enumerate() {
            if index > 0 {
                let [_, rows, columns, _] = map.dims();
                map = resized(map, [2 * rows, 2 * columns], pass.level);
            }
            if let (Some(detail), true) = (&self.detail, index + 1 == self.stages.len()) {
                let pixels = tokens.images.clone().permute([0, 2, 3, 1]);
                map = detail.forward(pixels, Some(map), pass);
            }
            map = stage.forward(map, None, pass);
        }
        flat(resized(pixelwise(&self.classes, map), [height, width], pass.level))
    }

    /// Adds the evaluation pass to an ONNX graph.
    ///
    /// # Shapes
    /// Images and their tokens `[batch, 1 + n, d]` of a `grid` to `[batch, classes, height, width]`.
    ///
    /// # Errors
    /// When a name is taken.
    pub(crate) fn to_onnx(
        &self,
        graph: &mut Graph,
        name: &str,
        (images, tokens): (&Value, &Value),
        [grid, size]: [[usize; 2]; 2],
    ) -> crate::Result<Value> {
        let doublings = self.stages.len() - 1;
        let detail = self.detail.as_ref().map(|detail| (detail, images));
        let map = stages_onnx(graph, name, (tokens, grid), (&self.stages, doublings, detail))?;
        let logits = linear_onnx(graph, &key(name, "classes"), &map, &self.classes)?;
        let doubled = grid.map(|side| side << doublings);
        if doubled == size {
            return Ok(logits);
        }
        let factor = |axis: usize| size[axis] as f32 / doubled[axis] as f32;
        Ok(graph.upsample(&logits, [factor(0), factor(1)])?)
    }
}

/// A fresh 3x3 convolution with batch norm and `ReLU`, of so many outputs and inputs.
pub(crate) fn convolution(
    [outputs, inputs]: [usize; 2],
    rng: &mut impl Rng,
    device: &Device,
) -> ConvNorm {
    ConvNorm {
        activation: Activation::Relu,
        ..ConvNorm::init([outputs, inputs, 3], NORM, rng, device)
    }
}

/// Adds the convolutions on the map of the tokens of a `grid`, doubled in size before the second and those that
/// follow, as often as `doublings`, to an ONNX graph; with detail of the images before the last one.
pub(crate) fn stages_onnx(
    graph: &mut Graph,
    name: &str,
    (tokens, grid): (&Value, [usize; 2]),
    (stages, doublings, detail): (&[ConvNorm], usize, Option<(&ConvNorm, &Value)>),
) -> crate::Result<Value> {
    let d = stages[0].weight.dims()[1];
    let patches = graph.slice(tokens, 1, 1, i64::MAX)?;
    let patches = graph.transpose(&patches, &[0, 2, 1]);
    let mut map = graph.reshape(&patches, &[0, d as i64, grid[0] as i64, grid[1] as i64])?;
    for (index, stage) in stages.iter().enumerate() {
        if (1..=doublings).contains(&index) {
            map = graph.upsample(&map, [2.0, 2.0])?;
        }
        if let (Some((detail, images)), true) = (detail, index + 1 == stages.len()) {
            map = detail.to_onnx(graph, &key(name, "detail"), (images, Some(&map)))?;
        }
        map = stage.to_onnx(graph, &key(name, &format!("stages.{index}")), (&map, None))?;
    }
    Ok(map)
}

/// Adds a linear layer on each pixel of a map to an ONNX graph.
pub(crate) fn linear_onnx(
    graph: &mut Graph,
    name: &str,
    map: &Value,
    linear: &Linear,
) -> crate::Result<Value> {
    let [channels, outputs] = linear.weight_io.dims();
    let weight = values(&linear.weight_io.clone().transpose());
    let weight = graph.weight(&key(name, "weight"), &[outputs, channels, 1, 1], &weight)?;
    let bias = match &linear.bias {
        Some(bias) => Some(graph.weight(&key(name, "bias"), &[outputs], &values(bias))?),
        None => None,
    };
    Ok(graph.conv(map, &weight, bias.as_ref(), [1; 2], [0; 4]))
}

/// The patch tokens as a map `[b, rows, columns, d]`; the first token is the class's.
pub(crate) fn as_map(tokens_btd: Tensor<3>, [rows, columns]: [usize; 2]) -> Tensor<4> {
    let [b, t, d] = tokens_btd.dims();
    tokens_btd.slice([0..b, 1..t]).reshape([b, rows, columns, d])
}

/// The layer on each pixel of a map.
pub(crate) fn pixelwise(linear: &Linear, map_bhwc: Tensor<4>) -> Tensor<4> {
    let [b, h, w, c] = map_bhwc.dims();
    let logits = linear.forward(map_bhwc.reshape([b, h * w, c]));
    let [_, _, classes] = logits.dims();
    logits.reshape([b, h, w, classes])
}

/// `[b, h, w, c]` to `[b, h * w, c]`.
pub(crate) fn flat(map_bhwc: Tensor<4>) -> Tensor<3> {
    let [b, h, w, c] = map_bhwc.dims();
    map_bhwc.reshape([b, h * w, c])
}

/// A map `[b, h, w, c]` with `out` rows and columns.
pub(crate) fn resized(map_bhwc: Tensor<4>, out: [usize; 2], level: Level) -> Tensor<4> {
    let [_, h, w, _] = map_bhwc.dims();
    if [h, w] == out {
        return map_bhwc;
    }
    match Input::new(&map_bhwc) {
        Some(input) => fused::apply(&Upsample { level, out }, [input]),
        None => composed(map_bhwc, out),
    }
}

/// [`resized`] as products with the matrices of both directions.
fn composed(map_bhwc: Tensor<4>, [rows, columns]: [usize; 2]) -> Tensor<4> {
    let [b, h, w, c] = map_bhwc.dims();
    let device = map_bhwc.device().inner();
    let matrix = |from: usize, to: usize| -> Tensor<3> {
        let mut weights = vec![0.0; to * from];
        for (row, Mix { pixels, share }) in weights.chunks_exact_mut(from).zip(mixes(from, to)) {
            row[pixels[0]] += 1.0 - share;
            row[pixels[1]] += share;
        }
        let matrix: Tensor<3> = from_values(weights, [1, to, from], &device);
        if map_bhwc.is_autodiff() { matrix.autodiff() } else { matrix }
    };
    let (down, along) = (matrix(h, rows), matrix(w, columns));
    let taller = down.expand([b, rows, h]).matmul(map_bhwc.reshape([b, h, w * c]));
    let wider = along.expand([b * rows, columns, w]).matmul(taller.reshape([b * rows, w, c]));
    wider.reshape([b, rows, columns, c])
}

impl Visit for SegmentationHead {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        for (index, stage) in self.stages.iter_mut().enumerate() {
            visit_conv(stage, &key(prefix, &format!("stages.{index}")), visitor);
        }
        if let Some(detail) = &mut self.detail {
            visit_conv(detail, &key(prefix, "detail"), visitor);
        }
        self.classes.visit(&key(prefix, "classes"), visitor);
        if let Some(head) = &mut self.auxiliary {
            let prefix = key(prefix, "auxiliary");
            head.norm.visit(&key(&prefix, "norm"), visitor);
            visit_conv(&mut head.conv, &prefix, visitor);
            head.classes.visit(&key(&prefix, "classes"), visitor);
        }
    }
}

pub(crate) fn visit_conv(conv: &mut ConvNorm, prefix: &str, visitor: &mut impl Visitor) {
    conv.visit_named([&key(prefix, "conv"), &key(prefix, "bn")], visitor);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::{assert_all_same, random};

    #[test]
    fn the_fused_resize_and_its_gradient_equal_products_with_matrices() {
        for (size, out) in [([3, 4], [6, 8]), ([4, 5], [7, 11]), ([6, 6], [4, 3])] {
            let run = |fused: bool| {
                let x = random([2, size[0], size[1], 5], 1).autodiff().require_grad();
                let y = if fused {
                    resized(x.clone(), out, Level::detect())
                } else {
                    composed(x.clone(), out)
                };
                let mut grads = (y.clone() * random(y.dims(), 2).autodiff()).sum().backward();
                [values(&y), values(&x.grad_remove(&mut grads).unwrap())]
            };
            assert_all_same(&run(true), &run(false));
        }
    }
}
