//! Folders as `ufo extract` writes them, with random weights.

use rand::RngExt;
use std::fs;
use std::path::Path;
use ufo_data::{Preprocess, Purpose, stream};
use ufo_nas::{Arch, Expert, HeadShape, Layout, Path as ExpertPath, Slice, Stem};
use ufo_runtime::{CONFIG, Described, DescribedTask, Error, Model, Precision, WEIGHTS};
use ufo_weights::{HostTensor, State};

/// Side of the images that the models take.
pub(crate) const SIDE: usize = 16;
/// Numbers of an image.
pub(crate) const IMAGE: usize = 3 * SIDE * SIDE;
pub(crate) const CLASSES: [&str; 3] = ["red", "green", "blue"];
pub(crate) const EMBEDDING: usize = 8;

/// Values around 0 that the seed alone decides.
pub(crate) fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut draws = stream(seed, Purpose::Init, &[]);
    (0..count).map(|_| draws.random::<f32>() - 0.5).collect()
}

/// Writes the folder of a classification, `colors`, and an embedding, `faces`.
pub(crate) fn write(folder: &Path, seed: u64) {
    let linear = HeadShape::Linear { classes: CLASSES.len() };
    let embedding = HeadShape::Embedding { dim: EMBEDDING, classes: 4 };
    let tasks: [(_, _, &[&str], _); 2] =
        [("colors", linear, &CLASSES, Expert::Task), ("faces", embedding, &[], Expert::Shared)];
    write_tasks(folder, seed, &tasks);
}

/// Writes the folder of a segmentation, `parts`, and a detection, `things`.
pub(crate) fn write_dense(folder: &Path, seed: u64) {
    let classes = CLASSES.len();
    let parts = HeadShape::Segmentation {
        channels: 4,
        doublings: 1,
        classes,
        auxiliary: false,
        detail: false,
    };
    let things = HeadShape::Detection { channels: 4, convolutions: 2, doublings: 1, classes };
    let tasks: [(_, _, &[&str], _); 2] =
        [("parts", parts, &CLASSES, Expert::Task), ("things", things, &CLASSES, Expert::Shared)];
    write_tasks(folder, seed, &tasks);
}

/// Writes a folder of tasks, each with its name, head, classes and the experts of its path.
fn write_tasks(folder: &Path, seed: u64, tasks: &[(&str, HeadShape, &[&str], Expert)]) {
    let arch = Arch {
        image_size: [SIDE; 2],
        channels: 3,
        stem: Stem::Patch { size: 8, stride: 8 },
        dim: 16,
        depth: 2,
        heads: 2,
        head_dim: 8,
        ffn: 32,
        qkv_bias: true,
        layout: Layout::B,
    };
    let task = |(name, head, classes, expert): &(&str, HeadShape, &[&str], Expert)| DescribedTask {
        name: (*name).into(),
        task: None,
        slice: Slice::full(&arch),
        head: *head,
        classes: classes.iter().map(ToString::to_string).collect(),
        path: ExpertPath::uniform(&arch, *expert),
    };
    let described = Described {
        apart: false,
        preprocess: Preprocess { size: [SIDE; 2], ..Preprocess::default() },
        tasks: tasks.iter().map(task).collect(),
        arch,
    };
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(CONFIG), described.config().to_string()).unwrap();
    let bytes = ufo_weights::to_bytes(&weights(&described, seed), &[]).unwrap();
    fs::write(folder.join(WEIGHTS), bytes).unwrap();
}

/// The runtime's own errors tell which tensors, of which shapes, a folder needs.
fn weights(described: &Described, seed: u64) -> State {
    let mut state = State::new();
    loop {
        match Model::new(described.clone(), &state, "test", Precision::F32) {
            Err(Error::Weights(ufo_weights::Error::Missing { name, .. })) => {
                state.insert(name, HostTensor { shape: vec![], values: vec![0.0] });
            }
            Err(Error::Weights(ufo_weights::Error::Shape { name, expected, .. })) => {
                let count = expected.iter().product();
                let mut values = values(seed + state.len() as u64, count);
                if name.ends_with("running_var") || name.ends_with("norm.weight") {
                    values = values.iter().map(|v| v.abs() + 0.5).collect();
                }
                state.insert(name, HostTensor { shape: expected, values });
            }
            other => {
                other.unwrap();
                return state;
            }
        }
    }
}
