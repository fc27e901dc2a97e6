//! The heads that give a class a pixel, or the boxes of places: convolutions on the map of patch tokens, doubled in
//! size between them, as in training.

use crate::dense::{Dense, Then};
use ufo_kernels::batch_norm::{self, BatchNorm};
use ufo_kernels::conv::{self, Activation, Conv, Groups, Layout};
use ufo_kernels::{Level, Scratch, upsample};

/// A 3x3 convolution without bias, batch norm by running statistics, `ReLU`.
#[derive(Debug)]
pub(crate) struct Stage {
    /// `[outputs, inputs, 3, 3]`
    pub(crate) weight: Vec<f32>,
    /// Outputs and inputs.
    pub(crate) sizes: [usize; 2],
    /// Weight, bias, mean and variance, `[outputs]` each.
    pub(crate) norm: [Vec<f32>; 4],
}

/// The head of a segmentation or detection task.
#[derive(Debug)]
pub(crate) struct Maps {
    pub(crate) level: Level,
    pub(crate) stages: Vec<Stage>,
    /// From the pixels of the image to what is added to the input of the last stage.
    pub(crate) detail: Option<Stage>,
    /// How often the map is doubled, before the second stage and those that follow.
    pub(crate) doublings: usize,
    /// Channels to the outputs of a pixel.
    pub(crate) outputs: Dense,
    /// Rows and columns of the patches, and of the outputs.
    pub(crate) sizes: [[usize; 2]; 2],
}

impl Maps {
    /// The outputs of each pixel, output by output, of the tokens `[n, 1 + patches, d]` of `pixels` `[n, channels, h, w]`.
    pub(crate) fn run(
        &self,
        (tokens, pixels): (&[f32], &[f32]),
        scratch: &mut Scratch,
    ) -> Vec<f32> {
        let [mut size, out] = self.sizes;
        let d = self.stages[0].sizes[1];
        let each = (1 + size[0] * size[1]) * d;
        let images = tokens.len() / each;
        let mut map: Vec<f32> =
            tokens.chunks_exact(each).flat_map(|tokens| &tokens[d..]).copied().collect();
        for (index, stage) in self.stages.iter().enumerate() {
            if (1..=self.doublings).contains(&index) {
                let doubled = size.map(|side| 2 * side);
                map = self.resized(map, (images, stage.sizes[1]), [size, doubled]);
                size = doubled;
            }
            if let (Some(detail), true) = (&self.detail, index + 1 == self.stages.len()) {
                let pixels = channels_last(pixels, [images, size[0] * size[1], detail.sizes[1]]);
                map = detail.run(self.level, (&pixels, Some(&map)), (images, size), scratch);
            }
            map = stage.run(self.level, (&map, None), (images, size), scratch);
        }
        let [_, outputs] = self.outputs.sizes();
        let mut rows = vec![0.0; images * size[0] * size[1] * outputs];
        self.outputs.run(&map, &mut rows, Then::Nothing, scratch);
        let rows = self.resized(rows, (images, outputs), [size, out]);
        let mut planes = vec![0.0; rows.len()];
        let pixels = out[0] * out[1];
        let each = outputs * pixels;
        for (planes, rows) in planes.chunks_exact_mut(each).zip(rows.chunks_exact(each)) {
            for (pixel, row) in rows.chunks_exact(outputs).enumerate() {
                for (output, value) in row.iter().enumerate() {
                    planes[output * pixels + pixel] = *value;
                }
            }
        }
        planes
    }

    fn resized(
        &self,
        map: Vec<f32>,
        (images, channels): (usize, usize),
        [size, out]: [[usize; 2]; 2],
    ) -> Vec<f32> {
        if size == out {
            return map;
        }
        let mut larger = vec![0.0; images * out[0] * out[1] * channels];
        let shape = upsample::Shape { images, size, out, channels };
        upsample::forward(self.level, &shape, &map, &mut larger);
        larger
    }
}

/// Images `[n, channels, pixels]` as `[n, pixels, channels]`.
fn channels_last(images: &[f32], [n, pixels, channels]: [usize; 3]) -> Vec<f32> {
    let mut last = vec![0.0; n * pixels * channels];
    let each = (pixels * channels).max(1);
    for (to, from) in last.chunks_exact_mut(each).zip(images.chunks_exact(each)) {
        for (channel, plane) in from.chunks_exact(pixels).enumerate() {
            for (pixel, value) in plane.iter().enumerate() {
                to[pixel * channels + channel] = *value;
            }
        }
    }
    last
}

impl Stage {
    fn run(
        &self,
        level: Level,
        (map, residual): (&[f32], Option<&[f32]>),
        (images, size): (usize, [usize; 2]),
        scratch: &mut Scratch,
    ) -> Vec<f32> {
        let [outputs, channels] = self.sizes;
        let shape = conv::Shape {
            images,
            channels,
            outputs,
            size,
            kernel: [3; 2],
            stride: [1; 2],
            padding: [1; 2],
            layout: Layout::Nhwc,
            groups: Groups::One,
        };
        let conv = Conv { weight: &self.weight, bias: None, shape, activation: Activation::None };
        let mut convolved = vec![0.0; shape.output_len()];
        conv::forward(level, &conv, map, &mut convolved, scratch);
        let [weight, bias, mean, var] = &self.norm;
        let activation = batch_norm::Activation::Relu;
        let norm = BatchNorm { weight, bias, mean, var, eps: 1e-5, activation };
        let mut normed = vec![0.0; convolved.len()];
        batch_norm::forward(level, &norm, (&convolved, residual), &mut normed, scratch);
        normed
    }
}
