//! How many of the labels training sees: a stratified subset.

use std::{fmt, str::FromStr};

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{Dataset, HoldOut};
use crate::{Error, Purpose, stream};

/// A part of a training split, written `10%` or `5-per-class`.
///
/// Of classes a share takes the same part of each one's images; of identities it takes whole ones. Drawn
/// with the same seed, a smaller part lies inside of a larger one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Labels {
    /// Percent of the images, above 0 to 100.
    Percent(f64),
    /// Images of each class, at least 1.
    PerClass(usize),
}

const ALLOWED: &str = "a percentage above 0 to 100 such as 10%, or N-per-class";

impl FromStr for Labels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = match (text.strip_suffix('%'), text.strip_suffix("-per-class")) {
            (Some(percent), _) => percent.trim().parse().ok().map(Self::Percent),
            (_, Some(count)) => count.parse().ok().map(Self::PerClass),
            _ => None,
        };
        match parsed {
            Some(Self::Percent(percent)) if percent > 0.0 && percent <= 100.0 => {
                Ok(Self::Percent(percent))
            }
            Some(Self::PerClass(count)) if count > 0 => Ok(Self::PerClass(count)),
            _ => Err(Error::config("data.labels", format!("'{text}'"), ALLOWED)),
        }
    }
}

impl TryFrom<String> for Labels {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Labels> for String {
    fn from(labels: Labels) -> Self {
        labels.to_string()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::PerClass(count) => write!(f, "{count}-per-class"),
        }
    }
}

impl Labels {
    /// The positions, ascending, of the images of `dataset` that are kept, drawn with `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] when a class would keep none of its images, or has too few of them; when fewer
    /// than two identities would stay.
    pub(super) fn kept(
        self,
        dataset: &Dataset,
        hold_out: HoldOut,
        seed: u64,
    ) -> Result<Vec<usize>, Error> {
        let whole = dataset.masks.is_some() || dataset.boxes.is_some();
        if whole && matches!(self, Self::PerClass(_)) {
            let allowed = "a percentage: an image with a mask or boxes is of no one class";
            return Err(Error::config("data.labels", self, allowed));
        }
        let mut of_class = vec![Vec::new(); dataset.classes().len()];
        for (position, &label) in dataset.labels().iter().enumerate() {
            of_class[label as usize].push(position);
        }
        let mut kept = Vec::new();
        if let (Self::Percent(percent), HoldOut::Classes) = (self, hold_out) {
            kept = self.whole_classes(percent, of_class, seed)?;
        } else {
            // Images with masks or boxes are all of the first class here.
            let classes = of_class.into_iter().enumerate();
            for (class, mut positions) in classes.filter(|(_, all)| !(whole && all.is_empty())) {
                let count = self.count(positions.len(), &dataset.classes()[class])?;
                positions.shuffle(&mut stream(seed, Purpose::Subset, &[2, class as u64]));
                kept.extend_from_slice(&positions[..count]);
            }
        }
        kept.sort_unstable();
        Ok(kept)
    }

    /// How many of the `images` of a class are kept.
    fn count(self, images: usize, class: &str) -> Result<usize, Error> {
        if images == 0 {
            let allowed =
                format!("images of every class, but class '{class}' has none to learn from");
            return Err(Error::config("data.labels", self, &allowed));
        }
        let (count, least) = match self {
            Self::Percent(percent) => ((images as f64 * percent / 100.0).round() as usize, 1),
            Self::PerClass(count) => (count, count),
        };
        if count >= least && count <= images {
            return Ok(count);
        }
        let allowed = match self {
            Self::Percent(_) => format!(
                "at least {}%, since class '{class}' has {images} images and would keep none",
                (50.0 / images as f64 * 100.0).ceil() / 100.0
            ),
            Self::PerClass(_) => format!("up to {images}, the images of class '{class}'"),
        };
        Err(Error::config("data.labels", self, &allowed))
    }

    /// All images of a share of the classes.
    fn whole_classes(
        self,
        percent: f64,
        mut of_class: Vec<Vec<usize>>,
        seed: u64,
    ) -> Result<Vec<usize>, Error> {
        of_class.retain(|positions| !positions.is_empty());
        let count = (of_class.len() as f64 * percent / 100.0).round() as usize;
        if count < of_class.len().min(2) {
            let identities = of_class.len();
            let allowed = format!("a share that keeps two of the {identities} identities or more");
            return Err(Error::config("data.labels", self, &allowed));
        }
        of_class.shuffle(&mut stream(seed, Purpose::Subset, &[2]));
        of_class.truncate(count);
        Ok(of_class.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;
    use std::path::Path;

    fn labels(text: &str) -> Labels {
        text.parse().unwrap()
    }

    /// 20 images of class 0, 40 of class 1.
    fn two_classes() -> (tempfile::TempDir, Dataset) {
        let folder = tempfile::TempDir::new().unwrap();
        let put = |name: &str, head: &[u8], values: Vec<u8>| {
            std::fs::write(folder.path().join(name), [head, &values].concat()).unwrap();
        };
        let images = [0, 0, 8, 3, 0, 0, 0, 60, 0, 0, 0, 1, 0, 0, 0, 1];
        put("images.idx", &images, (0..60).collect());
        let labels = (0..60).map(|image| u8::from(image % 3 > 0)).collect();
        put("labels.idx", &[0, 0, 8, 1, 0, 0, 0, 60], labels);
        let dataset = Dataset::open(Format::Idx, folder.path()).unwrap();
        (folder, dataset)
    }

    #[test]
    fn parts_are_read_and_written_as_people_write_them() {
        for text in ["10%", "0.5%", "100%", "5-per-class"] {
            assert_eq!(labels(text).to_string(), text);
            let json = serde_json::to_string(&labels(text)).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), labels(text));
        }
        for text in ["10", "0%", "101%", "-1%", "nan%", "0-per-class", "per-class", "%", ""] {
            let error = text.parse::<Labels>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{text}'")) && error.contains("10%"), "{error}");
        }
    }

    #[test]
    fn each_class_keeps_its_share_and_smaller_parts_lie_inside_of_larger_ones() {
        let (_folder, dataset) = two_classes();
        let kept = |text: &str, seed| labels(text).kept(&dataset, HoldOut::Images, seed).unwrap();
        let counts = |positions: &[usize]| {
            let ones = positions.iter().filter(|&&at| dataset.label(at) == 1).count();
            [positions.len() - ones, ones]
        };
        for (text, expected) in
            [("10%", [2, 4]), ("50%", [10, 20]), ("7-per-class", [7, 7]), ("100%", [20, 40])]
        {
            let positions = kept(text, 1);
            assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
            assert_eq!(counts(&positions), expected, "{text}");
            assert_eq!(positions, kept(text, 1));
        }
        assert!(kept("10%", 1).iter().all(|at| kept("50%", 1).contains(at)));
        assert_ne!(kept("10%", 1), kept("10%", 2));
    }

    #[test]
    fn a_class_without_images_or_with_too_few_is_named() {
        let (_folder, dataset) = two_classes();
        let error =
            |text: &str| labels(text).kept(&dataset, HoldOut::Images, 1).unwrap_err().to_string();
        assert_eq!(
            error("2%"),
            "data.labels is 2%; allowed: at least 2.5%, since class '0' has 20 images and would keep none"
        );
        assert_eq!(
            error("21-per-class"),
            "data.labels is 21-per-class; allowed: up to 20, the images of class '0'"
        );
        let ones: Vec<usize> = (0..60).filter(|&at| dataset.label(at) == 1).collect();
        let kept = labels("50%").kept(&dataset.select(&ones), HoldOut::Images, 1);
        let message = kept.unwrap_err().to_string();
        assert!(message.ends_with("but class '0' has none to learn from"), "{message}");
    }

    #[test]
    fn a_share_of_identities_keeps_all_images_of_some() {
        let emoji = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/emoji/train");
        let emoji = Dataset::open(Format::Idx, &emoji).unwrap();
        let identities = emoji.classes().len();
        let kept = labels("10%").kept(&emoji, HoldOut::Classes, 1).unwrap();
        assert_eq!(kept.len(), 2 * (identities as f64 / 10.0).round() as usize);
        let kept = emoji.select(&kept).with_used_classes();
        assert_eq!(2 * kept.classes().len(), kept.len());
        let error = labels("0.05%").kept(&emoji, HoldOut::Classes, 1).unwrap_err().to_string();
        assert!(error.contains("two of the"), "{error}");
    }
}
