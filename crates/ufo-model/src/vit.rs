//! A vision transformer (arXiv 2010.11929): the only module of this crate with an image forward.
//!
//! Pre-norm blocks, `x = x + Attn(LN(x))` then `x = x + FFN(LN(x))`; the feature of an image is
//! the class token after the final norm (spec 1.1). After the last attention no token looks at
//! another, so the last FFN computes the class token alone.

use crate::branch::Site;
use crate::fused::{self, Factors, FirstToken, Input};
use crate::param::{Visit, Visitor};
use crate::{Attention, Ffn, LayerNorm, Mode, Result, Stem};
use burn_tensor::{Device, Tensor};
use rand::{Rng, RngExt};
use std::ops::Range;
use ufo_nas::{Arch, BlockSlice, Keys, Names, Slice};
use ufo_onnx::{Attribute, Graph, Value};

/// One block: attention then FFN, each with its own routing.
#[derive(Debug, Clone)]
pub struct Block {
    /// Attention with its norm.
    pub attn: Site<Attention>,
    /// FFN with its norm.
    pub ffn: Site<Ffn>,
}

/// A network ready to run: a few views into a supernet, or an extracted model.
#[derive(Debug, Clone)]
pub struct Vit {
    /// Image to tokens.
    pub stem: Stem,
    /// Blocks in order.
    pub blocks: Vec<Block>,
    /// Final norm.
    pub norm: Site<LayerNorm>,
    /// How fused operations compute on the CPU.
    pub mode: Mode,
}

/// What a segmentation head reads.
#[derive(Debug)]
pub struct Tokens {
    /// All tokens behind the final norm, `[b, 1 + rows * columns, d]`, the class token first.
    pub last: Tensor<3>,
    /// The same behind some blocks, before any other norm.
    pub taps: Vec<Tensor<3>>,
    /// Rows and columns of the patches.
    pub grid: [usize; 2],
    /// The images, `[b, channels, height, width]`.
    pub images: Tensor<4>,
}

/// Stochastic depth of one pass (arXiv 1603.09382): a factor an image for each residual branch.
#[derive(Debug, Clone)]
pub struct DropPath {
    factors: Vec<Factors>,
}

impl DropPath {
    /// Draws the factors of a batch: block `i` of `depth` drops a branch with probability
    /// `rate * i / (depth - 1)`; what is kept is divided by its probability. None at rate 0.
    pub fn draw(rate: f32, depth: usize, batch: usize, rng: &mut impl Rng) -> Option<Self> {
        if rate == 0.0 {
            return None;
        }
        let mut draw = |branch: usize| -> Factors {
            let keep = 1.0 - rate * (branch / 2) as f32 / (depth.max(2) - 1) as f32;
            let factor = |kept: bool| if kept { 1.0 / keep } else { 0.0 };
            (0..batch).map(|_| factor(rng.random::<f32>() < keep)).collect()
        };
        Some(Self { factors: (0..2 * depth).map(&mut draw).collect() })
    }

    /// The factors of some of the images.
    #[must_use]
    pub fn of(&self, images: Range<usize>) -> Self {
        Self { factors: self.factors.iter().map(|branch| branch[images.clone()].into()).collect() }
    }
}

/// A network with the names of its parameters: what is read from and written to files.
#[derive(Debug)]
pub struct Named<'a> {
    /// The network.
    pub vit: &'a mut Vit,
    /// Its names.
    pub keys: &'a Keys,
}

impl Visit for Named<'_> {
    fn visit(&mut self, _: &str, visitor: &mut impl Visitor) {
        self.vit.visit(self.keys, visitor);
    }
}

impl Vit {
    /// A network of fresh weights, to load others into.
    ///
    /// # Errors
    /// When the slice does not fit the architecture.
    pub fn init(arch: &Arch, slice: &Slice, rng: &mut impl Rng, device: &Device) -> Result<Self> {
        slice.validate(arch)?;
        let block = |kept: &BlockSlice| Block {
            attn: Site::Fixed(Attention::init(arch, rng, device).slice(kept.heads)),
            ffn: Site::Fixed(Ffn::init(arch, rng, device).slice(kept.ffn)),
        };
        let blocks = slice.blocks.iter().map(block).collect();
        let norm = Site::Fixed(LayerNorm::init(arch.dim, device));
        let stem = Stem::init(arch, rng, device);
        Ok(Self { stem, blocks, norm, mode: Mode::default() })
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.stem.cls_token.device().inner()
    }

    /// # Shapes
    /// `[b, channels, height, width]` to features `[b, d]`.
    pub fn forward(&self, images_bchw: Tensor<4>, drop_path: Option<&DropPath>) -> Tensor<2> {
        let [b, ..] = images_bchw.dims();
        let x = self.through_blocks(images_bchw, drop_path, first_token, |_, _| {});
        let [_, _, d] = x.dims();
        self.norm.forward(x, None, self.mode).reshape([b, d])
    }

    /// All tokens, and those behind the blocks `taps`.
    ///
    /// # Shapes
    /// Of images `[b, channels, height, width]`.
    pub fn tokens(
        &self,
        images_bchw: Tensor<4>,
        drop_path: Option<&DropPath>,
        taps: &[usize],
    ) -> Tokens {
        let [_, _, height, width] = images_bchw.dims();
        let mut found = Vec::new();
        let tap = |block: usize, x: &Tensor<3>| {
            if taps.contains(&block) {
                found.push(x.clone());
            }
        };
        let x = self.through_blocks(images_bchw.clone(), drop_path, |x| x, tap);
        let last = self.norm.forward(x, None, self.mode);
        let grid = self.stem.grid([height, width]);
        Tokens { last, taps: found, grid, images: images_bchw }
    }

    /// The tokens behind the last block: those that are `kept` of the ones behind its attention. `behind` sees
    /// the tokens behind each block.
    fn through_blocks(
        &self,
        images_bchw: Tensor<4>,
        drop_path: Option<&DropPath>,
        kept: fn(Tensor<3>) -> Tensor<3>,
        mut behind: impl FnMut(usize, &Tensor<3>),
    ) -> Tensor<3> {
        let mut x = self.stem.forward(images_bchw, self.mode);
        let factors = |branch: usize| drop_path.map(|drop| &drop.factors[branch]);
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.attn.forward(x, factors(2 * index), self.mode);
            if index + 1 == self.blocks.len() {
                x = kept(x);
            }
            x = block.ffn.forward(x, factors(2 * index + 1), self.mode);
            behind(index, &x);
        }
        x
    }

    /// Adds the network to an ONNX graph and returns its features, `[batch, d]`.
    pub fn to_onnx(&self, graph: &mut Graph, keys: &Keys, images: &Value) -> Result<Value> {
        let features = self.onnx_tokens(graph, (keys, images), true)?;
        Ok(graph.reshape(&features, &[0, -1])?)
    }

    /// Adds the network to an ONNX graph and returns its tokens behind the final norm, `[batch, t, d]`: all of
    /// them or, `first`, the class token.
    pub(crate) fn onnx_tokens(
        &self,
        graph: &mut Graph,
        (keys, images): (&Keys, &Value),
        first: bool,
    ) -> Result<Value> {
        let mut x = graph.scope("stem", |graph| self.stem.to_onnx(graph, &keys.stem, images))?;
        for (index, (block, [attn, ffn])) in self.blocks.iter().zip(&keys.blocks).enumerate() {
            x = graph.scope(&format!("blocks.{index}"), |graph| -> Result<Value> {
                let mut x = block.attn.to_onnx(graph, attn, &x)?;
                if first && index + 1 == self.blocks.len() {
                    let first = graph.ints("index.first", &[1], &[0])?;
                    x = graph.node("Gather", &[&x, &first], &[("axis", Attribute::Int(1))]);
                }
                block.ffn.to_onnx(graph, ffn, &x)
            })?;
        }
        self.norm.to_onnx(graph, &Names::both(&keys.norm), &x)
    }

    /// Calls `visitor` for each parameter under the names of `keys`.
    pub fn visit(&mut self, keys: &Keys, visitor: &mut impl Visitor) {
        self.stem.visit(&keys.stem, visitor);
        for (block, [attn, ffn]) in self.blocks.iter_mut().zip(&keys.blocks) {
            block.attn.visit_named(attn, visitor);
            block.ffn.visit_named(ffn, visitor);
        }
        self.norm.visit_named(&Names::both(&keys.norm), visitor);
    }
}

/// The first token of each image, `[b, t, d]` to `[b, 1, d]`.
fn first_token(x_btd: Tensor<3>) -> Tensor<3> {
    if let Some(x) = Input::new(&x_btd) {
        return fused::apply(&FirstToken, [x]);
    }
    let [b, ..] = x_btd.dims();
    x_btd.slice([0..b, 0..1])
}
