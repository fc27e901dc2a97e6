//! Vision transformer supernets: layers, router, experts, heads, losses, weights in and out; and the
//! convolutional networks that students are.
//!
//! VIMER-UFO 2.0 (arXiv 2207.10341): the blocks of one ViT hold a shared expert and an expert a
//! task, a router chooses per task, and every network that runs is a [`Vit`], a view into the
//! [`Supernet`]. Shape legend: b batch, t tokens, d width, h heads, i inputs, o outputs, c classes.

mod attention;
mod branch;
pub mod cnn;
mod detection;
mod error;
mod ffn;
mod fused;
mod head;
mod linear;
pub mod losses;
mod neck;
mod norm;
mod param;
pub mod router;
mod segmentation;
mod stem;
mod student;
mod supernet;
pub mod timm;
mod vit;
pub mod weights;

pub use attention::Attention;
pub use branch::{Branch, PerImage, Routed, Site};
pub use detection::{Detected, DetectionHead};
pub use error::{Error, Result};
pub use ffn::Ffn;
pub use fused::{Factors, Mode};
pub use head::{Embedded, EmbeddingHead, Head, HeadConfig, HeadStatistics, unit_rows};
pub use linear::Linear;
pub use neck::{BnNeck, NeckStatistics};
pub use norm::LayerNorm;
pub use param::{
    Visit, Visitor, from_values, require_grad, require_grad_where, state_of, take_values, values,
};
pub use router::{Draw, RouterConfig};
pub use segmentation::{AuxiliaryHead, SegmentationHead, Segmented};
pub use stem::{Conv, Stem, resize_positions};
pub use student::{Aligner, Body, Student, StudentKind, StudentShape, Trained};
pub use supernet::{BlockExperts, SharedModules, Supernet, TaskModules, TaskSpec};
pub use vit::{Block, DropPath, Named, Tokens, Vit};
