//! A batch norm with its residual and activation as one operation.

use super::{Op, contiguous, slice, tensor, with_scratch};
use burn_flex::FlexTensor;
use std::sync::Arc;
use ufo_kernels::Level;
use ufo_kernels::batch_norm::{Activation, Backward, BatchNorm, Grads, backward, forward};

/// Of inputs `[x, weight, bias]`, or with a residual behind them: x and residual `[.., c]`.
#[derive(Debug, Clone)]
pub(crate) struct Normalization {
    pub(crate) level: Level,
    pub(crate) eps: f32,
    pub(crate) activation: Activation,
    /// Mean and biased variance of each channel.
    pub(crate) moments: Arc<[Vec<f32>; 2]>,
    /// Whether they are those of x and not given.
    pub(crate) measured: bool,
}

impl Normalization {
    fn norm<'a>(&'a self, weight: &'a FlexTensor, bias: &'a FlexTensor) -> BatchNorm<'a> {
        let [mean, var] = &*self.moments;
        let (weight, bias) = (slice(weight), slice(bias));
        BatchNorm { weight, bias, mean, var, eps: self.eps, activation: self.activation }
    }

    fn run(&self, inputs: &[FlexTensor]) -> FlexTensor {
        let [x, weight, bias] = [0, 1, 2].map(|i| contiguous(&inputs[i]));
        let residual = inputs.get(3).map(contiguous);
        let mut y = vec![0.0; slice(&x).len()];
        with_scratch(|scratch| {
            let given = (slice(&x), residual.as_ref().map(slice));
            forward(self.level, &self.norm(&weight, &bias), given, &mut y, scratch);
        });
        tensor(y, x.layout().shape().clone())
    }

    /// The gradients of all inputs, the last where there is a residual.
    fn gradients(&self, inputs: &[FlexTensor], gradient: &FlexTensor) -> [Option<FlexTensor>; 4] {
        let [x, weight, bias] = [0, 1, 2].map(|i| contiguous(&inputs[i]));
        let residual = inputs.get(3).map(contiguous);
        let [len, c] = [&x, &weight].map(|of| slice(of).len());
        let (mut dx, mut dweight, mut dbias) = (vec![0.0; len], vec![0.0; c], vec![0.0; c]);
        let mut dresidual = residual.as_ref().map(|_| vec![0.0; len]);
        let given = Backward {
            x: slice(&x),
            residual: residual.as_ref().map(slice),
            dy: slice(gradient),
            measured: self.measured,
        };
        let grads = Grads {
            dx: &mut dx,
            dresidual: dresidual.as_deref_mut(),
            dweight: &mut dweight,
            dbias: &mut dbias,
        };
        with_scratch(|scratch| {
            backward(self.level, &self.norm(&weight, &bias), &given, grads, scratch);
        });
        let of = |values, like: &FlexTensor| Some(tensor(values, like.layout().shape().clone()));
        let dresidual = dresidual.and_then(|values| of(values, &x));
        [of(dx, &x), of(dweight, &weight), of(dbias, &bias), dresidual]
    }
}

impl Op<3> for Normalization {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; 3]) -> FlexTensor {
        self.run(inputs)
    }

    fn forward_saving(&self, inputs: &[FlexTensor; 3]) -> (FlexTensor, ()) {
        (self.run(inputs), ())
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 3],
        (): (),
        gradient: &FlexTensor,
        _wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [dx, dweight, dbias, _] = self.gradients(inputs, gradient);
        [dx, dweight, dbias]
    }
}

impl Op<4> for Normalization {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; 4]) -> FlexTensor {
        self.run(inputs)
    }

    fn forward_saving(&self, inputs: &[FlexTensor; 4]) -> (FlexTensor, ()) {
        (self.run(inputs), ())
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 4],
        (): (),
        gradient: &FlexTensor,
        _wanted: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        self.gradients(inputs, gradient)
    }
}
