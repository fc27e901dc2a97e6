//! The three promises of elastic layers, on random specs: the slice run equals the slice extracted,
//! saved and loaded; its parameters are as many as `ufo_nas` counts; its ONNX file, run by rten,
//! equals its forward.

use crate::{arch, images, rng, supernet};
use burn_tensor::Device;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use ufo_model::{Named, Vit, state_of, values, weights};
use ufo_nas::{Arch, BlockSlice, Expert, Keys, Layout, Path, Slice, Stem, accounting, params};
use ufo_onnx::{Dim, Graph};

pub(crate) fn random_slice(arch: &Arch, rng: &mut ChaCha8Rng) -> Slice {
    let mut blocks: Vec<BlockSlice> = Vec::new();
    for block in 0..arch.depth {
        if rng.random_bool(0.7) || (block + 1 == arch.depth && blocks.is_empty()) {
            let heads = rng.random_range(1..=arch.heads);
            blocks.push(BlockSlice { block, heads, ffn: rng.random_range(1..=arch.ffn) });
        }
    }
    Slice { blocks }
}

pub(crate) fn random_path(arch: &Arch, rng: &mut ChaCha8Rng) -> Path {
    let mut expert = || if rng.random_bool(0.5) { Expert::Shared } else { Expert::Task };
    let experts: Vec<Expert> = (0..arch.routed_sites()).map(|_| expert()).collect();
    Path::from_sites(arch, &experts).unwrap()
}

pub(crate) fn random_arch(rng: &mut ChaCha8Rng) -> Arch {
    let layout = if rng.random_bool(0.5) { Layout::A } else { Layout::B };
    let stem = match rng.random_range(0..3) {
        0 => Stem::Patch { size: 4, stride: 4 },
        1 => Stem::Patch { size: 4, stride: 2 },
        _ => Stem::Conv { widths: vec![5], patch: 2 },
    };
    Arch { stem, qkv_bias: rng.random_bool(0.5), ..arch(layout) }
}

#[test]
fn slices_keep_their_three_promises() {
    for seed in 0..24 {
        let mut rng = rng(seed);
        let arch = random_arch(&mut rng);
        let (path, slice) = (random_path(&arch, &mut rng), random_slice(&arch, &mut rng));
        let net = supernet(&arch, seed);
        let index = rng.random_range(0..2);
        let mut vit = net.subnet(index, &path, &slice).unwrap();
        let x = images(3, &arch, seed);
        let expected = values(&vit.forward(x.clone(), None));

        let keys = Keys::plain(slice.blocks.len());
        let state = state_of(&mut Named { vit: &mut vit, keys: &keys }, "");
        let count: usize = state.values().map(|tensor| tensor.values.len()).sum();
        assert_eq!(count as u64, params(&arch, &slice).total(), "{arch:?} {slice:?}");

        let bytes = ufo_weights::to_bytes(&state, &[]).unwrap();
        let loaded = ufo_weights::from_bytes(&bytes, "memory").unwrap();
        let mut small = Vit::init(&arch, &slice, &mut rng, &Device::flex()).unwrap();
        weights::load(&mut Named { vit: &mut small, keys: &keys }, loaded, "memory").unwrap();
        assert_eq!(values(&small.forward(x.clone(), None)), expected, "seed {seed}");

        let from_onnx = run_onnx(&vit, &keys, &arch, &values(&x));
        let largest = expected.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        for (got, want) in from_onnx.iter().zip(&expected) {
            assert!((got - want).abs() <= 1e-5 * largest, "seed {seed}: {got} {want}");
        }
    }
}

fn run_onnx(vit: &Vit, keys: &Keys, arch: &Arch, images: &[f32]) -> Vec<f32> {
    let mut graph = Graph::new("test");
    let [height, width] = arch.image_size;
    let sizes = [3, arch.channels, height, width];
    let image = graph.input("image", &sizes.map(Dim::Fixed));
    let features = vit.to_onnx(&mut graph, keys, &image).unwrap();
    graph.output("features", &features, &[Dim::Fixed(3), Dim::Fixed(arch.dim)]);
    let model = rten::Model::load(graph.to_bytes().unwrap()).unwrap();
    let ids = (model.node_id("image").unwrap(), model.node_id("features").unwrap());
    let input = NdTensor::from_data(sizes, images.to_vec());
    let [out] = model.run_n(vec![(ids.0, input.into())], [ids.1], None).unwrap();
    let out: NdTensor<f32, 2> = out.try_into().unwrap();
    out.to_vec()
}

#[test]
fn a_supernet_holds_as_many_parameters_as_the_accounting_says() {
    for seed in 0..8 {
        let arch = random_arch(&mut rng(seed));
        let mut net = supernet(&arch, seed);
        let buffers = ["running_mean", "running_var"];
        let state = state_of(&mut net, "");
        let trained = state.iter().filter(|(name, _)| !buffers.iter().any(|b| name.ends_with(b)));
        let count: usize = trained.map(|(_, tensor)| tensor.values.len()).sum();
        assert_eq!(count as u64, accounting(&net.spec()).total_params, "{arch:?}");
    }
}

#[test]
fn a_slice_of_a_slice_is_the_smaller_slice() {
    let net = supernet(&arch(Layout::B), 4);
    let block = &net.shared.blocks[0];
    let attention = block.attn.as_ref().unwrap();
    let (once, twice) = (attention.slice(1), attention.slice(2).slice(1));
    assert_eq!(values(&once.qkv.weight_io), values(&twice.qkv.weight_io));
    let (once, twice) = (block.ffn.slice(7), block.ffn.slice(15).slice(7));
    assert_eq!(values(&once.fc2.weight_io), values(&twice.fc2.weight_io));
}
