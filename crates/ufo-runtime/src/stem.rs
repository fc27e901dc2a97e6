//! From an image to tokens: convolutions, class token, position embedding.

use ufo_kernels::conv::{self, Activation, Conv, Groups, Layout, Shape};
use ufo_kernels::{Level, Scratch};

/// A convolution with bias; all but the last of a stem are followed by GELU.
#[derive(Debug)]
pub(crate) struct Convolution {
    /// `[outputs, channels, kernel, kernel]`
    pub(crate) weight: Vec<f32>,
    /// `[outputs]`
    pub(crate) bias: Vec<f32>,
    /// Outputs, channels, kernel.
    pub(crate) sizes: [usize; 3],
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) activation: Activation,
}

/// What makes tokens of an image.
#[derive(Debug)]
pub(crate) struct Stem {
    pub(crate) convolutions: Vec<Convolution>,
    /// `[d]`
    pub(crate) cls_token: Vec<f32>,
    /// `[tokens, d]`, class position first.
    pub(crate) pos_embed: Vec<f32>,
    /// Channels, height, width of an image.
    pub(crate) image: [usize; 3],
}

impl Convolution {
    fn shape(&self, images: usize, size: [usize; 2], layout: Layout) -> Shape {
        let [outputs, channels, kernel] = self.sizes;
        Shape {
            images,
            channels,
            outputs,
            size,
            kernel: [kernel; 2],
            stride: [self.stride; 2],
            padding: [self.padding; 2],
            layout,
            groups: Groups::One,
        }
    }
}

impl Stem {
    /// Writes the tokens of `images` `[n, channels, height, width]` to `x` `[n * tokens, d]`.
    pub(crate) fn run(&self, level: Level, images: &[f32], x: &mut [f32], scratch: &mut Scratch) {
        let [channels, height, width] = self.image;
        let count = images.len() / (channels * height * width);
        let (mut size, mut layout) = ([height, width], Layout::Nchw);
        let shapes: Vec<Shape> = self
            .convolutions
            .iter()
            .map(|convolution| {
                let shape = convolution.shape(count, size, layout);
                (size, layout) = (shape.out_size(), Layout::Nhwc);
                shape
            })
            .collect();
        let largest = shapes.iter().map(Shape::output_len).max().unwrap_or(0);
        let ([mut from, mut to], children) = scratch.lend([largest; 2], 1);
        let mut input = images;
        for (convolution, shape) in self.convolutions.iter().zip(&shapes) {
            let Convolution { weight, bias, activation, .. } = convolution;
            let conv = Conv { weight, bias: Some(bias), shape: *shape, activation: *activation };
            let out = &mut to[..shape.output_len()];
            conv::forward(level, &conv, input, out, &mut children[0]);
            (from, to) = (to, from);
            input = &from[..shape.output_len()];
        }
        self.place(input, x);
    }

    /// Patches behind the class token, with their positions.
    fn place(&self, patches: &[f32], x: &mut [f32]) {
        let (d, len) = (self.cls_token.len(), self.pos_embed.len());
        let add = |to: &mut [f32], a: &[f32], b: &[f32]| {
            for (to, (a, b)) in to.iter_mut().zip(a.iter().zip(b)) {
                *to = a + b;
            }
        };
        for (x, patches) in x.chunks_exact_mut(len).zip(patches.chunks_exact(len - d)) {
            let (class, rest) = x.split_at_mut(d);
            add(class, &self.cls_token, &self.pos_embed[..d]);
            add(rest, patches, &self.pos_embed[d..]);
        }
    }
}
