//! Detection: average precision of boxes as COCO judges them (arXiv 1405.0312; pycocotools' `COCOeval`).
//!
//! At a threshold of intersection over union, the boxes found in an image go by falling score: each takes the true
//! box of its class that it overlaps most, of those that no better one took. Precision at each of 101 recalls is the
//! best that is reached there or beyond; its mean over recalls, the ten thresholds 0.50, 0.55, …, 0.95 and the
//! classes is AP. Where a true box is a region that does not count (`crowd`), what lies in it does not count
//! either.

use crate::{Error, Metric};
use serde::{Deserialize, Serialize};
use ufo_data::{Annotation, Detection};

/// Thresholds of intersection over union, from 0.5 to 0.95.
const THRESHOLDS: usize = 10;
/// Recalls at which precision is read.
const RECALLS: usize = 101;
/// Names and bounds, in square pixels, of the ranges of areas.
const AREAS: [(&str, [f64; 2]); 4] = [
    ("all", [0.0, 1e10]),
    ("small", [0.0, 1024.0]),
    ("medium", [1024.0, 9216.0]),
    ("large", [9216.0, 1e10]),
];

/// Boxes of a split, matched with the true ones.
#[derive(Debug, Clone, PartialEq)]
pub struct BoxMatches {
    classes: Vec<ClassMatches>,
    most: usize,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct ClassMatches {
    /// True boxes that count, by range of area.
    truth: [u64; AREAS.len()],
    found: Vec<Match>,
}

/// A box found: a bit a threshold, for each range of area.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Match {
    score: f32,
    matched: [u16; AREAS.len()],
    ignored: [u16; AREAS.len()],
}

impl BoxMatches {
    /// No images yet, of so many classes; of each image and class the best `most` boxes count, 100 for COCO.
    pub fn new(classes: usize, most: usize) -> Self {
        Self { classes: vec![ClassMatches::default(); classes], most }
    }

    /// Matches the boxes found in an image with the true ones.
    ///
    /// # Errors
    /// A class that is none, a number that is not finite.
    pub fn add(&mut self, truth: &[Annotation], found: &[Detection]) -> Result<(), Error> {
        let classes = self.classes.len();
        let ids = truth.iter().map(|one| one.class).chain(found.iter().map(|one| one.class));
        if let Some((row, label)) = ids.enumerate().find(|(_, id)| *id as usize >= classes) {
            return Err(Error::Label { row, label, classes });
        }
        let mut numbers = found.iter().flat_map(|one| {
            let b = one.bounds;
            [one.score, b.left, b.top, b.right, b.bottom]
        });
        if let Some(value) = numbers.find(|value| !value.is_finite()) {
            return Err(Error::value("found", value, "must be finite"));
        }
        for (class, matches) in self.classes.iter_mut().enumerate() {
            let of_class = |id: u32| id as usize == class;
            let truth: Vec<&Annotation> = truth.iter().filter(|one| of_class(one.class)).collect();
            let mut found: Vec<&Detection> =
                found.iter().filter(|one| of_class(one.class)).collect();
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found.truncate(self.most);
            matches.add(&truth, &found);
        }
        Ok(())
    }
}

impl ClassMatches {
    fn add(&mut self, truth: &[&Annotation], found: &[&Detection]) {
        let overlaps: Vec<Vec<f64>> =
            found.iter().map(|one| truth.iter().map(|t| overlap(one, t)).collect()).collect();
        let from = self.found.len();
        let none = [0; AREAS.len()];
        self.found.extend(found.iter().map(|one| Match {
            score: one.score,
            matched: none,
            ignored: none,
        }));
        for (range, (_, [low, high])) in AREAS.iter().enumerate() {
            let outside = |area: f64| area < *low || area > *high;
            let ignored: Vec<bool> =
                truth.iter().map(|t| t.crowd || outside(t.area.into())).collect();
            self.truth[range] += ignored.iter().filter(|ignored| !**ignored).count() as u64;
            // Those that count come first.
            let mut order: Vec<usize> = (0..truth.len()).collect();
            order.sort_by_key(|&t| ignored[t]);
            for threshold in 0..THRESHOLDS {
                let bit = 1 << threshold;
                // To the bit as numpy's `linspace`.
                let least = 0.5 + threshold as f64 * ((0.95 - 0.5) / 9.0);
                let mut taken = vec![false; truth.len()];
                for (row, one) in found.iter().enumerate() {
                    let best = best(&overlaps[row], (truth, &order), (&ignored, &taken), least);
                    let found = &mut self.found[from + row];
                    let left_out = match best {
                        Some(best) => {
                            taken[best] = true;
                            found.matched[range] |= bit;
                            ignored[best]
                        }
                        None => outside(one.bounds.area()),
                    };
                    found.ignored[range] |= if left_out { bit } else { 0 };
                }
            }
        }
    }

    /// Precision at each recall and the largest recall, at a threshold; none without true boxes.
    fn curve(&self, range: usize, threshold: usize) -> Option<([f64; RECALLS], f64)> {
        let truth = self.truth[range];
        if truth == 0 {
            return None;
        }
        let is = |bits: [u16; AREAS.len()]| bits[range] >> threshold & 1 == 1;
        let (mut right, mut wrong) = (0_u64, 0_u64);
        let mut points: Vec<[f64; 2]> = Vec::new();
        for found in self.found.iter().filter(|found| !is(found.ignored)) {
            if is(found.matched) {
                right += 1;
            } else {
                wrong += 1;
            }
            points.push([right as f64 / truth as f64, right as f64 / (right + wrong) as f64]);
        }
        let most = points.last().map_or(0.0, |point| point[0]);
        let mut best = 0.0_f64;
        for [_, precision] in points.iter_mut().rev() {
            best = best.max(*precision);
            *precision = best;
        }
        let mut precisions = [0.0; RECALLS];
        let mut at = 0;
        for (step, precision) in precisions.iter_mut().enumerate() {
            let recall = step as f64 * 0.01;
            at += points[at..].iter().take_while(|[reached, _]| *reached < recall).count();
            *precision = points.get(at).map_or(0.0, |[_, precision]| *precision);
        }
        Some((precisions, most))
    }
}

/// Intersection over union; of a region that does not count, over the box found.
fn overlap(found: &Detection, truth: &Annotation) -> f64 {
    if !truth.crowd {
        return found.bounds.iou(&truth.bounds);
    }
    let area = found.bounds.area();
    if area > 0.0 { found.bounds.within(&truth.bounds).area() / area } else { 0.0 }
}

/// The true box that a found one takes: of those that count the one it overlaps most, by `least` at least, of equal ones the
/// last; else the same of those that do not.
fn best(
    overlaps: &[f64],
    (truth, order): (&[&Annotation], &[usize]),
    (ignored, taken): (&[bool], &[bool]),
    least: f64,
) -> Option<usize> {
    let (mut best, mut most) = (None, least.min(1.0 - 1e-10));
    for &t in order {
        if taken[t] && !truth[t].crowd {
            continue;
        }
        if best.is_some_and(|best: usize| !ignored[best]) && ignored[t] {
            break;
        }
        if overlaps[t] >= most {
            (best, most) = (Some(t), overlaps[t]);
        }
    }
    best
}

/// Result of [`detection`]; rates are fractions, none where there is no true box of the kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionResult {
    /// True boxes that count.
    pub boxes: u64,
    /// Mean over classes, thresholds and recalls.
    pub ap: f64,
    /// At a threshold of 0.5.
    pub ap50: f64,
    /// At a threshold of 0.75.
    pub ap75: f64,
    /// Of objects below 32², to 96² and above, in square pixels.
    pub ap_of_size: [Option<f64>; 3],
    /// Mean over classes and thresholds of the largest recall.
    pub recall: f64,
    /// AP of each class.
    pub ap_of_class: Vec<Option<f64>>,
}

impl DetectionResult {
    /// The scalar metrics by name.
    pub fn metrics(&self) -> Vec<Metric> {
        let mut metrics = vec![
            Metric::new("ap", self.ap),
            Metric::new("ap50", self.ap50),
            Metric::new("ap75", self.ap75),
        ];
        let sizes = AREAS[1..].iter().zip(self.ap_of_size);
        metrics.extend(
            sizes.filter_map(|((name, _), ap)| Some(Metric::new(format!("ap_{name}"), ap?))),
        );
        metrics.push(Metric::new("ar", self.recall));
        metrics
    }
}

/// Judges the boxes of a split.
///
/// # Errors
/// No true box that counts.
pub fn detection(matches: &BoxMatches) -> Result<DetectionResult, Error> {
    let mut classes = matches.classes.clone();
    for class in &mut classes {
        // Stable: of equal scores the earlier image first, as pycocotools.
        class.found.sort_by(|a, b| b.score.total_cmp(&a.score));
    }
    let boxes = classes.iter().map(|class| class.truth[0]).sum();
    if boxes == 0 {
        return Err(Error::value("boxes", 0, "must be at least one that counts"));
    }
    let precision = |class: &ClassMatches, range: usize, threshold: usize| -> Option<f64> {
        let (precisions, _) = class.curve(range, threshold)?;
        Some(precisions.iter().sum::<f64>() / RECALLS as f64)
    };
    let all = || 0..THRESHOLDS;
    let over = |range: usize, thresholds: std::ops::Range<usize>| {
        let each = |class| thresholds.clone().map(move |t| precision(class, range, t));
        mean(classes.iter().flat_map(each))
    };
    let recalls = classes.iter().flat_map(|class| all().map(|t| Some(class.curve(0, t)?.1)));
    let known = |value: Option<f64>| value.unwrap_or(0.0);
    Ok(DetectionResult {
        boxes,
        ap: known(over(0, all())),
        ap50: known(over(0, 0..1)),
        ap75: known(over(0, 5..6)),
        ap_of_size: [1, 2, 3].map(|range| over(range, all())),
        recall: known(mean(recalls)),
        ap_of_class: classes
            .iter()
            .map(|class| mean(all().map(|t| precision(class, 0, t))))
            .collect(),
    })
}

/// The mean of what there is.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ufo_data::Bounds;

    fn truth(bounds: [f32; 4]) -> Annotation {
        let bounds = Bounds::new(bounds);
        Annotation { bounds, class: 0, crowd: false, area: bounds.area() as f32 }
    }

    fn found(bounds: [f32; 4], score: f32) -> Detection {
        Detection { bounds: Bounds::new(bounds), class: 0, score }
    }

    #[test]
    fn two_boxes_by_hand() {
        let mut matches = BoxMatches::new(1, 100);
        let boxes = [truth([0.0, 0.0, 10.0, 10.0]), truth([20.0, 0.0, 30.0, 10.0])];
        // The best is wrong, the next overlaps by 0.8, the last by 6/14.
        let said = [
            found([0.0, 0.0, 10.0, 8.0], 0.8),
            found([50.0, 50.0, 60.0, 60.0], 0.9),
            found([24.0, 0.0, 34.0, 10.0], 0.7),
        ];
        matches.add(&boxes, &said).unwrap();
        let got = detection(&matches).unwrap();
        // Recall 0.5 at a precision of 1/2, for 51 of 101 recalls and the thresholds to 0.8.
        let at_threshold = 0.5 * 51.0 / 101.0;
        assert!(
            (got.ap50 - at_threshold).abs() < 1e-12 && (got.ap75 - got.ap50).abs() < 1e-12,
            "{got:?}"
        );
        assert!((got.ap - 0.7 * at_threshold).abs() < 1e-12);
        assert!((got.recall - 0.7 * 0.5).abs() < 1e-12);
        assert_eq!(got.ap_of_size[1..], [None, None]);
        assert_eq!(got.ap_of_class, [Some(got.ap)]);
        // A second box on an object that is taken is wrong.
        let mut twice = BoxMatches::new(1, 100);
        let said = [found([0.0, 0.0, 10.0, 10.0], 0.9), found([0.0, 0.0, 10.0, 10.0], 0.8)];
        twice.add(&boxes[..1], &said).unwrap();
        assert!((detection(&twice).unwrap().ap - 1.0).abs() < 1e-12);
        twice.add(&boxes[1..], &[found([20.0, 0.0, 30.0, 10.0], 0.1)]).unwrap();
        let got = detection(&twice).unwrap();
        assert!((got.ap - (51.0 + 50.0 * 2.0 / 3.0) / 101.0).abs() < 1e-12, "{got:?}");
    }

    #[test]
    fn regions_that_do_not_count_leave_out_what_is_in_them() {
        let mut matches = BoxMatches::new(1, 100);
        let region = Annotation { crowd: true, ..truth([40.0, 0.0, 80.0, 40.0]) };
        let said = [
            found([45.0, 5.0, 55.0, 15.0], 0.9),
            found([60.0, 5.0, 70.0, 15.0], 0.8),
            found([0.0, 0.0, 10.0, 10.0], 0.7),
        ];
        matches.add(&[region, truth([0.0, 0.0, 10.0, 10.0])], &said).unwrap();
        assert!((detection(&matches).unwrap().ap - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        let mut matches = BoxMatches::new(1, 100);
        let message = |result: Result<(), Error>| result.unwrap_err().to_string();
        let other = Detection { class: 1, ..found([0.0; 4], 0.5) };
        assert!(message(matches.add(&[], &[other])).contains('1'));
        let not = found([0.0, 0.0, f32::NAN, 1.0], 0.5);
        assert!(message(matches.add(&[], &[not])).contains("found = NaN: must be finite"));
        matches.add(&[], &[found([0.0, 0.0, 1.0, 1.0], 0.5)]).unwrap();
        assert!(detection(&matches).unwrap_err().to_string().contains("at least one"));
    }
}
