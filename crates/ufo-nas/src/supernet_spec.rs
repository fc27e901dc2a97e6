//! The shape of a whole supernet: the largest path and a head for every task (spec 1.5, 3.1).

use crate::{Arch, Error, Preset};
use serde::{Deserialize, Serialize};

/// Shape of a task's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HeadShape {
    /// A linear classifier with bias.
    Linear {
        /// Number of classes.
        classes: usize,
    },
    /// Optional projection without bias, batch-norm neck, and CosFace class weights.
    Embedding {
        /// Width of the neck; 0 means that of the features. A projection exists only when they differ.
        dim: usize,
        /// Number of identities.
        classes: usize,
    },
    /// Convolutions on the map of patch tokens, doubled in size between them, to a class a pixel (SETR-PUP).
    Segmentation {
        /// Channels of the convolutions.
        channels: usize,
        /// How often the map is doubled; there is one convolution more.
        doublings: usize,
        /// Number of classes.
        classes: usize,
        /// Whether there is an auxiliary head, which only training needs.
        auxiliary: bool,
        /// Whether the last convolution also sees features of the image's pixels.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        detail: bool,
    },
    /// Convolutions on the map of patch tokens, then classes, sides and center of the box of each place (FCOS).
    Detection {
        /// Channels of the convolutions.
        channels: usize,
        /// How many there are.
        convolutions: usize,
        /// How often the map is doubled in size, before the second convolution and those that follow.
        doublings: usize,
        /// Number of classes.
        classes: usize,
    },
}

/// Outputs of a place besides those of the classes: four sides and the center.
const BOX_OUTPUTS: u64 = 5;

impl HeadShape {
    /// Parameters for features of width `features` of images of `channels`. The neck's frozen bias counts, its
    /// running statistics do not.
    pub fn params(&self, features: usize, channels: usize) -> u64 {
        let pixel = channels as u64;
        let features = features as u64;
        match *self {
            Self::Linear { classes } => (features + 1) * classes as u64,
            Self::Embedding { dim, classes } => {
                let width = if dim == 0 { features } else { dim as u64 };
                let projection = if width == features { 0 } else { width * features };
                projection + width * (2 + classes as u64)
            }
            Self::Segmentation { channels, doublings, classes, auxiliary, detail } => {
                let [channels, classes] = [channels as u64, classes as u64];
                // A convolution without bias, the weight and bias of its batch norm.
                let convolution = |inputs: u64| channels * (9 * inputs + 2);
                let classifier = classes * (channels + 1);
                let main = convolution(features) + doublings as u64 * convolution(channels);
                let detail = if detail { convolution(pixel) } else { 0 };
                let auxiliary =
                    if auxiliary { 2 * features + convolution(features) + classifier } else { 0 };
                main + detail + classifier + auxiliary
            }
            Self::Detection { channels, convolutions, classes, .. } => {
                let [channels, classes] = [channels as u64, classes as u64];
                let convolution = |inputs: u64| channels * (9 * inputs + 2);
                let more = convolutions.saturating_sub(1) as u64;
                let outputs = (classes + BOX_OUTPUTS) * (channels + 1);
                convolution(features) + more * convolution(channels) + outputs
            }
        }
    }

    /// Parameters that are stored but never trained: the bias of the batch-norm neck (spec 1.5).
    pub fn frozen_params(&self, features: usize) -> u64 {
        match *self {
            Self::Linear { .. } | Self::Segmentation { .. } | Self::Detection { .. } => 0,
            Self::Embedding { dim: 0, .. } => features as u64,
            Self::Embedding { dim, .. } => dim as u64,
        }
    }

    /// The head as models have it that are extracted, without what only training needs.
    #[must_use]
    pub fn extracted(self) -> Self {
        match self {
            Self::Segmentation { channels, doublings, classes, detail, .. } => {
                Self::Segmentation { channels, doublings, classes, auxiliary: false, detail }
            }
            head => head,
        }
    }

    fn validate(&self, key: &str) -> Result<(), Error> {
        if !(1..=MOST_CLASSES).contains(&self.classes()) {
            let allowed = format!("must be 1 to {MOST_CLASSES}");
            return Err(Error::value(format!("{key}.classes"), self.classes(), allowed));
        }
        match *self {
            Self::Embedding { dim, .. } if dim > 65_536 => {
                Err(Error::value(format!("{key}.dim"), dim, "must be 0 to 65536"))
            }
            Self::Segmentation { channels, .. } | Self::Detection { channels, .. }
                if !(1..=4096).contains(&channels) =>
            {
                Err(Error::value(format!("{key}.channels"), channels, "must be 1 to 4096"))
            }
            Self::Segmentation { doublings, .. } if doublings > 6 => {
                Err(Error::value(format!("{key}.doublings"), doublings, "must be 0 to 6"))
            }
            Self::Segmentation { classes, .. } if classes > 255 => {
                Err(Error::value(format!("{key}.classes"), classes, "must be 1 to 255"))
            }
            Self::Detection { classes, .. } if classes > 254 => {
                Err(Error::value(format!("{key}.classes"), classes, "must be 1 to 254"))
            }
            Self::Detection { convolutions, .. } if !(1..=8).contains(&convolutions) => {
                Err(Error::value(format!("{key}.convolutions"), convolutions, "must be 1 to 8"))
            }
            Self::Detection { doublings, convolutions, .. } if doublings >= convolutions => {
                let allowed = "must be below head.convolutions, between which the map is doubled";
                Err(Error::value(format!("{key}.doublings"), doublings, allowed))
            }
            _ => Ok(()),
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        match *self {
            Self::Linear { classes }
            | Self::Embedding { classes, .. }
            | Self::Segmentation { classes, .. }
            | Self::Detection { classes, .. } => classes,
        }
    }
}

/// Name and head of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskShape {
    /// Name, unique in the supernet.
    pub name: String,
    /// Head.
    pub head: HeadShape,
}

/// Shape of a supernet; enough to count every parameter without storing one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupernetSpec {
    /// Largest path, and which parts are experts.
    pub arch: Arch,
    /// Tasks in the router's order.
    pub tasks: Vec<TaskShape>,
}

impl SupernetSpec {
    /// A supernet known by name; the one name is `ufo-17b`, see [`SupernetSpec::ufo_17b`].
    pub fn preset(name: &str) -> Result<Self, Error> {
        match name {
            "ufo-17b" => Ok(Self::ufo_17b()),
            _ => Err(Error::Unknown {
                what: "supernet",
                got: name.to_owned(),
                known: "ufo-17b".to_owned(),
            }),
        }
    }

    /// The released 17B supernet: ViT-H, 256x256 / 14, layout B, with the 26 tasks that the original
    /// extraction tool lists, in its order (spec 1.4, 3.1, 5.1).
    ///
    /// Class counts are those of the data sets (spec 4.8). Two are assumptions, since the lists were
    /// not published: `person` is Market-1501 and MSMT17 (751 + 1,041 identities), `veri` is
    /// VeRi-776, `VehicleID` and VERI-Wild (576 + 13,164 + 30,671).
    pub fn ufo_17b() -> Self {
        let embeddings = UFO_17B_EMBEDDINGS
            .map(|(name, classes)| (name, HeadShape::Embedding { dim: 0, classes }));
        let linears = UFO_17B_LINEARS.map(|(name, classes)| (name, HeadShape::Linear { classes }));
        let tasks = embeddings.into_iter().chain(linears);
        Self {
            arch: Preset::Huge.arch(),
            tasks: tasks.map(|(name, head)| TaskShape { name: name.to_owned(), head }).collect(),
        }
    }

    /// Checks the architecture, and that names are unique and sizes of heads within their ranges.
    pub fn validate(&self) -> Result<(), Error> {
        self.arch.validate()?;
        if !(1..=4096).contains(&self.tasks.len()) {
            return Err(Error::value("tasks", self.tasks.len(), "must be 1 to 4096 tasks"));
        }
        for (index, task) in self.tasks.iter().enumerate() {
            let repeated = self.tasks[..index].iter().any(|earlier| earlier.name == task.name);
            if repeated || task.name.is_empty() {
                let key = format!("tasks.{index}.name");
                let allowed = "must be unique and not empty";
                return Err(Error::value(key, format!("`{}`", task.name), allowed));
            }
            task.head.validate(&format!("tasks.{index}.head"))?;
        }
        Ok(())
    }
}

const MOST_CLASSES: usize = 100_000_000;

const UFO_17B_EMBEDDINGS: [(&str, usize); 4] =
    [("face", 93_431), ("person", 751 + 1_041), ("veri", 576 + 13_164 + 30_671), ("sop", 11_318)];

/// The original keys, in order: `task1` to `task9`, `task0`, `task10`, `task11`, `task16` to
/// `task20`, `task22` to `task24`, `dmlab`, `retinopathy`.
const UFO_17B_LINEARS: [(&str, usize); 22] = [
    ("aircraft", 100),
    ("cifar100", 100),
    ("daimler-pedestrians", 2),
    ("dtd", 47),
    ("gtsrb", 43),
    ("imagenet", 1_000),
    ("omniglot", 1_623),
    ("svhn", 10),
    ("ucf101", 101),
    ("flowers102", 102),
    ("patch-camelyon", 2),
    ("fer2013", 7),
    ("oxford-pets", 37),
    ("food101", 101),
    ("cifar10", 10),
    ("sun397", 397),
    ("danish-fungi", 1_604),
    ("tsinghua-dogs", 130),
    ("foodx251", 251),
    ("compcars", 431),
    ("dmlab", 6),
    ("retinopathy", 5),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_parameters_by_hand() {
        assert_eq!(HeadShape::Linear { classes: 3 }.params(4, 3), 4 * 3 + 3);
        assert_eq!(HeadShape::Embedding { dim: 0, classes: 3 }.params(4, 3), 4 + 4 + 4 * 3);
        assert_eq!(HeadShape::Embedding { dim: 2, classes: 3 }.params(4, 3), 4 * 2 + 2 + 2 + 2 * 3);
        let head = HeadShape::Segmentation {
            channels: 5,
            doublings: 2,
            classes: 3,
            auxiliary: true,
            detail: false,
        };
        let main = 5 * 4 * 9 + 10 + 2 * (5 * 5 * 9 + 10) + 3 * 5 + 3;
        assert_eq!(head.extracted().params(4, 3), main);
        assert_eq!(head.params(4, 3), main + 8 + 5 * 4 * 9 + 10 + 3 * 5 + 3);
        let head = HeadShape::Detection { channels: 5, convolutions: 3, doublings: 1, classes: 3 };
        let convolutions = 5 * 4 * 9 + 10 + 2 * (5 * 5 * 9 + 10);
        assert_eq!(head.params(4, 3), convolutions + 8 * 5 + 8);
    }

    #[test]
    fn ufo_17b_has_26_valid_tasks_and_survives_json() {
        let spec = SupernetSpec::preset("ufo-17b").unwrap();
        spec.validate().unwrap();
        assert_eq!(spec.tasks.len(), 26);
        assert_eq!(spec.tasks[2].head.classes(), 44_411);
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<SupernetSpec>(&json).unwrap(), spec);
    }

    #[test]
    fn errors_name_key_value_and_what_is_allowed() {
        let message = SupernetSpec::preset("ufo").unwrap_err().to_string();
        assert_eq!(message, "unknown supernet `ufo`; known: ufo-17b");
        let mut spec = SupernetSpec::ufo_17b();
        spec.tasks[1].name = "face".into();
        let message = spec.validate().unwrap_err().to_string();
        assert_eq!(message, "tasks.1.name = `face`: must be unique and not empty");
        spec.tasks[1] = TaskShape { name: "empty".into(), head: HeadShape::Linear { classes: 0 } };
        let message = spec.validate().unwrap_err().to_string();
        assert_eq!(message, "tasks.1.head.classes = 0: must be 1 to 100000000");
    }
}
