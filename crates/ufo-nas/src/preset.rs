//! Architectures known by name: the sizes of the original code (spec 1.1) and two smaller ones.

use crate::{Arch, Error, Layout, Stem};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Name of an architecture; every preset has layout B, change `layout` after [`Preset::arch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// A few million parameters on 32x32 images, with a convolutional stem; trains on a CPU.
    Demo,
    /// ViT-Tiny, 224x224 / 16: D 192, 12 blocks, 3 heads.
    Tiny,
    /// The original code's `small`, 224x224 / 16: D 768, 8 blocks, 8 heads of 96, FFN ratio 3, no
    /// qkv bias. (Its fixed attention scale of 768^-0.5 is not kept; the scale is `head_dim^-0.5`.)
    Small,
    /// ViT-Base, 256x256 / 16: D 768, 12 blocks, 12 heads.
    Base,
    /// ViT-Large, 384x384 / 16: D 1024, 24 blocks, 16 heads.
    Large,
    /// ViT-Huge, 256x256 / 14: D 1280, 32 blocks, 16 heads of 80; a path of the 17B supernet.
    Huge,
}

impl Preset {
    /// Every preset, smallest first.
    pub const ALL: [Self; 6] =
        [Self::Demo, Self::Tiny, Self::Small, Self::Base, Self::Large, Self::Huge];

    /// Name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Tiny => "tiny",
            Self::Small => "small",
            Self::Base => "base",
            Self::Large => "large",
            Self::Huge => "huge",
        }
    }

    /// The architecture.
    pub fn arch(self) -> Arch {
        match self {
            Self::Demo => Arch {
                image_size: [32, 32],
                stem: Stem::Conv { widths: vec![32, 64], patch: 2 },
                ffn: 192,
                ..vit([32, 16], 96, 6, [3, 32])
            },
            Self::Tiny => vit([224, 16], 192, 12, [3, 64]),
            Self::Small => {
                Arch { ffn: 3 * 768, qkv_bias: false, ..vit([224, 16], 768, 8, [8, 96]) }
            }
            Self::Base => vit([256, 16], 768, 12, [12, 64]),
            Self::Large => vit([384, 16], 1024, 24, [16, 64]),
            Self::Huge => vit([256, 14], 1280, 32, [16, 80]),
        }
    }
}

/// A plain RGB vision transformer with disjoint patches, FFN ratio 4 and qkv biases; sizes are `[image, patch]`
/// and `[heads, head_dim]`.
fn vit(
    [image, patch]: [usize; 2],
    dim: usize,
    depth: usize,
    [heads, head_dim]: [usize; 2],
) -> Arch {
    Arch {
        image_size: [image, image],
        channels: 3,
        stem: Stem::Patch { size: patch, stride: patch },
        dim,
        depth,
        heads,
        head_dim,
        ffn: 4 * dim,
        qkv_bias: true,
        layout: Layout::B,
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|preset| preset.name() == text).ok_or_else(|| Error::Unknown {
            what: "architecture",
            got: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_and_keeps_its_name() {
        for preset in Preset::ALL {
            preset.arch().validate().unwrap();
            assert_eq!(preset.to_string().parse::<Preset>().unwrap(), preset);
            let json = serde_json::to_string(&preset).unwrap();
            assert_eq!(json, format!("\"{preset}\""));
            assert_eq!(serde_json::from_str::<Preset>(&json).unwrap(), preset);
        }
    }

    #[test]
    fn token_counts_of_the_specification() {
        let tokens = |preset: Preset| preset.arch().tokens();
        assert_eq!(tokens(Preset::Huge), 325);
        assert_eq!(tokens(Preset::Base), 257);
        assert_eq!(tokens(Preset::Large), 577);
        assert_eq!(tokens(Preset::Tiny), 197);
        assert_eq!(tokens(Preset::Demo), 17);
    }

    #[test]
    fn unknown_name_lists_the_known() {
        let message = "giant".parse::<Preset>().unwrap_err().to_string();
        let expected = "unknown architecture `giant`; known: demo, tiny, small, base, large, huge";
        assert_eq!(message, expected);
    }
}
