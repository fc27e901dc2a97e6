//! Choosing a task's path by measured effect on held-out images (spec 5.2): all shared, all
//! specific, the router's, and the router's with flips of single sites.

use crate::evaluate::result;
use crate::{Task, Workers};
use anyhow::{Context, Result};
use ufo_data::Preprocess;
use ufo_model::Supernet;
use ufo_nas::{Expert, Layout, Path, Slice};

/// A path and what it is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// How it came about.
    pub origin: String,
    /// The path.
    pub path: Path,
    /// The task's metric on the validation images.
    pub value: f64,
}

/// Measures the candidates of task `index`, best first; of equals the earlier candidate stays first.
///
/// Flips start from the best of the three plain paths: each site is flipped alone, then the flips
/// that helped are kept together, best first, as long as each still helps.
///
/// # Errors
/// When the task holds out no images, or one is broken.
pub fn by_effect(
    supernet: &Supernet,
    index: usize,
    task: &Task,
    preprocess: &Preprocess,
    workers: &Workers,
) -> Result<Vec<Candidate>> {
    let held_out = task.validation.as_deref().with_context(|| {
        format!(
            "task `{}` holds out no validation images; train with data.validation above 0, such as 0.1",
            task.config.name
        )
    })?;
    let (arch, slice) = (&supernet.arch, Slice::full(&supernet.arch));
    let measure = |origin: &str, path: Path| -> Result<Candidate> {
        let vit = supernet.subnet(index, &path, &slice)?;
        let head = &supernet.tasks[index].head;
        let value = result((&vit, head), task, held_out, preprocess)?.0.value;
        Ok(Candidate { origin: origin.to_string(), path, value })
    };
    let plain = [
        ("router", supernet.path(index)),
        ("all shared", Path::uniform(arch, Expert::Shared)),
        ("all specific", Path::uniform(arch, Expert::Task)),
    ];
    let measured = workers.map(plain.len(), |i| measure(plain[i].0, plain[i].1.clone()));
    let mut candidates = measured.into_iter().collect::<Result<Vec<_>>>()?;
    candidates.sort_by(|a, b| b.value.total_cmp(&a.value));
    let mut best = candidates[0].clone();

    let sites = best.path.sites(arch.layout).len();
    let flip = |from: &Candidate, site: usize| {
        let origin = format!("{} + flip {}", from.origin, site_name(site, arch.layout, sites));
        measure(&origin, flipped(supernet, &from.path, site)?)
    };
    let flips = workers.map(sites, |site| flip(&best, site));
    let mut flips: Vec<(usize, Candidate)> =
        flips.into_iter().enumerate().map(|(site, c)| Ok((site, c?))).collect::<Result<_>>()?;
    flips.sort_by(|a, b| b.1.value.total_cmp(&a.1.value));
    candidates.extend(flips.iter().map(|(_, candidate)| candidate.clone()));
    let helped: Vec<&(usize, Candidate)> =
        flips.iter().take_while(|(_, candidate)| candidate.value > best.value).collect();
    if let Some(((_, first), others)) = helped.split_first() {
        best = first.clone();
        for (site, _) in others {
            let next = flip(&best, *site)?;
            if next.value > best.value {
                candidates.push(next.clone());
                best = next;
            }
        }
    }
    candidates.sort_by(|a, b| b.value.total_cmp(&a.value));
    Ok(candidates)
}

fn flipped(supernet: &Supernet, path: &Path, site: usize) -> Result<Path> {
    let mut sites = path.sites(supernet.arch.layout);
    sites[site] = sites[site].other();
    Ok(Path::from_sites(&supernet.arch, &sites)?)
}

/// A routed site in words: `3 attn`, `3 ffn`, `norm`.
pub fn site_name(site: usize, layout: Layout, sites: usize) -> String {
    match layout {
        Layout::A => format!("{site} ffn"),
        Layout::B if site + 1 == sites => "norm".to_string(),
        Layout::B => {
            format!("{} {}", site / 2, if site.is_multiple_of(2) { "attn" } else { "ffn" })
        }
    }
}
