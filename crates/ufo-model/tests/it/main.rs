//! The promises of the supernet, on small random networks.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod costs;
mod detection;
mod gradients;
mod routing;
mod runtime;
mod segmentation;
mod slices;

use burn_tensor::{Device, Tensor};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use ufo_model::{HeadConfig, Supernet, TaskSpec, from_values};
use ufo_nas::{Arch, Layout, Stem};

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Three blocks on 8x8 images: 5 tokens, width 12, 3 heads of 4.
fn arch(layout: Layout) -> Arch {
    Arch {
        image_size: [8, 8],
        channels: 3,
        stem: Stem::Patch { size: 4, stride: 4 },
        dim: 12,
        depth: 3,
        heads: 3,
        head_dim: 4,
        ffn: 20,
        qkv_bias: true,
        layout,
    }
}

/// A classification, a retrieval, a segmentation (with detail of pixels behind a convolutional stem) and a detection
/// task.
fn supernet(arch: &Arch, seed: u64) -> Supernet {
    let embedding = HeadConfig::Embedding { dim: 6, scale: 30.0, margin: 0.2 };
    let spec = |name: &str, head, classes| TaskSpec { name: name.to_string(), head, classes };
    let detail = matches!(arch.stem, Stem::Conv { .. });
    let segmentation = HeadConfig::Segmentation {
        channels: 7,
        doublings: if detail { 2 } else { 1 },
        auxiliary: 0.4,
        taps: None,
        lr_scale: 1.0,
        detail,
    };
    let detection = HeadConfig::Detection {
        channels: 6,
        convolutions: 3,
        doublings: 1,
        radius: 1.5,
        lr_scale: 1.0,
    };
    let specs = [
        spec("first", HeadConfig::Linear, 5),
        spec("second", embedding, 7),
        spec("third", segmentation, 3),
        spec("fourth", detection, 2),
    ];
    let mut supernet = Supernet::init(arch, &specs, &mut rng(seed), &Device::flex()).unwrap();
    scramble(&mut supernet, seed);
    supernet
}

/// Experts start as copies of each other, biases at 0: make every parameter different.
fn scramble(supernet: &mut Supernet, seed: u64) {
    struct Shake(ChaCha8Rng);
    impl ufo_model::Visitor for Shake {
        fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
            if !name.ends_with(".router") {
                let noise = normal(tensor.dims().iter().product(), &mut self.0);
                *tensor = tensor.clone() + from_values(noise, tensor.dims(), &Device::flex()) * 0.2;
            }
        }
        fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {}
    }
    ufo_model::Visit::visit(supernet, "", &mut Shake(rng(seed + 100)));
}

fn normal(count: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..count).map(|_| StandardNormal.sample(rng)).collect()
}

fn images(count: usize, arch: &Arch, seed: u64) -> Tensor<4> {
    let [height, width] = arch.image_size;
    let size = [count, arch.channels, height, width];
    from_values(normal(size.iter().product(), &mut rng(seed)), size, &Device::flex())
}
