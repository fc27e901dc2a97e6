//! Max pooling as one operation.

use super::{Op, contiguous, slice, tensor};
use burn_flex::FlexTensor;
use std::sync::Arc;
use ufo_kernels::Level;
use ufo_kernels::max_pool::{Shape, backward, forward};

/// Of the input `[b, h, w, c]`.
#[derive(Debug, Clone)]
pub(crate) struct MaxPool {
    pub(crate) level: Level,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl MaxPool {
    fn shape(&self, x: &FlexTensor) -> Shape {
        let Self { kernel, stride, padding, .. } = *self;
        let [images, height, width, channels] = x.layout().shape().dims();
        Shape { images, size: [height, width], channels, kernel, stride, padding }
    }
}

impl Op<1> for MaxPool {
    type Saved = Arc<Vec<u8>>;

    fn forward(&self, inputs: &[FlexTensor; 1]) -> FlexTensor {
        self.forward_saving(inputs).0
    }

    fn forward_saving(&self, [x]: &[FlexTensor; 1]) -> (FlexTensor, Self::Saved) {
        let x = contiguous(x);
        let shape = self.shape(&x);
        let [height, width] = shape.out_size();
        let len = shape.images * height * width * shape.channels;
        let (mut y, mut taps) = (vec![0.0; len], vec![0; len]);
        forward(self.level, &shape, slice(&x), &mut y, &mut taps);
        (tensor(y, [shape.images, height, width, shape.channels].into()), Arc::new(taps))
    }

    fn backward(
        &self,
        [x]: &[FlexTensor; 1],
        taps: Self::Saved,
        gradient: &FlexTensor,
        _wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let shape = x.layout().shape().clone();
        let mut dx = vec![0.0; shape.num_elements()];
        backward(&self.shape(x), &taps, slice(gradient), &mut dx);
        [Some(tensor(dx, shape))]
    }
}
