use super::*;
use crate::Preset;
use proptest::prelude::*;
use rand::{SeedableRng, rngs::ChaCha8Rng};
use std::collections::HashSet;

/// The space of the public base supernet (spec 2.1).
fn base() -> Space {
    Space {
        depths: vec![10, 11, 12],
        heads: vec![10, 11, 12],
        ffn: vec![2304, 2688, 3072],
        depth_rule: DepthRule::First,
    }
}

#[test]
fn the_public_space_has_317_billion_slices() {
    let count = base().count();
    assert_eq!(count.to_string(), "317297380491");
    assert!((count.log10 - 11.501_466).abs() < 1e-6);
}

#[test]
fn extremes_of_the_public_space() {
    let arch = Preset::Base.arch();
    let space = base();
    space.validate(&arch).unwrap();
    assert!(space.largest(&arch).is_full(&arch));
    let smallest = space.smallest(&arch);
    assert_eq!(smallest.blocks.len(), 10);
    assert_eq!(smallest.blocks[9], BlockSlice { block: 9, heads: 10, ffn: 2304 });
    assert_eq!(Space::whole(&arch).count(), Count::exact(1));
}

#[test]
fn even_depth_keeps_the_first_and_the_last_block() {
    assert_eq!(DepthRule::Even.blocks(1, 12), [0]);
    assert_eq!(DepthRule::Even.blocks(2, 12), [0, 11]);
    assert_eq!(DepthRule::Even.blocks(3, 12), [0, 6, 11]);
    assert_eq!(DepthRule::Even.blocks(1, 1), [0]);
    assert_eq!(DepthRule::First.blocks(3, 12), [0, 1, 2]);
}

#[test]
fn a_slice_takes_its_sizes_in_order() {
    let arch = Preset::Tiny.arch();
    let space = Space {
        depths: vec![2, 12],
        heads: vec![1, 3],
        ffn: vec![96, 768],
        depth_rule: DepthRule::Even,
    };
    let slice = space.slice(&arch, 2, &[3, 1], &[96, 768]).unwrap();
    let blocks = vec![
        BlockSlice { block: 0, heads: 3, ffn: 96 },
        BlockSlice { block: 11, heads: 1, ffn: 768 },
    ];
    assert_eq!(slice, Slice { blocks });
    let message = |depth, heads: &[usize], ffn: &[usize]| {
        space.slice(&arch, depth, heads, ffn).unwrap_err().to_string()
    };
    assert_eq!(message(3, &[1; 3], &[96; 3]), "depth = 3: must be one of [2, 12]");
    assert_eq!(message(2, &[1], &[96; 2]), "heads = 1 entries: must have one a block, 2");
    assert_eq!(message(2, &[1, 2], &[96; 2]), "heads.1 = 2: must be one of [1, 3]");
    assert_eq!(message(2, &[1; 2], &[95, 96]), "ffn.0 = 95: must be one of [96, 768]");
}

#[test]
fn validate_names_key_value_and_what_is_allowed() {
    let arch = Preset::Base.arch();
    let message = |change: fn(&mut Space)| {
        let mut space = base();
        change(&mut space);
        space.validate(&arch).unwrap_err().to_string()
    };
    let allowed = "must be ascending, not empty, each 1 to";
    assert_eq!(message(|s| s.depths.clear()), format!("space.depths = []: {allowed} 12"));
    assert_eq!(message(|s| s.depths = vec![13]), format!("space.depths = [13]: {allowed} 12"));
    assert_eq!(message(|s| s.heads = vec![0, 1]), format!("space.heads = [0, 1]: {allowed} 12"));
    assert_eq!(message(|s| s.heads = vec![2, 2]), format!("space.heads = [2, 2]: {allowed} 12"));
    assert_eq!(message(|s| s.ffn = vec![9, 3]), format!("space.ffn = [9, 3]: {allowed} 3072"));
}

fn any_space() -> impl Strategy<Value = Space> {
    let choices = |most: usize| {
        prop::collection::btree_set(1..=most, 1..=3).prop_map(|set| set.into_iter().collect())
    };
    let rule = prop_oneof![Just(DepthRule::First), Just(DepthRule::Even)];
    (choices(12), choices(3), choices(768), rule)
        .prop_map(|(depths, heads, ffn, depth_rule)| Space { depths, heads, ffn, depth_rule })
}

proptest! {
    #[test]
    fn random_slices_are_valid_members(space in any_space(), seed in any::<u64>()) {
        let arch = Preset::Tiny.arch();
        space.validate(&arch).unwrap();
        let slice = space.random(&arch, &mut ChaCha8Rng::seed_from_u64(seed));
        slice.validate(&arch).unwrap();
        prop_assert!(space.contains(&arch, &slice));
        prop_assert_eq!(&slice, &space.random(&arch, &mut ChaCha8Rng::seed_from_u64(seed)));
        for extreme in [space.smallest(&arch), space.largest(&arch)] {
            extreme.validate(&arch).unwrap();
            prop_assert!(space.contains(&arch, &extreme));
        }
        let heads: Vec<_> = slice.blocks.iter().map(|kept| kept.heads).collect();
        let ffn: Vec<_> = slice.blocks.iter().map(|kept| kept.ffn).collect();
        prop_assert_eq!(space.slice(&arch, slice.blocks.len(), &heads, &ffn).unwrap(), slice);
    }

    #[test]
    fn survives_json(space in any_space()) {
        let json = serde_json::to_string(&space).unwrap();
        prop_assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
    }
}

/// A space small enough to exhaust by sampling: every member is drawn, and `count` is their number.
#[test]
fn the_count_is_the_number_of_distinct_slices() {
    let arch = Preset::Tiny.arch();
    let space = Space {
        depths: vec![1, 2],
        heads: vec![1, 3],
        ffn: vec![5, 7],
        depth_rule: DepthRule::Even,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let drawn: HashSet<_> = (0..2000).map(|_| space.random(&arch, &mut rng)).collect();
    assert_eq!(space.count(), Count::exact(drawn.len() as u128));
    assert_eq!(drawn.len(), 4 + 16);
}
