//! The router's straight-through gradient as one operation.

use super::{Op, contiguous, slice, tensor};
use burn_flex::FlexTensor;

/// Of inputs `[out, weight]`: the value is `out` itself; the gradient of the weight `[1]` is
/// `scale <dy, out - other>`, where `other` has the first images of the batch.
#[derive(Debug, Clone)]
pub(crate) struct StraightThrough {
    pub(crate) other: FlexTensor,
    pub(crate) scale: f32,
}

impl Op<2> for StraightThrough {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; 2]) -> FlexTensor {
        inputs[0].clone()
    }

    fn forward_saving(&self, inputs: &[FlexTensor; 2]) -> (FlexTensor, ()) {
        (inputs[0].clone(), ())
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 2],
        (): (),
        gradient: &FlexTensor,
        _wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [out, other] = [&inputs[0], &self.other].map(contiguous);
        let outs = slice(&out).iter().zip(slice(&other));
        let products = slice(gradient).iter().zip(outs);
        let dot: f64 =
            products.map(|(dy, (out, other))| f64::from(*dy) * f64::from(out - other)).sum();
        let weight = (dot * f64::from(self.scale)) as f32;
        [Some(gradient.clone()), Some(tensor(vec![weight], [1].into()))]
    }
}
