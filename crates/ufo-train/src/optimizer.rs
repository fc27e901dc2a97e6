//! AdamW (arXiv 1711.05101) over named parameters on the host, global-norm clip folded in.
//!
//! A parameter without a gradient (an expert that no task chose) costs nothing and does not move.

use burn_tensor::Tensor;
use std::collections::BTreeMap;
use ufo_model::{HostTensor, State, Supernet, Visit, Visitor, from_values, values};

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Gradients by parameter name, in memory layout.
pub type Grads = BTreeMap<String, Vec<f32>>;

/// Moments and update count of each parameter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AdamW {
    moments: BTreeMap<String, Moments>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
    updates: u32,
}

/// Learning rates of one step.
#[derive(Debug, Clone, Copy)]
pub struct Rates<'a> {
    /// Of weights.
    pub lr: f32,
    /// Of the router.
    pub router_lr: f32,
    /// Decoupled decay of weights.
    pub weight_decay: f32,
    /// Largest global norm; 0 is no clip.
    pub clip: f32,
    /// Factor for the modules of each task, by key prefix.
    pub task_scales: &'a [(String, f32)],
}

/// The Euclidean length of all gradients together.
pub fn global_norm(grads: &Grads) -> f32 {
    let square = |grad: &Vec<f32>| grad.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
    grads.values().map(square).sum::<f64>().sqrt() as f32
}

impl AdamW {
    /// Moves every parameter that has a gradient.
    pub fn step(&mut self, supernet: &mut Supernet, grads: &Grads, rates: &Rates<'_>) {
        let norm = global_norm(grads);
        let shrink = if rates.clip > 0.0 && norm > rates.clip { rates.clip / norm } else { 1.0 };
        supernet.visit("", &mut Update { moments: &mut self.moments, grads, rates, shrink });
    }

    /// The moments as named tensors.
    pub fn state(&self) -> State {
        let mut state = State::new();
        for (name, moments) in &self.moments {
            let shape = vec![moments.first.len()];
            let flat =
                |values: &Vec<f32>| HostTensor { shape: shape.clone(), values: values.clone() };
            state.insert(format!("{name}.first"), flat(&moments.first));
            state.insert(format!("{name}.second"), flat(&moments.second));
            let updates = HostTensor { shape: vec![1], values: vec![moments.updates as f32] };
            state.insert(format!("{name}.updates"), updates);
        }
        state
    }

    /// Restores what [`AdamW::state`] gave.
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
        let (lr, decay) = self.rate_and_decay(name, D);
        let moments = self.moments.entry(name.to_string()).or_default();
        moments.first.resize(grad.len(), 0.0);
        moments.second.resize(grad.len(), 0.0);
        moments.updates += 1;
        let correct1 = 1.0 - BETA1.powi(moments.updates as i32);
        let correct2 = 1.0 - BETA2.powi(moments.updates as i32);
        let mut weights = values(tensor);
        let state = moments.first.iter_mut().zip(&mut moments.second);
        for ((weight, grad), (first, second)) in weights.iter_mut().zip(grad).zip(state) {
            let grad = grad * self.shrink;
            *first = BETA1 * *first + (1.0 - BETA1) * grad;
            *second = BETA2 * *second + (1.0 - BETA2) * grad * grad;
            let step = (*first / correct1) / ((*second / correct2).sqrt() + EPSILON);
            *weight -= lr * (step + decay * *weight);
        }
        let device = tensor.device().inner();
        *tensor = from_values(weights, tensor.dims(), &device).autodiff().require_grad();
    }

    fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {}
}
