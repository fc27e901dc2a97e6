use super::*;
use crate::Model;
use std::fs;

fn small() -> (Graph, Value) {
    let mut graph = Graph::new("small");
    let x = graph.input("x", &["batch".into(), 2.into()]);
    (graph, x)
}

#[test]
fn weights_are_checked_and_shared_by_name() {
    let (mut graph, _) = small();
    let first = graph.weight("w", &[2, 1], &[1.0, 2.0]).unwrap();
    assert_eq!(graph.weight("w", &[2, 1], &[1.0, 2.0]).unwrap(), first);
    assert_eq!(graph.graph().initializer.len(), 1);
    for (dims, data) in [([2, 1], [1.0, 3.0]), ([1, 2], [1.0, 2.0])] {
        assert!(matches!(graph.weight("w", &dims, &data), Err(Error::Conflict { .. })));
    }
    assert!(matches!(graph.ints("w", &[2, 1], &[1, 2]), Err(Error::Conflict { .. })));
    assert!(matches!(graph.weight("x", &[], &[1.0]), Err(Error::Conflict { .. })));
}

#[test]
fn a_shape_that_its_values_do_not_fill_is_an_error() {
    let (mut graph, _) = small();
    assert!(matches!(graph.weight("v", &[3], &[1.0]), Err(Error::Count { got: 1, .. })));
    let overflowing = [usize::MAX, 2];
    assert!(matches!(graph.weight("v", &overflowing, &[1.0]), Err(Error::Count { .. })));
    assert!(graph.weight("none", &[0, 3], &[]).is_ok());
}

#[test]
fn nodes_are_named_by_scope_and_never_twice() {
    let (mut graph, x) = small();
    graph.weight("Relu.1", &[], &[0.0]).unwrap();
    let names = graph.scope("blocks.0", |graph| {
        let a = graph.scope("attn", |graph| graph.node("Relu", &[&x], &[]));
        let b = graph.scope("attn", |graph| graph.node("Relu", &[&x], &[]));
        [a, b].map(|value| value.name().to_string())
    });
    assert_eq!(names, ["blocks.0/attn/Relu", "blocks.0/attn/Relu.1"]);
    let names = [(); 2].map(|()| graph.node("Relu", &[&x], &[]).name().to_string());
    assert_eq!(names, ["Relu", "Relu.2"]);
}

#[test]
fn mistakes_come_back_when_the_model_is_written() {
    let (graph, _) = small();
    assert!(matches!(graph.to_bytes(), Err(Error::NoOutput)));

    let (mut graph, x) = small();
    graph.output("x", &x, &["batch".into(), 2.into()]);
    assert!(matches!(graph.to_bytes(), Err(Error::Conflict { name }) if name == "x"));

    let (mut graph, x) = small();
    let foreign = graph.node("Relu", &[&x], &[]);
    let (mut other, _) = small();
    other.output("y", &foreign, &["batch".into(), 2.into()]);
    assert!(matches!(other.to_bytes(), Err(Error::Foreign { name }) if name == "Relu"));
}

#[test]
fn metadata_is_set_not_repeated() {
    let (mut graph, x) = small();
    graph.metadata("labels", "a");
    graph.metadata("labels", "b");
    graph.output("y", &x, &["batch".into(), 2.into()]);
    let model = Model::decode(&graph.to_bytes().unwrap()).unwrap();
    assert_eq!(model.metadata, [("labels".to_string(), "b".to_string())]);
}

/// A graph of one small and two large weights.
fn with_large_weights() -> Graph {
    let (mut graph, x) = small();
    let small = graph.weight("small", &[2], &[1.0, 2.0]).unwrap();
    let large: Vec<f32> = (0..600).map(|i| i as f32).collect();
    let first = graph.weight("first", &[2, 300], &large).unwrap();
    let second = graph.weight("second", &[300, 2], &large).unwrap();
    let y = graph.node("Add", &[&x, &small], &[]);
    let y = graph.linear(&y, &first, None);
    let y = graph.linear(&y, &second, None);
    graph.output("y", &y, &["batch".into(), 2.into()]);
    graph
}

#[test]
fn large_weights_go_beside_the_model_at_page_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    let mut graph = with_large_weights();
    graph.external_above(0);
    graph.save(&path).unwrap();

    let model = Model::decode(&fs::read(&path).unwrap()).unwrap();
    let data = fs::read(dir.path().join("model.onnx.data")).unwrap();
    assert_eq!(model.initializers[0].values, crate::Stored::F32(vec![1.0, 2.0]));
    for (constant, expected) in model.initializers[1..].iter().zip([0_u64, 4096]) {
        let crate::Stored::External { location, offset, length } = &constant.values else {
            panic!("{constant:?}")
        };
        assert_eq!((location.as_str(), *offset, *length), ("model.onnx.data", expected, 2400));
        let start = *offset as usize;
        let last = &data[start + 2396..start + 2400];
        assert_eq!(last, 599_f32.to_le_bytes());
    }
    assert_eq!(data.len(), 4096 + 2400);
}

#[test]
fn a_model_saved_in_one_file_leaves_no_other_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    let mut graph = with_large_weights();
    graph.external_above(0);
    graph.save(&path).unwrap();
    graph.external_above(1 << 20);
    graph.save(&path).unwrap();
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["model.onnx"]);
    assert_eq!(fs::read(&path).unwrap(), graph.to_bytes().unwrap());
}

#[test]
fn a_failed_save_names_the_file_and_keeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing").join("model.onnx");
    let error = with_large_weights().save(&path).unwrap_err();
    assert!(error.to_string().contains("model.onnx"), "{error}");
}
