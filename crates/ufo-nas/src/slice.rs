//! Which blocks are kept, with how many heads and which FFN width (spec 2.3, 2.4).

use crate::{Arch, Error};
use serde::{Deserialize, Serialize};

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
