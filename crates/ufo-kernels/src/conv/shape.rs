//! The sizes of a convolution and what follows from them.

use std::ops::Range;

/// Values of all partial weight gradients, beyond the least number of them.
const PARTIAL_LEN: usize = 1 << 20;
/// Fewest and most partial weight gradients, and so most threads of a backward pass.
const PARTIALS: [usize; 2] = [4, 32];

/// The order of an input's axes in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `[n, channels, height, width]`
    Nchw,
    /// `[n, height, width, channels]`
    #[default]
    Nhwc,
}

/// Which channels an output is summed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Groups {
    /// All of them.
    #[default]
    One,
    /// The channel of the same number; the input is [`Layout::Nhwc`].
    Depthwise,
}

/// The sizes of a convolution; pairs are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Number of images.
    pub images: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output; as many as of the input if depthwise.
    pub outputs: usize,
    /// Height and width of an input image.
    pub size: [usize; 2],
    /// Taps of the window.
    pub kernel: [usize; 2],
    /// Input pixels from one output pixel to the next.
    pub stride: [usize; 2],
    /// Zeros before and after the image.
    pub padding: [usize; 2],
    /// The order of the input's axes.
    pub layout: Layout,
    /// Which channels an output is summed from.
    pub groups: Groups,
}

impl Shape {
    /// Height and width of an output image.
    ///
    /// # Panics
    /// If a stride is zero or a padded image is smaller than the window.
    pub fn out_size(&self) -> [usize; 2] {
        self.check();
        self.axes().map(|axis| axis.out)
    }

    /// Values of the input.
    pub fn input_len(&self) -> usize {
        self.images * self.image_len()
    }

    /// Values of the output.
    ///
    /// # Panics
    /// As [`Self::out_size`].
    pub fn output_len(&self) -> usize {
        self.images * self.out_pixels() * self.outputs
    }

    /// Values of the weight.
    pub fn weight_len(&self) -> usize {
        self.outputs * self.window_len()
    }

    /// Panics unless the shape is possible.
    pub(super) fn check(&self) {
        let Self { channels, outputs, size, kernel, stride, padding, .. } = *self;
        assert!(channels > 0, "channels: none");
        assert!(outputs > 0, "outputs: none");
        assert!(size[0] > 0 && size[1] > 0, "size: {size:?} has no pixels");
        assert!(kernel[0] > 0 && kernel[1] > 0, "kernel: {kernel:?} has no taps");
        assert!(stride[0] > 0 && stride[1] > 0, "stride: {stride:?}");
        let padded = [size[0] + 2 * padding[0], size[1] + 2 * padding[1]];
        assert!(
            padded[0] >= kernel[0] && padded[1] >= kernel[1],
            "size: {size:?}, padded to {padded:?}, is smaller than the kernel {kernel:?}"
        );
        if self.groups == Groups::Depthwise {
            assert!(outputs == channels, "outputs: {outputs}, but {channels} channels, depthwise");
            assert!(self.layout == Layout::Nhwc, "layout: a depthwise convolution takes Nhwc");
        }
    }

    /// The vertical and the horizontal axis.
    pub(super) fn axes(&self) -> [Axis; 2] {
        [0, 1].map(|i| {
            let [size, kernel, stride, padding] =
                [self.size, self.kernel, self.stride, self.padding].map(|pair| pair[i]);
            let out = (size + 2 * padding - kernel) / stride + 1;
            Axis { size, out, kernel, stride, padding }
        })
    }

    /// Values of an input image.
    pub(super) fn image_len(&self) -> usize {
        self.channels * self.size[0] * self.size[1]
    }

    /// Pixels of an output image.
    pub(super) fn out_pixels(&self) -> usize {
        let [vertical, horizontal] = self.axes();
        vertical.out * horizontal.out
    }

    /// Taps of the window.
    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Values that an output is summed from.
    pub(super) fn window_len(&self) -> usize {
        match self.groups {
            Groups::One => self.channels * self.taps(),
            Groups::Depthwise => self.taps(),
        }
    }

    /// Images of each partial weight gradient, by the sizes alone.
    pub(super) fn images_a_partial(&self) -> usize {
        let partials = (PARTIAL_LEN / self.weight_len()).clamp(PARTIALS[0], PARTIALS[1]);
        self.images.div_ceil(partials).max(1)
    }
}

/// One direction of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) size: usize,
    pub(super) out: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Axis {
    /// The taps of output pixel `out` that lie on the image.
    #[inline(always)]
    pub(super) fn taps(&self, out: usize) -> Range<usize> {
        let first = out * self.stride;
        let end = (self.size + self.padding).saturating_sub(first).min(self.kernel);
        self.padding.saturating_sub(first).min(end)..end
    }

    /// The output pixels whose taps all lie on the image.
    #[inline(always)]
    pub(super) fn full(&self) -> Range<usize> {
        let end = match (self.size + self.padding).checked_sub(self.kernel) {
            Some(last) => (last / self.stride + 1).min(self.out),
            None => 0,
        };
        self.padding.div_ceil(self.stride).min(end)..end
    }

    /// The input pixel under tap `tap` of output pixel `out`, which lies on the image.
    #[inline(always)]
    pub(super) fn under(&self, out: usize, tap: usize) -> usize {
        out * self.stride + tap - self.padding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_are_those_on_the_image() {
        for (size, kernel, stride, padding) in
            [(5, 3, 2, 1), (1, 1, 1, 3), (2, 7, 3, 3), (4, 2, 2, 0), (3, 5, 1, 2)]
        {
            let out = (size + 2 * padding - kernel) / stride + 1;
            let axis = Axis { size, out, kernel, stride, padding };
            let full = axis.full();
            for o in 0..out {
                assert_eq!(full.contains(&o), axis.taps(o).len() == kernel, "{axis:?} {o}");
                let on = |tap: &usize| (padding..size + padding).contains(&(o * stride + tap));
                let expected: Vec<usize> = (0..kernel).filter(on).collect();
                let taps: Vec<usize> = axis.taps(o).collect();
                assert_eq!(taps, expected, "{axis:?} {o}");
                if let Some(&tap) = expected.first() {
                    assert_eq!(axis.under(o, tap) + padding, o * stride + tap);
                }
            }
        }
    }
}
