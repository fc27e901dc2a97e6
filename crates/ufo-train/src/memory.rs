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

use crate::{Update, shards};
use ufo_kernels::Precision;
use ufo_model::Mode;
use ufo_nas::{Arch, Stem};

/// Bytes of a value.
const VALUE: u64 = 4;
/// Bytes that products in bf16 pack their operands into, found by measuring (460 to 510 kB with AMX; in f32 they are
/// read in place or in panels that are hardly larger than what is allowed for small buffers).
const BF16_PANELS: u64 = 500_000;
/// About the rows that the FFN's backward pass takes at a time.
const GROUP_ROWS: usize = 256;

/// Sizes of a task's share of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Images.
    pub batch: usize,
    /// `router.other_fraction`; 0 for a network without routing.
    pub other_fraction: f32,
    /// Whether blocks are computed again in the backward pass.
    pub recompute: bool,
    /// Bytes that products pack their operands into.
    panels: u64,
}

/// Bytes that the forward and backward pass of one task take at most, besides weights and gradients:
/// those of the tasks that are computed at the same time add up, as does the working memory of shards of a batch
/// that are. Each shard has gradients of its own until they are added.
pub fn task_bytes(arch: &Arch, share: Share) -> u64 {
    let fraction = [share.other_fraction; 2];
    let kept = blocks(arch, arch.depth, fraction, share.recompute) + stem(arch);
    // One shard after the other on its way back.
    let shard = share.batch.div_ceil(shards::count(share.batch, arch.tokens()));
    let passing = shard * working(arch, share.recompute) + group(arch, shard * arch.tokens());
    VALUE * (share.batch * kept + passing) as u64
}

/// The same of a step of an added task, with the gradients and the optimizer's state of its `trained`
/// parameters: modules before the first that is trained keep nothing. At most a quarter more than the
/// allocator sees, since not all of it is there at the same time.
pub fn expand_bytes(arch: &Arch, share: Share, update: Update, trained: u64) -> u64 {
    let behind = match update {
        Update::Head => 0,
        Update::Last(blocks) => blocks.min(arch.depth),
        _ => arch.depth,
    };
    let other = if update == Update::ExpertRouter { share.other_fraction } else { 0.0 };
    let [t, d, e] = [arch.tokens(), arch.dim, arch.attn_dim()];
    let kept = blocks(arch, behind, [0.0, other], share.recompute);
    let (passing, rows) = match behind {
        0 => (3 * t * e + 2 * t * d + first_map(arch), 0),
        1 => (working(arch, share.recompute), 1),
        _ => (working(arch, share.recompute), t),
    };
    let stem = if update == Update::All { stem(arch) } else { arch.channels * pixels(arch) };
    // The weight of q, k and v as its product takes it, of which one pass has a copy.
    let packed = 3 * d * e;
    let values = share.batch * (kept + stem + passing) + group(arch, share.batch * rows) + packed;
    // Gradient, mean and square.
    VALUE * (values as u64 + 3 * trained) + share.panels
}

/// Values that the last `count` blocks keep of an image; the router's other expert runs on shares of the
/// images, at attention and FFN.
fn blocks(arch: &Arch, count: usize, others: [f32; 2], recompute: bool) -> usize {
    let [t, d, e, f, h] = [arch.tokens(), arch.dim, arch.attn_dim(), arch.ffn, arch.heads];
    let share_of = |share: f32, tokens: usize| (share * (tokens * d) as f32) as usize;
    let ffn = |tokens: usize| if recompute { 0 } else { tokens * f + 2 * tokens };
    let block = |tokens: usize| {
        let inputs = t * d + tokens * d + share_of(others[0], t) + share_of(others[1], tokens);
        inputs + if recompute { 0 } else { attention(t, e, h) } + ffn(tokens)
    };
    match count {
        0 => 0,
        _ => (count - 1) * block(t) + block(1),
    }
}

/// Values inside of attention that are kept for its backward pass.
fn attention(t: usize, e: usize, h: usize) -> usize {
    4 * t * e + 2 * t * h + 2 * t
}

/// Working memory of a backward pass, an image.
fn working(arch: &Arch, recompute: bool) -> usize {
    let [t, d, e, h] = [arch.tokens(), arch.dim, arch.attn_dim(), arch.heads];
    // The last attention's backward pass, when nothing is freed yet: what it computes again, its buffers,
    // and gradients on their way (six, found by measuring).
    let again = if recompute { attention(t, e, h) } else { 0 };
    again + 4 * t * e + 2 * t * d + 6 * t * d
}

/// Working memory of the FFN's backward pass, which goes through some of the rows at a time.
fn group(arch: &Arch, rows: usize) -> usize {
    let [d, f] = [arch.dim, arch.ffn];
    // Groups may be half as large again, but when they are needed the last block's buffers are free.
    if rows == 0 { 0 } else { rows.min(GROUP_ROWS) * (d + 2 * f) + 2 * d * f }
}

/// Values of the first map of a convolutional stem.
fn first_map(arch: &Arch) -> usize {
    let Stem::Conv { widths, .. } = &arch.stem else { return 0 };
    let side = |pixels: usize| pixels.div_ceil(2);
    widths.first().map_or(0, |width| width * arch.image_size.map(side).iter().product::<usize>())
}

fn pixels(arch: &Arch) -> usize {
    arch.image_size.iter().product()
}

/// Values that the stem keeps of an image: the input of each convolution and, where a GELU follows, what
/// it is applied to.
fn stem(arch: &Arch) -> usize {
    let [mut height, mut width] = arch.image_size;
    let image = arch.channels * pixels(arch);
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
        let panels = if mode.level.precision() == Precision::Bf16 { BF16_PANELS } else { 0 };
        Self { batch, other_fraction, recompute: mode.recompute, panels }
    }
}
