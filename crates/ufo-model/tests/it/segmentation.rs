//! The head that gives a class a pixel, on slices: the tokens that it reads, its ONNX file and its statistics.

use crate::slices::{random_arch, random_path, random_slice};
use crate::{images, rng, supernet};
use burn_tensor::Tensor;
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use ufo_model::{Head, HeadConfig, HeadStatistics, Mode, SegmentationHead, Vit, values};
use ufo_nas::{Arch, Expert, Keys, Layout, Path, Slice, Stem};
use ufo_onnx::{Dim, Graph};

const TASK: usize = 2;

fn head_of(net: &ufo_model::Supernet) -> &SegmentationHead {
    let Head::Segmentation(head) = &net.tasks[TASK].head else {
        panic!("the third task is a segmentation")
    };
    head
}

/// As many values, each within 1e-5 of the largest.
pub(crate) fn assert_close(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    for (got, want) in got.iter().zip(expected) {
        assert!((got - want).abs() <= 1e-5 * largest, "{got} {want}");
    }
}

#[test]
fn the_first_of_all_tokens_is_the_feature_and_taps_are_those_behind_their_blocks() {
    let arch = crate::arch(Layout::B);
    let net = supernet(&arch, 1);
    let path = Path::uniform(&arch, Expert::Shared);
    let vit = net.subnet(TASK, &path, &Slice::full(&arch)).unwrap();
    let x = images(2, &arch, 1);
    let tokens = vit.tokens(x.clone(), None, &[0, 2]);
    assert_eq!((tokens.grid, tokens.last.dims()), ([2, 2], [2, 5, 12]));
    let first: Tensor<3> = tokens.last.slice([0..2, 0..1]);
    assert_close(&values(&first), &values(&vit.forward(x.clone(), None)));
    // The network that ends behind the first block gives, but for its norm, the first tap.
    let short = Vit { blocks: vit.blocks[..1].to_vec(), ..vit.clone() };
    let [tap, last] = [0, 1].map(|tap| values(&tokens.taps[tap]));
    assert_eq!(values(&short.tokens(x, None, &[0]).taps[0]), tap);
    assert_ne!(tap, last);
}

#[test]
fn its_onnx_file_gives_the_logits_of_its_forward() {
    for seed in 0..12 {
        let mut rng = rng(seed);
        let arch = random_arch(&mut rng);
        let (path, slice) = (random_path(&arch, &mut rng), random_slice(&arch, &mut rng));
        let mut net = supernet(&arch, seed);
        // Statistics other than the first.
        let full = net.subnet(TASK, &path, &Slice::full(&arch)).unwrap();
        let tokens = full.tokens(images(3, &arch, seed + 1), None, &[1]);
        let measured = head_of(&net).train(&tokens, Mode::default()).moments;
        net.tasks[TASK].head.absorb(&HeadStatistics::Maps(measured));
        let vit = net.subnet(TASK, &path, &slice).unwrap();
        let x = images(3, &arch, seed);
        let expected = values(&net.tasks[TASK].head.run(&vit, x.clone()));
        assert_eq!(expected.len(), 3 * 3 * 64);
        let head = &net.tasks[TASK].head;
        let got = run_onnx_of(head, &vit, (&arch, [3, 8, 8]), (3, &values(&x)));
        assert_close(&got, &expected);
    }
}

/// The outputs of `size` of a network and head in rten.
pub(crate) fn run_onnx_of(
    head: &Head,
    vit: &Vit,
    (arch, size): (&Arch, [usize; 3]),
    (count, images): (usize, &[f32]),
) -> Vec<f32> {
    let mut graph = Graph::new("test");
    let [height, width] = arch.image_size;
    let sizes = [count, arch.channels, height, width];
    let image = graph.input("image", &sizes.map(Dim::Fixed));
    let keys = Keys::plain(vit.blocks.len());
    let network = (vit, &keys, "head");
    let out = head.run_onnx(&mut graph, network, (&image, arch.image_size)).unwrap();
    let dims = [count, size[0], size[1], size[2]];
    graph.output("mask", &out, &dims.map(Dim::Fixed));
    let model = rten::Model::load(graph.to_bytes().unwrap()).unwrap();
    let ids = (model.node_id("image").unwrap(), model.node_id("mask").unwrap());
    let input = NdTensor::from_data(sizes, images.to_vec());
    let [out] = model.run_n(vec![(ids.0, input.into())], [ids.1], None).unwrap();
    let out: NdTensor<f32, 4> = out.try_into().unwrap();
    out.to_vec()
}

#[test]
fn training_gives_logits_of_each_pixel_and_tap_and_moves_the_statistics() {
    let plain = crate::arch(Layout::B);
    let stem = Stem::Conv { widths: vec![5], patch: 2 };
    for (arch, convolutions) in [(plain.clone(), 2), (Arch { stem, ..plain }, 4)] {
        trains(&arch, convolutions);
    }
}

/// `convolutions` is how many the main head has.
fn trains(arch: &Arch, convolutions: usize) {
    let mut net = supernet(arch, 3);
    let path = Path::uniform(arch, Expert::Task);
    let vit = net.subnet(TASK, &path, &Slice::full(arch)).unwrap();
    let tokens = vit.tokens(images(4, arch, 3), None, &[0, 1, 2]);
    let given = head_of(&net).train(&tokens, Mode::default());
    assert_eq!(given.logits.dims(), [4 * 64, 3]);
    assert_eq!(given.auxiliary.len(), 3);
    assert!(given.auxiliary.iter().all(|logits| logits.dims() == [4 * 64, 3]));
    // The auxiliary norm for each tap, too.
    assert_eq!(given.moments.len(), convolutions + 3);
    let running = |net: &ufo_model::Supernet| {
        let head = head_of(net);
        let norms = head
            .stages
            .iter()
            .chain(&head.detail)
            .chain(head.auxiliary.as_ref().map(|head| &head.conv));
        norms.map(|stage| values(&stage.norm.running_mean)).collect::<Vec<_>>()
    };
    let before = running(&net);
    net.tasks[TASK].head.absorb(&HeadStatistics::Maps(given.moments.clone()));
    let after = running(&net);
    assert!(before.iter().zip(&after).all(|(before, after)| before != after));
    let tenth: Vec<f32> = given.moments[0].mean.iter().map(|mean| 0.1 * mean).collect();
    assert_close(&after[0], &tenth);
    // Measured statistics take the place of running ones: evaluation is then training's forward.
    let Head::Segmentation(head) = &mut net.tasks[TASK].head else { panic!("it is one") };
    head.replace(&[given.moments]);
    let evaluated = values(&head.forward(&tokens, Mode::default()));
    let trained = values(&given.logits);
    let largest = trained.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    for (row, want) in trained.iter().enumerate() {
        let (pixel, class) = (row / 3, row % 3);
        let got = evaluated[(pixel / 64 * 3 + class) * 64 + pixel % 64];
        // The running variance is the unbiased one.
        assert!((got - want).abs() < 0.2 * largest, "{got} {want} {largest}");
    }
}

#[test]
fn a_supernet_for_other_images_has_its_positions_resized_and_nothing_else() {
    let arch = crate::arch(Layout::B);
    let net = supernet(&arch, 5);
    let larger = net.resized([16, 16]).unwrap();
    let states = [&net, &larger].map(|net| ufo_model::state_of(&mut net.clone(), ""));
    for (name, tensor) in &states[0] {
        assert_eq!(*tensor == states[1][name], !name.ends_with("pos_embed"), "{name}");
    }
    let shape = &states[1]["tasks.third.pos_embed"].shape;
    assert_eq!(shape[..], [1, 17, 12]);
    let path = Path::uniform(&arch, Expert::Task);
    let vit = larger.subnet(TASK, &path, &Slice::full(&larger.arch)).unwrap();
    let x = images(2, &larger.arch, 1);
    let logits = larger.tasks[TASK].head.run(&vit, x.clone());
    assert_eq!(logits.dims(), [2, 3 * 16 * 16]);
    let head = &larger.tasks[TASK].head;
    let got = run_onnx_of(head, &vit, (&larger.arch, [3, 16, 16]), (2, &values(&x)));
    assert_close(&got, &values(&logits));
    let same = net.resized([8, 8]).unwrap();
    assert_close(&values(&same.tasks[0].stem.pos_embed), &values(&net.tasks[0].stem.pos_embed));
    let error = net.resized([3, 3]).unwrap_err().to_string();
    assert!(error.contains("stem.size = 4"), "{error}");
}

#[test]
fn taps_are_a_sixth_of_the_depth_apart() {
    let config = |auxiliary| HeadConfig::Segmentation {
        channels: 1,
        doublings: 0,
        auxiliary,
        taps: None,
        lr_scale: 1.0,
        detail: false,
    };
    // Those of the spec for 12 and 32 blocks.
    for (depth, taps) in [
        (12, vec![5, 7, 9, 11]),
        (32, vec![13, 19, 25, 31]),
        (6, vec![2, 3, 4, 5]),
        (2, vec![0, 1]),
    ] {
        assert_eq!(config(0.4).taps(depth), taps);
    }
    assert!(config(0.0).taps(12).is_empty());
}
