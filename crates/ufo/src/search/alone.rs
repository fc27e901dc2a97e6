//! Networks that were trained alone, to compare slices of their size with.

use crate::run::Run;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::sync::Arc;
use ufo_data::Dataset;
use ufo_nas::{Arch, BlockSlice, Slice, Space};

/// What each run's whole network scores on `images`, and the slice of the chip supernet `run` that is as large.
///
/// # Errors
/// A run without the task, or of a network that is no slice of the space.
pub(super) fn judge(
    run: &Run,
    folders: &[PathBuf],
    images: &Arc<Dataset>,
) -> Result<Vec<(Slice, f64)>> {
    let name = &run.tasks[0].config.name;
    let one = |folder: &PathBuf| -> Result<(Slice, f64)> {
        let at = || format!("--alone {}", folder.display());
        let other = Run::open(folder).with_context(at)?;
        let index = other.supernet.task_index(name).with_context(at)?;
        let theirs = &other.supernet.arch;
        let slice = slice(&run.supernet.arch, &run.space(), theirs).with_context(at)?;
        let (result, _) = other.judge_on(index, &Slice::full(theirs), images).with_context(at)?;
        Ok((slice, result.value))
    };
    folders.iter().map(one).collect()
}

/// The slice of `ours` with the depth, the heads and the FFN width of `theirs`.
fn slice(ours: &Arch, space: &Space, theirs: &Arch) -> Result<Slice> {
    let Arch { depth, heads, ffn, .. } = *theirs;
    let (layout, whole) = (ours.layout, theirs.clone());
    let cut = Arch { depth: ours.depth, heads: ours.heads, ffn: ours.ffn, layout, ..whole };
    if cut != *ours {
        bail!("its network differs in more than depth, heads and FFN width from the run's");
    }
    let blocks =
        if depth <= ours.depth { space.depth_rule.blocks(depth, ours.depth) } else { vec![] };
    let slice = Slice {
        blocks: blocks.into_iter().map(|block| BlockSlice { block, heads, ffn }).collect(),
    };
    if !space.contains(ours, &slice) {
        bail!(
            "its network has {depth} blocks of {heads} heads and {ffn} hidden units; must be of depths {:?}, heads {:?} and ffn {:?}",
            space.depths,
            space.heads,
            space.ffn
        );
    }
    Ok(slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ufo_nas::{DepthRule, Preset};

    #[test]
    fn the_slice_of_a_networks_size_is_found_in_the_space_alone() {
        let ours = Preset::Demo.arch();
        let space = Space {
            depths: vec![2, 6],
            heads: vec![1, 3],
            ffn: vec![48, ours.ffn],
            depth_rule: DepthRule::Even,
        };
        let of = |change: fn(&mut Arch)| {
            let mut theirs = Arch { depth: 2, heads: 1, ffn: 48, ..ours.clone() };
            change(&mut theirs);
            slice(&ours, &space, &theirs)
        };
        assert_eq!(of(|_| ()).unwrap().to_string(), "0:1:48,5:1:48");
        for (change, said) in [
            ((|arch| arch.heads = 2) as fn(&mut Arch), "2 blocks of 2 heads and 48 hidden units"),
            (|arch| arch.depth = 7, "7 blocks of 1 heads"),
            (|arch| arch.dim += 8, "differs in more than depth"),
        ] {
            let message = of(change).unwrap_err().to_string();
            assert!(message.contains(said), "{message}");
        }
    }
}
