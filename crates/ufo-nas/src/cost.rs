//! Closed-form cost of one path: parameters, multiply-accumulates and activation memory.
//!
//! With tokens N, width D, and in a kept block E = heads * `head_dim` and F hidden units, a block has
//! `3DE + ED + D` attention weights (`+ 3E` with qkv biases), `2DF + F + D` in the FFN and `4D` in
//! its two norms, and does `4NDE + 2N²E` and `2NDF` multiply-accumulates. Every convolution of the
//! stem has a bias. A cost does not depend on the path: the two experts of a site have one shape.
//! Source: spec 1.4 of VIMER-UFO 2.0.

use crate::{Arch, Slice, Stem};
use serde::{Deserialize, Serialize};
use std::ops::Add;

/// Parameters by module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Image to patches: weights and biases of the convolutions.
    pub stem: u64,
    /// Class token, D.
    pub cls_token: u64,
    /// Position embedding, N * D.
    pub pos_embed: u64,
    /// qkv and output projections of the kept blocks.
    pub attention: u64,
    /// Both linear layers of the kept blocks' FFN.
    pub ffn: u64,
    /// Both layer norms of the kept blocks.
    pub norms: u64,
    /// Final layer norm.
    pub final_norm: u64,
}

impl Params {
    /// Sum over the modules.
    pub fn total(&self) -> u64 {
        self.embedding() + self.attention + self.ffn + self.norms + self.final_norm
    }

    /// What turns an image into tokens: stem, class token and position embedding. No expert site
    /// exists here, every task has its own.
    pub fn embedding(&self) -> u64 {
        self.stem + self.cls_token + self.pos_embed
    }

    /// Each module times `copies`.
    #[must_use]
    pub fn times(self, copies: u64) -> Self {
        Self {
            stem: self.stem * copies,
            cls_token: self.cls_token * copies,
            pos_embed: self.pos_embed * copies,
            attention: self.attention * copies,
            ffn: self.ffn * copies,
            norms: self.norms * copies,
            final_norm: self.final_norm * copies,
        }
    }
}

impl Add for Params {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            stem: self.stem + other.stem,
            cls_token: self.cls_token + other.cls_token,
            pos_embed: self.pos_embed + other.pos_embed,
            attention: self.attention + other.attention,
            ffn: self.ffn + other.ffn,
            norms: self.norms + other.norms,
            final_norm: self.final_norm + other.final_norm,
        }
    }
}

/// Multiply-accumulates for one image by module; norms, softmax, GELU and biases are not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Macs {
    /// Convolutions of the stem.
    pub stem: u64,
    /// Projections, and the two products of attention.
    pub attention: u64,
    /// Both linear layers of the FFN.
    pub ffn: u64,
}

impl Macs {
    /// Sum over the modules.
    pub fn total(&self) -> u64 {
        self.stem + self.attention + self.ffn
    }

    /// Floating-point operations, two for each multiply-accumulate.
    pub fn flops(&self) -> u64 {
        2 * self.total()
    }
}

/// What one path costs, head excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Parameters stored.
    pub params: Params,
    /// Multiply-accumulates for one image.
    pub macs: Macs,
    /// Largest sum of live f32 activations in bytes for one image at inference, an estimate: see
    /// [`activation_bytes`].
    pub activation_bytes: u64,
}

/// Cost of the path of size `slice`; both must be valid.
pub fn cost(arch: &Arch, slice: &Slice) -> Cost {
    Cost {
        params: params(arch, slice),
        macs: macs(arch, slice),
        activation_bytes: activation_bytes(arch, slice),
    }
}

/// Parameters of the path of size `slice`, head excluded.
pub fn params(arch: &Arch, slice: &Slice) -> Params {
    slice.blocks.iter().fold(outer_params(arch), |sum, kept| Params {
        attention: sum.attention + attn_params(arch, kept.heads),
        ffn: sum.ffn + ffn_params(arch, kept.ffn),
        norms: sum.norms + 2 * norm_params(arch),
        ..sum
    })
}

/// Multiply-accumulates of the path of size `slice` for one image, head excluded: those of the products and
/// convolutions of its exported graph, with every token in the last FFN, of which a network without a head for maps
/// computes the class token alone.
pub fn macs(arch: &Arch, slice: &Slice) -> Macs {
    let stem = stem_convolutions(arch).iter().map(Convolution::macs).sum();
    let tokens = arch.tokens() as u64;
    let dim = arch.dim as u64;
    slice.blocks.iter().fold(Macs { stem, ..Macs::default() }, |sum, kept| {
        let inner = (kept.heads * arch.head_dim) as u64;
        Macs {
            attention: sum.attention + tokens * inner * (4 * dim + 2 * tokens),
            ffn: sum.ffn + 2 * tokens * dim * kept.ffn as u64,
            ..sum
        }
    })
}

/// Estimate of the largest sum of live f32 activations in bytes, one image, inference: the maximum
/// over the stem's convolutions of input plus output, and over the blocks of `ND + 4NE + heads * N²`
/// (residual, q, k, v, context and unfused attention weights) and `2ND + NF` (residual, normed
/// input and hidden units). Values that are computed in place count once; weights do not count.
///
/// The most that is alive in the exported graph, run node by node with nothing in place, is 0.9 to 1.33 times as
/// much for small random slices (a test of `ufo-model`). Fused runtimes, such as this project's own, hold less: they
/// keep no attention weights.
pub fn activation_bytes(arch: &Arch, slice: &Slice) -> u64 {
    let tokens = arch.tokens() as u64;
    let residual = tokens * arch.dim as u64;
    let stem = stem_convolutions(arch).iter().map(Convolution::live).max().unwrap_or(0);
    let blocks = slice.blocks.iter().map(|kept| {
        let heads = kept.heads as u64;
        let attention = 4 * tokens * heads * arch.head_dim as u64 + heads * tokens * tokens;
        residual + attention.max(residual + tokens * kept.ffn as u64)
    });
    4 * blocks.max().unwrap_or(0).max(stem)
}

/// Parameters outside the blocks.
pub(crate) fn outer_params(arch: &Arch) -> Params {
    Params {
        stem: stem_convolutions(arch).iter().map(Convolution::params).sum(),
        cls_token: arch.dim as u64,
        pos_embed: (arch.tokens() * arch.dim) as u64,
        final_norm: norm_params(arch),
        ..Params::default()
    }
}

/// Parameters of attention with `heads` heads.
pub(crate) fn attn_params(arch: &Arch, heads: usize) -> u64 {
    let inner = (heads * arch.head_dim) as u64;
    let dim = arch.dim as u64;
    let qkv_bias = if arch.qkv_bias { 3 * inner } else { 0 };
    4 * dim * inner + qkv_bias + dim
}

/// Parameters of an FFN with `hidden` units.
pub(crate) fn ffn_params(arch: &Arch, hidden: usize) -> u64 {
    let (dim, hidden) = (arch.dim as u64, hidden as u64);
    2 * dim * hidden + hidden + dim
}

/// Parameters of a layer norm.
pub(crate) fn norm_params(arch: &Arch) -> u64 {
    2 * arch.dim as u64
}

/// A convolution of the stem; `input` and `output` are `[channels, rows, columns]`.
struct Convolution {
    kernel: usize,
    input: [usize; 3],
    output: [usize; 3],
}

impl Convolution {
    fn weights(&self) -> u64 {
        (self.kernel * self.kernel * self.input[0] * self.output[0]) as u64
    }

    fn params(&self) -> u64 {
        self.weights() + self.output[0] as u64
    }

    fn macs(&self) -> u64 {
        self.weights() * (self.output[1] * self.output[2]) as u64
    }

    fn live(&self) -> u64 {
        (self.input.iter().product::<usize>() + self.output.iter().product::<usize>()) as u64
    }
}

fn stem_convolutions(arch: &Arch) -> Vec<Convolution> {
    let [rows, columns] = arch.grid();
    let tokens = [arch.dim, rows, columns];
    let mut input = [arch.channels, arch.image_size[0], arch.image_size[1]];
    match &arch.stem {
        Stem::Patch { size, .. } => vec![Convolution { kernel: *size, input, output: tokens }],
        Stem::Conv { widths, patch } => {
            let mut convolutions = Vec::with_capacity(widths.len() + 1);
            for &width in widths {
                let output = [width, input[1].div_ceil(2), input[2].div_ceil(2)];
                convolutions.push(Convolution { kernel: 3, input, output });
                input = output;
            }
            convolutions.push(Convolution { kernel: *patch, input, output: tokens });
            convolutions
        }
    }
}

#[cfg(test)]
mod tests;
