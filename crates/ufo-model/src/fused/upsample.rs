//! Bilinear resizing as one operation.

use super::{Op, contiguous, slice, tensor};
use burn_flex::FlexTensor;
use ufo_kernels::Level;
use ufo_kernels::upsample::{Shape, backward, forward};

/// Of a map `[b, h, w, c]`, to `out` rows and columns.
#[derive(Debug, Clone)]
pub(crate) struct Upsample {
    pub(crate) level: Level,
    pub(crate) out: [usize; 2],
}

impl Op<1> for Upsample {
    type Saved = Shape;

    fn forward(&self, inputs: &[FlexTensor; 1]) -> FlexTensor {
        self.forward_saving(inputs).0
    }

    fn forward_saving(&self, [x]: &[FlexTensor; 1]) -> (FlexTensor, Shape) {
        let x = contiguous(x);
        let [images, height, width, channels] = x.layout().shape().dims();
        let [rows, columns] = self.out;
        let shape = Shape { images, size: [height, width], out: self.out, channels };
        let mut y = vec![0.0; images * rows * columns * channels];
        forward(self.level, &shape, slice(&x), &mut y);
        (tensor(y, [images, rows, columns, channels].into()), shape)
    }

    fn kept(_inputs: [FlexTensor; 1]) -> [FlexTensor; 1] {
        [tensor(Vec::new(), [0].into())]
    }

    fn backward(
        &self,
        _inputs: &[FlexTensor; 1],
        shape: Shape,
        gradient: &FlexTensor,
        _wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let Shape { images, size: [height, width], channels, .. } = shape;
        let mut dx = vec![0.0; images * height * width * channels];
        backward(self.level, &shape, slice(gradient), &mut dx);
        [Some(tensor(dx, [images, height, width, channels].into()))]
    }
}
