//! A convolution over all channels, as products with the weight of a block of windows at a time.
#![allow(unsafe_code, reason = "blocks of pixels are written from several threads")]

use std::ops::Range;

use super::{
    Activation, Backward, Conv, Grads,
    columns::{Gather, Spread},
    lend::for_each_with,
    pointwise::{AddRows, GeluGrad, sum_rows, transpose},
    shape::{Layout, Shape},
};
use crate::{
    gemm::{self, Epilogue, Panels, Product, panels_len},
    level::Level,
    mat::{Mat, MatMut},
    scratch::Scratch,
    split::Shared,
};

/// Values of a block of windows, which stay in the second-level cache, or beyond it where windows are
/// large.
const BLOCK_LEN: usize = 64 << 10;
/// Fewest and most output pixels a block: fewer read the weight too often, more gain nothing.
const BLOCK_PIXELS: [usize; 2] = [192, 768];

impl Shape {
    /// Output pixels a block, by the sizes alone, in whole register tiles of all levels.
    fn block_pixels(&self) -> usize {
        let pixels = (BLOCK_LEN / self.window_len()).clamp(BLOCK_PIXELS[0], BLOCK_PIXELS[1]);
        pixels.next_multiple_of(24)
    }

    /// Whether the pixels of the input are the windows.
    fn is_product(&self) -> bool {
        self.taps() == 1
            && self.stride == [1, 1]
            && self.padding == [0, 0]
            && (self.layout == Layout::Nhwc || self.channels == 1)
    }

    /// Whether the weight's axes lie in another order than the window's.
    fn is_reordered(&self) -> bool {
        self.layout == Layout::Nhwc && self.taps() > 1 && self.channels > 1
    }

    /// Values of a copy of the weight in the order of the window, if it is another.
    fn reordered_len(&self) -> usize {
        if self.is_reordered() { self.weight_len() } else { 0 }
    }
}

impl Conv<'_> {
    /// The weight as `[outputs, window_len]` in the order of the window; `buffer` has
    /// [`Shape::reordered_len`] values.
    fn matrix<'b>(&'b self, buffer: &'b mut [f32]) -> Mat<'b> {
        let shape = &self.shape;
        if !shape.is_reordered() {
            return self.plain_matrix();
        }
        transpose(self.weight, [shape.channels, shape.taps()], buffer);
        Mat::row_major(buffer, shape.outputs, shape.window_len())
    }

    fn plain_matrix(&self) -> Mat<'_> {
        Mat::row_major(self.weight, self.shape.outputs, self.shape.window_len())
    }
}

pub(super) fn forward(
    level: Level,
    conv: &Conv<'_>,
    input: &[f32],
    (out, pre): (&mut [f32], Option<&mut [f32]>),
    scratch: &mut Scratch,
) {
    let shape = &conv.shape;
    let (outputs, pixels) = (shape.outputs, shape.images * shape.out_pixels());
    let lens = [shape.reordered_len(), panels_len(level, conv.plain_matrix().transposed())];
    let ([reordered, panels], scratches) = scratch.lend(lens, rayon::current_num_threads());
    let weight = Panels::pack(level, conv.matrix(reordered).transposed(), panels);
    let (out, pre) = (Shared::new(out), pre.map(Shared::new));
    let block = shape.block_pixels();
    let work = pixels * shape.weight_len();
    for_each_with([pixels.div_ceil(block), work], scratches, |i, scratch| {
        let pixels = i * block..pixels.min((i + 1) * block);
        // SAFETY: blocks are disjoint runs of pixels.
        let part = |shared| unsafe { rows(shared, pixels.clone(), outputs) };
        let epilogue = match conv.activation {
            Activation::None => Epilogue::Bias { bias: conv.bias, residual: None },
            Activation::Gelu => Epilogue::Gelu { bias: conv.bias, pre: pre.as_ref().map(part) },
        };
        let ([columns], children) = scratch.lend([columns_len(shape)], 1);
        let windows = windows(level, (shape, input), pixels.clone(), columns);
        let product = Product::new(level, (windows, weight.into()), part(&out), epilogue);
        gemm::compute(level, product, &mut children[0]);
    });
}

/// Rows of a shared matrix of `cols` columns.
///
/// # Safety
/// No other part in use overlaps them.
unsafe fn rows<'a>(shared: &'a Shared<'_, f32>, rows: Range<usize>, cols: usize) -> MatMut<'a> {
    // SAFETY: the caller's promise.
    let part = unsafe { shared.part(rows.start * cols, rows.len() * cols) };
    MatMut::row_major(part, rows.len(), cols)
}

/// Values of a block of windows that have to be copied.
fn columns_len(shape: &Shape) -> usize {
    if shape.is_product() { 0 } else { shape.block_pixels() * shape.window_len() }
}

/// The windows of some output pixels, `[pixels, window_len]`, in `columns` or where they lie.
fn windows<'a>(
    level: Level,
    (shape, input): (&Shape, &'a [f32]),
    pixels: Range<usize>,
    columns: &'a mut [f32],
) -> Mat<'a> {
    let (count, len) = (pixels.len(), shape.window_len());
    if shape.is_product() {
        return Mat::row_major(&input[pixels.start * len..pixels.end * len], count, len);
    }
    let columns = &mut columns[..count * len];
    level.run(Gather { shape, pixels, input, columns });
    Mat::row_major(columns, count, len)
}

pub(super) fn backward(
    level: Level,
    conv: &Conv<'_>,
    given: &Backward<'_>,
    grads: Grads<'_>,
    scratch: &mut Scratch,
) {
    let shape = &conv.shape;
    let Grads { dx, dweight, dbias } = grads;
    let (outputs, weight_len) = (shape.outputs, shape.weight_len());
    let images = shape.images_a_partial();
    let partials = shape.images.div_ceil(images);
    let bias_wanted = dbias.is_some();
    let reordered = if dx.is_some() { shape.reordered_len() } else { 0 };
    let panels = if dx.is_some() { panels_len(level, conv.plain_matrix()) } else { 0 };
    let lens =
        [reordered, panels, partials * weight_len, partials * outputs, shape.reordered_len()];
    let ([reordered, panels, dweights, dbiases, total], scratches) =
        scratch.lend(lens, rayon::current_num_threads());
    let weight = dx.is_some().then(|| Panels::pack(level, conv.matrix(reordered), panels));
    let pass = Pass { level, conv, given, weight };
    let (shared_dx, shared_dweights, shared_dbiases) =
        (dx.map(Shared::new), Shared::new(dweights), Shared::new(dbiases));
    let work = shape.output_len() * shape.window_len();
    for_each_with([partials, work], scratches, |i, scratch| {
        let images = i * images..shape.images.min((i + 1) * images);
        // SAFETY: each call has its own images and its own partial sums.
        let partial = unsafe {
            let [start, len] = [images.start, images.len()].map(|n| n * shape.image_len());
            Partial {
                dx: shared_dx.as_ref().map(|dx| dx.part(start, len)),
                dweight: shared_dweights.part(i * weight_len, weight_len),
                dbias: bias_wanted.then(|| shared_dbiases.part(i * outputs, outputs)),
            }
        };
        pass.images(images, partial, scratch);
    });
    sum_dweights(level, shape, dweights, (total, dweight));
    if let Some(dbias) = dbias {
        sum_rows(level, dbiases, dbias);
    }
}

/// Sums the partial gradients of the weight, in `total` if they are in another order.
fn sum_dweights(
    level: Level,
    shape: &Shape,
    partials: &[f32],
    (total, dweight): (&mut [f32], &mut [f32]),
) {
    if !shape.is_reordered() {
        return sum_rows(level, partials, dweight);
    }
    sum_rows(level, partials, total);
    transpose(total, [shape.taps(), shape.channels], dweight);
}

/// What all parts of a backward pass read.
struct Pass<'a> {
    level: Level,
    conv: &'a Conv<'a>,
    given: &'a Backward<'a>,
    /// The weight, where the gradient of the input is wanted.
    weight: Option<Panels<'a>>,
}

/// The gradients of some images.
struct Partial<'a> {
    dx: Option<&'a mut [f32]>,
    /// `[outputs, window_len]`, in the order of the window.
    dweight: &'a mut [f32],
    /// Where it is wanted.
    dbias: Option<&'a mut [f32]>,
}

impl Pass<'_> {
    /// Computes the gradients of some images, a block of output pixels at a time.
    fn images(&self, images: Range<usize>, to: Partial<'_>, scratch: &mut Scratch) {
        let Partial { mut dx, dweight, mut dbias } = to;
        let shape = &self.conv.shape;
        if let (Some(dx), false) = (&mut dx, shape.is_product()) {
            dx.fill(0.0);
        }
        if let Some(dbias) = &mut dbias {
            dbias.fill(0.0);
        }
        let block = shape.block_pixels();
        let ([g, columns], children) = scratch.lend([block * shape.outputs, columns_len(shape)], 1);
        let [first, end] = [images.start, images.end].map(|image| image * shape.out_pixels());
        for start in (first..end).step_by(block) {
            let pixels = start..end.min(start + block);
            let g = self.output_gradient(pixels.clone(), g);
            if let Some(dbias) = &mut dbias {
                self.level.run(AddRows { rows: g.data(), sums: dbias });
            }
            let input = (shape, self.given.input);
            let windows = windows(self.level, input, pixels.clone(), columns);
            let c = MatMut::row_major(dweight, shape.outputs, shape.window_len());
            let epilogue = if start == first { Epilogue::Store } else { Epilogue::Accumulate };
            let ab = (g.transposed(), windows.into());
            let product = Product::new(self.level, ab, c, epilogue);
            gemm::compute(self.level, product, &mut children[0]);
            if let Some(dx) = &mut dx {
                let pixels = pixels.start - first..pixels.end - first;
                self.input_gradient((g, pixels), columns, dx, &mut children[0]);
            }
        }
    }

    /// The gradient of the pre-activation of some pixels, `[pixels, outputs]`.
    fn output_gradient<'b>(&'b self, pixels: Range<usize>, g: &'b mut [f32]) -> Mat<'b> {
        let outputs = self.conv.shape.outputs;
        let values = pixels.start * outputs..pixels.end * outputs;
        let dy = &self.given.dy[values.clone()];
        let g = match self.conv.activation {
            Activation::None => dy,
            Activation::Gelu => {
                let g = &mut g[..dy.len()];
                self.level.run(GeluGrad { pre: &self.given.pre[values], dy, g });
                &*g
            }
        };
        Mat::row_major(g, pixels.len(), outputs)
    }

    /// Adds what `pixels`, counted from the first image of `dx`, have to do with its gradient.
    fn input_gradient(
        &self,
        (g, pixels): (Mat<'_>, Range<usize>),
        columns: &mut [f32],
        dx: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let Some(weight) = self.weight else { return };
        let shape = &self.conv.shape;
        let (level, count, len) = (self.level, pixels.len(), shape.window_len());
        let to = if shape.is_product() {
            &mut dx[pixels.start * len..pixels.end * len]
        } else {
            &mut columns[..count * len]
        };
        let c = MatMut::row_major(to, count, len);
        let product = Product::new(level, (g, weight.into()), c, Epilogue::Store);
        gemm::compute(level, product, scratch);
        if !shape.is_product() {
            level.run(Spread { shape, pixels, columns: &columns[..count * len], image: dx });
        }
    }
}
