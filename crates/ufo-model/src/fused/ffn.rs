//! A feed-forward with its norm and residual as one operation.

use super::residual::{scale_added, scaled};
use super::{Factors, Mode, Op, contiguous, gradients_of, matrix, slice, tensor, with_scratch};
use burn_flex::FlexTensor;
use std::sync::Arc;
use ufo_kernels::ffn::{self, Backward, FfnGrads, FfnWeights, Saved};
use ufo_kernels::linear::LinearWeights;

/// Of inputs `[x, norm weight, norm bias, fc1 weight, fc1 bias, fc2 weight, fc2 bias]`.
#[derive(Debug, Clone)]
pub(crate) struct FeedForward {
    pub(crate) mode: Mode,
    pub(crate) factors: Option<Factors>,
}

fn weights(inputs: &[FlexTensor; 7]) -> FfnWeights<'_> {
    let [_, norm_weight, norm_bias, fc1, bias1, fc2, bias2] = inputs;
    FfnWeights {
        norm_weight: slice(norm_weight),
        norm_bias: slice(norm_bias),
        fc1: LinearWeights { weight: matrix(fc1), bias: Some(slice(bias1)) },
        fc2: LinearWeights { weight: matrix(fc2), bias: Some(slice(bias2)) },
    }
}

impl FeedForward {
    fn save(&self, inputs: &[FlexTensor; 7]) -> Arc<Saved> {
        let x = contiguous(&inputs[0]);
        let mut saved = Saved::default();
        with_scratch(|scratch| {
            ffn::save(self.mode.level, &weights(inputs), slice(&x), &mut saved, scratch);
        });
        Arc::new(saved)
    }

    fn output(&self, x: &FlexTensor, mut y: Vec<f32>) -> FlexTensor {
        let shape = x.layout().shape().clone();
        scale_added(self.factors.as_ref(), shape[0], slice(x), &mut y);
        tensor(y, shape)
    }
}

impl Op<7> for FeedForward {
    /// Nothing where it is computed again.
    type Saved = Option<Arc<Saved>>;

    fn forward(&self, inputs: &[FlexTensor; 7]) -> FlexTensor {
        let x = contiguous(&inputs[0]);
        let mut y = vec![0.0; slice(&x).len()];
        with_scratch(|scratch| {
            ffn::forward(self.mode.level, &weights(inputs), slice(&x), &mut y, scratch);
        });
        self.output(&x, y)
    }

    fn forward_saving(&self, inputs: &[FlexTensor; 7]) -> (FlexTensor, Self::Saved) {
        if self.mode.recompute {
            return (self.forward(inputs), None);
        }
        let x = contiguous(&inputs[0]);
        let mut y = vec![0.0; slice(&x).len()];
        let mut saved = Saved::default();
        with_scratch(|scratch| {
            let rows = (slice(&x), &mut y[..]);
            ffn::forward_saving(self.mode.level, &weights(inputs), rows, &mut saved, scratch);
        });
        (self.output(&x, y), Some(Arc::new(saved)))
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 7],
        saved: Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; 7],
    ) -> [Option<FlexTensor>; 7] {
        let x = contiguous(&inputs[0]);
        let saved = saved.unwrap_or_else(|| self.save(inputs));
        let past = slice(gradient);
        let dy = scaled(self.factors.as_ref(), x.layout().shape()[0], past);
        // All but weights that stay as they are.
        let [_, _, _, fc1_wanted, _, fc2_wanted, _] = wanted;
        let computed = [true, true, true, fc1_wanted, true, fc2_wanted, true];
        gradients_of(inputs, computed, |grads| {
            let [dx, norm_weight, norm_bias, fc1, bias1, fc2, bias2] = grads;
            let given = Backward { saved: &saved, x: slice(&x), dy: &dy, past };
            let into = FfnGrads {
                dx,
                norm_weight,
                norm_bias,
                fc1_weight: fc1_wanted.then_some(&mut fc1[..]),
                fc1_bias: Some(bias1),
                fc2_weight: fc2_wanted.then_some(&mut fc2[..]),
                fc2_bias: Some(bias2),
            };
            with_scratch(|scratch| {
                ffn::backward(self.mode.level, &weights(inputs), given, into, scratch);
            });
        })
    }
}
