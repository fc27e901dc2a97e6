//! A linear layer as one operation.

use super::{Op, contiguous, gradients_of, matrix, slice, tensor, with_scratch};
use burn_flex::FlexTensor;
use ufo_kernels::linear::{Grads, LinearWeights, backward, forward};
use ufo_kernels::{Level, Mat, MatMut};

/// Of inputs `[x, weight, bias]`: x `[.., in]`, weight `[in, out]`, which may be a slice.
#[derive(Debug, Clone)]
pub(crate) struct Product {
    pub(crate) level: Level,
}

impl Op<3> for Product {
    type Saved = ();

    fn forward(&self, [x, weight, bias]: &[FlexTensor; 3]) -> FlexTensor {
        let (x, bias) = (contiguous(x), contiguous(bias));
        let weights = LinearWeights { weight: matrix(weight), bias: Some(slice(&bias)) };
        let [inputs, outputs] = [weights.weight.rows(), weights.weight.cols()];
        let rows = slice(&x).len() / inputs;
        let mut y = vec![0.0; rows * outputs];
        with_scratch(|scratch| {
            let x = Mat::row_major(slice(&x), rows, inputs);
            forward(self.level, &weights, x, MatMut::row_major(&mut y, rows, outputs), scratch);
        });
        let mut shape = x.layout().shape().clone();
        let last = shape.num_dims() - 1;
        shape[last] = outputs;
        tensor(y, shape)
    }

    fn forward_saving(&self, inputs: &[FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        (self.forward(inputs), ())
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 3],
        (): Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let x = contiguous(&inputs[0]);
        let weight = matrix(&inputs[1]);
        let [width, outputs] = [weight.rows(), weight.cols()];
        let rows = slice(&x).len() / width;
        let computed = [wanted[0], wanted[1], true];
        gradients_of(inputs, computed, |[dx, dweight, dbias]| {
            let grads = Grads {
                dx: wanted[0].then(|| MatMut::row_major(dx, rows, width)),
                dweight: wanted[1].then(|| MatMut::row_major(dweight, width, outputs)),
                dbias: Some(dbias),
            };
            let x = Mat::row_major(slice(&x), rows, width);
            let given = (x, Mat::row_major(slice(gradient), rows, outputs));
            with_scratch(|scratch| backward(self.level, weight, given, grads, scratch));
        })
    }
}
