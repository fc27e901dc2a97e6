//! A convolution with an optional GELU as one operation.

use super::{Op, contiguous, slice, tensor, with_scratch};
use burn_flex::FlexTensor;
use std::sync::Arc;
use ufo_kernels::Level;
use ufo_kernels::conv::{
    Activation, Backward, Conv, Grads, Groups, Layout, Saving, Shape, backward, forward,
    forward_saving,
};

/// Of inputs `[x, weight, bias]`: x `[b, channels, height, width]`, or channels last, weight
/// `[out, in, kernel, kernel]`; the result has channels last.
#[derive(Debug, Clone)]
pub(crate) struct Convolution {
    pub(crate) level: Level,
    pub(crate) layout: Layout,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) activation: Activation,
}

impl Convolution {
    fn shape(&self, x: &FlexTensor, weight: &FlexTensor) -> Shape {
        let [images, a, b, c] = x.layout().shape().dims();
        let (channels, size) = match self.layout {
            Layout::Nchw => (a, [b, c]),
            Layout::Nhwc => (c, [a, b]),
        };
        let [outputs, _, rows, columns] = weight.layout().shape().dims();
        Shape {
            images,
            channels,
            outputs,
            size,
            kernel: [rows, columns],
            stride: [self.stride; 2],
            padding: [self.padding; 2],
            layout: self.layout,
            groups: Groups::One,
        }
    }

    fn run(&self, inputs: &[FlexTensor; 3], saving: bool) -> (FlexTensor, Vec<f32>) {
        let [x, weight, bias] = inputs.each_ref().map(contiguous);
        let shape = self.shape(&x, &weight);
        let mut out = vec![0.0; shape.output_len()];
        let conv = Conv {
            weight: slice(&weight),
            bias: Some(slice(&bias)),
            shape,
            activation: self.activation,
        };
        let saved = if saving && self.activation == Activation::Gelu { out.len() } else { 0 };
        let mut pre = vec![0.0; saved];
        with_scratch(|scratch| {
            if saving {
                let saving = Saving { out: &mut out, pre: &mut pre };
                forward_saving(self.level, &conv, slice(&x), saving, scratch);
            } else {
                forward(self.level, &conv, slice(&x), &mut out, scratch);
            }
        });
        let [rows, columns] = shape.out_size();
        (tensor(out, [shape.images, rows, columns, shape.outputs].into()), pre)
    }
}

impl Op<3> for Convolution {
    type Saved = Arc<Vec<f32>>;

    fn forward(&self, inputs: &[FlexTensor; 3]) -> FlexTensor {
        self.run(inputs, false).0
    }

    fn forward_saving(&self, inputs: &[FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let (out, pre) = self.run(inputs, true);
        (out, Arc::new(pre))
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 3],
        pre: Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [x, weight, bias] = inputs.each_ref().map(contiguous);
        let shape = self.shape(&x, &weight);
        let mut dx = wanted[0].then(|| vec![0.0; shape.input_len()]);
        let (mut dweight, mut dbias) = (vec![0.0; shape.weight_len()], vec![0.0; shape.outputs]);
        let conv = Conv {
            weight: slice(&weight),
            bias: Some(slice(&bias)),
            shape,
            activation: self.activation,
        };
        let given = Backward { input: slice(&x), pre: &pre, dy: slice(gradient) };
        let grads = Grads { dx: dx.as_deref_mut(), dweight: &mut dweight, dbias: Some(&mut dbias) };
        with_scratch(|scratch| backward(self.level, &conv, &given, grads, scratch));
        let of = |values, like: &FlexTensor| tensor(values, like.layout().shape().clone());
        [dx.map(|dx| of(dx, &x)), Some(of(dweight, &weight)), Some(of(dbias, &bias))]
    }
}
