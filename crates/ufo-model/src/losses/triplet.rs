//! Batch-hard triplet loss (arXiv 1703.07737) on embeddings before the neck.

use crate::param::from_values;
use burn_tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

/// How the triplet loss is formed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Triplet {
    /// Margin, at least 0; 0 is the soft margin `ln(1 + exp(d_ap - d_an))`.
    pub margin: f32,
    /// Weigh all positives and negatives by a softmax of their distances, in place of the hardest.
    pub weighted: bool,
}

/// Mean over anchors of the loss of their positives and negatives by Euclidean distance.
///
/// Hard: the farthest of the same identity (the anchor included) and the nearest of another.
///
/// # Shapes
/// `[b, d]` with one identity a row; every row needs a negative in the batch.
pub fn triplet(embeddings_bd: Tensor<2>, identities: &[u32], config: Triplet) -> Tensor<1> {
    let b = identities.len();
    let device = embeddings_bd.device();
    let pairs = identities.iter().flat_map(|a| identities.iter().map(move |o| a == o));
    let same: Vec<f32> = pairs.map(|same| f32::from(u8::from(same))).collect();
    let same: Tensor<2> = from_values(same, [b, b], &device);
    let different = -same.clone() + 1.0;
    let distances = distances(embeddings_bd);
    let (positive, negative) = if config.weighted {
        let weigh = |scores: Tensor<2>, allowed: &Tensor<2>| {
            activation::softmax(scores - (-allowed.clone() + 1.0) * 1e9, 1) * allowed.clone()
        };
        let far = weigh(distances.clone(), &same) * distances.clone();
        let near = weigh(-distances.clone(), &different) * distances;
        (far.sum_dim(1), near.sum_dim(1))
    } else {
        let far = (distances.clone() * same.clone()).max_dim(1);
        (far, (distances + same * 1e9).min_dim(1))
    };
    let gap = positive - negative;
    let losses = if config.margin > 0.0 {
        (gap + config.margin).clamp_min(0.0)
    } else {
        activation::softplus(gap, 1.0)
    };
    losses.mean()
}

/// Euclidean distances of all pairs, `sqrt(max(|a|^2 + |b|^2 - 2ab, 1e-12))`.
fn distances(x_bd: Tensor<2>) -> Tensor<2> {
    let squares = (x_bd.clone() * x_bd.clone()).sum_dim(1);
    let products = x_bd.clone().matmul(x_bd.transpose());
    (squares.clone() + squares.transpose() - products * 2.0).clamp_min(1e-12).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::param::values;
    use burn_tensor::Device;

    #[test]
    fn triplet_follows_vector_a4() {
        let x = [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0]];
        for (margin, weighted, expected) in
            [(0.0, false, 0.624_651), (0.3, false, 0.365_569), (0.0, true, 0.498_933)]
        {
            let embeddings = Tensor::<2>::from_floats(x, &Device::flex());
            let config = Triplet { margin, weighted };
            let loss = values(&triplet(embeddings, &[0, 0, 1, 1], config))[0];
            assert!((loss - expected).abs() < 2e-5, "{config:?}: {loss} {expected}");
        }
    }
}
