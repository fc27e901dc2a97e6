//! A convolution with an optional GELU as one operation.

use super::{Op, contiguous, slice, tensor, with_scratch};
use burn_flex::FlexTensor;
use std::sync::Arc;
use ufo_kernels::Level;
use ufo_kernels::conv::{
    Activation, Backward, Conv, Grads, Groups, Layout, Saving, Shape, backward, forward,
    forward_saving,
};

/// Of inputs `[x, weight, bias]`, or without a bias: x `[b, channels, height, width]`, or channels last,
/// weight `[out, in, kernel, kernel]`, depthwise `[channels, 1, kernel, kernel]`; the result has
/// channels last.
#[derive(Debug, Clone)]
pub(crate) struct Convolution {
    pub(crate) level: Level,
    pub(crate) layout: Layout,
    pub(crate) groups: Groups,
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
            groups: self.groups,
        }
    }

    fn run(&self, inputs: &[FlexTensor], saving: bool) -> (FlexTensor, Vec<f32>) {
        let [x, weight] = [&inputs[0], &inputs[1]].map(contiguous);
        let bias = inputs.get(2).map(contiguous);
        let shape = self.shape(&x, &weight);
        let mut out = vec![0.0; shape.output_len()];
        let (bias, activation) = (bias.as_ref().map(slice), self.activation);
        let conv = Conv { weight: slice(&weight), bias, shape, activation };
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

    /// The gradients of x, if wanted, weight and bias, which are no more than the inputs.
    fn gradients(
        &self,
        inputs: &[FlexTensor],
        pre: &[f32],
        gradient: &FlexTensor,
        x_wanted: bool,
    ) -> [Option<FlexTensor>; 3] {
        let [x, weight] = [&inputs[0], &inputs[1]].map(contiguous);
        let bias = inputs.get(2).map(contiguous);
        let shape = self.shape(&x, &weight);
        let mut dx = x_wanted.then(|| vec![0.0; shape.input_len()]);
        let mut dweight = vec![0.0; shape.weight_len()];
        let mut dbias = bias.as_ref().map(|_| vec![0.0; shape.outputs]);
        let (values, activation) = (bias.as_ref().map(slice), self.activation);
        let conv = Conv { weight: slice(&weight), bias: values, shape, activation };
        let given = Backward { input: slice(&x), pre, dy: slice(gradient) };
        let grads =
            Grads { dx: dx.as_deref_mut(), dweight: &mut dweight, dbias: dbias.as_deref_mut() };
        with_scratch(|scratch| backward(self.level, &conv, &given, grads, scratch));
        let of = |values, like: &FlexTensor| tensor(values, like.layout().shape().clone());
        let dbias = dbias.zip(bias.as_ref()).map(|(dbias, bias)| of(dbias, bias));
        [dx.map(|dx| of(dx, &x)), Some(of(dweight, &weight)), dbias]
    }
}

impl Op<2> for Convolution {
    type Saved = Arc<Vec<f32>>;

    fn forward(&self, inputs: &[FlexTensor; 2]) -> FlexTensor {
        self.run(inputs, false).0
    }

    fn forward_saving(&self, inputs: &[FlexTensor; 2]) -> (FlexTensor, Self::Saved) {
        let (out, pre) = self.run(inputs, true);
        (out, Arc::new(pre))
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 2],
        pre: Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [dx, dweight, _] = self.gradients(inputs, &pre, gradient, wanted[0]);
        [dx, dweight]
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
        self.gradients(inputs, &pre, gradient, wanted[0])
    }
}
