//! Classification: top-1, top-5, mean per-class accuracy, confusion and quadratic kappa.

use crate::{Error, Metric, rows};
use serde::{Deserialize, Serialize};

/// Most classes for which the confusion matrix is kept; more would need over 128 MiB.
const MOST_CONFUSION_CLASSES: usize = 4096;

/// Result of [`classification`]; rates are fractions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classification {
    /// Images judged.
    pub images: usize,
    /// Share of images whose highest logit is the label's.
    pub top1: f64,
    /// Share of images whose label is among the five highest logits; 1 with five classes or fewer.
    pub top5: f64,
    /// Mean over the classes that occur of the class's top-1.
    pub mean_per_class: f64,
    /// Cohen's kappa with weights `(i - j)²`; none where chance agreement is certain, that is when
    /// every label and every prediction are one class.
    pub quadratic_kappa: Option<f64>,
    /// `confusion[label][prediction]` in images; none above 4,096 classes.
    pub confusion: Option<Vec<Vec<u64>>>,
}

impl Classification {
    /// The scalar metrics by name.
    pub fn metrics(&self) -> Vec<Metric> {
        let kappa = self.quadratic_kappa.map(|value| Metric::new("quadratic_kappa", value));
        let mut metrics = vec![
            Metric::new("top1", self.top1),
            Metric::new("top5", self.top5),
            Metric::new("mean_per_class", self.mean_per_class),
        ];
        metrics.extend(kappa);
        metrics
    }
}

/// Judges `logits`, `[n, classes]`, by `labels`, `[n]`. Of equal logits the lowest class comes first.
///
/// # Errors
/// No images, lengths that do not fit, a NaN logit (infinities are allowed), a label that is no
/// class.
pub fn classification(
    logits: &[f32],
    classes: usize,
    labels: &[u32],
) -> Result<Classification, Error> {
    check(logits, classes, labels)?;
    let ranks = logits.chunks_exact(classes).zip(labels).map(|(row, &label)| rank(row, label));
    let top5 = ranks.filter(|&rank| rank < 5).count();
    let predictions: Vec<usize> = logits.chunks_exact(classes).map(highest).collect();
    let mut per_label = vec![0_u64; classes];
    let mut correct = vec![0_u64; classes];
    for (&prediction, &label) in predictions.iter().zip(labels) {
        per_label[label as usize] += 1;
        correct[label as usize] += u64::from(prediction == label as usize);
    }
    let occurring = per_label.iter().zip(&correct).filter(|(all, _)| **all > 0);
    let recalls: Vec<f64> = occurring.map(|(&all, &right)| right as f64 / all as f64).collect();
    let images = labels.len();
    Ok(Classification {
        images,
        top1: correct.iter().sum::<u64>() as f64 / images as f64,
        top5: top5 as f64 / images as f64,
        mean_per_class: recalls.iter().sum::<f64>() / recalls.len() as f64,
        quadratic_kappa: quadratic_kappa(&predictions, labels),
        confusion: (classes <= MOST_CONFUSION_CLASSES)
            .then(|| confusion(&predictions, labels, classes)),
    })
}

fn check(logits: &[f32], classes: usize, labels: &[u32]) -> Result<(), Error> {
    if classes == 0 {
        return Err(Error::value("classes", 0, "must be at least 1"));
    }
    if labels.is_empty() {
        return Err(Error::value("labels", "[]", "must hold at least one image"));
    }
    rows::same_length("logits", labels.len().saturating_mul(classes), logits.len())?;
    if let Some(index) = logits.iter().position(|logit| logit.is_nan()) {
        let (row, got) = (index / classes, logits[index].into());
        return Err(Error::Number { what: "logits", row, got, allowed: "a number" });
    }
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(row) => Err(Error::Label { row, label: labels[row], classes }),
        None => Ok(()),
    }
}

/// First class with the highest logit.
fn highest(row: &[f32]) -> usize {
    let better = |best, class| if row[class] > row[best] { class } else { best };
    (1..row.len()).fold(0, better)
}

/// Classes that come before `label`.
fn rank(row: &[f32], label: u32) -> usize {
    let label = label as usize;
    let before = |(class, logit): &(usize, &f32)| {
        **logit > row[label] || (**logit >= row[label] && *class < label)
    };
    row.iter().enumerate().filter(before).count()
}

fn confusion(predictions: &[usize], labels: &[u32], classes: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; classes]; classes];
    for (&prediction, &label) in predictions.iter().zip(labels) {
        counts[label as usize][prediction] += 1;
    }
    counts
}

/// `1 - observed / expected`, where observed is the sum of squared differences and expected that of
/// independent draws from both marginals, `Σ l² + Σ p² - 2 Σ l Σ p / n`.
fn quadratic_kappa(predictions: &[usize], labels: &[u32]) -> Option<f64> {
    let pairs = || predictions.iter().map(|&p| p as f64).zip(labels.iter().map(|&l| f64::from(l)));
    let images = labels.len() as f64;
    let observed: f64 = pairs().map(|(p, l)| (p - l) * (p - l)).sum();
    let squares: f64 = pairs().map(|(p, l)| p * p + l * l).sum();
    let (sum_p, sum_l) = pairs().fold((0.0, 0.0), |(a, b), (p, l)| (a + p, b + l));
    let expected = squares - 2.0 * sum_p * sum_l / images;
    let first = labels[0];
    let constant = labels.iter().all(|&label| label == first)
        && predictions.iter().all(|&prediction| prediction == first as usize);
    (!constant).then(|| 1.0 - observed / expected)
}

#[cfg(test)]
mod tests;
