//! What differs from a preset's architecture.

use serde::{Deserialize, Serialize};
use ufo_nas::Stem;

/// Sizes that take the place of the preset's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchChanges {
    /// How an image becomes tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem: Option<Stem>,
    /// Embedding width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
    /// Blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Attention heads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Width of a head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Hidden width of the FFN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ffn: Option<usize>,
}

impl ArchChanges {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
