//! Which blocks are kept, with how many heads and which FFN width (spec 2.3, 2.4).

use crate::{Arch, Error};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One kept block: the first `heads` heads and the first `ffn` hidden units of its FFN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSlice {
    /// Index of the block in the largest network, from 0.
    pub block: usize,
    /// Heads kept, 1 to `arch.heads`.
    pub heads: usize,
    /// Hidden units kept, 1 to `arch.ffn`.
    pub ffn: usize,
}

/// The size of a sub-network: its blocks in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// Kept blocks, ascending.
    pub blocks: Vec<BlockSlice>,
}

impl Slice {
    /// Everything.
    pub fn full(arch: &Arch) -> Self {
        let whole = |block| BlockSlice { block, heads: arch.heads, ffn: arch.ffn };
        Self { blocks: (0..arch.depth).map(whole).collect() }
    }

    /// Whether nothing is cut.
    pub fn is_full(&self, arch: &Arch) -> bool {
        *self == Self::full(arch)
    }

    /// Checks that the slice fits `arch`.
    pub fn validate(&self, arch: &Arch) -> Result<(), Error> {
        if self.blocks.is_empty() {
            return Err(Error::value("slice.blocks", "[]", "must keep at least one block"));
        }
        let mut next = 0;
        for (row, kept) in self.blocks.iter().enumerate() {
            for (name, value, least, most) in [
                ("block", kept.block, next, arch.depth - 1),
                ("heads", kept.heads, 1, arch.heads),
                ("ffn", kept.ffn, 1, arch.ffn),
            ] {
                if !(least..=most).contains(&value) {
                    let key = format!("slice.blocks.{row}.{name}");
                    return Err(Error::value(key, value, format!("must be {least} to {most}")));
                }
            }
            next = kept.block + 1;
        }
        Ok(())
    }
}

/// `block:heads:ffn` of each kept block, separated by commas, such as `0:3:384,2:2:192`.
impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, BlockSlice { block, heads, ffn }) in self.blocks.iter().enumerate() {
            let comma = if row == 0 { "" } else { "," };
            write!(f, "{comma}{block}:{heads}:{ffn}")?;
        }
        Ok(())
    }
}

impl FromStr for Slice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let block = |part: &str| -> Option<BlockSlice> {
            let mut numbers = part.split(':').map(|number| number.trim().parse().ok());
            let kept = BlockSlice {
                block: numbers.next()??,
                heads: numbers.next()??,
                ffn: numbers.next()??,
            };
            numbers.next().is_none().then_some(kept)
        };
        let blocks: Option<Vec<_>> = text.split(',').map(block).collect();
        let allowed = "must be block:heads:ffn of each kept block, such as 0:3:384,2:2:192";
        Ok(Self { blocks: blocks.ok_or_else(|| Error::value("slice", text, allowed))? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;

    #[test]
    fn errors_name_key_value_and_what_is_allowed() {
        let arch = Preset::Demo.arch();
        let message = |change: fn(&mut Slice)| {
            let mut slice = Slice::full(&arch);
            change(&mut slice);
            slice.validate(&arch).unwrap_err().to_string()
        };
        let allowed_heads = format!("must be 1 to {}", arch.heads);
        let allowed_ffn = format!("must be 1 to {}", arch.ffn);
        let heads = message(|slice| slice.blocks[2].heads = 0);
        assert_eq!(heads, format!("slice.blocks.2.heads = 0: {allowed_heads}"));
        let ffn = message(|slice| slice.blocks[1].ffn = 70_000);
        assert_eq!(ffn, format!("slice.blocks.1.ffn = 70000: {allowed_ffn}"));
        let repeated = message(|slice| slice.blocks[3].block = 2);
        assert_eq!(repeated, "slice.blocks.3.block = 2: must be 3 to 5");
        let empty = message(|slice| slice.blocks.clear());
        assert_eq!(empty, "slice.blocks = []: must keep at least one block");
    }

    #[test]
    fn a_slice_is_written_and_read_and_nonsense_refused() {
        let text = "0:3:384,2:2:192";
        let slice: Slice = text.parse().unwrap();
        assert_eq!(slice.blocks[1], BlockSlice { block: 2, heads: 2, ffn: 192 });
        assert_eq!(slice.to_string(), text);
        for wrong in ["", "0", "0:1", "0:1:2:3", "0:1:x", "0:1:2,"] {
            let message = wrong.parse::<Slice>().unwrap_err().to_string();
            assert!(message.contains("block:heads:ffn"), "{message}");
        }
    }

    #[test]
    fn full_is_full_until_something_is_cut() {
        let arch = Preset::Demo.arch();
        let mut slice = Slice::full(&arch);
        slice.validate(&arch).unwrap();
        assert!(slice.is_full(&arch));
        slice.blocks.pop();
        slice.validate(&arch).unwrap();
        assert!(!slice.is_full(&arch));
    }
}
