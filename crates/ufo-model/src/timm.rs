//! Weights of timm's vision transformers (`VisionTransformer` state dictionaries) into a supernet.
//!
//! Every expert of a block starts as the checkpoint's block, every stem as its embedding, so that the
//! fresh supernet computes the checkpoint's features for every task and path (spec 2.6).

use crate::vit::{Named, Vit};
use crate::{Result, Supernet, resize_positions, weights};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use ufo_nas::{Keys, Slice};
use ufo_weights::{Error, HostTensor, State};

const POSITIONS: &str = "pos_embed";

/// Copies a plain ViT checkpoint into the shared expert and every task's own experts and stem. The
/// position embedding is resized to the supernet's grid; heads (`head.*`, `fc_norm.*`) and the
/// router stay fresh.
///
/// # Errors
/// Names the first tensor that is missing, of another shape or not of a plain ViT; the supernet is
/// then unchanged.
pub fn init(supernet: &mut Supernet, mut state: State, from: &str) -> Result<()> {
    state.retain(|name, _| !name.starts_with("head.") && !name.starts_with("fc_norm."));
    let arch = &supernet.arch;
    if let Some(positions) = state.get_mut(POSITIONS) {
        fit_positions(positions, arch.dim, arch.tokens(), from)?;
    }
    let slice = Slice::full(arch);
    let device = supernet.shared.norm.weight.device();
    let mut vit = Vit::init(arch, &slice, &mut ChaCha8Rng::seed_from_u64(0), &device)?;
    weights::load(&mut Named { vit: &mut vit, keys: &Keys::plain(arch.depth) }, state, from)?;
    for (index, block) in vit.blocks.iter().enumerate() {
        let (Some(attn), Some(ffn)) = (block.attn.fixed(), block.ffn.fixed()) else { continue };
        let owners = supernet.tasks.iter_mut().map(|task| &mut task.blocks[index]);
        for owner in owners.chain([&mut supernet.shared.blocks[index]]) {
            owner.attn = owner.attn.is_some().then(|| attn.clone());
            owner.ffn = ffn.clone();
        }
    }
    if let Some(norm) = vit.norm.fixed() {
        supernet.shared.norm = norm.clone();
        for task in &mut supernet.tasks {
            task.norm = task.norm.is_some().then(|| norm.clone());
        }
    }
    for task in &mut supernet.tasks {
        task.stem = vit.stem.clone();
    }
    Ok(())
}

/// Resizes `(1, 1 + n, dim)` to `tokens` tokens, both grids square.
fn fit_positions(positions: &mut HostTensor, dim: usize, tokens: usize, from: &str) -> Result<()> {
    if positions.shape.get(1) == Some(&tokens) || positions.shape.get(2) != Some(&dim) {
        return Ok(());
    }
    let wrong = |reason: String| crate::Error::from(Error::File { file: from.to_string(), reason });
    let side = (tokens - 1).isqrt();
    if side * side + 1 != tokens {
        return Err(wrong(format!("{POSITIONS}: {} patches are not a square grid", tokens - 1)));
    }
    let resized = resize_positions(&positions.values, dim, [side, side])
        .map_err(|reason| wrong(format!("{POSITIONS}: {reason}")))?;
    *positions = HostTensor { shape: vec![1, tokens, dim], values: resized };
    Ok(())
}
