//! How a chip supernet is trained (spec 2.7).

use super::{FROM_0, check};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use ufo_nas::{Arch, DepthRule, Space};

/// One task's path trained so that its slices work by themselves: each step the largest slice learns
/// from the labels and smaller ones from the largest (the sandwich rule and in-place distillation of
/// arXiv 1903.05134).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "parts of the training that are switched one by one"
)]
pub struct ChipConfig {
    /// Run that the task's weights and path come from.
    pub from: PathBuf,
    /// Sizes of the slices.
    pub space: Space,
    /// Random slices a step; default 2.
    #[serde(default = "two")]
    pub random: usize,
    /// Whether each step also trains the smallest slice; default true.
    #[serde(default = "yes")]
    pub smallest: bool,
    /// Weight of what smaller slices learn from the largest, at least 0; default 1, 0 is no
    /// distillation.
    #[serde(default = "one")]
    pub distill: f32,
    /// Weight of the task's own loss for smaller slices, at least 0; default 0.5.
    #[serde(default = "half")]
    pub task_loss: f32,
    /// Progressive shrinking (arXiv 1908.09791): depths in the first third of the training, heads too
    /// in the second, FFN widths too in the last; default false.
    #[serde(default)]
    pub progressive: bool,
    /// Take out of the largest slice's gradient, tensor by tensor, what is against the smaller ones'
    /// (`NASViT`, Gong et al., ICLR 2022); default false.
    #[serde(default)]
    pub project: bool,
    /// Measure the statistics of the head's normalization anew for each slice, on training images; default true.
    #[serde(default = "yes")]
    pub recalibrate: bool,
}

fn two() -> usize {
    2
}

fn yes() -> bool {
    true
}

fn one() -> f32 {
    1.0
}

fn half() -> f32 {
    0.5
}

impl ChipConfig {
    /// The defaults for a run's architecture: half to all of the blocks, a third to all of the heads, a
    /// quarter to all of the FFN.
    pub fn new(from: PathBuf, arch: &Arch) -> Self {
        let parts = |whole: usize, parts: usize| -> Vec<usize> {
            let mut sizes: Vec<usize> =
                (1..=parts).map(|part| (whole * part).div_ceil(parts)).collect();
            sizes.dedup();
            sizes
        };
        let space = Space {
            depths: (arch.depth.div_ceil(2)..=arch.depth).collect(),
            heads: parts(arch.heads, 3),
            ffn: parts(arch.ffn, 4),
            depth_rule: DepthRule::First,
        };
        Self {
            from,
            space,
            random: two(),
            smallest: yes(),
            distill: one(),
            task_loss: half(),
            progressive: false,
            project: false,
            recalibrate: yes(),
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub(super) fn validate(&self, arch: &Arch, tasks: usize) -> Result<()> {
        if tasks != 1 {
            bail!("chip: a chip supernet is of one task, but there are {tasks}");
        }
        self.space.validate(arch)?;
        check(&[
            ("chip.random", self.random as f64, (|v| v <= 64.0, "at most 64")),
            ("chip.distill", f64::from(self.distill), FROM_0),
            ("chip.task_loss", f64::from(self.task_loss), FROM_0),
        ])?;
        if self.distill + self.task_loss == 0.0 {
            bail!("chip.distill and chip.task_loss = 0: smaller slices would learn nothing");
        }
        Ok(())
    }

    /// The space at a point of the training, 0 to 1.
    pub fn space_at(&self, progress: f64) -> Space {
        let mut space = self.space.clone();
        let largest = |choices: &mut Vec<usize>| drop(choices.drain(..choices.len() - 1));
        if self.progressive && progress < 2.0 / 3.0 {
            largest(&mut space.ffn);
        }
        if self.progressive && progress < 1.0 / 3.0 {
            largest(&mut space.heads);
        }
        space
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ufo_nas::Preset;

    #[test]
    fn progressive_shrinking_frees_one_size_after_the_other() {
        let arch = Preset::Tiny.arch();
        let mut chip = ChipConfig::new(PathBuf::new(), &arch);
        assert_eq!(chip.space_at(0.0), chip.space);
        chip.progressive = true;
        let sizes = |progress: f64| {
            let space = chip.space_at(progress);
            space.validate(&arch).unwrap();
            assert_eq!(space.largest(&arch), chip.space.largest(&arch));
            [space.depths.len(), space.heads.len(), space.ffn.len()]
        };
        assert_eq!([sizes(0.1), sizes(0.5), sizes(0.9)], [[7, 1, 1], [7, 3, 1], [7, 3, 4]]);
    }

    #[test]
    fn wrong_values_are_refused_with_their_key() {
        let arch = Preset::Demo.arch();
        let message = |change: fn(&mut ChipConfig), tasks: usize| {
            let mut chip = ChipConfig::new(PathBuf::new(), &arch);
            chip.validate(&arch, 1).unwrap();
            change(&mut chip);
            chip.validate(&arch, tasks).unwrap_err().to_string()
        };
        for (said, got) in [
            ("one task, but there are 2", message(|_| (), 2)),
            ("space.heads", message(|chip| chip.space.heads = vec![99], 1)),
            ("chip.distill = -1", message(|chip| chip.distill = -1.0, 1)),
            ("learn nothing", message(|chip| (chip.distill, chip.task_loss) = (0.0, 0.0), 1)),
        ] {
            assert!(got.contains(said), "{got}");
        }
    }
}
