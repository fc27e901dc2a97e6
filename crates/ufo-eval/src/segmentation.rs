//! Segmentation: intersection over union by pixels of a whole split, pixels of id 255 left out.
//!
//! With TP, FP and FN the pixels of a class that are rightly, wrongly and not predicted:
//! ```text
//! IoU = TP / (TP + FP + FN)    Dice = 2 TP / (2 TP + FP + FN)    accuracy = TP / (TP + FN)
//! ```

use crate::{Error, Metric};
use serde::{Deserialize, Serialize};
use ufo_data::IGNORE;

/// Pixels of a split by true and predicted class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PixelCounts {
    /// `counts[truth][prediction]`.
    counts: Vec<Vec<u64>>,
}

impl PixelCounts {
    /// No pixels, of so many classes.
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![vec![0; classes]; classes] }
    }

    /// Counts the pixels of an image; where the truth is 255 they do not count.
    ///
    /// # Errors
    /// Masks of different lengths, an id that is no class.
    pub fn add(&mut self, truth: &[u8], predicted: &[u8]) -> Result<(), Error> {
        let classes = self.counts.len();
        if truth.len() != predicted.len() {
            let (expected, got) = (truth.len(), predicted.len());
            return Err(Error::Length { what: "predicted", expected, got });
        }
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            if truth == IGNORE {
                continue;
            }
            for (name, id) in [("truth", truth), ("predicted", predicted)] {
                if usize::from(id) >= classes {
                    return Err(Error::value(name, id, "must be below the number of classes"));
                }
            }
            self.counts[usize::from(truth)][usize::from(predicted)] += 1;
        }
        Ok(())
    }
}

/// Result of [`segmentation`]; rates are fractions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segmentation {
    /// Pixels judged.
    pub pixels: u64,
    /// Mean of `iou` over the classes that have one.
    pub mean_iou: f64,
    /// Mean Dice, or F1, of the same classes.
    pub mean_dice: f64,
    /// Mean over the classes that are true somewhere of their accuracy.
    pub mean_accuracy: f64,
    /// Share of pixels that are right.
    pub pixel_accuracy: f64,
    /// Intersection over union of each class; none where it is neither true nor predicted.
    pub iou: Vec<Option<f64>>,
    /// `confusion[truth][prediction]` in pixels.
    pub confusion: Vec<Vec<u64>>,
}

impl Segmentation {
    /// The scalar metrics by name.
    pub fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new("miou", self.mean_iou),
            Metric::new("mean_dice", self.mean_dice),
            Metric::new("mean_accuracy", self.mean_accuracy),
            Metric::new("pixel_accuracy", self.pixel_accuracy),
        ]
    }
}

/// Judges the pixels of a split.
///
/// # Errors
/// No pixel that counts.
pub fn segmentation(pixels: &PixelCounts) -> Result<Segmentation, Error> {
    let confusion = &pixels.counts;
    let total: u64 = confusion.iter().flatten().sum();
    if total == 0 {
        return Err(Error::value("pixels", 0, "must be at least one that counts"));
    }
    let right = |class: usize| confusion[class][class];
    let of_truth = |class: usize| confusion[class].iter().sum::<u64>();
    let predicted = |class: usize| confusion.iter().map(|row| row[class]).sum::<u64>();
    let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let classes = || 0..confusion.len();
    let union = |class: usize| of_truth(class) + predicted(class) - right(class);
    let iou: Vec<Option<f64>> = classes().map(|c| ratio(right(c), union(c))).collect();
    let dice = classes().map(|c| ratio(2 * right(c), of_truth(c) + predicted(c)));
    let accuracy = classes().map(|c| ratio(right(c), of_truth(c)));
    Ok(Segmentation {
        pixels: total,
        mean_iou: mean(iou.iter().copied()),
        mean_dice: mean(dice),
        mean_accuracy: mean(accuracy),
        pixel_accuracy: classes().map(right).sum::<u64>() as f64 / total as f64,
        iou,
        confusion: confusion.clone(),
    })
}

/// The mean of what there is, of which there is something.
fn mean(values: impl Iterator<Item = Option<f64>>) -> f64 {
    let values: Vec<f64> = values.flatten().collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_masks_by_hand() {
        let mut pixels = PixelCounts::new(4);
        pixels.add(&[0, 0, 0, 1, 255, 1], &[0, 0, 1, 1, 3, 2]).unwrap();
        let got = segmentation(&pixels).unwrap();
        assert_eq!(got.pixels, 5);
        // Class 2 is predicted and never true; class 3 is predicted only where nothing counts.
        assert_eq!(got.iou, [Some(2.0 / 3.0), Some(1.0 / 3.0), Some(0.0), None]);
        assert!((got.mean_iou - 1.0 / 3.0).abs() < 1e-12);
        assert!((got.mean_dice - (0.8 + 0.5) / 3.0).abs() < 1e-12);
        assert!((got.mean_accuracy - 7.0 / 12.0).abs() < 1e-12);
        assert!((got.pixel_accuracy - 0.6).abs() < 1e-12);
    }

    #[test]
    fn wrong_masks_are_refused() {
        let mut pixels = PixelCounts::new(2);
        let message = |result: Result<(), Error>| result.unwrap_err().to_string();
        assert!(message(pixels.add(&[0, 1], &[0])).contains("expected 2 values, got 1"));
        assert!(message(pixels.add(&[2], &[0])).contains("truth = 2: must be below"));
        assert!(message(pixels.add(&[0], &[255])).contains("predicted = 255"));
        pixels.add(&[255], &[1]).unwrap();
        assert!(segmentation(&pixels).unwrap_err().to_string().contains("at least one"));
    }
}
