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

/// Shape of the largest network that a supernet holds.
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

    /// Checks every field; the error names the key, its value and what is allowed. The bounds are far
    /// above any network in use, and low enough that no count of parameters or operations overflows.
    pub fn validate(&self) -> Result<(), Error> {
        for (key, value, most) in [
            ("image_size.0", self.image_size[0], 8192),
            ("image_size.1", self.image_size[1], 8192),
            ("channels", self.channels, 1024),
            ("dim", self.dim, 65_536),
            ("depth", self.depth, 1024),
            ("heads", self.heads, 65_536),
            ("head_dim", self.head_dim, 65_536),
            ("ffn", self.ffn, 65_536),
        ] {
            if !(1..=most).contains(&value) {
                return Err(Error::value(key, value, format!("must be 1 to {most}")));
            }
        }
        if self.attn_dim() > 65_536 {
            let allowed = "must be at most 65536";
            return Err(Error::value("heads * head_dim", self.attn_dim(), allowed));
        }
        self.validate_stem()?;
        if self.grid().contains(&0) {
            let allowed = format!("too small for the stem, grid is {:?}", self.grid());
            return Err(Error::value("image_size", format!("{:?}", self.image_size), allowed));
        }
        if self.tokens() > 65_536 {
            let allowed = "must be at most 65536, set by image_size and stem";
            return Err(Error::value("tokens", self.tokens(), allowed));
        }
        Ok(())
    }

    fn validate_stem(&self) -> Result<(), Error> {
        let least = self.image_size[0].min(self.image_size[1]).min(1024);
        match &self.stem {
            Stem::Patch { size, stride } => {
                if !(1..=least).contains(size) {
                    let allowed =
                        format!("must be 1 to the image side and at most 1024, here {least}");
                    return Err(Error::value("stem.size", size, allowed));
                }
                if !(1..=*size).contains(stride) {
                    let allowed = format!("must be 1 to stem.size, {size}");
                    return Err(Error::value("stem.stride", stride, allowed));
                }
            }
            Stem::Conv { widths, patch } => {
                let bounded = widths.iter().all(|width| (1..=65_536).contains(width));
                if !(1..=8).contains(&widths.len()) || !bounded {
                    let allowed = "must be 1 to 8 widths, each 1 to 65536";
                    return Err(Error::value("stem.widths", format!("{widths:?}"), allowed));
                }
                if !(1..=1024).contains(patch) {
                    return Err(Error::value("stem.patch", patch, "must be 1 to 1024"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;

    fn message(change: impl FnOnce(&mut Arch)) -> String {
        let mut arch = Preset::Tiny.arch();
        change(&mut arch);
        arch.validate().unwrap_err().to_string()
    }

    #[test]
    fn errors_name_key_value_and_what_is_allowed() {
        assert_eq!(message(|arch| arch.depth = 0), "depth = 0: must be 1 to 1024");
        assert_eq!(
            message(|arch| arch.image_size[1] = 9000),
            "image_size.1 = 9000: must be 1 to 8192"
        );
        assert_eq!(
            message(|arch| arch.heads = 60_000),
            "heads * head_dim = 3840000: must be at most 65536"
        );
        assert_eq!(
            message(|arch| arch.stem = Stem::Patch { size: 225, stride: 1 }),
            "stem.size = 225: must be 1 to the image side and at most 1024, here 224"
        );
        assert_eq!(
            message(|arch| arch.stem = Stem::Patch { size: 16, stride: 0 }),
            "stem.stride = 0: must be 1 to stem.size, 16"
        );
        assert_eq!(
            message(|arch| arch.stem = Stem::Conv { widths: vec![8, 0], patch: 1 }),
            "stem.widths = [8, 0]: must be 1 to 8 widths, each 1 to 65536"
        );
        assert_eq!(
            message(|arch| arch.stem = Stem::Conv { widths: vec![8], patch: 0 }),
            "stem.patch = 0: must be 1 to 1024"
        );
        assert_eq!(
            message(|arch| arch.stem = Stem::Conv { widths: vec![8; 4], patch: 15 }),
            "image_size = [224, 224]: too small for the stem, grid is [0, 0]"
        );
        let tiny_patches = |arch: &mut Arch| {
            *arch = Arch {
                image_size: [1024, 1024],
                stem: Stem::Patch { size: 1, stride: 1 },
                ..arch.clone()
            };
        };
        assert_eq!(
            message(tiny_patches),
            "tokens = 1048577: must be at most 65536, set by image_size and stem"
        );
    }
}
