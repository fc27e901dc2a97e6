//! How a task is added to a trained supernet (spec 7.3).

use super::TaskConfig;
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use ufo_nas::{Arch, Expert, Layout, SHARED, task_key};

/// The last task is new and trained alone, on the shared branch of a run that has all the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpandConfig {
    /// Run that the shared branch and the other tasks come from.
    pub from: PathBuf,
    /// What of the new task is trained.
    pub update: Update,
    /// Task whose stem (patches, class token, positions) the new one starts with; default the one behind
    /// which the shared branch tells the new task's classes apart best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stem: Option<String>,
}

/// What of a new task is trained; everything else keeps its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Update {
    /// The head.
    Head,
    /// Head, class token, positions, and an FFN expert a block in the place of the shared one.
    Expert,
    /// The same, with a router that may go back to the shared FFN.
    ExpertRouter,
    /// The head, and copies of the branch's norms and biases.
    Norms,
    /// The head, and copies of the last blocks, this many, and of the final norm.
    Last(usize),
    /// The head, and a copy of the whole branch.
    All,
}

const ALLOWED: &str = "head, expert, expert+router, norms, last-K (K blocks) or all";

impl FromStr for Update {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let blocks = || text.strip_prefix("last-")?.parse().ok().filter(|&blocks| blocks > 0);
        match text {
            "head" => Ok(Self::Head),
            "expert" => Ok(Self::Expert),
            "expert+router" => Ok(Self::ExpertRouter),
            "norms" => Ok(Self::Norms),
            "all" => Ok(Self::All),
            _ => blocks().map(Self::Last).ok_or(format!("update = `{text}`: must be {ALLOWED}")),
        }
    }
}

impl TryFrom<String> for Update {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Update> for String {
    fn from(update: Update) -> Self {
        update.to_string()
    }
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Expert => f.write_str("expert"),
            Self::ExpertRouter => f.write_str("expert+router"),
            Self::Norms => f.write_str("norms"),
            Self::Last(blocks) => write!(f, "last-{blocks}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl Update {
    /// Factor of the run's learning rate: the fewer parameters learn, the further each has to go.
    pub fn rate(self) -> f32 {
        match self {
            Self::Head => 30.0,
            Self::Norms | Self::Last(_) => 10.0,
            Self::Expert | Self::ExpertRouter => 5.0,
            Self::All => 1.0,
        }
    }

    /// Whether the bits of all other tasks stay: not where attention and norms, which layout A has once
    /// for all tasks, are trained.
    pub fn keeps_others(self, layout: Layout) -> bool {
        layout == Layout::B || matches!(self, Self::Head | Self::Expert | Self::ExpertRouter)
    }

    /// The new task's expert at each routed site, in the router's order; none where the router draws.
    pub fn experts(self, arch: &Arch) -> Vec<Option<Expert>> {
        let at = |block: usize, ffn: bool| match self {
            Self::Expert if ffn => Some(Expert::Task),
            Self::ExpertRouter if ffn => None,
            Self::Head | Self::Expert | Self::ExpertRouter => Some(Expert::Shared),
            Self::Last(blocks) if block + blocks < arch.depth => Some(Expert::Shared),
            Self::Norms | Self::Last(_) | Self::All => Some(Expert::Task),
        };
        match arch.layout {
            Layout::A => (0..arch.depth).map(|block| at(block, true)).collect(),
            // The final norm goes with the last block's attention.
            Layout::B => (0..arch.routed_sites())
                .map(|site| at((site / 2).min(arch.depth - 1), site % 2 == 1))
                .collect(),
        }
    }

    /// Whether the parameter `name` of a supernet with the new task `task` is trained.
    pub fn trains(self, arch: &Arch, task: &str, name: &str) -> bool {
        let within = |owner: &str| name.strip_prefix(owner)?.strip_prefix('.');
        let shared = || within(SHARED).filter(|_| !self.keeps_others(arch.layout));
        let Some(part) = within(&task_key(task)).or_else(shared) else { return false };
        let mut words = part.split('.');
        let block = match (words.next(), words.next().map(str::parse::<usize>)) {
            (Some("blocks"), Some(Ok(block))) => Some(block),
            _ => None,
        };
        let norm_or_bias = part.contains("norm") || part.split('.').next_back() == Some("bias");
        let last = part.starts_with("norm.");
        part.starts_with("head.")
            || match self {
                Self::Head => false,
                Self::Expert | Self::ExpertRouter => {
                    ["cls_token", "pos_embed"].contains(&part)
                        || (block.is_some() && (part.contains(".mlp.") || part.contains(".norm2.")))
                        || (self == Self::ExpertRouter && part == "router")
                }
                Self::Norms => last || (block.is_some() && norm_or_bias),
                Self::Last(blocks) => {
                    last || block.is_some_and(|block| block + blocks >= arch.depth)
                }
                Self::All => part != "router",
            }
    }
}

impl ExpandConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub(super) fn validate(&self, arch: &Arch, tasks: &[TaskConfig]) -> Result<()> {
        let Some((_, others)) = tasks.split_last().filter(|(_, others)| !others.is_empty()) else {
            bail!("expand: the tasks of expand.from and the new one, at least 2, are needed");
        };
        let names: Vec<&str> = others.iter().map(|task| task.name.as_str()).collect();
        if let Some(stem) = self.stem.as_deref().filter(|stem| !names.contains(stem)) {
            bail!("expand.stem = `{stem}`: must be one of {}", names.join(", "));
        }
        match self.update {
            Update::Last(blocks) if blocks > arch.depth => bail!(
                "expand.update = last-{blocks}: must be at most last-{}, the blocks that there are",
                arch.depth
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ufo_nas::{Path, Preset};

    const UPDATES: [&str; 6] = ["head", "expert", "expert+router", "norms", "last-2", "all"];

    #[test]
    fn updates_are_read_as_they_are_written() {
        for text in UPDATES {
            assert_eq!(text.parse::<Update>().unwrap().to_string(), text);
        }
        for text in ["", "heads", "last-0", "last-x", "last"] {
            let error = text.parse::<Update>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")) && error.contains("last-K"), "{error}");
        }
    }

    #[test]
    fn paths_hold_the_experts_that_are_trained() {
        let path = |text: &str, layout| {
            let arch = Arch { layout, depth: 3, ..Preset::Demo.arch() };
            let experts = text.parse::<Update>().unwrap().experts(&arch);
            let sites: Vec<Expert> =
                experts.into_iter().map(|expert| expert.unwrap_or(Expert::Task)).collect();
            Path::from_sites(&arch, &sites).unwrap().to_string()
        };
        let expected = [
            ("ss ss ss|s", "ss ss ss|s"),
            ("st st st|s", "st st st|s"),
            ("st st st|s", "st st st|s"),
            ("tt tt tt|t", "st st st|s"),
            ("ss tt tt|t", "ss st st|s"),
            ("tt tt tt|t", "st st st|s"),
        ];
        for (text, (b, a)) in UPDATES.into_iter().zip(expected) {
            assert_eq!([path(text, Layout::B), path(text, Layout::A)], [b, a], "{text}");
        }
        let arch = Preset::Demo.arch();
        let open = Update::ExpertRouter.experts(&arch).into_iter().filter(Option::is_none);
        assert_eq!(open.count(), arch.depth);
    }

    #[test]
    fn only_named_parts_of_the_new_task_are_trained() {
        let arch = Arch { depth: 3, ..Preset::Demo.arch() };
        let names = [
            "head.weight",
            "cls_token",
            "patch_embed.proj.weight",
            "blocks.0.mlp.fc1.weight",
            "blocks.1.norm1.weight",
            "blocks.2.attn.qkv.bias",
            "norm.weight",
            "router",
        ];
        let expected = [
            [1, 0, 0, 0, 0, 0, 0, 0],
            [1, 1, 0, 1, 0, 0, 0, 0],
            [1, 1, 0, 1, 0, 0, 0, 1],
            [1, 0, 0, 0, 1, 1, 1, 0],
            [1, 0, 0, 0, 1, 1, 1, 0],
            [1, 1, 1, 1, 1, 1, 1, 0],
        ];
        for (text, expected) in UPDATES.into_iter().zip(expected) {
            let update: Update = text.parse().unwrap();
            for (part, expected) in names.into_iter().zip(expected) {
                let trains = |owner: &str, layout| {
                    let arch = Arch { layout, ..arch.clone() };
                    update.trains(&arch, "new", &format!("{owner}.{part}"))
                };
                assert_eq!(trains("tasks.new", Layout::B), expected == 1, "{text} {part}");
                for owner in ["shared", "tasks.old", "tasks.newer"] {
                    assert!(!trains(owner, Layout::B), "{text} {owner} {part}");
                }
                assert!(!trains("tasks.old", Layout::A));
                let shared = expected == 1 && !update.keeps_others(Layout::A);
                assert_eq!(trains("shared", Layout::A), shared, "{text} {part}");
            }
        }
    }
}
