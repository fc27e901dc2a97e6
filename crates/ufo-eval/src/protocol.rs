//! How a task is judged: the evaluation part of its configuration.

use crate::{Distance, Error, retrieval::check_ks};
use serde::{Deserialize, Serialize};

/// A named value; rates are fractions from 0 to 1, higher is better unless the name is an error rate
/// or a threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Name, such as `top1` or `recall@1`.
    pub name: String,
    /// Value.
    pub value: f64,
}

impl Metric {
    pub(crate) fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value }
    }
}

/// The headline of a classification task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassificationMetric {
    /// Share of images whose highest logit is right.
    #[default]
    Top1,
    /// Mean of the classes' own accuracies, customary for Flowers, Pets, Aircraft and Caltech.
    MeanPerClass,
    /// Kappa with quadratic weights, for ordered classes.
    QuadraticKappa,
}

/// How a task is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Protocol {
    /// [`crate::classification`] of the logits.
    Classification {
        /// Headline, `top1` by default.
        #[serde(default)]
        metric: ClassificationMetric,
    },
    /// [`crate::retrieval`] or [`crate::retrieval_within`] of the features.
    Retrieval {
        /// The K of Recall@K, the first is the headline; 1, 10, 100, 1000 by default.
        #[serde(default = "default_ks")]
        ks: Vec<usize>,
    },
    /// [`crate::reid`] of the features.
    #[serde(rename = "reid")]
    ReId {
        /// `cosine` by default.
        #[serde(default)]
        distance: Distance,
        /// Longest rank of the CMC, 50 by default.
        #[serde(default = "default_most_rank")]
        most_rank: usize,
    },
    /// [`crate::verification`] of the features' pairs.
    Verification {
        /// False-accept rates at which the true-accept rate is reported, above 0 and at most 1; none
        /// by default.
        #[serde(default)]
        fars: Vec<f64>,
    },
    /// [`crate::segmentation`] of the classes of pixels.
    Segmentation {
        /// Part of their side that neighboring windows share where an image is larger than the network's
        /// input, 0 to 0.95; 0.5 by default.
        #[serde(default = "default_overlap")]
        overlap: f32,
    },
    /// [`crate::detection`] of boxes.
    Detection {
        /// Part of their side that neighboring windows share where an image is larger than the network's
        /// input, 0 to 0.95; 0.5 by default.
        #[serde(default = "default_overlap")]
        overlap: f32,
        /// Intersection over union above which the better of two boxes of a class stays, 0 to 1; 0.6 by
        /// default.
        #[serde(default = "default_nms")]
        nms: f32,
        /// Most boxes of an image, at least 1; 100 by default, as COCO.
        #[serde(default = "default_most")]
        most: usize,
    },
}

impl Protocol {
    /// Name of the metric that stands for the task.
    pub fn headline(&self) -> String {
        match self {
            Self::Classification { metric: ClassificationMetric::Top1 } => "top1".to_owned(),
            Self::Classification { metric: ClassificationMetric::MeanPerClass } => {
                "mean_per_class".to_owned()
            }
            Self::Classification { metric: ClassificationMetric::QuadraticKappa } => {
                "quadratic_kappa".to_owned()
            }
            Self::Retrieval { ks } => format!("recall@{}", ks.first().unwrap_or(&1)),
            Self::ReId { .. } => "rank1".to_owned(),
            Self::Verification { .. } => "accuracy".to_owned(),
            Self::Segmentation { .. } => "miou".to_owned(),
            Self::Detection { .. } => "ap".to_owned(),
        }
    }

    /// Whether the protocol judges features rather than logits.
    pub fn judges_features(&self) -> bool {
        matches!(self, Self::Retrieval { .. } | Self::ReId { .. } | Self::Verification { .. })
    }

    /// Checks every field; the error names the key, its value and what is allowed.
    pub fn validate(&self) -> Result<(), Error> {
        match self {
            Self::Retrieval { ks } => check_ks(ks),
            Self::ReId { most_rank: 0, .. } => {
                Err(Error::value("most_rank", 0, "must be at least 1"))
            }
            Self::Segmentation { overlap } | Self::Detection { overlap, .. }
                if !(0.0..=0.95).contains(overlap) =>
            {
                Err(Error::value("overlap", overlap, "must be 0 to 0.95"))
            }
            Self::Detection { nms, .. } if !(0.0..=1.0).contains(nms) => {
                Err(Error::value("nms", nms, "must be 0 to 1"))
            }
            Self::Detection { most: 0, .. } => Err(Error::value("most", 0, "must be at least 1")),
            Self::Classification { .. }
            | Self::ReId { .. }
            | Self::Segmentation { .. }
            | Self::Detection { .. } => Ok(()),
            Self::Verification { fars } => {
                match fars.iter().find(|far| !(**far > 0.0 && **far <= 1.0)) {
                    Some(far) => Err(Error::value("fars", far, "must be above 0 and at most 1")),
                    None => Ok(()),
                }
            }
        }
    }
}

fn default_ks() -> Vec<usize> {
    vec![1, 10, 100, 1000]
}

fn default_overlap() -> f32 {
    0.5
}

fn default_nms() -> f32 {
    0.6
}

fn default_most() -> usize {
    100
}

fn default_most_rank() -> usize {
    50
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Protocol {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn defaults_and_headlines() {
        let cases = [
            (r#"{"kind":"classification"}"#, "top1", false),
            (r#"{"kind":"classification","metric":"mean-per-class"}"#, "mean_per_class", false),
            (r#"{"kind":"classification","metric":"quadratic-kappa"}"#, "quadratic_kappa", false),
            (r#"{"kind":"retrieval"}"#, "recall@1", true),
            (r#"{"kind":"retrieval","ks":[10,20]}"#, "recall@10", true),
            (r#"{"kind":"reid"}"#, "rank1", true),
            (r#"{"kind":"verification"}"#, "accuracy", true),
            (r#"{"kind":"segmentation"}"#, "miou", false),
            (r#"{"kind":"detection"}"#, "ap", false),
        ];
        for (json, headline, features) in cases {
            let protocol = read(json);
            protocol.validate().unwrap();
            assert_eq!(protocol.headline(), headline);
            assert_eq!(protocol.judges_features(), features);
            assert_eq!(read(&serde_json::to_string(&protocol).unwrap()), protocol);
        }
        let expected = Protocol::ReId { distance: Distance::Cosine, most_rank: 50 };
        assert_eq!(read(r#"{"kind":"reid"}"#), expected);
    }

    #[test]
    fn errors_name_key_value_and_what_is_allowed() {
        let message = |json: &str| read(json).validate().unwrap_err().to_string();
        let ks = message(r#"{"kind":"retrieval","ks":[1,0]}"#);
        assert_eq!(ks, "ks = [1, 0]: must hold at least one K, each at least 1");
        let rank = message(r#"{"kind":"reid","most_rank":0}"#);
        assert_eq!(rank, "most_rank = 0: must be at least 1");
        let fars = message(r#"{"kind":"verification","fars":[0.1,0.0]}"#);
        assert_eq!(fars, "fars = 0: must be above 0 and at most 1");
        let overlap = message(r#"{"kind":"segmentation","overlap":1.0}"#);
        assert_eq!(overlap, "overlap = 1: must be 0 to 0.95");
        let overlap = message(r#"{"kind":"detection","overlap":1.0}"#);
        assert_eq!(overlap, "overlap = 1: must be 0 to 0.95");
        let nms = message(r#"{"kind":"detection","nms":1.5}"#);
        assert_eq!(nms, "nms = 1.5: must be 0 to 1");
        let most = message(r#"{"kind":"detection","most":0}"#);
        assert_eq!(most, "most = 0: must be at least 1");
        let unknown = serde_json::from_str::<Protocol>(r#"{"kind":"reid","rank":3}"#);
        assert!(unknown.unwrap_err().to_string().contains("unknown field `rank`"));
    }
}
