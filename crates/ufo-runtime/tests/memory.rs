//! Memory of models, counted by the allocator: one test, so that nothing else of this process allocates meanwhile.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use peak_alloc::PeakAlloc;
use std::fs;
use std::path::Path;
use ufo_data::Preprocess;
use ufo_nas::{Arch, Expert, HeadShape, Layout, Path as ExpertPath, Slice, Stem};
use ufo_runtime::{CONFIG, Described, DescribedTask, Error, Model, Precision, WEIGHTS};
use ufo_weights::{HostTensor, State};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const SIDE: usize = 16;

fn arch() -> Arch {
    Arch {
        image_size: [SIDE; 2],
        channels: 3,
        stem: Stem::Patch { size: 8, stride: 8 },
        dim: 64,
        depth: 3,
        heads: 2,
        head_dim: 32,
        ffn: 512,
        qkv_bias: true,
        layout: Layout::B,
    }
}

/// Bytes of the weights of all blocks of a path.
fn blocks_bytes() -> usize {
    let Arch { dim, depth, ffn, .. } = arch();
    4 * depth * (4 * dim * dim + 2 * dim * ffn)
}

/// Tasks that all use the shared experts, or each its own.
fn described(tasks: usize, expert: Expert) -> Described {
    let arch = arch();
    let task = |index: usize| DescribedTask {
        name: format!("t{index}"),
        task: None,
        slice: Slice::full(&arch),
        head: HeadShape::Linear { classes: 2 },
        classes: vec!["a".into(), "b".into()],
        path: ExpertPath::uniform(&arch, expert),
    };
    Described {
        apart: false,
        preprocess: Preprocess { size: [SIDE; 2], ..Preprocess::default() },
        tasks: (0..tasks).map(task).collect(),
        arch,
    }
}

/// Writes a folder; the runtime's own errors tell which tensors, of which shapes, it needs.
fn write(folder: &Path, described: &Described) {
    let mut state = State::new();
    loop {
        let model = Model::new(described.clone(), &state, "test", Precision::F32);
        let (name, shape) = match model {
            Err(Error::Weights(ufo_weights::Error::Missing { name, .. })) => (name, vec![]),
            Err(Error::Weights(ufo_weights::Error::Shape { name, expected, .. })) => {
                (name, expected)
            }
            other => break drop(other.unwrap()),
        };
        let count: usize = shape.iter().product();
        let values = (0..count).map(|at| ((at * 37 + name.len()) % 97) as f32 / 970.0).collect();
        state.insert(name, HostTensor { shape, values });
    }
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(CONFIG), described.config().to_string()).unwrap();
    fs::write(folder.join(WEIGHTS), ufo_weights::to_bytes(&state, &[]).unwrap()).unwrap();
}

/// Bytes that an open model holds, and the most that there were while it was opened.
fn opened(folder: &Path) -> (usize, usize, Model) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let model = Model::open(folder, Precision::F32).unwrap();
    (HEAP.current_usage() - before, HEAP.peak_usage() - before, model)
}

#[test]
fn shared_weights_are_held_once_and_never_a_second_time_while_a_folder_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    write(&place("one"), &described(1, Expert::Shared));
    write(&place("shared"), &described(3, Expert::Shared));
    write(&place("own"), &described(3, Expert::Task));
    let blocks = blocks_bytes();
    let (one, ..) = opened(&place("one"));
    let (shared, peak, model) = opened(&place("shared"));
    let (own, own_peak, _) = opened(&place("own"));
    assert!((blocks..blocks + blocks / 4).contains(&one), "{one} of {blocks}");
    // Stem, head and norms are each task's.
    assert!(shared < one + blocks / 4, "{shared} with three tasks, {one} with one");
    assert!(own > 3 * blocks, "{own} of {blocks}");
    let largest = 4 * 512 * 64;
    for (held, peak) in [(shared, peak), (own, own_peak)] {
        assert!(peak < held + 2 * largest, "{peak} while {held} were opened");
    }

    // A file that changes under an open model changes nothing; a cut one is refused.
    let images: Vec<f32> = (0..3 * SIDE * SIDE).map(|at| at as f32 / 768.0).collect();
    let before = model.outputs(2, &images).unwrap();
    let weights = place("shared").join(WEIGHTS);
    let length = fs::metadata(&weights).unwrap().len();
    for kept in [length - 1, length / 2, 9, 3, 0] {
        fs::OpenOptions::new().write(true).open(&weights).unwrap().set_len(kept).unwrap();
        let said = Model::open(&place("shared"), Precision::F32).unwrap_err().to_string();
        assert!(said.contains(WEIGHTS), "{kept} bytes: {said}");
    }
    assert_eq!(model.outputs(2, &images).unwrap(), before);
}
