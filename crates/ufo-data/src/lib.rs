//! From an image file to a normalized batch on the host.

mod random;

pub use random::{Purpose, stream};
