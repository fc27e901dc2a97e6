//! From an image to patch tokens: a patch convolution, alone or after small strided convolutions
//! (arXiv 2106.14881).

use crate::fused::{self, Convolution, Input, Mode, Sequence};
use crate::param::{Visit, Visitor, from_values, key, truncated_normal, values};
use burn_tensor::ops::ConvOptions;
use burn_tensor::{Device, Tensor, activation, module};
use rand::Rng;
use rand_distr::{Distribution, Uniform};
use ufo_kernels::conv::{Activation, Groups, Layout};
use ufo_nas::{Arch, Stem as StemShape};
use ufo_onnx::{Graph, Value};

/// A 2-D convolution with bias.
#[derive(Debug, Clone)]
pub struct Conv {
    /// `(out, in, kernel, kernel)`.
    pub weight: Tensor<4>,
    /// `(out)`.
    pub bias: Tensor<1>,
    /// Step in pixels, both ways.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
}

impl Conv {
    /// Weights uniform in `±1/sqrt(fan_in)`, PyTorch's default, bias 0.
    fn init([outputs, inputs, kernel]: [usize; 3], rng: &mut impl Rng, device: &Device) -> Self {
        let bound = 1.0 / ((inputs * kernel * kernel) as f32).sqrt();
        let uniform = Uniform::new(-bound, bound).expect("the bound is positive and finite");
        let count = outputs * inputs * kernel * kernel;
        let weight = (0..count).map(|_| uniform.sample(rng)).collect();
        Self {
            weight: from_values(weight, [outputs, inputs, kernel, kernel], device),
            bias: Tensor::zeros([outputs], device),
            stride: 1,
            padding: 0,
        }
    }

    /// The fused form, from and to channels last but for the images themselves.
    fn fused(
        &self,
        x: &Tensor<4>,
        (mode, layout): (Mode, Layout),
        activation: Activation,
    ) -> Option<Tensor<4>> {
        let inputs =
            fused::inputs([Input::new(x), Input::new(&self.weight), Input::new(&self.bias)])?;
        let (stride, padding) = (self.stride, self.padding);
        let (level, groups) = (mode.level, Groups::One);
        let op = Convolution { level, layout, groups, stride, padding, activation };
        Some(fused::apply(&op, inputs))
    }

    fn composed(&self, x_bchw: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([self.stride; 2], [self.padding; 2], [1, 1], 1);
        module::conv2d(x_bchw, self.weight.clone(), Some(self.bias.clone()), options)
    }

    fn to_onnx(&self, graph: &mut Graph, name: &str, x: &Value) -> crate::Result<Value> {
        let dims = self.weight.dims();
        let weight = graph.weight(&key(name, "weight"), &dims, &values(&self.weight))?;
        let bias = graph.weight(&key(name, "bias"), &dims[..1], &values(&self.bias))?;
        Ok(graph.conv(x, &weight, Some(&bias), [self.stride; 2], [self.padding; 4]))
    }
}

impl Visit for Conv {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        visitor.tensor(&key(prefix, "weight"), &mut self.weight);
        visitor.tensor(&key(prefix, "bias"), &mut self.bias);
    }
}

/// Patch tokens, class token and position embedding: what a task owns before the first block.
#[derive(Debug, Clone)]
pub struct Stem {
    /// 3x3 convolutions of stride 2, each followed by GELU; empty for a plain patch embedding.
    pub convs: Vec<Conv>,
    /// Patch convolution to D channels, `patch_embed.proj` in timm.
    pub proj: Conv,
    /// `(1, 1, D)`.
    pub cls_token: Tensor<3>,
    /// `(1, tokens, D)`, class position first.
    pub pos_embed: Tensor<3>,
}

impl Stem {
    /// Fresh weights; class token and positions truncated normal of deviation 0.02 (spec 1.1).
    pub fn init(arch: &Arch, rng: &mut impl Rng, device: &Device) -> Self {
        let mut inputs = arch.channels;
        let mut convs = Vec::new();
        let (patch, stride) = match &arch.stem {
            StemShape::Patch { size, stride } => (*size, *stride),
            StemShape::Conv { widths, patch } => {
                for &width in widths {
                    let conv = Conv::init([width, inputs, 3], rng, device);
                    convs.push(Conv { stride: 2, padding: 1, ..conv });
                    inputs = width;
                }
                (*patch, *patch)
            }
        };
        let proj = Conv { stride, ..Conv::init([arch.dim, inputs, patch], rng, device) };
        let cls = truncated_normal(arch.dim, 0.02, rng);
        let pos = truncated_normal(arch.tokens() * arch.dim, 0.02, rng);
        Self {
            convs,
            proj,
            cls_token: from_values(cls, [1, 1, arch.dim], device),
            pos_embed: from_values(pos, [1, arch.tokens(), arch.dim], device),
        }
    }

    /// Rows and columns of the patches of an image of height and width `size`.
    pub fn grid(&self, size: [usize; 2]) -> [usize; 2] {
        self.convs.iter().chain([&self.proj]).fold(size, |size, conv| {
            let kernel = conv.weight.dims()[2];
            size.map(|side| (side + 2 * conv.padding - kernel) / conv.stride + 1)
        })
    }

    /// # Shapes
    /// `[b, channels, height, width]` to `[b, 1 + rows * columns, d]`, patches row by row.
    pub fn forward(&self, images_bchw: Tensor<4>, mode: Mode) -> Tensor<3> {
        let patches_btd = match self.fused(&images_bchw, mode) {
            Some(patches) => patches,
            None => self.composed(images_bchw),
        };
        let inputs = [&patches_btd, &self.cls_token, &self.pos_embed].map(Input::new);
        match fused::inputs(inputs) {
            Some(inputs) => fused::apply(&Sequence, inputs),
            None => self.sequence(patches_btd),
        }
    }

    fn sequence(&self, patches_btd: Tensor<3>) -> Tensor<3> {
        let [b, _, d] = patches_btd.dims();
        let cls = self.cls_token.clone().expand([b, 1, d]);
        Tensor::cat(vec![cls, patches_btd], 1) + self.pos_embed.clone()
    }

    fn fused(&self, images_bchw: &Tensor<4>, mode: Mode) -> Option<Tensor<3>> {
        let (mut x, mut layout) = (images_bchw.clone(), Layout::Nchw);
        for conv in &self.convs {
            x = conv.fused(&x, (mode, layout), Activation::Gelu)?;
            layout = Layout::Nhwc;
        }
        let map_brcd = self.proj.fused(&x, (mode, layout), Activation::None)?;
        let [b, rows, columns, d] = map_brcd.dims();
        Some(map_brcd.reshape([b, rows * columns, d]))
    }

    fn composed(&self, images_bchw: Tensor<4>) -> Tensor<3> {
        let mut x = images_bchw;
        for conv in &self.convs {
            x = activation::gelu(conv.composed(x));
        }
        let map_bdrc = self.proj.composed(x);
        let [b, d, rows, columns] = map_bdrc.dims();
        map_bdrc.reshape([b, d, rows * columns]).swap_dims(1, 2)
    }

    pub(crate) fn to_onnx(&self, graph: &mut Graph, name: &str, x: &Value) -> crate::Result<Value> {
        let mut x = x.clone();
        for (index, conv) in self.convs.iter().enumerate() {
            let map = conv.to_onnx(graph, &key(name, &format!("patch_embed.convs.{index}")), &x)?;
            x = graph.gelu(&map)?;
        }
        let map = self.proj.to_onnx(graph, &key(name, "patch_embed.proj"), &x)?;
        let d = self.proj.bias.dims()[0];
        let flat = graph.reshape(&map, &[0, d as i64, -1])?;
        let patches = graph.transpose(&flat, &[0, 2, 1]);
        // The class token takes the batch's size by adding it to zero times the first patch.
        let zero = graph.ints("index.first", &[1], &[0])?;
        let first =
            graph.node("Gather", &[&patches, &zero], &[("axis", ufo_onnx::Attribute::Int(1))]);
        let nothing = graph.weight("stem.zero", &[], &[0.0])?;
        let blank = graph.node("Mul", &[&first, &nothing], &[]);
        let cls = graph.weight(
            &key(name, "cls_token"),
            &self.cls_token.dims(),
            &values(&self.cls_token),
        )?;
        let cls = graph.node("Add", &[&blank, &cls], &[]);
        let sequence = graph.concat(&[&cls, &patches], 1);
        let pos = graph.weight(
            &key(name, "pos_embed"),
            &self.pos_embed.dims(),
            &values(&self.pos_embed),
        )?;
        Ok(graph.node("Add", &[&sequence, &pos], &[]))
    }
}

impl Visit for Stem {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        visitor.tensor(&key(prefix, "cls_token"), &mut self.cls_token);
        visitor.tensor(&key(prefix, "pos_embed"), &mut self.pos_embed);
        for (index, conv) in self.convs.iter_mut().enumerate() {
            conv.visit(&key(prefix, &format!("patch_embed.convs.{index}")), visitor);
        }
        self.proj.visit(&key(prefix, "patch_embed.proj"), visitor);
    }
}

/// Resizes a position embedding `(1 + n, d)` from its square grid to `rows x columns`: the class
/// position is kept, the others are interpolated bilinearly, corners not aligned (spec 1.1).
///
/// # Errors
/// When `n` is not a square.
pub fn resize_positions(
    positions: &[f32],
    dim: usize,
    [rows, columns]: [usize; 2],
) -> Result<Vec<f32>, String> {
    let count = (positions.len() / dim).saturating_sub(1);
    let side = count.isqrt();
    if side * side != count || count == 0 {
        return Err(format!("{count} patch positions are not a square grid"));
    }
    let (class, grid) = positions.split_at(dim);
    let axis = |to: usize| -> Vec<(usize, usize, f32)> {
        let ratio = side as f32 / to as f32;
        let at = |i: usize| ((i as f32 + 0.5) * ratio - 0.5).clamp(0.0, (side - 1) as f32);
        let neighbors = |x: f32| (x as usize, (x as usize + 1).min(side - 1), x.fract());
        (0..to).map(|i| neighbors(at(i))).collect()
    };
    let mut resized = class.to_vec();
    let across = axis(columns);
    for (top, bottom, down) in axis(rows) {
        for &(left, right, along) in &across {
            let cell = |row: usize, column: usize| &grid[(row * side + column) * dim..][..dim];
            let mix = |(a, b): (&f32, &f32), at: f32| a * (1.0 - at) + b * at;
            let upper = cell(top, left).iter().zip(cell(top, right));
            let lower = cell(bottom, left).iter().zip(cell(bottom, right));
            let pairs = upper.zip(lower);
            resized.extend(pairs.map(|(u, l)| mix((&mix(u, along), &mix(l, along)), down)));
        }
    }
    Ok(resized)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::{assert_all_same, gradients, random};
    use rand::{SeedableRng, rngs::ChaCha8Rng};
    use ufo_nas::Preset;

    #[test]
    fn every_fused_stem_equals_burns() {
        for shape in [
            StemShape::Patch { size: 8, stride: 8 },
            StemShape::Patch { size: 8, stride: 4 },
            StemShape::Conv { widths: vec![5, 9], patch: 2 },
        ] {
            let arch = Arch { dim: 12, stem: shape, ..Preset::Demo.arch() };
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let stem = Stem::init(&arch, &mut rng, &Device::flex());
            let run = |fused: bool, tracked: bool| {
                let images = random([2, 3, 32, 32], 3);
                let images = if tracked { images.autodiff().require_grad() } else { images };
                gradients(&stem, (images, tracked), |stem, x| {
                    if fused {
                        stem.forward(x, Mode::default())
                    } else {
                        stem.sequence(stem.composed(x))
                    }
                })
            };
            for tracked in [true, false] {
                assert_all_same(&run(true, tracked), &run(false, tracked));
            }
        }
    }
}
