//! Slices as rows of numbers.

use crate::kernel::Groups;
use crate::{BlockSlice, DepthRule, Error, Matrix, Slice, Space};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How a choice becomes numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coding {
    /// A number a choice, 1 for the one taken; all 0 in a block that is cut; and a number a depth.
    OneHot,
    /// Choice k, counted from the greatest, sets bits k and k + 1, so that neighbors share one. A block
    /// that some depth cuts has one bit more, which says so. The encoding of the original's estimator
    /// (spec 6.3).
    Bits,
}

/// What is encoded: the choices of a space. All features are 0 or 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    /// How.
    pub coding: Coding,
    /// The choices.
    pub space: Space,
    /// Blocks of the largest network.
    pub blocks: usize,
}

impl Encoding {
    /// Features of every slice.
    ///
    /// # Shapes
    /// n slices -> `(n, features)`.
    ///
    /// # Errors
    /// A slice outside the space, with its row, key, value and what is allowed.
    pub fn matrix(&self, slices: &[Slice]) -> Result<Matrix, Error> {
        let rows: Result<Vec<Vec<f64>>, Error> =
            slices.iter().map(|slice| self.features(slice)).collect();
        Ok(Matrix::from_rows(self.groups().features(), &rows?))
    }

    /// Features of one slice.
    ///
    /// # Errors
    /// As [`Encoding::matrix`].
    pub fn features(&self, slice: &Slice) -> Result<Vec<f64>, Error> {
        let Space { depths, heads, ffn, .. } = &self.space;
        let depth = place("depth", slice.blocks.len(), depths)?;
        let expected = self.space.depth_rule.blocks(depths[depth], self.blocks);
        if !slice.blocks.iter().map(|kept| kept.block).eq(expected.iter().copied()) {
            let got: Vec<usize> = slice.blocks.iter().map(|kept| kept.block).collect();
            return Err(Error::value(
                "blocks",
                format!("{got:?}"),
                format!("must be {expected:?}"),
            ));
        }
        let mut features = Vec::new();
        let mut kept = slice.blocks.iter().peekable();
        for block in 0..self.blocks {
            let kept = kept.next_if(|kept| kept.block == block);
            for (key, choices, value) in [
                ("heads", heads, kept.map(|kept| kept.heads)),
                ("ffn", ffn, kept.map(|kept| kept.ffn)),
            ] {
                let key = || format!("blocks.{block}.{key}");
                let at = value.map(|value| place(key(), value, choices)).transpose()?;
                self.push(&mut features, at, choices.len(), self.is_optional(block));
            }
        }
        if self.coding == Coding::OneHot {
            features.extend((0..depths.len()).map(|i| f64::from(u8::from(i == depth))));
        }
        Ok(features)
    }

    /// A group for the heads and one for the FFN of each block, one for the depth; a level for each
    /// number of heads, FFN width and depth, whatever the block.
    pub fn groups(&self) -> Groups {
        let Space { depths, heads, ffn, .. } = &self.space;
        let mut groups = Groups { group: Vec::new(), level: Vec::new() };
        let mut push = |group, level, count| {
            groups.group.extend(vec![group; count]);
            groups.level.extend(level..level + count);
        };
        let [heads, ffn] = [heads.len(), ffn.len()].map(|choices| self.bits(choices, true));
        for block in 0..self.blocks {
            let spare = usize::from(self.coding == Coding::Bits && !self.is_optional(block));
            push(2 * block, 0, heads - spare);
            push(2 * block + 1, heads, ffn - spare);
        }
        if self.coding == Coding::OneHot {
            push(2 * self.blocks, heads + ffn, depths.len());
        }
        groups
    }

    /// As [`Encoding::groups`], with one group for the heads of all blocks, one for their FFN and one for
    /// the depth: a few hyperparameters, where one a block is too many to learn from hundreds of samples.
    pub fn kinds(&self) -> Groups {
        let mut groups = self.groups();
        let depth = 2 * self.blocks;
        groups.group.iter_mut().for_each(|group| {
            *group = if *group == depth { 2 } else { *group % 2 };
        });
        groups
    }

    /// The encoding of all choices that slices were seen with.
    ///
    /// # Errors
    /// No slice, one that keeps no block, or slices of one depth that keep different blocks.
    pub fn seen(coding: Coding, slices: &[Slice]) -> Result<Self, Error> {
        let all = |of: fn(&BlockSlice) -> usize| -> Vec<usize> {
            let blocks = slices.iter().flat_map(|slice| &slice.blocks);
            blocks.map(of).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let depths: BTreeSet<usize> = slices.iter().map(|slice| slice.blocks.len()).collect();
        let last = all(|kept| kept.block).last().copied();
        let (Some(last), false) = (last, depths.contains(&0)) else {
            return Err(Error::value("slices", "no block", "must keep at least one block each"));
        };
        let blocks = last + 1;
        let rule = [DepthRule::First, DepthRule::Even].into_iter().find(|rule| {
            slices.iter().all(|slice| {
                let kept = slice.blocks.iter().map(|kept| kept.block);
                let depth = slice.blocks.len();
                depth <= blocks && kept.eq(rule.blocks(depth, blocks))
            })
        });
        let depth_rule = rule.ok_or_else(|| {
            let allowed = "must follow one depth rule, `first` or `even`";
            Error::value("slices", "kept blocks", allowed)
        })?;
        let (heads, ffn) = (all(|kept| kept.heads), all(|kept| kept.ffn));
        let space = Space { depths: depths.into_iter().collect(), heads, ffn, depth_rule };
        Ok(Self { coding, space, blocks })
    }

    fn push(&self, features: &mut Vec<f64>, choice: Option<usize>, choices: usize, optional: bool) {
        let start = features.len();
        features.resize(start + self.bits(choices, optional), 0.0);
        match (self.coding, choice) {
            (Coding::OneHot, Some(at)) => features[start + at] = 1.0,
            (Coding::OneHot, None) => {}
            (Coding::Bits, Some(at)) => {
                let from_greatest = start + choices - 1 - at;
                features[from_greatest..=from_greatest + 1].fill(1.0);
            }
            (Coding::Bits, None) => features[start + choices + 1] = 1.0,
        }
    }

    fn bits(&self, choices: usize, optional: bool) -> usize {
        match self.coding {
            Coding::OneHot => choices,
            Coding::Bits => choices + 1 + usize::from(optional),
        }
    }

    /// Whether some depth cuts the block.
    fn is_optional(&self, block: usize) -> bool {
        let kept =
            |&depth: &usize| self.space.depth_rule.blocks(depth, self.blocks).contains(&block);
        !self.space.depths.iter().all(kept)
    }
}

fn place(key: impl Into<String>, value: usize, choices: &[usize]) -> Result<usize, Error> {
    let found = choices.iter().position(|&choice| choice == value);
    found.ok_or_else(|| Error::value(key, value, format!("must be one of {choices:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch_code::{benchmark_space, parse_code};

    fn encoding(coding: Coding) -> Encoding {
        Encoding { coding, space: benchmark_space(), blocks: 12 }
    }

    #[test]
    fn bits_are_the_benchmarks() {
        let slice = parse_code("j111231321311311221231121111231000000").unwrap();
        let features = encoding(Coding::Bits).features(&slice).unwrap();
        assert_eq!(features.len(), 100);
        assert_eq!(features[..8], [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(features[8..16], [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        let cut = [0.0, 0.0, 0.0, 0.0, 1.0];
        assert!(features[80..].chunks(5).all(|part| part == cut));
    }

    #[test]
    fn one_hot_sets_a_number_a_choice() {
        let slice = parse_code("k111231321311311221231121111231321000").unwrap();
        let encoding = encoding(Coding::OneHot);
        let features = encoding.features(&slice).unwrap();
        assert_eq!(features.len(), 75);
        assert_eq!(features[..6], [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
        assert_eq!(features[60..66], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(features[66..], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(features.iter().filter(|&&x| x > 0.5).count(), 23);
    }

    #[test]
    fn groups_are_as_many_as_features() {
        let one_hot = encoding(Coding::OneHot).groups();
        assert_eq!(one_hot.group[63..], [21, 21, 21, 22, 22, 22, 23, 23, 23, 24, 24, 24]);
        assert_eq!(one_hot.level[63..], [3, 4, 5, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let bits = encoding(Coding::Bits).groups();
        assert_eq!((bits.group.len(), bits.level.len()), (100, 100));
        assert_eq!(bits.group[90..], [22, 22, 22, 22, 22, 23, 23, 23, 23, 23]);
        assert_eq!(bits.level[70..81], [7, 8, 0, 1, 2, 3, 5, 6, 7, 8, 0]);
    }

    #[test]
    fn choices_that_were_seen_make_an_encoding() {
        let codes =
            ["j111231321311311221231121111231000000", "l111231321311311221231121111231321121"];
        let slices = codes.map(|code| parse_code(code).unwrap());
        let seen = Encoding::seen(Coding::OneHot, &slices).unwrap();
        let depths = vec![10, 12];
        assert_eq!(seen.space, Space { depths, ..benchmark_space() });
        assert_eq!(seen.blocks, 12);
        assert_eq!(seen.kinds().group[63..], [1, 1, 1, 0, 0, 0, 1, 1, 1, 2, 2]);
        let error = Encoding::seen(Coding::OneHot, &[]).unwrap_err().to_string();
        assert_eq!(error, "slices = no block: must keep at least one block each");
        let mut odd = slices.clone();
        odd[0].blocks[9].block = 10;
        let error = Encoding::seen(Coding::OneHot, &odd).unwrap_err().to_string();
        assert_eq!(error, "slices = kept blocks: must follow one depth rule, `first` or `even`");
    }

    #[test]
    fn slices_outside_the_space_are_named() {
        let mut slice = parse_code("j111231321311311221231121111231000000").unwrap();
        let error =
            |slice: &Slice| encoding(Coding::OneHot).features(slice).unwrap_err().to_string();
        slice.blocks[3].heads = 9;
        assert_eq!(error(&slice), "blocks.3.heads = 9: must be one of [10, 11, 12]");
        slice.blocks.pop();
        assert_eq!(error(&slice), "depth = 9: must be one of [10, 11, 12]");
    }
}
