//! The names under which a network's modules are stored; timm's for a network alone.

use crate::{BlockSlice, Expert, Layout, Path, Slice};

/// Prefix of the modules that every task may use.
pub const SHARED: &str = "shared";

/// Prefix of the modules of `task`.
pub fn task_key(task: &str) -> String {
    format!("tasks.{task}")
}

/// Prefixes of the two parts of an expert: its norm, which layout A shares, and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Prefix of the norm.
    pub norm: String,
    /// Prefix of the rest.
    pub body: String,
}

impl Names {
    /// One prefix for both.
    pub fn both(prefix: &str) -> Self {
        Self { norm: prefix.to_string(), body: prefix.to_string() }
    }
}

/// The names under which a network's modules are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Prefix of the stem; empty in timm's layout.
    pub stem: String,
    /// Prefixes of attention and FFN, block by block.
    pub blocks: Vec<[Names; 2]>,
    /// Prefix of the final norm.
    pub norm: String,
}

impl Keys {
    /// timm's names: `cls_token`, `blocks.0.attn.qkv.weight`, `norm.weight`.
    pub fn plain(depth: usize) -> Self {
        let block = |index| [(); 2].map(|()| Names::both(&format!("blocks.{index}")));
        Self {
            stem: String::new(),
            blocks: (0..depth).map(block).collect(),
            norm: "norm".to_string(),
        }
    }

    /// The supernet's own names for the modules that `task` uses: `shared.blocks.0…` or
    /// `tasks.NAME.blocks.0…`, so that models of several tasks hold a shared module once.
    ///
    /// In layout A the norms are the shared ones, whichever expert follows.
    pub fn supernet(task: &str, layout: Layout, path: &Path, slice: &Slice) -> Self {
        let own = task_key(task);
        let owner = |expert: Expert| match expert {
            Expert::Shared => SHARED,
            Expert::Task => &own,
        };
        let block = |kept: &BlockSlice| {
            [path.attn[kept.block], path.ffn[kept.block]].map(|expert| {
                let norm = if layout == Layout::A { Expert::Shared } else { expert };
                let at = |owner: &str| format!("{owner}.blocks.{}", kept.block);
                Names { norm: at(owner(norm)), body: at(owner(expert)) }
            })
        };
        Self {
            stem: own.clone(),
            blocks: slice.blocks.iter().map(block).collect(),
            norm: format!("{}.norm", owner(path.norm)),
        }
    }
}
