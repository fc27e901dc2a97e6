//! Runs a network on the tensors of a safetensors file and writes what it finds into another, for
//! `tests/reference/torchvision_interop.py`.
//!
//! Usage: `cnn_step KIND IN OUT`, KIND as torchvision names it. IN has the network's state under `net.`,
//! `images` and `targets` (rows of probabilities). OUT has `features` and `logits` of evaluation; of a
//! training step without dropout `loss` and the gradients under `grad.`; and the state with the step's
//! running statistics under `net.`.

use burn_tensor::{Device, Tensor};
use rand::{SeedableRng, rngs::ChaCha8Rng};
use std::error::Error;
use ufo_model::cnn::{Cnn, CnnKind};
use ufo_model::losses::cross_entropy;
use ufo_model::{Visit, Visitor, from_values, require_grad, state_of, values, weights};
use ufo_weights::{HostTensor, State};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, from, to] = arguments.as_slice() else {
        return Err("usage: cnn_step KIND IN OUT".into());
    };
    let kind: CnnKind = serde_json::from_value(kind.as_str().into())?;
    let found = step(kind, ufo_weights::from_bytes(&std::fs::read(from)?, from)?, from)?;
    Ok(std::fs::write(to, ufo_weights::to_bytes(&found, &[])?)?)
}

fn step(kind: CnnKind, mut given: State, from: &str) -> Result<State, Box<dyn Error>> {
    let device = Device::flex();
    let mut take = |name: &str| given.remove(name).ok_or(format!("{from}: no tensor `{name}`"));
    let (images, targets) = (take("images")?, take("targets")?);
    let [b, c, h, w] = images.shape[..] else { return Err("images: need 4 dimensions".into()) };
    let [_, classes] = targets.shape[..] else { return Err("targets: need 2 dimensions".into()) };
    let images = from_values::<4>(images.values, [b, c, h, w], &device);
    let targets = from_values::<2>(targets.values, [b, classes], &device);

    let mut net = Cnn::init(kind, classes, &mut ChaCha8Rng::seed_from_u64(0), &device);
    let state = given.into_iter().map(|(name, tensor)| (name.replacen("net.", "", 1), tensor));
    weights::load(&mut net, state.collect(), from)?;

    let features = net.features(images.clone());
    let logits = net.classify(features.clone(), None);
    let mut leaves = net.clone();
    require_grad(&mut leaves);
    let (trained, moments) = leaves.train(images);
    let loss = cross_entropy(leaves.classify(trained, None), targets.autodiff());
    let mut found = State::from([
        ("features".to_string(), host(&features)),
        ("logits".to_string(), host(&logits)),
        ("loss".to_string(), host(&loss)),
    ]);
    let mut take = Take { grads: loss.backward(), net: &mut found };
    leaves.visit("grad", &mut take);
    net.update(&moments);
    found.extend(state_of(&mut net, "net"));
    Ok(found)
}

fn host<const D: usize>(tensor: &Tensor<D>) -> HostTensor {
    HostTensor { shape: tensor.dims().to_vec(), values: values(tensor) }
}

/// Collects gradients in file layout.
struct Take<'a> {
    grads: burn_tensor::Gradients,
    net: &'a mut State,
}

impl Visitor for Take<'_> {
    fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
        if let Some(gradient) = tensor.grad_remove(&mut self.grads) {
            self.net.insert(name.to_string(), host(&gradient));
        }
    }

    fn linear(&mut self, name: &str, weight_io: &mut Tensor<2>) {
        if let Some(gradient) = weight_io.grad_remove(&mut self.grads) {
            self.net.insert(name.to_string(), host(&gradient.transpose()));
        }
    }

    fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {}
}
