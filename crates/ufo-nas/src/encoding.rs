//! Slices as rows of numbers.

use crate::kernel::Groups;
use crate::{Arch, BlockSlice, DepthRule, Error, Matrix, Slice, Space, macs, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most blocks, as for an [`Arch`].
const MOST_BLOCKS: usize = 1024;
/// Most of a choice, as for an [`Arch`].
const MOST_CHOICE: usize = 65_536;

/// How a choice of a block becomes bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coding {
    /// Two bits, one of them shared with each neighbor: like choices have like effects (spec 6.3).
    #[default]
    Overlapping,
    /// A bit of its own.
    OneHot,
}

/// What is encoded: the choices of a space, and what they cost where the architecture is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    /// The choices.
    pub space: Space,
    /// Blocks of the largest network.
    pub blocks: usize,
    /// The largest network; with it the logarithms of operations and parameters are features, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// How choices become bits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub coding: Coding,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_default(coding: &Coding) -> bool {
    *coding == Coding::default()
}

impl Encoding {
    /// The encoding of all choices that slices were seen with.
    ///
    /// # Errors
    /// No slice, one that keeps no block, or slices of one depth that keep different blocks.
    pub fn seen(slices: &[Slice]) -> Result<Self, Error> {
        let all = |of: fn(&BlockSlice) -> usize| -> Vec<usize> {
            let blocks = slices.iter().flat_map(|slice| &slice.blocks);
            blocks.map(of).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let depths: BTreeSet<usize> = slices.iter().map(|slice| slice.blocks.len()).collect();
        let last = all(|kept| kept.block).last().copied();
        let (Some(last), false) = (last, depths.contains(&0)) else {
            return Err(Error::value("slices", "no block", "must keep at least one block each"));
        };
        let blocks = last.saturating_add(1);
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
        let encoding = Self { space, blocks, arch: None, coding: Coding::default() };
        encoding.validate()?;
        Ok(encoding)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// A choice set that is empty, not ascending or out of range, or an architecture it does not fit.
    pub fn validate(&self) -> Result<(), Error> {
        if !(1..=MOST_BLOCKS).contains(&self.blocks) {
            let allowed = format!("must be 1 to {MOST_BLOCKS}");
            return Err(Error::value("encoding.blocks", self.blocks, allowed));
        }
        for (key, choices, most) in [
            ("encoding.space.depths", &self.space.depths, self.blocks),
            ("encoding.space.heads", &self.space.heads, MOST_CHOICE),
            ("encoding.space.ffn", &self.space.ffn, MOST_CHOICE),
        ] {
            let ascending = choices.windows(2).all(|pair| pair[0] < pair[1]);
            if choices.is_empty() || !ascending || !choices.iter().all(|c| (1..=most).contains(c)) {
                let allowed = format!("must be ascending, not empty, each 1 to {most}");
                return Err(Error::value(key, format!("{choices:?}"), allowed));
            }
        }
        let Some(arch) = &self.arch else { return Ok(()) };
        arch.validate().map_err(|error| error.within("encoding.arch"))?;
        if arch.depth != self.blocks {
            let allowed = format!("must be {}, as encoding.blocks", self.blocks);
            return Err(Error::value("encoding.arch.depth", arch.depth, allowed));
        }
        self.space.validate(arch).map_err(|error| error.within("encoding"))
    }

    /// Features of every slice: its bits, and what it costs.
    ///
    /// # Shapes
    /// n slices -> `(n, features)`.
    ///
    /// # Errors
    /// A slice outside the space, with its key, value and what is allowed.
    pub fn matrix(&self, slices: &[Slice]) -> Result<Matrix, Error> {
        let largest = self.arch.as_ref().map(|arch| (arch, costs(arch, &Slice::full(arch))));
        let features = |slice: &Slice| -> Result<Vec<f64>, Error> {
            let mut features = self.bits(slice)?;
            if let Some((arch, largest)) = &largest {
                let shares = costs(arch, slice).into_iter().zip(largest);
                features.extend(shares.map(|(cost, largest)| (cost / largest).ln()));
            }
            Ok(features)
        };
        let rows: Result<Vec<Vec<f64>>, Error> = slices.iter().map(features).collect();
        Ok(Matrix::from_rows(self.groups().features(), &rows?))
    }

    /// The encoding of the original's estimator (spec 6.3): of each block choice k of heads and of FFN width,
    /// counted from the greatest, sets bits k and k + 1, so that neighbors share one, or bit k alone; a block that
    /// some depth cuts has one bit more, which says so.
    ///
    /// # Errors
    /// As [`Encoding::matrix`].
    pub fn bits(&self, slice: &Slice) -> Result<Vec<f64>, Error> {
        let Space { depths, heads, ffn, .. } = &self.space;
        let depth = depths[place("depth", slice.blocks.len(), depths)?];
        let expected = self.space.depth_rule.blocks(depth, self.blocks);
        if !slice.blocks.iter().map(|kept| kept.block).eq(expected.iter().copied()) {
            let got: Vec<usize> = slice.blocks.iter().map(|kept| kept.block).collect();
            let allowed = format!("must be {expected:?}");
            return Err(Error::value("blocks", format!("{got:?}"), allowed));
        }
        let mut bits = Vec::new();
        let mut kept = slice.blocks.iter().peekable();
        for block in 0..self.blocks {
            let kept = kept.next_if(|kept| kept.block == block);
            for (key, choices, value) in [
                ("heads", heads, kept.map(|kept| kept.heads)),
                ("ffn", ffn, kept.map(|kept| kept.ffn)),
            ] {
                let (start, width) = (bits.len(), self.width(choices));
                bits.resize(start + width + usize::from(self.is_optional(block)), 0.0);
                let Some(value) = value else {
                    bits[start + width] = 1.0;
                    continue;
                };
                let at = place(format!("blocks.{block}.{key}"), value, choices)?;
                let from_greatest = start + choices.len() - 1 - at;
                bits[from_greatest..=from_greatest + width - choices.len()].fill(1.0);
            }
        }
        Ok(bits)
    }

    /// Whether a slice has at least each choice of heads and of FFN width in each block: 0 or 1, none for
    /// what every slice has, so a block that some depth cuts has one more, which says that it is kept.
    ///
    /// # Shapes
    /// n slices -> `(n, steps)`.
    ///
    /// # Errors
    /// As [`Encoding::matrix`].
    pub(crate) fn steps(&self, slices: &[Slice]) -> Result<Matrix, Error> {
        let steps = |slice: &Slice| -> Result<Vec<f64>, Error> {
            self.bits(slice)?;
            let mut steps = Vec::new();
            for block in 0..self.blocks {
                let kept = slice.blocks.iter().find(|kept| kept.block == block);
                let has = |choice: usize, value: Option<usize>| {
                    f64::from(u8::from(value.is_some_and(|value| value >= choice)))
                };
                if self.is_optional(block) {
                    steps.push(has(0, kept.map(|kept| kept.heads)));
                }
                for (choices, value) in [
                    (&self.space.heads, kept.map(|kept| kept.heads)),
                    (&self.space.ffn, kept.map(|kept| kept.ffn)),
                ] {
                    steps.extend(choices[1..].iter().map(|&choice| has(choice, value)));
                }
            }
            Ok(steps)
        };
        let rows: Result<Vec<Vec<f64>>, Error> = slices.iter().map(steps).collect();
        let choices = self.space.heads.len() + self.space.ffn.len() - 2;
        let optional = (0..self.blocks).filter(|&block| self.is_optional(block)).count();
        Ok(Matrix::from_rows(self.blocks * choices + optional, &rows?))
    }

    /// A group for the bits of all blocks' heads, one for those of their FFN, one for the costs; a level for
    /// each bit, whatever the block: few hyperparameters, since one a block is too many to learn from
    /// hundreds of samples.
    pub fn groups(&self) -> Groups {
        let [heads, ffn] = [&self.space.heads, &self.space.ffn].map(|all| self.width(all) + 1);
        let mut groups = Groups { group: Vec::new(), level: Vec::new() };
        for block in 0..self.blocks {
            // The last level of each is that of a cut block.
            let spare = usize::from(!self.is_optional(block));
            for (group, levels) in [(0, 0..heads - spare), (1, heads..heads + ffn - spare)] {
                groups.group.extend(vec![group; levels.len()]);
                groups.level.extend(levels);
            }
        }
        if self.arch.is_some() {
            groups.group.extend([2; COSTS]);
            groups.level.extend(heads + ffn..heads + ffn + COSTS);
        }
        groups
    }

    /// Bits of a block's choice among some, that of a cut block excluded.
    fn width(&self, choices: &[usize]) -> usize {
        choices.len() + usize::from(self.coding == Coding::Overlapping)
    }

    /// Whether some depth cuts the block.
    fn is_optional(&self, block: usize) -> bool {
        let kept =
            |&depth: &usize| self.space.depth_rule.blocks(depth, self.blocks).contains(&block);
        !self.space.depths.iter().all(kept)
    }
}

/// Costs that are features.
const COSTS: usize = 2;

fn costs(arch: &Arch, slice: &Slice) -> [f64; COSTS] {
    [macs(arch, slice).total() as f64, params(arch, slice).total() as f64]
}

fn place(key: impl Into<String>, value: usize, choices: &[usize]) -> Result<usize, Error> {
    let found = choices.iter().position(|&choice| choice == value);
    found.ok_or_else(|| Error::value(key, value, format!("must be one of {choices:?}")))
}

#[cfg(test)]
mod tests;
