//! Shape of the largest network of a supernet (spec 1.1 of VIMER-UFO 2.0).

use crate::Error;
use serde::{Deserialize, Serialize};

/// Which parts of a block exist as experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// FFN experts only; attention, norms and the final norm are shared.
    A,
    /// Attention with its norm, FFN with its norm, and the final norm are experts, each routed.
    B,
}

/// How an image becomes tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stem {
    /// One convolution, kernel `size`, step `stride`; patches overlap when `stride < size`.
    Patch {
        /// Kernel side in pixels.
        size: usize,
        /// Step in pixels.
        stride: usize,
    },
    /// 3x3 convolutions of stride 2 (padding 1) with GELU, one for each of `widths`, then a patch
    /// convolution whose kernel and stride are `patch`.
    Conv {
        /// Output channels of the stride-2 convolutions.
        widths: Vec<usize>,
        /// Side of the final patch, in cells of the last feature map.
        patch: usize,
    },
}

/// Shape of the largest ViT that a supernet holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arch {
    /// Input height and width in pixels.
    pub image_size: [usize; 2],
    /// Input channels.
    pub channels: usize,
    /// Image to tokens.
    pub stem: Stem,
    /// Embedding width D.
    pub dim: usize,
    /// Blocks L.
    pub depth: usize,
    /// Attention heads H.
    pub heads: usize,
    /// Width of a head; `heads * head_dim` is the attention's inner width.
    pub head_dim: usize,
    /// Hidden width of the FFN.
    pub ffn: usize,
    /// Whether the q, k and v projections have a bias.
    pub qkv_bias: bool,
    /// Which parts are experts.
    pub layout: Layout,
}

impl Arch {
    /// Rows and columns of the token grid.
    pub fn grid(&self) -> [usize; 2] {
        self.image_size.map(|side| match &self.stem {
            Stem::Patch { size, stride } => (side.saturating_sub(*size)) / stride + 1,
            Stem::Conv { widths, patch } => widths.iter().fold(side, |s, _| s.div_ceil(2)) / patch,
        })
    }

    /// Tokens of the sequence, class token included.
    pub fn tokens(&self) -> usize {
        let [rows, columns] = self.grid();
        rows * columns + 1
    }

    /// Inner width of attention, `heads * head_dim`.
    pub fn attn_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Number of binary routing decisions of a task: `2L + 1` in layout B, `L` in layout A.
    pub fn routed_sites(&self) -> usize {
        match self.layout {
            Layout::A => self.depth,
            Layout::B => 2 * self.depth + 1,
        }
    }

    /// Checks every field; the error names the key, its value and what is allowed.
    pub fn validate(&self) -> Result<(), Error> {
        for (key, value) in [
            ("image_size.0", self.image_size[0]),
            ("image_size.1", self.image_size[1]),
            ("channels", self.channels),
            ("dim", self.dim),
            ("depth", self.depth),
            ("heads", self.heads),
            ("head_dim", self.head_dim),
            ("ffn", self.ffn),
        ] {
            if !(1..=65_536).contains(&value) {
                return Err(Error::value(key, value, "must be 1 to 65536"));
            }
        }
        self.validate_stem()?;
        if self.grid().contains(&0) {
            let allowed = format!("too small for the stem, grid is {:?}", self.grid());
            return Err(Error::value("image_size", format!("{:?}", self.image_size), allowed));
        }
        Ok(())
    }

    fn validate_stem(&self) -> Result<(), Error> {
        let least = self.image_size[0].min(self.image_size[1]);
        match &self.stem {
            Stem::Patch { size, stride } => {
                if !(1..=least).contains(size) {
                    let allowed = format!("must be 1 to the image side, {least}");
                    return Err(Error::value("stem.size", size, allowed));
                }
                if !(1..=*size).contains(stride) {
                    let allowed = format!("must be 1 to stem.size, {size}");
                    return Err(Error::value("stem.stride", stride, allowed));
                }
            }
            Stem::Conv { widths, patch } => {
                if widths.is_empty() || widths.len() > 8 || widths.contains(&0) {
                    let allowed = "must be 1 to 8 widths, each at least 1";
                    return Err(Error::value("stem.widths", format!("{widths:?}"), allowed));
                }
                if *patch == 0 {
                    return Err(Error::value("stem.patch", patch, "must be at least 1"));
                }
            }
        }
        Ok(())
    }
}
