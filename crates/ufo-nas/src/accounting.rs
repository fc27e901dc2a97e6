//! How many parameters a supernet stores, activates and hands out, from shapes alone.
//!
//! Every task owns its stem, class token, position embedding, head and FFN experts; in layout B also
//! attention, norm and final-norm experts. The shared copies, once each, are attention, FFN, norms
//! and the final norm. The router has two logits a task and routed site. With T tasks the backbone is
//! layout A `(T+1) ffn + attention + norms + T embedding`, layout B `(T+1) (path - embedding) + T
//! embedding` (spec 1.4 of VIMER-UFO 2.0).

use crate::cost::{attn_params, ffn_params, norm_params, outer_params, params};
use crate::{BlockSlice, Error, Expert, Layout, Params, Path, Slice, SupernetSpec};
use serde::{Deserialize, Serialize};

/// Parameters of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskAccount {
    /// Name of the task.
    pub name: String,
    /// Backbone parameters that only this task owns.
    pub own_params: u64,
    /// Parameters of its head.
    pub head_params: u64,
    /// Path and head: what the task runs, and what extracting it alone yields.
    pub activated_params: u64,
}

/// Parameters of a whole supernet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounting {
    /// Which parts are experts.
    pub layout: Layout,
    /// Number of tasks.
    pub tasks: usize,
    /// Backbone of one full path, head excluded.
    pub path_params: u64,
    /// Everything but heads and router.
    pub backbone_params: u64,
    /// All heads.
    pub head_params: u64,
    /// All router logits.
    pub router_params: u64,
    /// Backbone, heads and router.
    pub total_params: u64,
    /// Total less the frozen biases of batch-norm necks.
    pub trainable_params: u64,
    /// `backbone_params / path_params`: what one path saves against running everything.
    pub ratio: f64,
    /// The shared copies, by module.
    pub shared: Params,
    /// What each task owns in the backbone, by module.
    pub task: Params,
    /// The whole backbone, by module.
    pub backbone: Params,
    /// One entry a task.
    pub per_task: Vec<TaskAccount>,
}

/// Parameters of a model extracted for some tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extracted {
    /// Number of tasks kept.
    pub tasks: usize,
    /// Shared modules that at least one of the tasks uses, each once.
    pub shared: Params,
    /// Modules of the tasks themselves, summed.
    pub own: Params,
    /// Heads of the tasks.
    pub head_params: u64,
    /// All of the above.
    pub total_params: u64,
}

/// Counts the whole supernet; `spec` must be valid.
pub fn accounting(spec: &SupernetSpec) -> Accounting {
    let arch = &spec.arch;
    let tasks = spec.tasks.len() as u64;
    let path = params(arch, &Slice::full(arch));
    let shared = Params { stem: 0, cls_token: 0, pos_embed: 0, ..path };
    let task = match arch.layout {
        Layout::A => Params { attention: 0, norms: 0, final_norm: 0, ..path },
        Layout::B => path,
    };
    let backbone = shared + task.times(tasks);
    let heads = || spec.tasks.iter().map(|task| &task.head);
    let head_params: u64 = heads().map(|head| head.params(arch.dim, arch.channels)).sum();
    let router_params = 2 * tasks * arch.routed_sites() as u64;
    let total_params = backbone.total() + head_params + router_params;
    let per_task = spec.tasks.iter().map(|shape| {
        let head_params = shape.head.params(arch.dim, arch.channels);
        TaskAccount {
            name: shape.name.clone(),
            own_params: task.total(),
            head_params,
            activated_params: path.total() + shape.head.extracted().params(arch.dim, arch.channels),
        }
    });
    Accounting {
        layout: arch.layout,
        tasks: spec.tasks.len(),
        path_params: path.total(),
        backbone_params: backbone.total(),
        head_params,
        router_params,
        total_params,
        trainable_params: total_params
            - heads().map(|head| head.frozen_params(arch.dim)).sum::<u64>(),
        ratio: backbone.total() as f64 / path.total() as f64,
        shared,
        task,
        backbone,
        per_task: per_task.collect(),
    }
}

/// Counts the model that holds the chosen tasks, each a row of `spec.tasks` and its path, all cut to
/// `slice`. A shared module counts once, and only if a chosen path uses it.
///
/// # Errors
/// A path or the slice that does not fit, a row out of range, or a row given twice.
pub fn extracted(
    spec: &SupernetSpec,
    chosen: &[(usize, &Path)],
    slice: &Slice,
) -> Result<Extracted, Error> {
    slice.validate(&spec.arch)?;
    for (index, (row, path)) in chosen.iter().enumerate() {
        let repeated = chosen[..index].iter().any(|(earlier, _)| earlier == row);
        if repeated || *row >= spec.tasks.len() {
            let allowed = format!("must be unique and less than {}", spec.tasks.len());
            return Err(Error::value(format!("chosen.{index}.task"), row, allowed));
        }
        path.validate(&spec.arch)?;
    }
    let routed = RoutedModules { spec, chosen, slice };
    let outer = outer_params(&spec.arch);
    let embedding = Params { final_norm: 0, ..outer }.times(chosen.len() as u64);
    let shared = routed.used_by(|users| u64::from(users.shared > 0));
    let own = embedding + routed.used_by(|users| users.task);
    let head_params = chosen
        .iter()
        .map(|(row, _)| spec.tasks[*row].head.extracted().params(spec.arch.dim, spec.arch.channels))
        .sum();
    let total_params = shared.total() + own.total() + head_params;
    Ok(Extracted { tasks: chosen.len(), shared, own, head_params, total_params })
}

/// How many chosen tasks use each expert of a site.
struct Users {
    shared: u64,
    task: u64,
}

struct RoutedModules<'a> {
    spec: &'a SupernetSpec,
    chosen: &'a [(usize, &'a Path)],
    slice: &'a Slice,
}

impl RoutedModules<'_> {
    /// Sum over sites of the module's parameters times `copies` of its users.
    fn used_by(&self, copies: impl Fn(&Users) -> u64) -> Params {
        let arch = &self.spec.arch;
        let norm = norm_params(arch);
        let count = |expert: &dyn Fn(&Path) -> Expert| copies(&self.users(expert));
        let mut sum = Params { final_norm: norm * count(&|path| path.norm), ..Params::default() };
        for &BlockSlice { block, heads, ffn } in &self.slice.blocks {
            let attn_copies = count(&|path| path.attn[block]);
            let ffn_copies = count(&|path| path.ffn[block]);
            // In layout A the FFN is routed without its norm, which every path shares.
            let ffn_norm_copies = match arch.layout {
                Layout::A => count(&|_| Expert::Shared),
                Layout::B => ffn_copies,
            };
            sum.attention += attn_params(arch, heads) * attn_copies;
            sum.ffn += ffn_params(arch, ffn) * ffn_copies;
            sum.norms += norm * (attn_copies + ffn_norm_copies);
        }
        sum
    }

    fn users(&self, expert: &dyn Fn(&Path) -> Expert) -> Users {
        let shared = self.chosen.iter().filter(|(_, path)| expert(path) == Expert::Shared).count();
        Users { shared: shared as u64, task: (self.chosen.len() - shared) as u64 }
    }
}

#[cfg(test)]
mod tests;
