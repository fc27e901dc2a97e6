//! Boxes from patch tokens, without anchors: a light form of FCOS's head (arXiv 1904.01355, section 3; spec row 28).
//!
//! ```text
//! tokens behind the final norm as a map -> (3x3 conv, batch norm, ReLU), doubled in size between the first of them
//!                                       -> outputs of each place: a logit a class, four sides, the center
//! ```
//! One map in the place of a pyramid, and one tower for all outputs: what the outputs mean is said by
//! `ufo_data::detect()`, and [`crate::losses::fcos()`] trains them.

use crate::cnn::{ConvNorm, Moments, Pass};
use crate::param::{Visit, Visitor, from_values, key, truncated_normal};
use crate::segmentation::{
    as_map, convolution, flat, linear_onnx, pixelwise, resized, stages_onnx, visit_conv,
};
use crate::vit::Tokens;
use crate::{Linear, Mode};
use burn_tensor::{Device, Tensor};
use rand::Rng;
use ufo_onnx::{Graph, Value};

/// Outputs of a place besides those of the classes: four sides and the center.
const BOX_OUTPUTS: usize = 5;
/// Probability of every class at first, so that the many places without a box do not drown the others (arXiv
/// 1708.02002, section 4.1).
const PRIOR: f32 = 0.01;

/// The head of a detection task.
#[derive(Debug, Clone)]
pub struct DetectionHead {
    /// Convolutions.
    pub stages: Vec<ConvNorm>,
    /// Channels to the outputs of a place.
    pub outputs: Linear,
    /// How often the map is doubled, before the second convolution and those that follow.
    pub doublings: usize,
}

/// What a detection head gives in training.
#[derive(Debug)]
pub struct Detected {
    /// Outputs of each place, `[b * rows * columns, classes + 5]`.
    pub outputs: Tensor<2>,
    /// Rows and columns of the map.
    pub map: [usize; 2],
    /// What the batch norms measured, for [`DetectionHead::update`].
    pub moments: Vec<Moments>,
}

impl DetectionHead {
    /// Fresh weights for tokens of width `dim`.
    pub(crate) fn init(
        [dim, channels, convolutions, doublings, classes]: [usize; 5],
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let inputs = |index: usize| if index == 0 { dim } else { channels };
        let stages =
            (0..convolutions).map(|index| convolution([channels, inputs(index)], rng, device));
        let stages = stages.collect();
        let outputs = classes + BOX_OUTPUTS;
        // FCOS's deviation of new weights.
        let weight = truncated_normal(channels * outputs, 0.01, rng);
        let logit = -((1.0 - PRIOR) / PRIOR).ln();
        let bias = (0..outputs).map(|output| if output < classes { logit } else { 0.0 }).collect();
        let outputs = Linear {
            weight_io: from_values(weight, [channels, outputs], device),
            bias: Some(from_values(bias, [outputs], device)),
        };
        Self { stages, outputs, doublings }
    }

    /// Rows and columns of the map on a `grid` of patches.
    pub fn map_size(&self, grid: [usize; 2]) -> [usize; 2] {
        grid.map(|side| side << self.doublings)
    }

    /// Evaluation: the outputs of each place.
    ///
    /// # Shapes
    /// Tokens to `[b, (classes + 5) * rows * columns]`, output by output.
    pub fn forward(&self, tokens: &Tokens, mode: Mode) -> Tensor<2> {
        let mut pass = Pass::evaluation(mode.level);
        let outputs_bpo = self.run(tokens, &mut pass);
        let [b, places, outputs] = outputs_bpo.dims();
        outputs_bpo.swap_dims(1, 2).reshape([b, outputs * places])
    }

    /// Training: the outputs of each place, with the statistics of the batch.
    pub fn train(&self, tokens: &Tokens, mode: Mode) -> Detected {
        let mut pass = Pass::training(mode.level);
        let outputs_bpo = self.run(tokens, &mut pass);
        let [b, places, outputs] = outputs_bpo.dims();
        Detected {
            outputs: outputs_bpo.reshape([b * places, outputs]),
            map: self.map_size(tokens.grid),
            moments: pass.moments.unwrap_or_default(),
        }
    }

    /// Moves the running statistics of the batch norms towards a batch's.
    pub fn update(&mut self, moments: &[Moments]) {
        for (stage, moments) in self.stages.iter_mut().zip(moments) {
            stage.norm.update(moments);
        }
    }

    /// Puts the means of some batches' statistics in the place of the running ones.
    pub fn replace(&mut self, batches: &[Vec<Moments>]) {
        for (index, stage) in self.stages.iter_mut().enumerate() {
            let of_stage: Vec<&Moments> = batches.iter().map(|batch| &batch[index]).collect();
            stage.norm.replace(&of_stage);
        }
    }

    /// `[b, places, classes + 5]`
    fn run(&self, tokens: &Tokens, pass: &mut Pass) -> Tensor<3> {
        let mut map = as_map(tokens.last.clone(), tokens.grid);
        for (index, stage) in self.stages.iter().enumerate() {
            if (1..=self.doublings).contains(&index) {
                let [_, rows, columns, _] = map.dims();
                map = resized(map, [2 * rows, 2 * columns], pass.level);
            }
            map = stage.forward(map, None, pass);
        }
        flat(pixelwise(&self.outputs, map))
    }

    /// Adds the evaluation pass to an ONNX graph.
    ///
    /// # Shapes
    /// Tokens `[batch, 1 + n, d]` of a `grid` to `[batch, classes + 5, rows, columns]`.
    ///
    /// # Errors
    /// When a name is taken.
    pub(crate) fn to_onnx(
        &self,
        graph: &mut Graph,
        name: &str,
        tokens: &Value,
        grid: [usize; 2],
    ) -> crate::Result<Value> {
        let map = stages_onnx(graph, name, (tokens, grid), (&self.stages, self.doublings, None))?;
        linear_onnx(graph, &key(name, "outputs"), &map, &self.outputs)
    }
}

impl Visit for DetectionHead {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        for (index, stage) in self.stages.iter_mut().enumerate() {
            visit_conv(stage, &key(prefix, &format!("stages.{index}")), visitor);
        }
        self.outputs.visit(&key(prefix, "outputs"), visitor);
    }
}
