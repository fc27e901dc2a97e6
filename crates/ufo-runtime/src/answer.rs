//! What a row of outputs says: the likeliest classes, an embedding, the classes of pixels, or boxes.

use crate::DescribedTask;
use serde::Serialize;
use ufo_data::{Bounds, Detection, Finding};
use ufo_nas::HeadShape;

/// Intersection over union above which the better of two boxes of a class stays.
const NMS: f32 = 0.6;
/// Most boxes of an image.
const MOST: usize = 100;

/// What a task says of one image; in JSON `{"top": […], "logits": […]}`, `{"embedding": […]}`,
/// `{"shares": […], "mask": […]}` or `{"boxes": […]}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Of a classification.
    Classes {
        /// The likeliest classes, the best first; of equal ones the earlier.
        top: Vec<ClassProbability>,
        /// One output a class, before the softmax.
        logits: Vec<f32>,
    },
    /// Of an embedding.
    Embedding {
        /// The outputs.
        embedding: Vec<f32>,
    },
    /// Of a segmentation, at the size of the network's input.
    Mask {
        /// The classes that some pixel is of, the most frequent first.
        shares: Vec<ClassShare>,
        /// The class of each pixel, row by row, as its number among the task's classes.
        mask: Vec<u8>,
    },
    /// Of a detection, at the size of the network's input.
    Boxes {
        /// The boxes, the surest first.
        boxes: Vec<FoundBox>,
    },
}

/// A box, in pixels, x to the right and y down.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundBox {
    /// Its class.
    pub class: String,
    /// How sure it is, 0 to 1.
    pub score: f32,
    /// Its edges.
    #[serde(flatten)]
    pub bounds: Bounds,
}

impl FoundBox {
    /// The same on an image scaled across and down.
    #[must_use]
    pub fn scaled(self, [across, down]: [f32; 2]) -> Self {
        let Bounds { left, top, right, bottom } = self.bounds;
        let bounds = Bounds::new([left * across, top * down, right * across, bottom * down]);
        Self { bounds, ..self }
    }
}

/// A class and the share of pixels that are of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassShare {
    /// Its name.
    pub class: String,
    /// Above 0 to 1; over all classes the sum is 1.
    pub share: f32,
}

/// A class and how likely it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassProbability {
    /// Its name.
    pub class: String,
    /// 0 to 1; over all classes the sum is 1.
    pub probability: f32,
}

impl DescribedTask {
    /// Reads the outputs of one image of height and width `size`, with the `top` likeliest classes.
    ///
    /// # Shapes
    /// `outputs` is one row of [`Model::outputs`](crate::Model::outputs).
    pub fn answer(&self, outputs: &[f32], size: [usize; 2], top: usize) -> Answer {
        if let HeadShape::Embedding { .. } = self.head {
            return Answer::Embedding { embedding: outputs.to_vec() };
        }
        if let HeadShape::Segmentation { classes, .. } = self.head {
            let mask = classes_of_pixels(outputs, classes);
            return Answer::Mask { shares: self.shares(&mask), mask };
        }
        if let HeadShape::Detection { .. } = self.head {
            let boxes = ufo_data::found(outputs, &self.finding(0.0), size);
            return Answer::Boxes { boxes: self.named(&boxes) };
        }
        let probabilities = softmax(outputs);
        let mut order: Vec<usize> = (0..outputs.len()).collect();
        order.sort_by(|a, b| outputs[*b].total_cmp(&outputs[*a]));
        let best = order.into_iter().take(top).map(|class| ClassProbability {
            class: self.classes[class].clone(),
            probability: probabilities[class],
        });
        Answer::Classes { top: best.collect(), logits: outputs.to_vec() }
    }
}

impl DescribedTask {
    /// How boxes are found by windows that share the part `overlap` of their side, of a detection.
    pub fn finding(&self, overlap: f32) -> Finding {
        Finding { classes: self.classes.len(), overlap, nms: NMS, most: MOST }
    }

    /// Boxes with the names of their classes.
    pub fn named(&self, boxes: &[Detection]) -> Vec<FoundBox> {
        let named = |found: &Detection| FoundBox {
            class: self.classes[found.class as usize].clone(),
            score: found.score,
            bounds: found.bounds,
        };
        boxes.iter().map(named).collect()
    }

    /// The share of pixels of each class that occurs in a mask, the most frequent first; ids that are no
    /// classes do not count.
    pub fn shares(&self, mask: &[u8]) -> Vec<ClassShare> {
        let mut counts = vec![0_usize; self.classes.len()];
        for id in mask {
            if let Some(count) = counts.get_mut(usize::from(*id)) {
                *count += 1;
            }
        }
        let mut shares: Vec<ClassShare> = self
            .classes
            .iter()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
            .map(|(class, count)| ClassShare {
                class: class.clone(),
                share: count as f32 / mask.len() as f32,
            })
            .collect();
        shares.sort_by(|a, b| b.share.total_cmp(&a.share));
        shares
    }
}

/// The class of the largest logit of each pixel, of equal ones the first; `logits` is `[classes, pixels]`.
fn classes_of_pixels(logits: &[f32], classes: usize) -> Vec<u8> {
    let pixels = logits.len() / classes;
    let best = |pixel: usize| {
        let logit = |class: usize| logits[class * pixels + pixel];
        (1..classes).fold(0, |best, class| if logit(class) > logit(best) { class } else { best })
            as u8
    };
    (0..pixels).map(best).collect()
}

/// `exp(x) / sum(exp(x))`, with the largest logit subtracted first.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = exps.iter().sum();
    exps.into_iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ufo_nas::{Expert, Path, Preset, Slice};

    #[test]
    fn the_likeliest_classes_come_first_and_probabilities_are_of_all_classes() {
        let classes = ["a", "b", "c"].map(String::from).to_vec();
        let arch = Preset::Demo.arch();
        let (path, slice) = (Path::uniform(&arch, Expert::Task), Slice::full(&arch));
        let head = HeadShape::Linear { classes: 3 };
        let task = DescribedTask { name: "t".into(), task: None, slice, head, classes, path };
        // ln 2, ln 1, ln 5: of 8 parts.
        let logits = [2.0_f32.ln(), 0.0, 5.0_f32.ln()];
        let Answer::Classes { top, logits: kept } = task.answer(&logits, [8, 8], 2) else {
            panic!("it has classes");
        };
        let said: Vec<_> = top.iter().map(|best| best.class.as_str()).collect();
        assert_eq!(said, ["c", "a"]);
        assert!(
            (top[0].probability - 0.625).abs() < 1e-6 && (top[1].probability - 0.25).abs() < 1e-6
        );
        assert_eq!(kept, logits);
        // Large ones do not overflow.
        assert_eq!(softmax(&[1e4, 1e4]), [0.5, 0.5]);
        let head = HeadShape::Segmentation {
            channels: 1,
            doublings: 0,
            classes: 3,
            auxiliary: false,
            detail: false,
        };
        let masks = DescribedTask { head, ..task };
        // Four pixels, class by class.
        let logits = [0.0, 1.0, 5.0, 0.0, -1.0, 1.0, 6.0, 2.0, -2.0, 0.0, 7.0, 2.0];
        let Answer::Mask { shares, mask } = masks.answer(&logits, [2, 2], 1) else {
            panic!("it has a mask");
        };
        assert_eq!(mask, [0, 0, 2, 1]);
        let said: Vec<_> = shares.iter().map(|share| (share.class.as_str(), share.share)).collect();
        assert_eq!(said, [("a", 0.5), ("b", 0.25), ("c", 0.25)]);
        let head = HeadShape::Detection { channels: 1, convolutions: 1, doublings: 0, classes: 3 };
        let boxes = DescribedTask { head, ..masks };
        // One place in the middle of 4 x 4 pixels, and all sides a quarter of that away.
        let one = 0.25_f32.ln();
        let Answer::Boxes { boxes } =
            boxes.answer(&[-9.0, 9.0, -9.0, one, one, one, one, 9.0], [4, 4], 1)
        else {
            panic!("it has boxes");
        };
        let said: Vec<_> = boxes.iter().map(|found| (found.class.as_str(), found.bounds)).collect();
        assert_eq!(said, [("b", Bounds::new([1.0, 1.0, 3.0, 3.0]))]);
    }
}
