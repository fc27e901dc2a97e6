//! The choices of a chip supernet: depths, head counts and FFN widths (spec 2.1 to 2.5).

use crate::{Arch, BlockSlice, Count, Error, Slice};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Which blocks a depth keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DepthRule {
    /// The first ones, as in the original code.
    #[default]
    First,
    /// Evenly spaced, the first and the last among them; depth 1 keeps the first.
    Even,
}

impl DepthRule {
    /// Blocks kept of `whole` at depth `depth`, ascending; `1 <= depth <= whole`.
    pub fn blocks(self, depth: usize, whole: usize) -> Vec<usize> {
        let steps = depth.saturating_sub(1).max(1);
        let even = |row| (2 * row * (whole - 1) + steps) / (2 * steps);
        match self {
            Self::First => (0..depth).collect(),
            Self::Even => (0..depth).map(even).collect(),
        }
    }
}

/// Choice sets, each ascending without repeats. Heads and FFN width are chosen block by block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// Numbers of blocks, 1 to `arch.depth`.
    pub depths: Vec<usize>,
    /// Numbers of heads of a block, 1 to `arch.heads`.
    pub heads: Vec<usize>,
    /// Hidden units of a block's FFN, 1 to `arch.ffn`.
    pub ffn: Vec<usize>,
    /// Which blocks a depth keeps.
    #[serde(default)]
    pub depth_rule: DepthRule,
}

impl Space {
    /// The space with one member, the whole network.
    pub fn whole(arch: &Arch) -> Self {
        Self {
            depths: vec![arch.depth],
            heads: vec![arch.heads],
            ffn: vec![arch.ffn],
            depth_rule: DepthRule::First,
        }
    }

    /// Checks every choice set against `arch`.
    pub fn validate(&self, arch: &Arch) -> Result<(), Error> {
        for (key, choices, most) in [
            ("space.depths", &self.depths, arch.depth),
            ("space.heads", &self.heads, arch.heads),
            ("space.ffn", &self.ffn, arch.ffn),
        ] {
            let ascending = choices.windows(2).all(|pair| pair[0] < pair[1]);
            let within = choices.iter().all(|choice| (1..=most).contains(choice));
            if choices.is_empty() || !ascending || !within {
                let allowed = format!("must be ascending, not empty, each 1 to {most}");
                return Err(Error::value(key, format!("{choices:?}"), allowed));
            }
        }
        Ok(())
    }

    /// Number of slices, the sum over depths d of `(heads * ffn widths)^d`.
    pub fn count(&self) -> Count {
        let choices = (self.heads.len() * self.ffn.len()) as u128;
        self.depths.iter().map(|&depth| Count::power(choices, depth as u64)).sum()
    }

    /// The slice of the least of every choice set; the space must be valid.
    pub fn smallest(&self, arch: &Arch) -> Slice {
        self.uniform(arch, [self.depths[0], self.heads[0], self.ffn[0]])
    }

    /// The slice of the greatest of every choice set; the space must be valid.
    pub fn largest(&self, arch: &Arch) -> Slice {
        let last = |choices: &[usize]| choices[choices.len() - 1];
        self.uniform(arch, [last(&self.depths), last(&self.heads), last(&self.ffn)])
    }

    /// The slice with the given depth, and one head count and FFN width a kept block.
    ///
    /// # Errors
    /// A number of entries other than `depth`, or a value outside its choice set.
    pub fn slice(
        &self,
        arch: &Arch,
        depth: usize,
        heads: &[usize],
        ffn: &[usize],
    ) -> Result<Slice, Error> {
        chosen("depth", depth, &self.depths)?;
        for (key, values, choices) in [("heads", heads, &self.heads), ("ffn", ffn, &self.ffn)] {
            if values.len() != depth {
                let got = format!("{} entries", values.len());
                return Err(Error::value(key, got, format!("must have one a block, {depth}")));
            }
            for (row, &value) in values.iter().enumerate() {
                chosen(&format!("{key}.{row}"), value, choices)?;
            }
        }
        let blocks = self.depth_rule.blocks(depth, arch.depth).into_iter().zip(heads).zip(ffn);
        let keep = |((block, &heads), &ffn)| BlockSlice { block, heads, ffn };
        Ok(Slice { blocks: blocks.map(keep).collect() })
    }

    /// A random slice: depth, then head count and FFN width of each kept block, each uniform over its
    /// choice set, so shallow slices are more likely than their share of [`Space::count`].
    pub fn random(&self, arch: &Arch, rng: &mut impl Rng) -> Slice {
        let mut draw = |choices: &[usize]| choices[rng.random_range(0..choices.len())];
        let depth = draw(&self.depths);
        let keep = |block| BlockSlice { block, heads: draw(&self.heads), ffn: draw(&self.ffn) };
        Slice { blocks: self.depth_rule.blocks(depth, arch.depth).into_iter().map(keep).collect() }
    }

    /// A member with one choice of `slice` a step smaller: its depth, or the heads or FFN width of a block, drawn
    /// among those that can be; none for the smallest.
    fn reduced(&self, arch: &Arch, slice: &Slice, rng: &mut impl Rng) -> Option<Slice> {
        let below = |choices: &[usize], value| {
            choices.iter().rev().find(|&&choice| choice < value).copied()
        };
        let mut smaller = Vec::new();
        for (row, kept) in slice.blocks.iter().enumerate() {
            let mut with = |change: BlockSlice| {
                let mut one = slice.clone();
                one.blocks[row] = change;
                smaller.push(one);
            };
            if let Some(heads) = below(&self.heads, kept.heads) {
                with(BlockSlice { heads, ..*kept });
            }
            if let Some(ffn) = below(&self.ffn, kept.ffn) {
                with(BlockSlice { ffn, ..*kept });
            }
        }
        if let Some(depth) = below(&self.depths, slice.blocks.len()) {
            let blocks = self.depth_rule.blocks(depth, arch.depth).into_iter().zip(&slice.blocks);
            let blocks = blocks.map(|(block, kept)| BlockSlice { block, ..*kept }).collect();
            smaller.push(Slice { blocks });
        }
        (!smaller.is_empty()).then(|| smaller.swap_remove(rng.random_range(0..smaller.len())))
    }

    /// `slice` made smaller by random steps until it is `allowed`; none if not even the smallest is.
    pub fn shrunk(
        &self,
        arch: &Arch,
        slice: Slice,
        allowed: &dyn Fn(&Slice) -> bool,
        rng: &mut impl Rng,
    ) -> Option<Slice> {
        let mut slice = slice;
        while !allowed(&slice) {
            slice = self.reduced(arch, &slice, rng)?;
        }
        Some(slice)
    }

    /// Whether `slice` is a member.
    pub fn contains(&self, arch: &Arch, slice: &Slice) -> bool {
        let kept = slice.blocks.iter().map(|kept| kept.block);
        self.depths.contains(&slice.blocks.len())
            && kept.eq(self.depth_rule.blocks(slice.blocks.len(), arch.depth))
            && slice.blocks.iter().all(|kept| self.heads.contains(&kept.heads))
            && slice.blocks.iter().all(|kept| self.ffn.contains(&kept.ffn))
    }

    fn uniform(&self, arch: &Arch, [depth, heads, ffn]: [usize; 3]) -> Slice {
        let keep = |block| BlockSlice { block, heads, ffn };
        Slice { blocks: self.depth_rule.blocks(depth, arch.depth).into_iter().map(keep).collect() }
    }
}

fn chosen(key: &str, value: usize, choices: &[usize]) -> Result<(), Error> {
    if choices.contains(&value) {
        return Ok(());
    }
    Err(Error::value(key, value, format!("must be one of {choices:?}")))
}

#[cfg(test)]
mod tests;
