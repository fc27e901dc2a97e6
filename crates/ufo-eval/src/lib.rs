//! Evaluation protocols as pure functions on host slices, one protocol a file.
//!
//! Features and logits are row-major `[n, d]` slices of `f32`; every rate is a fraction from 0 to 1,
//! never a percentage. Wrong lengths and values that are not numbers are errors that name the
//! argument. Source: sections 4.1 to 4.7 of the project's specification of VIMER-UFO 2.0.

mod classification;
mod detection;
mod error;
mod judge;
mod logistic;
mod nearest;
mod pairs;
mod products;
mod protocol;
mod reid;
mod retrieval;
mod roc;
mod rows;
mod segmentation;
mod verification;

pub use classification::{Classification, classification};
pub use detection::{BoxMatches, DetectionResult, detection};
pub use error::Error;
pub use judge::{Judgment, Outputs};
pub use logistic::Logistic;
pub use nearest::nearest_labels;
pub use pairs::draw_pairs;
pub use protocol::{ClassificationMetric, Metric, Protocol};
pub use reid::{Distance, ReId, Sightings, reid};
pub use retrieval::{Labeled, Retrieval, retrieval, retrieval_within};
pub use roc::{OperatingPoint, Roc, roc};
pub use segmentation::{PixelCounts, Segmentation, segmentation};
pub use verification::{ValAtFar, Verification, pair_distances, val_at_far, verification};
