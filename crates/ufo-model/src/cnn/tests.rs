use super::*;
use crate::fused::testing::random;
use crate::param::{require_grad, state_of, values};
use crate::weights;
use burn_tensor::Device;
use rand::{SeedableRng, rngs::ChaCha8Rng};

const KINDS: [CnnKind; 4] =
    [CnnKind::ResNet18, CnnKind::ResNet50, CnnKind::MobileNetV3Small, CnnKind::MobileNetV3Large];

fn net(kind: CnnKind, classes: usize, seed: u64) -> Cnn {
    Cnn::init(kind, classes, &mut ChaCha8Rng::seed_from_u64(seed), &Device::flex())
}

/// Numbers of values and tensors of a network, trained ones and all.
fn counts(net: &mut Cnn) -> ([usize; 2], [usize; 2]) {
    struct Count([usize; 2], [usize; 2]);
    impl Visitor for Count {
        fn tensor<const D: usize>(&mut self, _: &str, tensor: &mut Tensor<D>) {
            self.0[0] += tensor.dims().iter().product::<usize>();
            self.1[0] += 1;
        }
        fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {
            self.1[1] += 1;
        }
    }
    let mut count = Count([0; 2], [0; 2]);
    net.visit("", &mut count);
    (count.0, count.1)
}

#[test]
fn parameters_are_as_many_as_torchvisions() {
    // Parameters with 1000 classes, trained tensors, buffers without the counts of batches.
    let expected = [
        (11_689_512, [62, 40]),
        (25_557_032, [161, 106]),
        (2_542_856, [142, 68]),
        (5_483_032, [174, 92]),
    ];
    for (kind, (parameters, tensors)) in KINDS.into_iter().zip(expected) {
        let ([counted, _], found) = counts(&mut net(kind, 1000, 1));
        assert_eq!((counted, found), (parameters, tensors), "{kind:?}");
    }
}

#[test]
fn names_follow_torchvision() {
    let names = |kind| state_of(&mut net(kind, 3, 1), "").into_keys().collect::<Vec<_>>();
    let resnet = names(CnnKind::ResNet50);
    for name in ["conv1.weight", "bn1.running_var", "layer1.0.downsample.1.bias", "fc.bias"] {
        assert!(resnet.iter().any(|found| found == name), "{name}");
    }
    let mobilenet = names(CnnKind::MobileNetV3Large);
    for name in [
        "features.0.0.weight",
        "features.1.block.1.1.running_mean",
        "features.4.block.2.fc1.bias",
        "features.16.1.weight",
        "classifier.3.weight",
    ] {
        assert!(mobilenet.iter().any(|found| found == name), "{name}");
    }
}

#[test]
fn a_network_is_loaded_from_its_own_state() {
    for kind in [CnnKind::ResNet18, CnnKind::MobileNetV3Small] {
        let (mut first, mut second) = (net(kind, 3, 1), net(kind, 3, 2));
        let images = random([2, 3, 33, 40], 3);
        weights::load(&mut second, state_of(&mut first, ""), "memory").unwrap();
        let [a, b] =
            [&first, &second].map(|net| values(&net.classify(net.features(images.clone()), None)));
        assert_eq!(a, b, "{kind:?}");
        let error = weights::load(&mut net(kind, 4, 1), state_of(&mut first, ""), "memory");
        assert!(error.unwrap_err().to_string().contains("the model needs"), "{kind:?}");
    }
}

#[test]
fn a_step_reaches_every_parameter_and_the_running_statistics() {
    struct Reached(burn_tensor::Gradients);
    impl Visitor for Reached {
        fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
            let gradient = tensor.grad_remove(&mut self.0).unwrap();
            assert!(values(&gradient).iter().all(|value| value.is_finite()), "{name}");
        }
        fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {}
    }
    for kind in KINDS {
        let mut net = net(kind, 3, 1);
        let before = state_of(&mut net, "");
        let mut leaves = net.clone();
        require_grad(&mut leaves);
        let (features, moments) = leaves.train(random([3, 3, 32, 32], 2));
        assert_eq!(features.dims(), [3, net.width()]);
        let dropout = leaves.dropout(3, &mut ChaCha8Rng::seed_from_u64(4));
        let logits = leaves.classify(features, dropout.map(Tensor::autodiff));
        leaves.visit("", &mut Reached(logits.sum().backward()));
        net.update(&moments);
        for (name, tensor) in state_of(&mut net, "") {
            assert_eq!(tensor != before[&name], name.contains("running_"), "{kind:?} {name}");
        }
    }
}

#[test]
fn one_image_of_one_pixel_is_enough() {
    for kind in KINDS {
        let net = net(kind, 3, 1);
        let logits = net.classify(net.features(random([1, 3, 1, 1], 2)), None);
        assert!(values(&logits).iter().all(|value| value.is_finite()), "{kind:?}");
    }
}
