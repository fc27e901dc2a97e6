//! Self-attention with its norm and residual as one operation.

use super::residual::{scale_added, scaled};
use super::{Factors, Mode, Op, contiguous, gradients_of, matrix, slice, tensor, with_scratch};
use burn_flex::FlexTensor;
use std::sync::Arc;
use ufo_kernels::MatMut;
use ufo_kernels::attention::{self, Attention, Backward, Grads, LinearGrads, Saved};
use ufo_kernels::layer_norm::LayerNorm;
use ufo_kernels::linear::LinearWeights;

/// Of inputs `[x, norm weight, norm bias, qkv weight, qkv bias, proj weight, proj bias]`, x `[b, t, d]`.
#[derive(Debug, Clone)]
pub(crate) struct SelfAttention {
    pub(crate) mode: Mode,
    pub(crate) factors: Option<Factors>,
    pub(crate) heads: usize,
    pub(crate) eps: f32,
}

impl SelfAttention {
    fn of<'a>(&self, inputs: &'a [FlexTensor; 7]) -> Attention<'a> {
        let [x, norm_weight, norm_bias, qkv, qkv_bias, proj, proj_bias] = inputs;
        let [_, tokens, _] = x.layout().shape().dims();
        Attention {
            norm: LayerNorm { weight: slice(norm_weight), bias: slice(norm_bias), eps: self.eps },
            qkv: LinearWeights { weight: matrix(qkv), bias: Some(slice(qkv_bias)) },
            proj: LinearWeights { weight: matrix(proj), bias: Some(slice(proj_bias)) },
            heads: self.heads,
            tokens,
        }
    }

    fn save(&self, inputs: &[FlexTensor; 7]) -> Arc<Saved> {
        let x = contiguous(&inputs[0]);
        let mut saved = Saved::default();
        with_scratch(|scratch| {
            attention::save(self.mode.level, &self.of(inputs), slice(&x), &mut saved, scratch);
        });
        Arc::new(saved)
    }

    fn output(&self, x: &FlexTensor, mut y: Vec<f32>) -> FlexTensor {
        let shape = x.layout().shape().clone();
        scale_added(self.factors.as_ref(), shape[0], slice(x), &mut y);
        tensor(y, shape)
    }
}

impl Op<7> for SelfAttention {
    /// Nothing where it is computed again.
    type Saved = Option<Arc<Saved>>;

    fn forward(&self, inputs: &[FlexTensor; 7]) -> FlexTensor {
        let x = contiguous(&inputs[0]);
        let mut y = vec![0.0; slice(&x).len()];
        with_scratch(|scratch| {
            attention::forward(self.mode.level, &self.of(inputs), slice(&x), &mut y, scratch);
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
            attention::forward_saving(self.mode.level, &self.of(inputs), rows, &mut saved, scratch);
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
        let of = self.of(inputs);
        let (d, e) = (of.proj.weight.cols(), of.proj.weight.rows());
        // All but weights that stay as they are.
        let [_, _, _, qkv_wanted, _, proj_wanted, _] = wanted;
        let computed = [true, true, true, qkv_wanted, true, proj_wanted, true];
        gradients_of(inputs, computed, |grads| {
            let [dx, norm_weight, norm_bias, qkv, qkv_bias, proj, proj_bias] = grads;
            let into = Grads {
                dx,
                norm_weight,
                norm_bias,
                qkv: LinearGrads {
                    weight: qkv_wanted.then(|| MatMut::row_major(qkv, d, 3 * e)),
                    bias: Some(qkv_bias),
                },
                proj: LinearGrads {
                    weight: proj_wanted.then(|| MatMut::row_major(proj, e, d)),
                    bias: Some(proj_bias),
                },
            };
            let given = Backward { saved: &saved, x: slice(&x), dy: &dy, past };
            with_scratch(|scratch| {
                attention::backward(self.mode.level, &of, &given, into, scratch);
            });
        })
    }
}
