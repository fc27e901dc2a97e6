//! Layer normalization as one operation.

use super::{Op, contiguous, gradients_of, slice, tensor, with_scratch};
use burn_flex::FlexTensor;
use ufo_kernels::Level;
use ufo_kernels::layer_norm::{Backward, Grads, LayerNorm, RowStats, backward, forward};

/// Of inputs `[x, weight, bias]`.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    pub(crate) level: Level,
    pub(crate) eps: f32,
}

impl Op<3> for Norm {
    type Saved = Vec<RowStats>;

    fn forward(&self, inputs: &[FlexTensor; 3]) -> FlexTensor {
        self.forward_saving(inputs).0
    }

    fn forward_saving(&self, inputs: &[FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let [x, weight, bias] = inputs.each_ref().map(contiguous);
        let d = slice(&weight).len();
        let rows = slice(&x).len() / d;
        let mut y = vec![0.0; rows * d];
        let mut stats = vec![RowStats::default(); rows];
        let norm = LayerNorm { weight: slice(&weight), bias: slice(&bias), eps: self.eps };
        forward(self.level, &norm, slice(&x), &mut y, &mut stats);
        (tensor(y, x.layout().shape().clone()), stats)
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 3],
        stats: Self::Saved,
        gradient: &FlexTensor,
        _wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [x, weight, _] = inputs.each_ref().map(contiguous);
        gradients_of(inputs, [true; 3], |[dx, dweight, dbias]| {
            let given = Backward {
                weight: slice(&weight),
                x: slice(&x),
                stats: &stats,
                dy: slice(gradient),
                past: None,
            };
            let grads = Grads { dx, dweight, dbias };
            with_scratch(|scratch| backward(self.level, &given, grads, scratch));
        })
    }
}
