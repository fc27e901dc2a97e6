use super::*;
use crate::{BlockSlice, Layout, Preset};
use proptest::prelude::*;

#[test]
fn figures_of_vit_huge() {
    let arch = Preset::Huge.arch();
    assert_eq!(ffn_params(&arch, arch.ffn), 13_113_600);
    assert_eq!(attn_params(&arch, arch.heads), 6_558_720);
    let block = attn_params(&arch, 16) + ffn_params(&arch, 5120) + 2 * norm_params(&arch);
    assert_eq!(block, 19_677_440);
    let cost = cost(&arch, &Slice::full(&arch));
    assert_eq!(cost.params.stem, 753_920);
    assert_eq!(cost.params.pos_embed, 416_000);
    assert_eq!(cost.params.cls_token, 1_280);
    assert_eq!(cost.params.final_norm, 2_560);
    assert_eq!(cost.params.total(), 630_851_840);
    assert_eq!(cost.macs.total(), 213_368_975_360);
}

#[test]
fn figures_of_the_other_variants() {
    let large = Preset::Large.arch();
    let total = params(&large, &Slice::full(&large)).total();
    assert_eq!(format!("{:.2}", total as f64 / 1e6), "303.69");
    let base = Preset::Base.arch();
    assert_eq!(params(&base, &Slice::full(&base)).total(), 85_844_736);
    assert_eq!(params(&base, &uniform(10, 10, 3 * 768)).total(), 55_928_832);
}

/// Slices of ViT-H near 110M parameters, in millions (spec 1.4).
#[test]
fn figures_of_extracted_slices() {
    let arch = Preset::Huge.arch();
    for (depth, heads, ffn, millions) in [
        (6, 16, 5120, "119.2"),
        (8, 8, 3840, "106.1"),
        (9, 8, 3200, "104.5"),
        (11, 8, 2560, "109.4"),
        (12, 8, 1920, "99.6"),
    ] {
        let total = params(&arch, &uniform(depth, heads, ffn)).total();
        assert_eq!(format!("{:.1}", total as f64 / 1e6), millions, "depth {depth}");
    }
}

#[test]
fn convolutional_stem_by_hand() {
    let arch = Arch {
        image_size: [8, 6],
        channels: 2,
        stem: Stem::Conv { widths: vec![4, 5], patch: 1 },
        dim: 6,
        depth: 1,
        heads: 1,
        head_dim: 3,
        ffn: 7,
        qkv_bias: false,
        layout: Layout::A,
    };
    let cost = cost(&arch, &Slice::full(&arch));
    // Maps 8x6 -> 4x3 -> 2x2.
    assert_eq!(cost.params.stem, (9 * 2 * 4 + 4) + (9 * 4 * 5 + 5) + (5 * 6 + 6));
    assert_eq!(cost.macs.stem, 72 * 12 + 180 * 4 + 30 * 4);
    assert_eq!(cost.params.attention, 6 * 9 + 3 * 6 + 6);
    assert_eq!(cost.params.ffn, 6 * 7 + 7 + 7 * 6 + 6);
    // 5 tokens: qkv, scores, context, projection.
    assert_eq!(cost.macs.attention, 5 * 6 * 9 + 2 * 25 * 3 + 5 * 3 * 6);
    // Residual 30 and the larger of 4 * 15 + 25 and 30 + 35; the stem's 96 + 48 is more.
    assert_eq!(cost.activation_bytes, 4 * 144);
}

#[test]
fn bounds_of_validate_keep_every_count_in_64_bits() {
    let extreme = Arch {
        image_size: [8192, 8192],
        channels: 1024,
        stem: Stem::Patch { size: 1024, stride: 29 },
        dim: 65_536,
        depth: 1024,
        heads: 65_536,
        head_dim: 1,
        ffn: 65_536,
        qkv_bias: true,
        layout: Layout::B,
    };
    extreme.validate().unwrap();
    assert!(cost(&extreme, &Slice::full(&extreme)).macs.flops() > 1 << 62);
}

fn uniform(depth: usize, heads: usize, ffn: usize) -> Slice {
    Slice { blocks: (0..depth).map(|block| BlockSlice { block, heads, ffn }).collect() }
}

fn tiny_slice() -> impl Strategy<Value = Slice> {
    let block = (any::<bool>(), 1_usize..=3, 1_usize..=768);
    prop::collection::vec(block, 12).prop_map(|blocks| {
        let kept = blocks.into_iter().enumerate().filter(|(index, block)| block.0 || *index == 0);
        let keep = |(block, (_, heads, ffn))| BlockSlice { block, heads, ffn };
        Slice { blocks: kept.map(keep).collect() }
    })
}

proptest! {
    #[test]
    fn cost_grows_with_every_size(slice in tiny_slice(), row in any::<prop::sample::Index>()) {
        let arch = Preset::Tiny.arch();
        let whole = cost(&arch, &slice);
        let row = row.index(slice.blocks.len());
        let mut smaller = Vec::new();
        let kept = slice.blocks[row];
        if kept.heads > 1 {
            smaller.push(BlockSlice { heads: kept.heads - 1, ..kept });
        }
        if kept.ffn > 1 {
            smaller.push(BlockSlice { ffn: kept.ffn - 1, ..kept });
        }
        for block in smaller {
            let mut slice = slice.clone();
            slice.blocks[row] = block;
            let less = cost(&arch, &slice);
            prop_assert!(less.params.total() < whole.params.total());
            prop_assert!(less.macs.total() < whole.macs.total());
            prop_assert!(less.activation_bytes <= whole.activation_bytes);
        }
        if slice.blocks.len() > 1 {
            let mut slice = slice;
            slice.blocks.remove(row);
            let less = cost(&arch, &slice);
            prop_assert!(less.params.total() < whole.params.total());
            prop_assert!(less.macs.total() < whole.macs.total());
            prop_assert!(less.activation_bytes <= whole.activation_bytes);
        }
    }

    #[test]
    fn cost_and_slice_survive_json(slice in tiny_slice()) {
        let cost = cost(&Preset::Tiny.arch(), &slice);
        let json = serde_json::to_string(&cost).unwrap();
        prop_assert_eq!(serde_json::from_str::<Cost>(&json).unwrap(), cost);
        let json = serde_json::to_string(&slice).unwrap();
        prop_assert_eq!(serde_json::from_str::<Slice>(&json).unwrap(), slice);
    }
}
