//! The supernet: the largest weights of every task, and the views that networks are made of.
//!
//! It has no forward. [`Supernet::subnet`] gives a [`Vit`] whose modules share storage with it;
//! training runs that, extraction writes it to a file, export turns it into ONNX.

use crate::branch::{Branch, Site};
use crate::param::{Visit, Visitor, from_values, key, require_grad, require_grad_where, values};
use crate::router::{self, Draw};
use crate::stem::resize_positions;
use crate::vit::Block;
use crate::{Attention, Error, Ffn, Head, HeadConfig, LayerNorm, Mode, Result, Stem, Vit};
use burn_tensor::{Device, Tensor};
use rand::Rng;
use serde::{Deserialize, Serialize};
use ufo_nas::{
    Arch, Expert, Keys, Layout, Names, Path, SHARED, Slice, SupernetSpec, TaskShape, task_key,
};

/// What a supernet knows of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Name, unique in the supernet; it is part of checkpoint keys.
    pub name: String,
    /// Kind of head.
    pub head: HeadConfig,
    /// Classes, or identities, of the training set.
    pub classes: usize,
}

/// The experts of one block, of one owner.
#[derive(Debug, Clone)]
pub struct BlockExperts {
    /// Attention with its norm; a task has none in layout A.
    pub attn: Option<Attention>,
    /// FFN with its norm; in layout A a task's norm is the shared one.
    pub ffn: Ffn,
}

/// The modules that every task may use.
#[derive(Debug, Clone)]
pub struct SharedModules {
    /// Experts block by block.
    pub blocks: Vec<BlockExperts>,
    /// Final norm.
    pub norm: LayerNorm,
}

/// The modules that one task owns.
#[derive(Debug, Clone)]
pub struct TaskModules {
    /// Name, head kind and classes.
    pub spec: TaskSpec,
    /// Image to tokens.
    pub stem: Stem,
    /// Experts block by block.
    pub blocks: Vec<BlockExperts>,
    /// Final norm; none in layout A.
    pub norm: Option<LayerNorm>,
    /// Head.
    pub head: Head,
    /// Router logits, `(sites, 2)`: column 0 shared, column 1 task.
    pub router: Tensor<2>,
}

/// All weights of all tasks.
#[derive(Debug, Clone)]
pub struct Supernet {
    /// Shape of the largest network.
    pub arch: Arch,
    /// Modules of every task.
    pub shared: SharedModules,
    /// Tasks in configuration order.
    pub tasks: Vec<TaskModules>,
}

impl Supernet {
    /// Fresh weights. Every task's experts start as copies of the shared ones (spec 2.6) and every
    /// router at 0.
    ///
    /// # Errors
    /// When the architecture is not valid.
    pub fn init(
        arch: &Arch,
        specs: &[TaskSpec],
        rng: &mut impl Rng,
        device: &Device,
    ) -> Result<Self> {
        arch.validate()?;
        let block = |rng: &mut _| BlockExperts {
            attn: Some(Attention::init(arch, rng, device)),
            ffn: Ffn::init(arch, rng, device),
        };
        let blocks = (0..arch.depth).map(|_| block(rng)).collect();
        let shared = SharedModules { blocks, norm: LayerNorm::init(arch.dim, device) };
        let mut supernet = Self { arch: arch.clone(), shared, tasks: Vec::new() };
        for spec in specs {
            let stem = Stem::init(arch, rng, device);
            supernet.add_task(spec, stem, rng);
        }
        Ok(supernet)
    }

    /// Adds a task behind `stem`: its experts are copies of the shared ones, its head is fresh and its
    /// router at 0. Nothing else changes.
    pub fn add_task(&mut self, spec: &TaskSpec, stem: Stem, rng: &mut impl Rng) {
        let (arch, device) = (&self.arch, stem.cls_token.device().inner());
        let own = |block: &BlockExperts| BlockExperts {
            attn: block.attn.clone().filter(|_| arch.layout == Layout::B),
            ffn: block.ffn.clone(),
        };
        let task = TaskModules {
            spec: spec.clone(),
            stem,
            blocks: self.shared.blocks.iter().map(own).collect(),
            norm: (arch.layout == Layout::B).then(|| self.shared.norm.clone()),
            head: Head::init(&spec.head, [arch.dim, arch.channels], spec.classes, rng, &device),
            router: router::init_logits(arch.routed_sites(), &device),
        };
        self.tasks.push(task);
    }

    /// The same weights with fresh leaves of the gradient in everything that task `index` may use.
    #[must_use]
    pub fn leaves(&self, index: usize) -> Self {
        let mut copy = self.clone();
        require_grad(&mut copy.shared);
        require_grad(&mut copy.tasks[index]);
        copy
    }

    /// The same weights with fresh leaves of the gradient in those parameters that task `index` may use
    /// and that are `wanted` by their names.
    #[must_use]
    pub fn leaves_where(&self, index: usize, wanted: impl Fn(&str) -> bool) -> Self {
        let mut copy = self.clone();
        require_grad_where(&mut copy.shared, SHARED, &wanted);
        let task = &mut copy.tasks[index];
        let prefix = task_key(&task.spec.name);
        require_grad_where(task, &prefix, wanted);
        copy
    }

    /// The same weights for images of another height and width: every task's position embedding is resized to
    /// their patches.
    ///
    /// # Errors
    /// When the size does not fit the stem, or the patches that there are form no square.
    pub fn resized(&self, image_size: [usize; 2]) -> Result<Self> {
        let arch = Arch { image_size, ..self.arch.clone() };
        arch.validate()?;
        let mut copy = self.clone();
        for task in &mut copy.tasks {
            let positions = values(&task.stem.pos_embed);
            let resized = resize_positions(&positions, arch.dim, arch.grid());
            let named = |reason| Error::Positions { task: task.spec.name.clone(), reason };
            let shape = [1, arch.tokens(), arch.dim];
            task.stem.pos_embed =
                from_values(resized.map_err(named)?, shape, &task.stem.pos_embed.device().inner());
        }
        Ok(Self { arch, ..copy })
    }

    /// Calls `visitor` for the shared modules and those of task `index`.
    pub fn visit_task(&mut self, index: usize, visitor: &mut impl Visitor) {
        self.shared.visit(SHARED, visitor);
        let task = &mut self.tasks[index];
        task.visit(&task_key(&task.spec.name), visitor);
    }

    /// The supernet by shapes, for `ufo_nas`'s accounting.
    pub fn spec(&self) -> SupernetSpec {
        let shape = |task: &TaskModules| TaskShape {
            name: task.spec.name.clone(),
            head: task.spec.head.shape(task.spec.classes),
        };
        SupernetSpec { arch: self.arch.clone(), tasks: self.tasks.iter().map(shape).collect() }
    }

    /// Index of a task by name.
    ///
    /// # Errors
    /// When there is none; the error lists the names.
    pub fn task_index(&self, name: &str) -> Result<usize> {
        self.tasks.iter().position(|task| task.spec.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.tasks.iter().map(|task| &*task.spec.name).collect();
            Error::UnknownTask { got: name.to_string(), known: names.join(", ") }
        })
    }

    /// The path that the router of task `index` picks (see [`router`] for ties).
    pub fn path(&self, index: usize) -> Path {
        let sites = router::chosen_experts(&self.tasks[index].router);
        Path::from_sites(&self.arch, &sites).expect("the router has an entry a site")
    }

    /// The network of task `index` along `path`, cut to `slice`: views, no copies.
    ///
    /// # Errors
    /// When the path or the slice does not fit the architecture.
    pub fn subnet(&self, index: usize, path: &Path, slice: &Slice) -> Result<Vit> {
        path.validate(&self.arch)?;
        slice.validate(&self.arch)?;
        let task = &self.tasks[index];
        let blocks = slice.blocks.iter().map(|kept| {
            let (shared, own) = (&self.shared.blocks[kept.block], &task.blocks[kept.block]);
            let attn = pick(path.attn[kept.block], shared.attn.as_ref(), own.attn.as_ref());
            let ffn = match path.ffn[kept.block] {
                Expert::Shared => shared.ffn.clone(),
                Expert::Task => self.own_ffn(shared, own),
            };
            Block {
                attn: Site::Fixed(attn.slice(kept.heads)),
                ffn: Site::Fixed(ffn.slice(kept.ffn)),
            }
        });
        let norm = match (path.norm, &task.norm) {
            (Expert::Task, Some(norm)) => norm,
            _ => &self.shared.norm,
        };
        Ok(Vit {
            stem: task.stem.clone(),
            blocks: blocks.collect(),
            norm: Site::Fixed(norm.clone()),
            mode: Mode::default(),
        })
    }

    /// The whole network of task `index` with the routing of one training step.
    pub fn routed(&self, index: usize, draw: &Draw) -> Vit {
        let task = &self.tasks[index];
        let mut sites = 0..;
        let mut next = || sites.next().unwrap_or_default();
        let blocks = self.shared.blocks.iter().zip(&task.blocks).map(|(shared, own)| Block {
            attn: match (&shared.attn, &own.attn) {
                (Some(shared), Some(own)) => draw.site(next(), shared, own),
                (shared, _) => {
                    Site::Fixed(shared.clone().expect("the shared attention always exists"))
                }
            },
            ffn: draw.site(next(), &shared.ffn, &self.own_ffn(shared, own)),
        });
        let blocks = blocks.collect();
        let norm = match &task.norm {
            Some(own) => draw.site(next(), &self.shared.norm, own),
            None => Site::Fixed(self.shared.norm.clone()),
        };
        Vit { stem: task.stem.clone(), blocks, norm, mode: Mode::default() }
    }

    /// A task's FFN expert, with the norm that it runs behind.
    fn own_ffn(&self, shared: &BlockExperts, own: &BlockExperts) -> Ffn {
        match self.arch.layout {
            Layout::A => Ffn { norm: shared.ffn.norm.clone(), ..own.ffn.clone() },
            Layout::B => own.ffn.clone(),
        }
    }

    /// The names of the modules that task `index` uses along `path` (see [`Keys::supernet`]).
    pub fn keys(&self, index: usize, path: &Path, slice: &Slice) -> Keys {
        Keys::supernet(&self.tasks[index].spec.name, self.arch.layout, path, slice)
    }
}

fn pick<'a>(
    expert: Expert,
    shared: Option<&'a Attention>,
    own: Option<&'a Attention>,
) -> &'a Attention {
    let chosen = if expert == Expert::Task { own } else { shared };
    chosen.expect("a valid path names only experts that exist")
}

impl BlockExperts {
    /// Attention, if there is one, and FFN; a task without own attention (layout A) owns no norm.
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        let names = Names::both(prefix);
        match &mut self.attn {
            Some(attn) => {
                attn.visit_named(&names, visitor);
                self.ffn.visit_named(&names, visitor);
            }
            None => self.ffn.visit_body(prefix, visitor),
        }
    }
}

impl Visit for TaskModules {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        self.stem.visit(prefix, visitor);
        for (index, block) in self.blocks.iter_mut().enumerate() {
            block.visit(&key(prefix, &format!("blocks.{index}")), visitor);
        }
        if let Some(norm) = &mut self.norm {
            norm.visit(&key(prefix, "norm"), visitor);
        }
        self.head.visit(&key(prefix, "head"), visitor);
        visitor.tensor(&key(prefix, "router"), &mut self.router);
    }
}

impl Visit for SharedModules {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        for (index, block) in self.blocks.iter_mut().enumerate() {
            block.visit(&key(prefix, &format!("blocks.{index}")), visitor);
        }
        self.norm.visit(&key(prefix, "norm"), visitor);
    }
}

impl Visit for Supernet {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        self.shared.visit(&key(prefix, SHARED), visitor);
        for task in &mut self.tasks {
            task.visit(&key(prefix, &task_key(&task.spec.name)), visitor);
        }
    }
}
