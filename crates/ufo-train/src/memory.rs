//! What a training step takes of memory, by its sizes alone.
//!
//! With t tokens, width d, attention width e, FFN width f, h heads, the values kept for the backward
//! pass of an image are, block by block,
//! ```text
//! attention  t d + 4 t e + 2 t h + 2 t     its input; q, k, v, their mixture, numbers of softmax and norm
//! FFN        t d + t f + 2 t               its input, the pre-activation; t is 1 in the last block
//! router     r t d for each of the two     what the other expert would change, on a share r of the images
//! ```
//! or only the inputs and the router's where the rest is computed again. To these come the image, the
//! maps of the stem, and the working memory of the largest operation. Everything else of a step
//! (masks, losses, indices) is small, but for the buffers of a convolutional stem, up to 4 MB whatever
//! the batch. Within 15 % of what the allocator sees (`tests/memory.rs`).

use ufo_model::Mode;
use ufo_nas::{Arch, Stem};

/// Bytes of a value.
const VALUE: u64 = 4;
/// Rows that the FFN's backward pass takes at a time.
const GROUP_ROWS: usize = 768;

/// Sizes of a task's share of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Images.
    pub batch: usize,
    /// `router.other_fraction`; 0 for a network without routing.
    pub other_fraction: f32,
    /// Whether blocks are computed again in the backward pass.
    pub recompute: bool,
}

/// Bytes that the forward and backward pass of one task take at most, besides weights and gradients:
/// those of the tasks that are computed at the same time add up.
pub fn task_bytes(arch: &Arch, share: Share) -> u64 {
    let [t, d, e, f, h] = [arch.tokens(), arch.dim, arch.attn_dim(), arch.ffn, arch.heads];
    let share_of = |tokens: usize| (share.other_fraction * (tokens * d) as f32) as usize;
    let attention = |kept: bool| if kept { 4 * t * e + 2 * t * h + 2 * t } else { 0 };
    let ffn = |tokens: usize, kept: bool| if kept { tokens * f + 2 * tokens } else { 0 };
    let block = |tokens: usize| {
        let kept = !share.recompute;
        let inputs = t * d + tokens * d + share_of(t) + share_of(tokens);
        inputs + attention(kept) + ffn(tokens, kept)
    };
    let blocks = (arch.depth - 1) * block(t) + block(1);
    // The last attention's backward pass, when nothing is freed yet: what it computes again, its buffers,
    // and gradients on their way (six, found by measuring).
    let again = if share.recompute { attention(true) } else { 0 };
    let working = again + 4 * t * e + 2 * t * d + 6 * t * d;
    let values = share.batch * (blocks + stem(arch) + working);
    // The FFN's backward pass goes through some rows at a time, whatever the batch.
    let group = (share.batch * t).min(GROUP_ROWS) * (d + 2 * f) + 2 * d * f;
    VALUE * (values + group) as u64
}

/// Values that the stem keeps of an image: the input of each convolution and, where a GELU follows, what
/// it is applied to.
fn stem(arch: &Arch) -> usize {
    let [mut height, mut width] = arch.image_size;
    let image = arch.channels * height * width;
    let Stem::Conv { widths, .. } = &arch.stem else { return image };
    let mut values = image;
    for outputs in widths {
        [height, width] = [height.div_ceil(2), width.div_ceil(2)];
        values += 2 * outputs * height * width;
    }
    values
}

impl Share {
    /// A task's share of a step in `mode`.
    pub fn new(batch: usize, other_fraction: f32, mode: Mode) -> Self {
        Self { batch, other_fraction, recompute: mode.recompute }
    }
}
