//! Which modules of a folder its tasks run: a shared one is there once, whoever asks.

use ufo_runtime::Described;

/// A part of a model, and the tasks that run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name in the weights file, such as `shared.blocks.0.attn`.
    pub name: String,
    /// Indices of the tasks that run it.
    pub tasks: Vec<usize>,
}

/// The modules of a folder, in the order in which its tasks run them.
pub(super) fn of(described: &Described) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    for task in 0..described.tasks.len() {
        let (keys, head) = described.keys(task);
        let named = |prefix: &str, part: &str| {
            if prefix.is_empty() { part.to_string() } else { format!("{prefix}.{part}") }
        };
        let blocks = keys
            .blocks
            .iter()
            .flat_map(|[attention, ffn]| [named(&attention.body, "attn"), named(&ffn.body, "mlp")]);
        let names = std::iter::once(named(&keys.stem, "stem")).chain(blocks);
        for name in names.chain([keys.norm.clone(), head]) {
            match modules.iter_mut().find(|module| module.name == name) {
                Some(module) => module.tasks.push(task),
                None => modules.push(Module { name, tasks: vec![task] }),
            }
        }
    }
    modules
}
