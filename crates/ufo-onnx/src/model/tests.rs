use super::*;
use crate::{Graph, Value};
use proptest::prelude::*;

fn sample() -> Vec<u8> {
    let mut graph = Graph::new("sample");
    let x = graph.input("x", &["batch".into(), 2.into()]);
    let weight = graph.weight("w", &[2, 1], &[1.0, 2.0]).unwrap();
    let y = graph.scope("layer", |graph| graph.linear(&x, &weight, None));
    graph.output("y", &y, &["batch".into(), 1.into()]);
    graph.metadata("labels", "a,b");
    graph.to_bytes().unwrap()
}

#[test]
fn a_written_model_reads_back() {
    let model = Model::decode(&sample()).unwrap();
    let batch = Dim::Named("batch".to_string());
    assert_eq!((model.name.as_str(), model.opset, model.ir_version), ("sample", 17, 8));
    assert_eq!(
        model.inputs,
        [Port { name: "x".to_string(), dims: vec![batch.clone(), Dim::Fixed(2)] }]
    );
    assert_eq!(model.outputs, [Port { name: "y".to_string(), dims: vec![batch, Dim::Fixed(1)] }]);
    assert_eq!(model.nodes[0].inputs, ["x", "w"]);
    assert_eq!(model.nodes[0].outputs, ["layer/MatMul"]);
    assert_eq!(model.initializers[0].values, Stored::F32(vec![1.0, 2.0]));
    assert_eq!(model.metadata, [("labels".to_string(), "a,b".to_string())]);
}

/// A field of bytes: key, length, content.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn millions_of_empty_parts_are_refused_before_they_take_memory() {
    let nodes = field(7, &field(1, &[]).repeat(MAX_FIELDS + 1));
    let attributes = field(7, &field(1, &field(5, &[]).repeat(MAX_FIELDS + 1)));
    let entries = field(14, &[]).repeat(MAX_FIELDS + 1);
    for bytes in [nodes, attributes, entries] {
        let error = Model::decode(&bytes).unwrap_err().to_string();
        assert!(error.contains("parts"), "{error}");
    }
}

#[test]
fn what_does_not_fit_its_place_is_refused() {
    let shape_of = |dims: &[u8]| field(1, dims);
    let tensor = |parts: &[&[u8]]| field(7, &field(5, &parts.concat()));
    let float = [0x10, 1];
    let negative = [0xff; 9].into_iter().chain([1]).collect::<Vec<u8>>();
    let huge = [0xff; 8].into_iter().chain([0x7f]).collect::<Vec<u8>>();
    let cases = [
        ("a length behind the end", vec![7 << 3 | 2, 100, 0], "behind the file"),
        ("no graph", field(2, b"ufo"), "no graph"),
        (
            "fewer bytes than the shape has",
            tensor(&[&shape_of(&[3]), &float, &field(9, &[0; 8])]),
            "8 bytes for 3",
        ),
        ("a negative size", tensor(&[&shape_of(&negative), &float]), "size of -1"),
        ("a product beyond 64 bits", tensor(&[&shape_of(&huge.repeat(2)), &float]), "too large"),
        ("external data without a place", tensor(&[&[14 << 3, 1]]), "need location"),
    ];
    for (name, bytes, expected) in cases {
        let error = Model::decode(&bytes).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

/// One call on a graph under construction; numbers pick among the values there are.
#[derive(Debug, Clone)]
enum Step {
    Node { op: String, inputs: Vec<usize>, attribute: Attribute },
    Weight { dims: Vec<usize> },
    Ints { data: Vec<i64> },
}

fn step() -> impl Strategy<Value = Step> {
    let attribute = prop_oneof![
        any::<i64>().prop_map(Attribute::Int),
        prop::collection::vec(any::<i64>(), 0..4).prop_map(Attribute::Ints),
        (-1e9_f32..1e9).prop_map(Attribute::Float),
        ".{0,6}".prop_map(Attribute::Text),
    ];
    let inputs = prop::collection::vec(any::<usize>(), 1..4);
    prop_oneof![
        ("[A-Z][a-z]{1,5}", inputs, attribute).prop_map(|(op, inputs, attribute)| Step::Node {
            op,
            inputs,
            attribute
        }),
        prop::collection::vec(0_usize..4, 0..3).prop_map(|dims| Step::Weight { dims }),
        prop::collection::vec(any::<i64>(), 0..5).prop_map(|data| Step::Ints { data }),
    ]
}

/// Builds the graph of `steps` and, beside it, what reading it must give.
fn build(steps: &[Step]) -> (Graph, Vec<Node>, Vec<Constant>) {
    let mut graph = Graph::new("any");
    let mut values = vec![graph.input("x", &[1.into()])];
    let (mut nodes, mut constants) = (Vec::new(), Vec::new());
    for (index, step) in steps.iter().enumerate() {
        let name = format!("stored.{index}");
        values.push(match step {
            Step::Node { op, inputs, attribute } => {
                let inputs: Vec<Value> =
                    inputs.iter().map(|pick| values[pick % values.len()].clone()).collect();
                let handles: Vec<&Value> = inputs.iter().collect();
                let value = graph.node(op, &handles, &[("a", attribute.clone())]);
                nodes.push(Node {
                    name: value.name().to_string(),
                    op: op.clone(),
                    inputs: inputs.iter().map(|value| value.name().to_string()).collect(),
                    outputs: vec![value.name().to_string()],
                    attributes: vec![("a".to_string(), Some(attribute.clone()))],
                });
                value
            }
            Step::Weight { dims } => {
                let data: Vec<f32> = (0..dims.iter().product()).map(|i| i as f32).collect();
                let value = graph.weight(&name, dims, &data).unwrap();
                constants.push(Constant { name, dims: dims.clone(), values: Stored::F32(data) });
                value
            }
            Step::Ints { data } => {
                let dims = vec![data.len()];
                let value = graph.ints(&name, &dims, data).unwrap();
                constants.push(Constant { name, dims, values: Stored::I64(data.clone()) });
                value
            }
        });
    }
    let last = values.last().unwrap().clone();
    graph.output("y", &last, &[1.into()]);
    (graph, nodes, constants)
}

proptest! {
    #[test]
    fn any_graph_reads_back_as_it_was_built(steps in prop::collection::vec(step(), 0..20)) {
        let (graph, nodes, constants) = build(&steps);
        let model = Model::decode(&graph.to_bytes().unwrap()).unwrap();
        let (last, own) = model.nodes.split_last().unwrap();
        prop_assert_eq!(own, nodes);
        prop_assert_eq!(model.initializers, constants);
        prop_assert_eq!((last.op.as_str(), &last.outputs), ("Identity", &vec!["y".to_string()]));
    }

    #[test]
    fn node_names_are_unique(steps in prop::collection::vec(step(), 0..30)) {
        let (graph, ..) = build(&steps);
        let model = Model::decode(&graph.to_bytes().unwrap()).unwrap();
        let names: std::collections::HashSet<_> = model.nodes.iter().map(|n| &n.name).collect();
        prop_assert_eq!(names.len(), model.nodes.len());
    }

    #[test]
    fn changed_bytes_are_an_error_or_a_model_but_never_a_panic(
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..5), cut: usize,
    ) {
        let mut bytes = sample();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(cut % (bytes.len() + 1));
        let _ = Model::decode(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Model::decode(&bytes);
    }
}
