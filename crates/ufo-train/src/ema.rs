//! Exponential moving average of the weights, which is then what a run evaluates and extracts.
//!
//! `average = d average + (1 - d) weight` after each step, with `d = min(decay, (1 + n) / (10 + n))`
//! at update n, so that the first steps are forgotten (timm's `ModelEmaV3` has the same warm-up).

use burn_tensor::Tensor;
use std::collections::BTreeMap;
use ufo_model::{Visit, Visitor, from_values, values};
use ufo_weights::{HostTensor, State};

const UPDATES: &str = "updates";

/// The averaged parameters, by name, in memory layout.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ema {
    updates: u32,
    averages: BTreeMap<String, Vec<f32>>,
}

impl Ema {
    /// Takes in the weights of one more step.
    pub fn update(&mut self, net: &(impl Visit + Clone), decay: f32) {
        struct Blend<'a>(&'a mut BTreeMap<String, Vec<f32>>, f32);
        impl Visitor for Blend<'_> {
            fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
                let new = values(tensor);
                match self.0.get_mut(name) {
                    None => {
                        self.0.insert(name.to_string(), new);
                    }
                    Some(average) => {
                        for (average, new) in average.iter_mut().zip(new) {
                            *average += (1.0 - self.1) * (new - *average);
                        }
                    }
                }
            }
            fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {}
        }
        let n = self.updates as f32;
        self.updates += 1;
        let decay = decay.min((1.0 + n) / (10.0 + n));
        net.clone().visit("", &mut Blend(&mut self.averages, decay));
    }

    /// `net` with the averages in the place of its parameters; buffers stay.
    #[must_use]
    pub fn applied<N: Visit + Clone>(&self, net: &N) -> N {
        struct Set<'a>(&'a BTreeMap<String, Vec<f32>>);
        impl Visitor for Set<'_> {
            fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
                if let Some(average) = self.0.get(name) {
                    *tensor = from_values(average.clone(), tensor.dims(), &tensor.device());
                }
            }
            fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {}
        }
        let mut net = net.clone();
        net.visit("", &mut Set(&self.averages));
        net
    }

    /// The averages as named tensors.
    pub fn state(&self) -> State {
        let flat = |values: &[f32]| HostTensor { shape: vec![values.len()], values: values.into() };
        let averages = self.averages.iter().map(|(name, values)| (name.clone(), flat(values)));
        let updates = (UPDATES.to_string(), flat(&[self.updates as f32]));
        averages.chain([updates]).collect()
    }

    /// Restores what [`Ema::state`] gave.
    pub fn from_state(mut state: State) -> Self {
        let updates = state.remove(UPDATES).and_then(|t| t.values.first().copied());
        let averages = state.into_iter().map(|(name, tensor)| (name, tensor.values)).collect();
        Self { updates: updates.map_or(0, |n| n as u32), averages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_tensor::Device;
    use ufo_data::{Purpose, stream};
    use ufo_model::{HeadConfig, Supernet, TaskSpec};
    use ufo_nas::Preset;

    fn one_valued(value: f32) -> Supernet {
        struct Fill(f32);
        impl Visitor for Fill {
            fn tensor<const D: usize>(&mut self, _: &str, tensor: &mut Tensor<D>) {
                let count = tensor.dims().iter().product();
                *tensor = from_values(vec![self.0; count], tensor.dims(), &tensor.device());
            }
            fn buffer<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
                self.tensor(name, tensor);
            }
        }
        let task = TaskSpec { name: "t".into(), head: HeadConfig::Linear, classes: 2 };
        let mut rng = stream(0, Purpose::Init, &[]);
        let mut net =
            Supernet::init(&Preset::Demo.arch(), &[task], &mut rng, &Device::flex()).unwrap();
        net.visit("", &mut Fill(value));
        net
    }

    fn only_value(ema: &Ema) -> f32 {
        let values: Vec<f32> = ema.averages.values().flatten().copied().collect();
        assert!(values.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits()));
        values[0]
    }

    /// The first update is the weight itself, then decays of 2/11 and 3/12, then the one asked for.
    #[test]
    fn the_decay_warms_up_and_a_state_is_a_whole_copy() {
        let mut ema = Ema::default();
        let mut expected = 1.0;
        for (update, weight) in [1.0_f32, 5.0, -2.0, 4.0].into_iter().enumerate() {
            ema.update(&one_valued(weight), 0.2);
            let decay = [0.0, 2.0 / 11.0, 0.2, 0.2][update];
            expected = decay * expected + (1.0 - decay) * weight;
            assert!((only_value(&ema) - expected).abs() < 1e-6);
            ema = Ema::from_state(ema.state());
        }
        let applied = ema.applied(&one_valued(9.0));
        let mut again = Ema::default();
        again.update(&applied, 0.5);
        assert!((only_value(&again) - expected).abs() < 1e-6);
    }
}
