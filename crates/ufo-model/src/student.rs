//! A student: a small network of one task that learns from a teacher (spec 8).

use crate::cnn::{Cnn, CnnKind, Moments};
use crate::param::{Visit, Visitor, key};
use crate::segmentation::{as_map, flat, pixelwise, resized};
use crate::{Head, HeadConfig, Linear, Named, Result, Vit, state_of};
use burn_tensor::{Device, Tensor};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use ufo_kernels::Level;
use ufo_nas::{Arch, Keys, Preset, Slice, Stem};
use ufo_onnx::{Graph, Value};
use ufo_weights::State;

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StudentKind {
    /// A convolutional network.
    Cnn(CnnKind),
    /// A vision transformer of a preset's width, depth and heads.
    Vit(Preset),
}

const KINDS: [(&str, StudentKind); 6] = [
    ("mobilenet_v3_small", StudentKind::Cnn(CnnKind::MobileNetV3Small)),
    ("mobilenet_v3_large", StudentKind::Cnn(CnnKind::MobileNetV3Large)),
    ("resnet18", StudentKind::Cnn(CnnKind::ResNet18)),
    ("resnet50", StudentKind::Cnn(CnnKind::ResNet50)),
    ("vit_tiny", StudentKind::Vit(Preset::Tiny)),
    ("vit_small", StudentKind::Vit(Preset::Small)),
];

impl FromStr for StudentKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = KINDS.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, kind)| kind).ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            format!("student = `{text}`: must be one of {}", names.join(", "))
        })
    }
}

impl TryFrom<String> for StudentKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<StudentKind> for String {
    fn from(kind: StudentKind) -> Self {
        kind.to_string()
    }
}

impl fmt::Display for StudentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = KINDS.iter().find(|(_, kind)| kind == self);
        f.write_str(named.map_or("vit", |(name, _)| name))
    }
}

impl StudentKind {
    /// The architecture of a transformer for square images of `side` pixels: patches of 16 from 128
    /// pixels on, of an eighth of the side below.
    pub fn arch(self, side: usize) -> Option<Arch> {
        let Self::Vit(preset) = self else { return None };
        let size = if side >= 128 { 16 } else { (side / 8).max(1) };
        let stem = Stem::Patch { size, stride: size };
        Some(Arch { image_size: [side; 2], stem, ..preset.arch() })
    }
}

/// Everything before the head.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a program holds a few")]
pub enum Body {
    /// A convolutional network; its own classifier is part of it only where there is no head.
    Cnn(Cnn),
    /// A transformer with the names of its parameters.
    Vit(Vit, Keys),
}

/// A network of one task, and what its training alone needs.
#[derive(Debug, Clone)]
pub struct Student {
    /// Images to features.
    pub body: Body,
    /// Features to outputs; none where the body is a classifier itself.
    pub head: Option<Head>,
    /// What is compared with the teacher's (features, or an embedding) to its width; never extracted.
    pub projector: Option<Linear>,
    /// Each place of a map of features to the teacher's tokens; never extracted.
    pub aligner: Option<Aligner>,
}

/// What compares a student's map of features with a teacher's tokens.
#[derive(Debug, Clone)]
pub struct Aligner {
    /// Channels of the map to the width of the tokens.
    pub linear: Linear,
    /// Rows and columns of the teacher's patches.
    pub grid: [usize; 2],
}

/// What a training pass computes.
#[derive(Debug)]
pub struct Trained {
    /// Features, `[b, d]`.
    pub features: Tensor<2>,
    /// Logits of a body that classifies by itself, `[b, classes]`.
    pub logits: Option<Tensor<2>>,
    /// Statistics of the batch for [`Student::update`].
    pub moments: Vec<Moments>,
    /// The map of features through the [`Aligner`], a row a patch of the teacher's, `[b * rows * columns, d]`.
    pub tokens: Option<Tensor<2>>,
}

/// Sizes that a student is made for.
#[derive(Debug, Clone, Copy)]
pub struct StudentShape {
    /// Kind of head.
    pub head: HeadConfig,
    /// Classes, or identities.
    pub classes: usize,
    /// Side of the square images, in pixels.
    pub side: usize,
    /// Width of what the student's features, or its embedding, are projected to, if they are.
    pub teacher: Option<usize>,
    /// Rows and columns of the teacher's patches and the width of its tokens, if maps are compared with them.
    pub tokens: Option<([usize; 2], usize)>,
}

impl Body {
    /// Training: the features `[b, d]`, a map `[b, h, w, c]` for the `grid` of a teacher's patches if it is given, and
    /// the statistics of the batch.
    fn train(
        &self,
        images_bchw: Tensor<4>,
        grid: Option<[usize; 2]>,
    ) -> (Tensor<2>, Option<Tensor<4>>, Vec<Moments>) {
        match (self, grid) {
            (Self::Cnn(net), Some(grid)) => {
                let (features, map, moments) = net.train_with_map(images_bchw, grid);
                (features, Some(map), moments)
            }
            (Self::Cnn(net), None) => {
                let (features, moments) = net.train(images_bchw);
                (features, None, moments)
            }
            (Self::Vit(vit, _), Some(_)) => {
                let tokens = vit.tokens(images_bchw, None, &[]);
                let [b, _, d] = tokens.last.dims();
                let features = tokens.last.clone().slice([0..b, 0..1]).reshape([b, d]);
                (features, Some(as_map(tokens.last, tokens.grid)), Vec::new())
            }
            (Self::Vit(vit, _), None) => (vit.forward(images_bchw, None), None, Vec::new()),
        }
    }
}

impl Aligner {
    /// # Shapes
    /// `[b, h, w, c]` to `[b * rows * columns, d]`.
    fn forward(&self, map_bhwc: Tensor<4>) -> Tensor<2> {
        let tokens = flat(pixelwise(&self.linear, resized(map_bhwc, self.grid, Level::detect())));
        let [b, n, d] = tokens.dims();
        tokens.reshape([b * n, d])
    }
}

impl Student {
    /// Fresh weights.
    ///
    /// # Errors
    /// When a transformer does not fit the images.
    pub fn init(
        kind: StudentKind,
        shape: StudentShape,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Result<Self> {
        let StudentShape { head, classes, side, teacher, tokens } = shape;
        let (body, width) = match kind {
            StudentKind::Cnn(kind) => {
                let net = Cnn::init(kind, classes, rng, device);
                let width = net.width();
                (Body::Cnn(net), width)
            }
            StudentKind::Vit(preset) => {
                let arch = kind.arch(side).unwrap_or_else(|| preset.arch());
                arch.validate()?;
                let vit = Vit::init(&arch, &Slice::full(&arch), rng, device)?;
                (Body::Vit(vit, Keys::plain(arch.depth)), arch.dim)
            }
        };
        let alone = matches!((&body, head), (Body::Cnn(_), HeadConfig::Linear));
        let head = (!alone).then(|| Head::init(&head, [width, 3], classes, rng, device));
        let compared = match shape.head {
            HeadConfig::Embedding { dim, .. } if dim > 0 => dim,
            _ => width,
        };
        let projector = teacher.map(|teacher| Linear::init(compared, teacher, false, rng, device));
        let aligner = tokens.map(|(grid, dim)| {
            let blank = Tensor::zeros([1, 3, side, side], device);
            let [.., channels] = body.train(blank, Some(grid)).1.map_or([0; 4], |map| map.dims());
            Aligner { linear: Linear::init(channels, dim, false, rng, device), grid }
        });
        Ok(Self { body, head, projector, aligner })
    }

    /// Training: features with the statistics of the batch; a classifier's dropout is drawn from `rng`.
    ///
    /// # Shapes
    /// Images `[b, 3, h, w]`.
    pub fn train(&self, images_bchw: Tensor<4>, rng: &mut impl Rng) -> Trained {
        let [b, ..] = images_bchw.dims();
        let grid = self.aligner.as_ref().map(|aligner| aligner.grid);
        let (features, map, moments) = self.body.train(images_bchw, grid);
        let logits = match &self.body {
            Body::Cnn(net) if self.head.is_none() => {
                let dropout = net.dropout(b, rng).map(Tensor::autodiff);
                Some(net.classify(features.clone(), dropout))
            }
            _ => None,
        };
        let tokens = self.aligner.as_ref().zip(map).map(|(aligner, map)| aligner.forward(map));
        Trained { features, logits, moments, tokens }
    }

    /// Evaluation output: logits, or the embedding.
    ///
    /// # Shapes
    /// `[b, 3, h, w]` to `[b, outputs]`.
    pub fn outputs(&self, images_bchw: Tensor<4>) -> Tensor<2> {
        let features = match &self.body {
            Body::Cnn(net) => net.features(images_bchw),
            Body::Vit(vit, _) => vit.forward(images_bchw, None),
        };
        match (&self.head, &self.body) {
            (Some(head), _) => head.forward(features),
            (None, Body::Cnn(net)) => net.classify(features, None),
            (None, Body::Vit(..)) => features,
        }
    }

    /// Moves the running statistics towards those of a batch.
    pub fn update(&mut self, moments: &[Moments]) {
        if let Body::Cnn(net) = &mut self.body {
            net.update(moments);
        }
    }

    /// The statistics that a convolutional network finds of a batch.
    ///
    /// # Shapes
    /// Images `[b, 3, h, w]`.
    pub fn moments(&self, images_bchw: Tensor<4>) -> Option<Vec<Moments>> {
        match &self.body {
            Body::Cnn(net) => Some(net.train(images_bchw).1),
            Body::Vit(..) => None,
        }
    }

    /// Puts the means of some batches' statistics in the place of the running ones.
    pub fn replace(&mut self, batches: &[Vec<Moments>]) {
        if let Body::Cnn(net) = &mut self.body {
            net.replace(batches);
        }
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        match &self.body {
            Body::Cnn(net) => net.device(),
            Body::Vit(vit, _) => vit.device(),
        }
    }

    /// Parameters and buffers of what is extracted.
    pub fn state(&self) -> State {
        state_of(&mut self.graduated(), "")
    }

    /// Trained parameters of what is extracted.
    pub fn params(&self) -> u64 {
        struct Count(u64);
        impl Visitor for Count {
            fn tensor<const D: usize>(&mut self, _: &str, tensor: &mut Tensor<D>) {
                self.0 += tensor.dims().iter().product::<usize>() as u64;
            }
            fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {}
        }
        let mut count = Count(0);
        self.graduated().visit("", &mut count);
        count.0
    }

    /// The network without what its training alone needs.
    #[must_use]
    pub fn graduated(&self) -> Self {
        Self { projector: None, aligner: None, ..self.clone() }
    }

    /// Adds the evaluation output to an ONNX graph and returns it with its width.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn to_onnx(&self, graph: &mut Graph, images: &Value) -> Result<(Value, usize)> {
        let features = match &self.body {
            Body::Cnn(net) => net.features_onnx(graph, images)?,
            Body::Vit(vit, keys) => vit.to_onnx(graph, keys, images)?,
        };
        match (&self.head, &self.body) {
            (Some(head), _) => {
                let width = head.output_sizes([0; 2], [0; 2]).iter().product();
                Ok((head.to_onnx(graph, "head", &features)?, width))
            }
            (None, Body::Cnn(net)) => Ok((net.classify_onnx(graph, &features)?, net.classes())),
            (None, Body::Vit(..)) => unreachable!("a transformer has a head"),
        }
    }
}

impl Visit for Student {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        match &mut self.body {
            Body::Cnn(net) if self.head.is_none() => net.visit(prefix, visitor),
            Body::Cnn(net) => net.visit_features(prefix, visitor),
            Body::Vit(vit, keys) => Named { vit, keys }.visit(prefix, visitor),
        }
        if let Some(head) = &mut self.head {
            head.visit(&key(prefix, "head"), visitor);
        }
        if let Some(projector) = &mut self.projector {
            projector.visit(&key(prefix, "projector"), visitor);
        }
        if let Some(aligner) = &mut self.aligner {
            aligner.linear.visit(&key(prefix, "aligner"), visitor);
        }
    }
}
