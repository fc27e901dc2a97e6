//! Closed-form costs of slices beside counts on their exported graphs.

use crate::slices::{random_arch, random_path, random_slice};
use crate::{images, rng, supernet};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::collections::HashMap;
use ufo_model::{Vit, values};
use ufo_nas::{Arch, Keys, Slice, activation_bytes, macs};
use ufo_onnx::{Dim, Graph, Model};

/// What a graph does for one image.
struct Counted {
    /// Multiply-accumulates of its products and convolutions.
    macs: u64,
    /// Most bytes of values that are alive at once.
    peak: u64,
}

/// The shape of every value of the graph: of constants as stored, of the rest as rten computes them.
fn shapes(bytes: &[u8], model: &Model, image: NdTensor<f32, 4>) -> HashMap<String, Vec<usize>> {
    let mut options = rten::ModelOptions::with_all_ops();
    let run = options.enable_optimization(false).load(bytes.to_vec()).unwrap();
    let names = model.nodes.iter().flat_map(|node| &node.outputs);
    let names: Vec<&String> = names.collect();
    let ids: Vec<_> = names.iter().map(|name| run.node_id(name).unwrap()).collect();
    let input = run.node_id("image").unwrap();
    let mut shapes = HashMap::from([("image".to_string(), image.shape().to_vec())]);
    let outputs = run.run(vec![(input, image.into())], &ids, None).unwrap();
    for (name, output) in names.into_iter().zip(outputs) {
        shapes.insert(name.clone(), output.shape().to_vec());
    }
    for constant in &model.initializers {
        shapes.insert(constant.name.clone(), constant.dims.clone());
    }
    shapes
}

fn counted(vit: &Vit, arch: &Arch, slice: &Slice, image: &[f32]) -> Counted {
    let mut graph = Graph::new("test");
    let [height, width] = arch.image_size;
    let sizes = [1, arch.channels, height, width];
    let input = graph.input("image", &sizes.map(Dim::Fixed));
    let features = vit.to_onnx(&mut graph, &Keys::plain(slice.blocks.len()), &input).unwrap();
    graph.output("features", &features, &[Dim::Fixed(1), Dim::Fixed(arch.dim)]);
    let bytes = graph.to_bytes().unwrap();
    let model = Model::decode(&bytes).unwrap();
    let shapes = shapes(&bytes, &model, NdTensor::from_data(sizes, image.to_vec()));
    let size = |name: &str| shapes[name].iter().product::<usize>() as u64;
    let mut macs = 0;
    for node in &model.nodes {
        macs += match node.op.as_str() {
            "MatMul" => size(&node.outputs[0]) * *shapes[&node.inputs[0]].last().unwrap() as u64,
            "Conv" => {
                let weights: usize = shapes[&node.inputs[1]][1..].iter().product();
                size(&node.outputs[0]) * weights as u64
            }
            "Gemm" | "Einsum" | "ConvTranspose" => panic!("{} is not counted", node.op),
            _ => 0,
        };
    }
    Counted { macs, peak: 4 * peak(&model, size) }
}

/// Most elements alive at once where nodes run in their order, nothing is computed in place, and a value that is
/// only another's in another shape takes no memory.
fn peak(model: &Model, size: impl Fn(&str) -> u64) -> u64 {
    let mut stored: HashMap<&str, &str> = HashMap::from([("image", "image")]);
    let mut last: HashMap<&str, usize> = HashMap::new();
    for (place, node) in model.nodes.iter().enumerate() {
        for input in &node.inputs {
            if let Some(root) = stored.get(input.as_str()).copied() {
                last.insert(root, place);
            }
        }
        let source = stored.get(node.inputs[0].as_str()).copied();
        let same = ["Reshape", "Identity"].contains(&node.op.as_str());
        for output in &node.outputs {
            let root = source.filter(|_| same).unwrap_or(output);
            stored.insert(output, root);
            last.insert(root, place);
        }
    }
    let (mut alive, mut most) = (vec!["image"], 0);
    for (place, node) in model.nodes.iter().enumerate() {
        alive.extend(node.outputs.iter().map(String::as_str).filter(|name| stored[name] == *name));
        most = most.max(alive.iter().map(|name| size(name)).sum());
        alive.retain(|name| last[name] > place);
    }
    most
}

#[test]
fn costs_equal_counts_on_the_exported_graph() {
    for seed in 0..24 {
        let mut rng = rng(seed);
        let arch = random_arch(&mut rng);
        let (path, slice) = (random_path(&arch, &mut rng), random_slice(&arch, &mut rng));
        let net = supernet(&arch, seed);
        let vit = net.subnet(0, &path, &slice).unwrap();
        let image = values(&images(1, &arch, seed));
        let Counted { macs: counted, peak } = counted(&vit, &arch, &slice, &image);
        // The graph's last FFN sees the class token alone; the closed form is of all tokens.
        let last = slice.blocks.last().unwrap().ffn;
        let spared = (2 * (arch.tokens() - 1) * arch.dim * last) as u64;
        assert_eq!(counted + spared, macs(&arch, &slice).total(), "{arch:?} {slice}");
        // Of the graph's values, scores are alive beside their softmax, hidden units beside their GELU's parts, and
        // less of the class token's last FFN: the closed form is an estimate.
        let form = activation_bytes(&arch, &slice);
        let ratio = peak as f64 / form as f64;
        assert!((0.85..1.4).contains(&ratio), "{ratio}: {arch:?} {slice}");
    }
}
