//! CPU kernels of a vision transformer on slices with strides, with no tensor library.
//!
//! Every kernel has a forward, a backward (but for [`int8`]) and a plain reference in its tests, takes
//! the SIMD [`Level`] to run at (instructions, and the precision of products) and its working memory
//! ([`Scratch`]), splits its work over the current rayon pool, and gives the same bits for any number
//! of threads. A wrong length is a bug of the caller and panics with the name of the argument.
#![allow(clippy::inline_always, reason = "vector code must be inlined into its level's entry")]

pub mod attention;
pub mod batch_norm;
pub mod conv;
pub mod cross_entropy;
pub mod ffn;
pub mod gemm;
pub mod int8;
pub mod layer_norm;
mod level;
pub mod linear;
mod mat;
pub mod max_pool;
mod memory;
pub mod optimizer;
mod profile;
mod scratch;
mod simd;
mod split;
pub mod squeeze_excite;
#[cfg(test)]
mod testing;
pub mod upsample;

pub use level::{Level, Precision, Vectors};
pub use mat::{Mat, MatMut};
pub use memory::keep_freed;
pub use profile::profile;
pub use scratch::Scratch;
