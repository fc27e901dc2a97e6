//! AdamW (arXiv 1711.05101) and SGD with momentum over named parameters on the host, with the
//! global-norm clip folded in.
//!
//! A parameter without a gradient (an expert that no task chose) costs nothing and does not move.

use burn_tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ufo_kernels::Level;
use ufo_kernels::optimizer::{AdamW, AdamWState, Sgd, SgdState, adamw, sgd, sum_of_squares};
use ufo_model::{Visit, Visitor, from_values, take_values};
use ufo_weights::{HostTensor, State};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Gradients by parameter name, in memory layout.
pub type Grads = BTreeMap<String, Vec<f32>>;

/// How a gradient becomes a change of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Adam with decoupled weight decay; betas 0.9 and 0.999, epsilon 1e-8.
    #[default]
    AdamW,
    /// Momentum SGD as PyTorch's: `v = momentum v + g + decay w`, `w -= lr v`.
    Sgd,
}

/// State of each parameter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Optimizer {
    moments: BTreeMap<String, Moments>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Moments {
    first: Vec<f32>,
    /// Empty for SGD.
    second: Vec<f32>,
    updates: u32,
}

/// What one step uses.
#[derive(Debug, Clone, Copy)]
pub struct Rates<'a> {
    /// The rule.
    pub rule: Rule,
    /// Momentum of SGD.
    pub momentum: f32,
    /// Learning rate of weights.
    pub lr: f32,
    /// Learning rate of the router.
    pub router_lr: f32,
    /// Decay of weights.
    pub weight_decay: f32,
    /// Largest global norm; 0 is no clip.
    pub clip: f32,
    /// Factor for the modules of each task, by key prefix.
    pub task_scales: &'a [(String, f32)],
}

/// The Euclidean length of all gradients together.
pub fn global_norm(grads: &Grads) -> f32 {
    let square = |grad: &Vec<f32>| sum_of_squares(Level::detect(), grad);
    grads.values().map(square).sum::<f64>().sqrt() as f32
}

impl Optimizer {
    /// Moves every parameter that has a gradient; returns the global norm before the clip.
    pub fn step(&mut self, net: &mut impl Visit, grads: &Grads, rates: &Rates<'_>) -> f32 {
        let norm = global_norm(grads);
        let shrink = if rates.clip > 0.0 && norm > rates.clip { rates.clip / norm } else { 1.0 };
        net.visit("", &mut Update { moments: &mut self.moments, grads, rates, shrink });
        norm
    }

    /// The state as named tensors.
    pub fn state(&self) -> State {
        let mut state = State::new();
        let flat = |values: &[f32]| HostTensor { shape: vec![values.len()], values: values.into() };
        for (name, moments) in &self.moments {
            state.insert(format!("{name}.first"), flat(&moments.first));
            if !moments.second.is_empty() {
                state.insert(format!("{name}.second"), flat(&moments.second));
            }
            state.insert(format!("{name}.updates"), flat(&[moments.updates as f32]));
        }
        state
    }

    /// Restores what [`Optimizer::state`] gave.
    pub fn from_state(state: State) -> Self {
        let mut moments: BTreeMap<String, Moments> = BTreeMap::new();
        for (key, tensor) in state {
            if let Some((name, part)) = key.rsplit_once('.') {
                let entry = moments.entry(name.to_string()).or_default();
                match part {
                    "first" => entry.first = tensor.values,
                    "second" => entry.second = tensor.values,
                    _ => entry.updates = tensor.values.first().map_or(0, |&n| n as u32),
                }
            }
        }
        Self { moments }
    }
}

struct Update<'a> {
    moments: &'a mut BTreeMap<String, Moments>,
    grads: &'a Grads,
    rates: &'a Rates<'a>,
    shrink: f32,
}

impl Update<'_> {
    fn rate_and_decay(&self, name: &str, rank: usize) -> (f32, f32) {
        if name.ends_with(".router") {
            return (self.rates.router_lr, 0.0);
        }
        let own = |(prefix, _): &&(String, f32)| name.starts_with(prefix.as_str());
        let scale = self.rates.task_scales.iter().find(own).map_or(1.0, |(_, scale)| *scale);
        let weight = rank == 2 || rank == 4;
        (self.rates.lr * scale, if weight { self.rates.weight_decay } else { 0.0 })
    }
}

impl Visitor for Update<'_> {
    fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
        let Some(grad) = self.grads.get(name) else {
            return;
        };
        let (dims, device) = (tensor.dims(), tensor.device());
        let rate = self.rate_and_decay(name, D);
        let moments = self.moments.entry(name.to_string()).or_default();
        let mut weights = take_values(tensor);
        moments.updates += 1;
        moments.first.resize(grad.len(), 0.0);
        match self.rates.rule {
            Rule::AdamW => moments.adam_w(&mut weights, grad, self.shrink, rate),
            Rule::Sgd => {
                let momentum = self.rates.momentum;
                moments.sgd(&mut weights, grad, (self.shrink, momentum), rate);
            }
        }
        *tensor = from_values(weights, dims, &device);
    }

    fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {}
}

impl Moments {
    fn adam_w(&mut self, weights: &mut [f32], grad: &[f32], shrink: f32, (lr, decay): (f32, f32)) {
        self.second.resize(grad.len(), 0.0);
        let settings = AdamW {
            lr: lr.into(),
            beta1: BETA1,
            beta2: BETA2,
            eps: EPSILON,
            weight_decay: decay.into(),
        };
        let (mean, square) = (&mut self.first[..], &mut self.second[..]);
        let state = AdamWState { param: weights, grad, mean, square };
        adamw(Level::detect(), &settings, self.updates.into(), shrink, state);
    }

    fn sgd(
        &mut self,
        weights: &mut [f32],
        grad: &[f32],
        (shrink, momentum): (f32, f32),
        (lr, decay): (f32, f32),
    ) {
        let settings = Sgd { lr: lr.into(), momentum: momentum.into(), weight_decay: decay.into() };
        let state = SgdState { param: weights, grad, buffer: &mut self.first };
        sgd(Level::detect(), &settings, shrink, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.optim` of PyTorch 2.13 on w = [1, -2], gradients [0.5, 0.1] then [-0.3, 0.2], lr 0.1,
    /// decay 0.01, momentum 0.9 (`tests/reference/optimizer_reference.py`).
    #[test]
    fn two_steps_equal_pytorch() {
        let grads = [[0.5_f32, 0.1], [-0.3, 0.2]];
        let mut adam = (Moments::default(), vec![1.0_f32, -2.0]);
        let mut sgd = (Moments::default(), vec![1.0_f32, -2.0]);
        for grad in &grads {
            for (moments, _) in [&mut adam, &mut sgd] {
                moments.first.resize(2, 0.0);
                moments.updates += 1;
            }
            adam.0.adam_w(&mut adam.1, grad, 1.0, (0.1, 0.01));
            sgd.0.sgd(&mut sgd.1, grad, (1.0, 0.9), (0.1, 0.01));
        }
        let close = |got: &[f32], want: [f32; 2]| {
            assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?} {want:?}");
        };
        close(&adam.1, ADAM_W);
        close(&sgd.1, SGD);
    }

    const ADAM_W: [f32; 2] = [0.878_951_3, -2.192_420_2];
    const SGD: [f32; 2] = [0.932_151, -2.033_192];
}
