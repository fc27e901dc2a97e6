//! Tokens put together and taken out, as operations.

use super::{Op, contiguous, slice, tensor};
use burn_flex::FlexTensor;

/// Of inputs `[patches (b, n, d), class token (1, 1, d), positions (1, 1 + n, d)]`: each image's
/// sequence `(b, 1 + n, d)`, the class token first, with the positions added.
#[derive(Debug, Clone)]
pub(crate) struct Sequence;

/// The first token of each image, `(b, t, d)` to `(b, 1, d)`.
#[derive(Debug, Clone)]
pub(crate) struct FirstToken;

impl Op<3> for Sequence {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; 3]) -> FlexTensor {
        let [patches, class, positions] = inputs.each_ref().map(contiguous);
        let [b, n, d] = patches.layout().shape().dims();
        let mut sequence = Vec::with_capacity(b * (1 + n) * d);
        let (first, others) = slice(&positions).split_at(d);
        for image in slice(&patches).chunks(n * d) {
            sequence.extend(slice(&class).iter().zip(first).map(|(x, at)| x + at));
            sequence.extend(image.iter().zip(others).map(|(x, at)| x + at));
        }
        tensor(sequence, [b, 1 + n, d].into())
    }

    fn forward_saving(&self, inputs: &[FlexTensor; 3]) -> (FlexTensor, ()) {
        (self.forward(inputs), ())
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 3],
        (): (),
        gradient: &FlexTensor,
        _wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let shapes = inputs.each_ref().map(|input| input.layout().shape().clone());
        let [b, n, d] = shapes[0].dims();
        let mut patches = Vec::with_capacity(b * n * d);
        let mut positions = vec![0.0; (1 + n) * d];
        for image in slice(gradient).chunks((1 + n) * d) {
            patches.extend_from_slice(&image[d..]);
            positions.iter_mut().zip(image).for_each(|(sum, dy)| *sum += dy);
        }
        let class = positions[..d].to_vec();
        let [patches_shape, class_shape, positions_shape] = shapes;
        [
            Some(tensor(patches, patches_shape)),
            Some(tensor(class, class_shape)),
            Some(tensor(positions, positions_shape)),
        ]
    }
}

impl Op<1> for FirstToken {
    type Saved = [usize; 3];

    fn forward(&self, inputs: &[FlexTensor; 1]) -> FlexTensor {
        self.forward_saving(inputs).0
    }

    fn forward_saving(&self, [x]: &[FlexTensor; 1]) -> (FlexTensor, Self::Saved) {
        let x = contiguous(x);
        let [b, t, d] = x.layout().shape().dims();
        let firsts = slice(&x).chunks(t * d).flat_map(|image| &image[..d]).copied().collect();
        (tensor(firsts, [b, 1, d].into()), [b, t, d])
    }

    fn kept(_inputs: [FlexTensor; 1]) -> [FlexTensor; 1] {
        [tensor(Vec::new(), [0].into())]
    }

    fn backward(
        &self,
        _inputs: &[FlexTensor; 1],
        [b, t, d]: Self::Saved,
        gradient: &FlexTensor,
        _wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let mut dx = vec![0.0; b * t * d];
        for (image, dy) in dx.chunks_mut(t * d).zip(slice(gradient).chunks(d)) {
            image[..d].copy_from_slice(dy);
        }
        [Some(tensor(dx, [b, t, d].into()))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::random;
    use crate::fused::{Input, apply};
    use crate::values;

    #[test]
    fn the_first_token_is_that_of_a_slice_and_so_is_its_gradient() {
        let run = |fused: bool| {
            let x = random([3, 4, 5], 1).autodiff().require_grad();
            let first = if fused {
                apply(&FirstToken, [Input::new(&x).unwrap()])
            } else {
                x.clone().slice([0..3, 0..1])
            };
            let mut grads = (first.clone() * random([3, 1, 5], 2).autodiff()).sum().backward();
            [values(&first), values(&x.grad_remove(&mut grads).unwrap())]
        };
        assert_eq!(run(true), run(false));
    }
}
