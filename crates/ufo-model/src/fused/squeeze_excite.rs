//! Squeeze-and-excitation as one operation.

use super::{Op, contiguous, gradients_of, slice, tensor, with_scratch};
use burn_flex::FlexTensor;
use std::sync::Arc;
use ufo_kernels::Level;
use ufo_kernels::squeeze_excite::{Grads, Saved, SqueezeExcite, backward, forward};

/// Of inputs `[x, fc1 weight, fc1 bias, fc2 weight, fc2 bias]`: x `[b, h, w, c]`, weights
/// `[out, in, 1, 1]`.
#[derive(Debug, Clone)]
pub(crate) struct Excitation {
    pub(crate) level: Level,
}

fn layers(inputs: &[FlexTensor; 5]) -> SqueezeExcite<'_> {
    let [_, weight1, bias1, weight2, bias2] = inputs.each_ref().map(slice);
    SqueezeExcite { weight1, bias1, weight2, bias2 }
}

impl Op<5> for Excitation {
    type Saved = Arc<Saved>;

    fn forward(&self, inputs: &[FlexTensor; 5]) -> FlexTensor {
        self.forward_saving(inputs).0
    }

    fn forward_saving(&self, inputs: &[FlexTensor; 5]) -> (FlexTensor, Self::Saved) {
        let inputs = inputs.each_ref().map(contiguous);
        let (x, shape) = (slice(&inputs[0]), inputs[0].layout().shape().clone());
        let (mut y, mut saved) = (vec![0.0; x.len()], Saved::default());
        let to = (&mut y[..], &mut saved);
        with_scratch(|scratch| forward(self.level, &layers(&inputs), (shape[0], x), to, scratch));
        (tensor(y, shape), Arc::new(saved))
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 5],
        saved: Self::Saved,
        gradient: &FlexTensor,
        _wanted: [bool; 5],
    ) -> [Option<FlexTensor>; 5] {
        let inputs = inputs.each_ref().map(contiguous);
        let b = inputs[0].layout().shape()[0];
        gradients_of(&inputs, [true; 5], |[dx, dweight1, dbias1, dweight2, dbias2]| {
            let given = (b, slice(&inputs[0]), slice(gradient));
            let grads = Grads { dx, dweight1, dbias1, dweight2, dbias2 };
            with_scratch(|scratch| {
                backward(self.level, &layers(&inputs), given, (&saved, grads), scratch);
            });
        })
    }
}
