//! Pooling of maps.

use crate::fused::{self, Input, MaxPool};
use burn_tensor::ops::MaxPoolOptions;
use burn_tensor::{Tensor, module};
use ufo_kernels::Level;

/// The largest of each 3x3 window, in steps of 2, around which there is nothing.
///
/// # Shapes
/// `[b, h, w, c]` to `[b, ceil(h / 2), ceil(w / 2), c]`.
pub(super) fn max(x_bhwc: Tensor<4>, level: Level) -> Tensor<4> {
    fused_max(&x_bhwc, level).unwrap_or_else(|| composed_max(x_bhwc))
}

fn fused_max(x_bhwc: &Tensor<4>, level: Level) -> Option<Tensor<4>> {
    let op = MaxPool { level, kernel: 3, stride: 2, padding: 1 };
    Some(fused::apply(&op, [Input::new(x_bhwc)?]))
}

fn composed_max(x_bhwc: Tensor<4>) -> Tensor<4> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::random;
    use crate::param::values;

    #[test]
    fn the_fused_pool_equals_burns() {
        for size in [[2, 7, 6, 9], [1, 1, 2, 3]] {
            let run = |fused: bool| {
                let x = random(size, 1).autodiff().require_grad();
                let y = if fused {
                    fused_max(&x, Level::detect()).unwrap()
                } else {
                    composed_max(x.clone())
                };
                let mut grads = (y.clone() * random(y.dims(), 2).autodiff()).sum().backward();
                [values(&y), values(&x.grad_remove(&mut grads).unwrap())]
            };
            assert_eq!(run(true), run(false), "{size:?}");
        }
    }
}
