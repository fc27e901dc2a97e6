//! A task's head: logits, the embedding behind its BN neck (running statistics, epsilon 1e-5), the logits
//! of each pixel, or the boxes of each place.

use crate::dense::{Dense, Then};
use crate::maps::Maps;
use ufo_kernels::Scratch;

/// What turns features into a task's output.
#[derive(Debug)]
pub(crate) enum Head {
    /// Logits.
    Linear(Dense),
    /// An embedding.
    Embedding { projection: Option<Dense>, neck: Neck },
    /// The outputs of each pixel or place, of all tokens.
    Maps(Maps),
}

/// `(x - mean) / sqrt(var + 1e-5) * weight + bias`
#[derive(Debug)]
pub(crate) struct Neck {
    pub(crate) mean: Vec<f32>,
    /// `sqrt(var + 1e-5)`
    pub(crate) deviation: Vec<f32>,
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl Neck {
    /// With the variance of past batches.
    pub(crate) fn new([weight, bias, mean, var]: [Vec<f32>; 4]) -> Self {
        let deviation = var.iter().map(|var| (var + 1e-5).sqrt()).collect();
        Self { mean, deviation, weight, bias }
    }

    fn run(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.mean.len()) {
            for (i, x) in row.iter_mut().enumerate() {
                *x = (*x - self.mean[i]) / self.deviation[i] * self.weight[i] + self.bias[i];
            }
        }
    }
}

impl Head {
    /// Whether it reads all tokens behind the final norm, and not the class token alone.
    pub(crate) fn reads_tokens(&self) -> bool {
        matches!(self, Self::Maps(_))
    }

    /// The outputs of `features` `[n, d]`, or of tokens `[n, t, d]`, of `images`, row-major.
    pub(crate) fn run(
        &self,
        features: Vec<f32>,
        images: &[f32],
        scratch: &mut Scratch,
    ) -> Vec<f32> {
        let dense = |dense: &Dense, x: &[f32], scratch: &mut Scratch| {
            let [inputs, outputs] = dense.sizes();
            let mut y = vec![0.0; x.len() / inputs * outputs];
            dense.run(x, &mut y, Then::Nothing, scratch);
            y
        };
        match self {
            Self::Linear(linear) => dense(linear, &features, scratch),
            Self::Embedding { projection, neck } => {
                let mut rows = match projection {
                    Some(projection) => dense(projection, &features, scratch),
                    None => features,
                };
                neck.run(&mut rows);
                rows
            }
            Self::Maps(head) => head.run((&features, images), scratch),
        }
    }
}
