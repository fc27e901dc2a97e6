//! Training steps of convolutional networks on fixed random images: forward, cross entropy, backward, SGD
//! with momentum (benches/peer/conv.py).

use super::Workload;
use anyhow::Result;
use rand::RngExt;
use ufo_data::{Batch, Purpose, stream};
use ufo_model::cnn::{Cnn, CnnKind};
use ufo_train::{Optimizer, Rates, Rule, Workers, fresh_student, student_step};

const CLASSES: u32 = 100;
const SIDE: usize = 112;

pub(crate) struct Student {
    net: Cnn,
    batch: Batch,
    optimizer: Optimizer,
    workers: Workers,
}

impl Student {
    /// With `count` images a step.
    pub(crate) fn new(kind: CnnKind, count: usize, threads: usize) -> Result<Self> {
        let mut rng = stream(1, Purpose::Subset, &[]);
        let size = [count, 3, SIDE, SIDE];
        let values = size.iter().product();
        let batch = Batch {
            step: 0,
            size,
            images: (0..values).map(|_| rng.random_range(-1.0..1.0)).collect(),
            labels: (0..count).map(|_| rng.random_range(0..CLASSES)).collect(),
            masks: None,
            boxes: None,
            soft: None,
            indices: (0..count).collect(),
            skipped: 0,
        };
        let net = fresh_student(kind, CLASSES as usize, 1);
        let workers = Workers::new(threads, 1)?;
        Ok(Self { net, batch, optimizer: Optimizer::default(), workers })
    }
}

impl Workload for Student {
    fn step(&mut self) -> Result<()> {
        let Self { net, batch, optimizer, workers } = self;
        let step = workers.map(1, |_| student_step(net, batch, 1)).remove(0);
        let rates = Rates {
            rule: Rule::Sgd,
            momentum: 0.9,
            lr: 0.01,
            router_lr: 0.0,
            weight_decay: 0.0,
            clip: 0.0,
            task_scales: &[],
        };
        optimizer.step(net, &step.grads, &rates);
        net.update(&step.moments);
        batch.step += 1;
        anyhow::ensure!(step.loss.is_finite(), "the loss is {}", step.loss);
        Ok(())
    }
}
