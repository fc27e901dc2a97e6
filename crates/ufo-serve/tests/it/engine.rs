//! What the engine computes, and what it does not.

use crate::folder::{self, EMBEDDING, IMAGE, SIDE, values};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ufo_onnx::{Attribute, Dim, Graph};
use ufo_runtime::Precision;
use ufo_serve::{
    BatchConfig, Engine, Failure, Lane, ModelConfig, Outputs, Request, Runtimes, Served,
};

fn served(path: &Path, precision: &str) -> ufo_serve::Result<Served> {
    let (name, precision) = ("both".to_string(), precision.to_string());
    let told = ModelConfig { name, path: path.into(), precision, runtime: None };
    Served::open(&told, &Runtimes::new(2, None).unwrap())
}

fn engine(model: Served, batch: &BatchConfig) -> (Engine, Arc<Lane>) {
    let engine = Engine::start(vec![model], 2, batch).unwrap();
    let lane = Arc::clone(&engine.models()[0]);
    (engine, lane)
}

fn in_an_hour() -> Instant {
    Instant::now() + Duration::from_hours(1)
}

/// Asks without waiting.
fn ask(
    lane: &Lane,
    images: &[f32],
    tasks: &[usize],
    deadline: Instant,
) -> tokio::sync::oneshot::Receiver<Outputs> {
    let places = lane.admit(images.len() / IMAGE).unwrap();
    let (images, tasks) = (images.to_vec(), tasks.to_vec());
    lane.ask(Request { images, tasks, deadline, places })
}

#[test]
fn a_batch_of_many_requests_gives_each_the_bits_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    folder::write(folder.path(), 1);
    for precision in ["f32", "bf16", "int8"] {
        let alone = served(folder.path(), precision).unwrap();
        // Nothing is computed before the ninth image is there.
        let batch = BatchConfig { max_images: 9, max_delay_ms: 10_000, ..BatchConfig::default() };
        let (_engine, lane) = engine(served(folder.path(), precision).unwrap(), &batch);
        let requests: [(usize, &[usize]); 4] = [(1, &[0]), (3, &[1, 0]), (1, &[1]), (4, &[0, 1])];
        let asked: Vec<_> = requests
            .iter()
            .enumerate()
            .map(|(seed, (count, tasks))| {
                let images = values(seed as u64, count * IMAGE);
                let answer = ask(&lane, &images, tasks, in_an_hour());
                (images, *tasks, answer)
            })
            .collect();
        for (images, tasks, answer) in asked {
            let outputs = answer.blocking_recv().unwrap().unwrap();
            for (task, rows) in tasks.iter().zip(outputs) {
                let single: Vec<f32> =
                    images.chunks(IMAGE).flat_map(|one| alone.run(*task, one).unwrap()).collect();
                assert_eq!(rows, single, "{precision}, task {task}");
                assert!(rows.iter().any(|v| v.abs() > 1e-3));
            }
        }
        assert_eq!([0, 1].map(|task| lane.task_images(task)), [8, 8]);
    }
}

#[test]
fn only_what_is_asked_for_is_computed() {
    let folder = tempfile::tempdir().unwrap();
    folder::write(folder.path(), 2);
    let batch = BatchConfig { max_images: 4, max_delay_ms: 10_000, ..BatchConfig::default() };
    let (_engine, lane) = engine(served(folder.path(), "f32").unwrap(), &batch);
    let image = values(0, IMAGE);
    let late = ask(&lane, &image, &[1], Instant::now());
    drop(ask(&lane, &image, &[1], in_an_hour()));
    let both = [ask(&lane, &image, &[0], in_an_hour()), ask(&lane, &image, &[0], in_an_hour())];
    assert_eq!(late.blocking_recv().unwrap(), Err(Failure::Late));
    for answer in both {
        assert_eq!(answer.blocking_recv().unwrap().unwrap()[0].len(), folder::CLASSES.len());
    }
    assert_eq!([0, 1].map(|task| lane.task_images(task)), [2, 0]);
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    folder::write(folder.path(), 3);
    let batch = BatchConfig { max_images: 3, max_delay_ms: 0, queue_images: 3 };
    let (_engine, lane) = engine(served(folder.path(), "f32").unwrap(), &batch);
    let places = lane.admit(2).unwrap();
    assert_eq!(lane.admit(2).err(), Some(Failure::Full));
    let images = values(0, 2 * IMAGE);
    let request = Request { images, tasks: vec![1], deadline: in_an_hour(), places };
    let outputs = lane.ask(request).blocking_recv().unwrap().unwrap();
    assert_eq!(outputs[0].len(), 2 * EMBEDDING);
    lane.admit(3).unwrap();
}

/// The mean of each channel times 1, 2, 3.
fn write_onnx(file: &Path, batch: Dim) {
    let mut graph = Graph::new("means");
    let sizes = [3, SIDE, SIDE].map(Dim::Fixed);
    let image = graph.input("pixels", &[std::slice::from_ref(&batch), &sizes[..]].concat());
    let keep = [("axes", Attribute::Ints(vec![2, 3])), ("keepdims", Attribute::Int(0))];
    let means = graph.node("ReduceMean", &[&image], &keep);
    let weight = graph.weight("w", &[3], &[1.0, 2.0, 3.0]).unwrap();
    let scaled = graph.node("Mul", &[&means, &weight], &[]);
    graph.output("means", &scaled, &[batch, Dim::Fixed(3)]);
    graph.save(file).unwrap();
}

#[test]
fn onnx_files_answer_with_any_batch_or_one_image_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("means.onnx");
    for batch in [Dim::Named("n".into()), Dim::Fixed(1)] {
        write_onnx(&file, batch);
        let model = served(&file, "f32").unwrap();
        assert_eq!((model.input.as_str(), model.image), ("pixels", [3, SIDE, SIDE]));
        assert_eq!((model.tasks[0].name.as_str(), model.tasks[0].width()), ("means", 3));
        let (_engine, lane) = engine(model, &BatchConfig::default());
        let images: Vec<f32> = (0..2 * IMAGE).map(|at| (at / (SIDE * SIDE)) as f32).collect();
        let rows = ask(&lane, &images, &[0], in_an_hour()).blocking_recv().unwrap().unwrap();
        assert_eq!(rows[0], [0.0, 2.0, 6.0, 3.0, 8.0, 15.0]);
    }
    write_onnx(&file, Dim::Fixed(2));
    let said = served(&file, "f32").unwrap_err().to_string();
    assert!(said.contains("means.onnx") && said.contains("a batch of 1 or of any size"), "{said}");
    let said = served(&file, "int8").unwrap_err().to_string();
    assert!(said.contains("an ONNX file has its own"), "{said}");
    std::fs::write(&file, b"no protobuf").unwrap();
    let said = served(&file, "f32").unwrap_err().to_string();
    assert!(said.contains("model `both`") && said.contains("means.onnx"), "{said}");
}

/// With a library that is there, `scripts/check-python.sh serve` runs models in it.
#[test]
fn a_library_that_is_missing_or_another_is_named_with_what_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("libonnxruntime.so");
    let said = Runtimes::new(2, Some(&place)).unwrap_err().to_string();
    assert!(said.contains("libonnxruntime.so") && said.contains("onnxruntime 1.20"), "{said}");
    std::fs::write(&place, b"no library").unwrap();
    let said = Runtimes::new(2, Some(&place)).unwrap_err().to_string();
    assert!(said.contains("libonnxruntime.so") && said.contains("onnxruntime 1.20"), "{said}");
    let runtime = Some("onnxruntime".to_string());
    let told = ModelConfig { runtime, ..ModelConfig::new("a", folder.path(), Precision::F32) };
    let said = Served::open(&told, &Runtimes::new(2, None).unwrap()).unwrap_err().to_string();
    assert!(said.contains("onnxruntime is missing"), "{said}");
}

#[test]
fn a_folder_names_the_runtime_of_its_onnx_file() {
    let folder = tempfile::tempdir().unwrap();
    write_onnx(&folder.path().join("model.onnx"), Dim::Named("n".into()));
    let runtime = Some("rten".to_string());
    let told = ModelConfig { runtime, ..ModelConfig::new("a", folder.path(), Precision::F32) };
    let runtimes = Runtimes::new(2, None).unwrap();
    assert_eq!(Served::open(&told, &runtimes).unwrap().tasks[0].name, "means");
    let bf16 = ModelConfig { precision: "bf16".into(), ..told };
    let said = Served::open(&bf16, &runtimes).unwrap_err().to_string();
    assert!(said.contains("a folder's ONNX file has its own"), "{said}");
}
