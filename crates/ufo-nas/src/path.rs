//! Which expert each part of each block uses (spec 1.2: two experts a site, shared or task).

use crate::{Arch, Error, Layout};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the two experts of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expert {
    /// The expert that every task may use.
    Shared,
    /// The expert of the task itself.
    Task,
}

impl Expert {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Shared => Self::Task,
            Self::Task => Self::Shared,
        }
    }
}

/// A task's way through the supernet: an expert for every site.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Path {
    /// Attention and its norm, one entry a block.
    pub attn: Vec<Expert>,
    /// FFN and its norm, one entry a block.
    pub ffn: Vec<Expert>,
    /// The final norm.
    pub norm: Expert,
}

impl Path {
    /// The path that uses `expert` wherever `arch` has a choice, and the shared module elsewhere.
    pub fn uniform(arch: &Arch, expert: Expert) -> Self {
        Self::from_sites(arch, &vec![expert; arch.routed_sites()])
            .expect("one expert a site by construction")
    }

    /// A path from one expert a routed site, in the router's order: layout A `ffn[0..L]`; layout B
    /// `attn[0], ffn[0], attn[1], … ffn[L-1], norm`.
    pub fn from_sites(arch: &Arch, sites: &[Expert]) -> Result<Self, Error> {
        if sites.len() != arch.routed_sites() {
            let allowed = format!("layout and depth need {} entries", arch.routed_sites());
            return Err(Error::value("sites", sites.len(), allowed));
        }
        Ok(match arch.layout {
            Layout::A => Self {
                attn: vec![Expert::Shared; arch.depth],
                ffn: sites.to_vec(),
                norm: Expert::Shared,
            },
            Layout::B => Self {
                attn: sites[..2 * arch.depth].iter().step_by(2).copied().collect(),
                ffn: sites[..2 * arch.depth].iter().skip(1).step_by(2).copied().collect(),
                norm: sites[2 * arch.depth],
            },
        })
    }

    /// The experts of the routed sites, in the router's order (see [`Path::from_sites`]).
    pub fn sites(&self, layout: Layout) -> Vec<Expert> {
        match layout {
            Layout::A => self.ffn.clone(),
            Layout::B => {
                let blocks = self.attn.iter().zip(&self.ffn).flat_map(|(&a, &f)| [a, f]);
                blocks.chain([self.norm]).collect()
            }
        }
    }

    /// Checks that the path fits `arch`.
    pub fn validate(&self, arch: &Arch) -> Result<(), Error> {
        for (key, len) in [("path.attn", self.attn.len()), ("path.ffn", self.ffn.len())] {
            if len != arch.depth {
                let allowed = format!("must have one entry a block, {}", arch.depth);
                return Err(Error::value(key, format!("{len} entries"), allowed));
            }
        }
        let needs_shared = arch.layout == Layout::A;
        if needs_shared && (self.norm == Expert::Task || self.attn.contains(&Expert::Task)) {
            let allowed = "layout a has no attention or norm experts, only `shared` is allowed";
            return Err(Error::value("path", self.to_string(), allowed));
        }
        Ok(())
    }
}

/// Two letters a block (attention, FFN), then the final norm: `st tt ss|s`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |expert: &Expert| match expert {
            Expert::Shared => 's',
            Expert::Task => 't',
        };
        for (index, (attn, ffn)) in self.attn.iter().zip(&self.ffn).enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{}{}", letter(attn), letter(ffn))?;
        }
        write!(f, "|{}", letter(&self.norm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;
    use proptest::prelude::*;

    fn arch(layout: Layout) -> Arch {
        Arch { layout, ..Preset::Demo.arch() }
    }

    #[test]
    fn sites_are_in_the_router_s_order() {
        let mut sites = vec![Expert::Shared; 13];
        sites[1] = Expert::Task;
        sites[2] = Expert::Task;
        sites[12] = Expert::Task;
        let path = Path::from_sites(&arch(Layout::B), &sites).unwrap();
        assert_eq!(path.to_string(), "st ts ss ss ss ss|t");
        let path = Path::from_sites(&arch(Layout::A), &sites[1..7]).unwrap();
        assert_eq!(path.to_string(), "st st ss ss ss ss|s");
    }

    #[test]
    fn errors_name_key_value_and_what_is_allowed() {
        let sites = Path::from_sites(&arch(Layout::B), &[Expert::Task; 6]).unwrap_err();
        assert_eq!(sites.to_string(), "sites = 6: layout and depth need 13 entries");
        let path = Path::uniform(&arch(Layout::B), Expert::Task);
        let layout = path.validate(&arch(Layout::A)).unwrap_err();
        let allowed = "layout a has no attention or norm experts, only `shared` is allowed";
        assert_eq!(layout.to_string(), format!("path = tt tt tt tt tt tt|t: {allowed}"));
        let short = Path { attn: vec![Expert::Task; 5], ..path };
        let short = short.validate(&arch(Layout::B)).unwrap_err();
        assert_eq!(short.to_string(), "path.attn = 5 entries: must have one entry a block, 6");
    }

    proptest! {
        #[test]
        fn sites_and_json_round_trip(draws in prop::collection::vec(any::<bool>(), 13)) {
            for layout in [Layout::A, Layout::B] {
                let arch = arch(layout);
                let expert = |task: &bool| if *task { Expert::Task } else { Expert::Shared };
                let sites: Vec<_> = draws.iter().take(arch.routed_sites()).map(expert).collect();
                let path = Path::from_sites(&arch, &sites).unwrap();
                path.validate(&arch).unwrap();
                prop_assert_eq!(path.sites(layout), sites);
                let json = serde_json::to_string(&path).unwrap();
                prop_assert_eq!(serde_json::from_str::<Path>(&json).unwrap(), path);
            }
        }
    }
}
