//! Pooling of maps.

use burn_tensor::ops::MaxPoolOptions;
use burn_tensor::{Tensor, module};

/// The largest of each 3x3 window, in steps of 2, around which there is nothing.
///
/// # Shapes
/// `[b, h, w, c]` to `[b, ceil(h / 2), ceil(w / 2), c]`.
pub(super) fn max(x_bhwc: Tensor<4>) -> Tensor<4> {
    let options = MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]);
    module::max_pool2d(x_bhwc.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
}

/// The mean of each map.
///
/// # Shapes
/// `[b, h, w, c]` to `[b, c]`.
pub(super) fn mean(x_bhwc: Tensor<4>) -> Tensor<2> {
    let [b, h, w, c] = x_bhwc.dims();
    x_bhwc.reshape([b, h * w, c]).mean_dim(1).reshape([b, c])
}
