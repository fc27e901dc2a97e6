//! Training losses (spec 3.5). Every loss is a mean over the batch, as a tensor of one element.

mod cross_entropy;
mod distill;
mod fcos;
mod triplet;

pub use cross_entropy::{cosface, cross_entropy, smooth_soft_targets, smooth_targets};
pub use distill::{
    Divergence, cosine_gap, distill_embeddings, distill_logits, distill_soft, relation_gap,
};
pub use fcos::{Inside, Places, distill_boxes, fcos};
pub use triplet::{Triplet, triplet};
