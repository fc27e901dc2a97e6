//! A split's outputs judged by the protocol of its task.

use crate::{
    Error, Labeled, Metric, Protocol, Sightings, classification, draw_pairs, pair_distances, reid,
    retrieval_within, val_at_far, verification,
};

/// What a network said of every image of a split, and what is true of them.
#[derive(Debug, Clone, Copy)]
pub struct Outputs<'a> {
    /// Logits or features, `[n, dim]`.
    pub rows: &'a [f32],
    /// Width of a row.
    pub dim: usize,
    /// Classes or identities, `[n]`.
    pub labels: &'a [u32],
    /// Cameras, `[n]`; without them every image counts as seen by its own.
    pub cameras: Option<&'a [u32]>,
}

/// The metrics of a split.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgment {
    /// Every metric, the headline among them.
    pub metrics: Vec<Metric>,
    /// Counts by true (rows) and predicted class, for classification of at most 4096 classes.
    pub confusion: Option<Vec<Vec<u64>>>,
}

/// Matched and mismatched pairs of a verification, 300 of each a fold as in LFW's view 2.
const PAIRS: usize = 3000;

impl Protocol {
    /// Judges a split; every image is query and gallery where a protocol has both, and the pairs of a
    /// verification are drawn, the same for the same labels.
    ///
    /// # Errors
    /// Outputs that are not finite, lengths that do not fit, a split that the protocol cannot judge; the
    /// protocols of segmentation and detection, which judge masks and boxes (see [`crate::segmentation()`],
    /// [`crate::detection()`]).
    pub fn judge(&self, outputs: &Outputs<'_>) -> Result<Judgment, Error> {
        let Outputs { rows, dim, labels, cameras } = *outputs;
        let metrics = match self {
            Self::Classification { .. } => {
                let result = classification(rows, dim, labels)?;
                let metrics = result.metrics();
                return Ok(Judgment { metrics, confusion: result.confusion });
            }
            Self::Retrieval { ks } => {
                retrieval_within(&Labeled { features: rows, labels }, dim, ks)?.metrics()
            }
            Self::ReId { distance, most_rank } => {
                let own: Vec<u32> = (0..labels.len() as u32).collect();
                let cameras = cameras.unwrap_or(&own);
                let all = Sightings { features: rows, ids: labels, cameras };
                reid(&all, &all, dim, *distance, *most_rank)?.metrics()
            }
            Self::Verification { fars } => verify(outputs, fars)?,
            Self::Segmentation { .. } => {
                let rule = "masks are judged by `segmentation`, not rows of outputs";
                return Err(Error::value("eval.kind", "segmentation", rule));
            }
            Self::Detection { .. } => {
                let rule = "boxes are judged by `detection`, not rows of outputs";
                return Err(Error::value("eval.kind", "detection", rule));
            }
        };
        Ok(Judgment { metrics, confusion: None })
    }
}

fn verify(outputs: &Outputs<'_>, fars: &[f64]) -> Result<Vec<Metric>, Error> {
    let pairs = draw_pairs(outputs.labels, PAIRS)?;
    let row = |index: &usize| &outputs.rows[index * outputs.dim..(index + 1) * outputs.dim];
    let features: Vec<f32> = pairs.iter().flatten().flat_map(row).copied().collect();
    let same: Vec<bool> =
        pairs.iter().map(|[a, b]| outputs.labels[*a] == outputs.labels[*b]).collect();
    let distances = pair_distances(&features, outputs.dim)?;
    let mut metrics = verification(&distances, &same)?.metrics();
    for &far in fars {
        let at = val_at_far(&distances, &same, far)?;
        metrics.push(Metric { name: format!("val@far{far}"), value: at.val });
    }
    Ok(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six identities on the axes of a six-dimensional space, twice each, seen by two cameras.
    #[test]
    fn perfect_features_are_perfect_by_every_protocol() {
        let labels: Vec<u32> = (0..12).map(|image| image / 2).collect();
        let rows: Vec<f32> = labels
            .iter()
            .flat_map(|&label| (0..6).map(move |axis| f32::from(u8::from(axis == label))))
            .collect();
        let cameras: Vec<u32> = (0..12).map(|image| image % 2).collect();
        let outputs = Outputs { rows: &rows, dim: 6, labels: &labels, cameras: Some(&cameras) };
        for json in [
            r#"{"kind":"classification"}"#,
            r#"{"kind":"retrieval"}"#,
            r#"{"kind":"reid"}"#,
            r#"{"kind":"verification","fars":[0.1]}"#,
        ] {
            let protocol: Protocol = serde_json::from_str(json).unwrap();
            let judgment = protocol.judge(&outputs).unwrap();
            let headline = protocol.headline();
            let metric = judgment.metrics.iter().find(|metric| metric.name == headline).unwrap();
            assert!((metric.value - 1.0).abs() < 1e-9, "{json}: {metric:?}");
            assert_eq!(judgment.confusion.is_some(), !protocol.judges_features());
        }
    }

    #[test]
    fn a_split_without_a_match_is_refused() {
        let outputs = Outputs { rows: &[1.0, 2.0], dim: 1, labels: &[0, 1], cameras: None };
        let protocol = Protocol::Verification { fars: Vec::new() };
        let message = protocol.judge(&outputs).unwrap_err().to_string();
        assert!(message.contains("two images"), "{message}");
    }
}
