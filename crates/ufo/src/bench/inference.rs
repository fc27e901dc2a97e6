//! Evaluation forward of a plain ViT with its head.

use super::Workload;
use super::training::{Size, batch, own_path, supernet};
use anyhow::Result;
use ufo_data::Batch;
use ufo_model::{Head, Vit};
use ufo_nas::Slice;
use ufo_train::{Workers, evaluate};

pub(crate) struct Forward {
    vit: Vit,
    head: Head,
    batch: Batch,
    workers: Workers,
}

impl Forward {
    pub(crate) fn new(size: Size, count: usize, threads: usize) -> Result<Self> {
        let (_, supernet) = supernet(size, 1, 1000)?;
        let path = own_path(&supernet.arch)?;
        Ok(Self {
            vit: supernet.subnet(0, &path, &Slice::full(&supernet.arch))?,
            head: supernet.tasks[0].head.clone(),
            batch: batch(&supernet.arch, count, 1000, 0),
            workers: Workers::new(threads, 1)?,
        })
    }
}

impl Workload for Forward {
    fn step(&mut self) -> Result<()> {
        let Self { vit, head, batch, workers } = self;
        workers.map(1, |_| evaluate::run(vit, head, batch.images.clone(), batch.size));
        Ok(())
    }
}
