//! The codes of the public benchmark of VIMER-UFO sub-networks (CVPR 2022 NAS competition, track 2).
//!
//! 37 characters: depth (`j`, `k`, `l` for 10, 11, 12), then for each of 12 blocks a digit for the heads
//! (1, 2, 3 for 12, 11, 10), one for the FFN ratio (1, 2, 3 for 4, 3.5, 3) and `1` for the width of 768, or
//! `000` for a block that is cut. Source: spec 6.3.

use crate::{Arch, BlockSlice, DepthRule, Error, Preset, Slice, Space};

const DEPTHS: [(char, usize); 3] = [('j', 10), ('k', 11), ('l', 12)];
const HEADS: [usize; 3] = [12, 11, 10];
const FFN: [usize; 3] = [3072, 2688, 2304];
const LENGTH: usize = 37;

/// The benchmark's largest network, a ViT-Base.
pub fn benchmark_arch() -> Arch {
    Preset::Base.arch()
}

/// The benchmark's space: depth 10 to 12, 10 to 12 heads, FFN ratio 3, 3.5 or 4 of 768.
pub fn benchmark_space() -> Space {
    let ascending = |choices: [usize; 3]| choices.into_iter().rev().collect();
    Space {
        depths: vec![10, 11, 12],
        heads: ascending(HEADS),
        ffn: ascending(FFN),
        depth_rule: DepthRule::First,
    }
}

/// The slice that a code tells.
///
/// # Errors
/// A code outside the space, with the character and what is allowed there.
pub fn parse_code(code: &str) -> Result<Slice, Error> {
    let characters: Vec<char> = code.chars().collect();
    if characters.len() != LENGTH {
        let allowed = format!("has {} characters, must have {LENGTH}", characters.len());
        return Err(Error::value("arch", code, allowed));
    }
    let wrong = |at: usize, allowed: &str| {
        let place = format!("character {at} is `{}`, must be {allowed}", characters[at]);
        Error::value("arch", code, place)
    };
    let depth = DEPTHS.iter().find(|depth| depth.0 == characters[0]);
    let depth = depth.ok_or_else(|| wrong(0, "j, k or l"))?.1;
    let mut blocks = Vec::with_capacity(depth);
    for block in 0..(LENGTH - 1) / 3 {
        let at = 1 + 3 * block;
        if block >= depth {
            if let Some(k) = (0..3).find(|k| characters[at + k] != '0') {
                return Err(wrong(at + k, &format!("0, since the depth is {depth}")));
            }
            continue;
        }
        let digit = |k: usize| characters[at + k].to_digit(10).filter(|d| (1..=3).contains(d));
        let choice = |k: usize| digit(k).ok_or_else(|| wrong(at + k, "1, 2 or 3"));
        let (heads, ffn) = (choice(0)?, choice(1)?);
        if characters[at + 2] != '1' {
            return Err(wrong(at + 2, "1"));
        }
        let (heads, ffn) = (HEADS[heads as usize - 1], FFN[ffn as usize - 1]);
        blocks.push(BlockSlice { block, heads, ffn });
    }
    Ok(Slice { blocks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::ChaCha8Rng};

    const CODE: &str = "j111231321311311221231121111231000000";

    fn format_code(slice: &Slice) -> String {
        let letter = DEPTHS.iter().find(|depth| depth.1 == slice.blocks.len()).unwrap().0;
        let place = |choices: [usize; 3], value| choices.iter().position(|&c| c == value).unwrap();
        let kept = slice
            .blocks
            .iter()
            .map(|kept| format!("{}{}1", 1 + place(HEADS, kept.heads), 1 + place(FFN, kept.ffn)));
        let code: String = [letter.to_string()].into_iter().chain(kept).collect();
        format!("{code:0<37}")
    }

    #[test]
    fn the_specifications_example() {
        let slice = parse_code(CODE).unwrap();
        let heads: Vec<usize> = slice.blocks.iter().map(|kept| kept.heads).collect();
        assert_eq!(heads, [12, 11, 10, 10, 10, 11, 11, 12, 12, 11]);
        let ratios: Vec<f64> = slice.blocks.iter().map(|kept| kept.ffn as f64 / 768.0).collect();
        assert_eq!(ratios, [4.0, 3.0, 3.5, 4.0, 4.0, 3.5, 3.0, 3.5, 4.0, 3.0]);
        assert_eq!(format_code(&slice), CODE);
    }

    #[test]
    fn random_slices_come_back() {
        let (arch, space) = (benchmark_arch(), benchmark_space());
        space.validate(&arch).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let slice = space.random(&arch, &mut rng);
            assert_eq!(parse_code(&format_code(&slice)).unwrap(), slice);
        }
    }

    #[test]
    fn errors_name_the_character_and_what_is_allowed() {
        let error = |at: usize, with: &str| {
            let mut code = CODE.to_string();
            code.replace_range(at..=at, with);
            let message = parse_code(&code).unwrap_err().to_string();
            assert!(message.starts_with(&format!("arch = {code}: ")), "{message}");
            message[message.find(": ").unwrap() + 2..].to_string()
        };
        assert_eq!(error(0, "m"), "character 0 is `m`, must be j, k or l");
        assert_eq!(error(4, "4"), "character 4 is `4`, must be 1, 2 or 3");
        assert_eq!(error(5, "é"), "character 5 is `é`, must be 1, 2 or 3");
        assert_eq!(error(6, "2"), "character 6 is `2`, must be 1");
        assert_eq!(error(31, "1"), "character 31 is `1`, must be 0, since the depth is 10");
        assert_eq!(error(0, ""), "has 36 characters, must have 37");
    }
}
