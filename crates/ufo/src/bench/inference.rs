//! Forward of a plain ViT with its head, as an extracted folder runs it.

use super::Workload;
use super::training::{Size, batch, own_path, supernet};
use anyhow::Result;
use ufo_data::Preprocess;
use ufo_model::{Named, state_of};
use ufo_nas::{Keys, Slice};
use ufo_runtime::{Described, DescribedTask, Model, Precision};
use ufo_train::Workers;

const CLASSES: usize = 1000;

pub(crate) struct Forward {
    model: Model,
    images: Vec<f32>,
    workers: Workers,
}

impl Forward {
    pub(crate) fn new(
        size: Size,
        count: usize,
        precision: Precision,
        threads: usize,
    ) -> Result<Self> {
        let (_, supernet) = supernet(size, 1, CLASSES)?;
        let (path, slice) = (own_path(&supernet.arch)?, Slice::full(&supernet.arch));
        let (task, keys) = (&supernet.tasks[0], Keys::plain(slice.blocks.len()));
        let mut vit = supernet.subnet(0, &path, &slice)?;
        let mut state = state_of(&mut Named { vit: &mut vit, keys: &keys }, "");
        state.extend(state_of(&mut task.head.clone(), "head"));
        let preprocess = Preprocess { size: supernet.arch.image_size, ..Preprocess::default() };
        let described = Described {
            arch: supernet.arch.clone(),
            preprocess,
            apart: false,
            tasks: vec![DescribedTask {
                name: task.spec.name.clone(),
                task: None,
                slice,
                head: task.spec.head.shape(CLASSES),
                classes: (0..CLASSES).map(|class| class.to_string()).collect(),
                path,
            }],
        };
        Ok(Self {
            model: Model::new(described, &state, "memory", precision)?,
            images: batch(&supernet.arch, count, CLASSES as u32, 0).images,
            workers: Workers::new(threads, 1)?,
        })
    }
}

impl Workload for Forward {
    fn step(&mut self) -> Result<()> {
        let Self { model, images, workers } = self;
        workers.map(1, |_| model.outputs(0, images)).into_iter().try_for_each(|o| Ok(o.map(drop)?))
    }
}
