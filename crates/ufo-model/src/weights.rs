//! Weights in and out of safetensors files, in PyTorch's layout.

use crate::param::{HostTensor, State, Visit, Visitor, from_values};
use crate::{Error, Result};
use burn_tensor::Tensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;

/// Serializes named tensors to the bytes of a safetensors file.
///
/// # Errors
/// When the format cannot hold them.
pub fn to_bytes(state: &State, metadata: &[(&str, String)]) -> Result<Vec<u8>> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = state
        .iter()
        .map(|(name, tensor)| {
            let raw = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name.clone(), tensor.shape.clone(), raw)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, raw)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), raw).map_err(|e| refused(name, &e));
        Ok((name.clone(), view?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_string(), value.clone())).collect();
    safetensors::serialize(views, Some(metadata)).map_err(|e| refused("safetensors", &e))
}

fn refused(file: &str, error: &impl ToString) -> Error {
    Error::File { file: file.to_string(), reason: error.to_string() }
}

/// Reads the named tensors of a safetensors file; f32, f16 and bf16 become f32.
///
/// # Errors
/// Not a safetensors file, or a tensor of another type; `from` names the file in the error.
pub fn from_bytes(bytes: &[u8], from: &str) -> Result<State> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| refused(from, &e))?;
    let mut state = State::new();
    for (name, view) in file.tensors() {
        let half = |widen: fn(u16) -> f32| -> Vec<f32> {
            let pairs = view.data().chunks_exact(2);
            pairs.map(|b| widen(u16::from_le_bytes([b[0], b[1]]))).collect()
        };
        let values = match view.dtype() {
            Dtype::F32 => {
                let quads = view.data().chunks_exact(4);
                quads.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            Dtype::BF16 => half(|bits| f32::from_bits(u32::from(bits) << 16)),
            Dtype::F16 => half(|bits| half::f16::from_bits(bits).to_f32()),
            other => {
                let reason = format!("tensor `{name}` is {other:?}; allowed: F32, F16, BF16");
                return Err(refused(from, &reason));
            }
        };
        state.insert(name.clone(), HostTensor { shape: view.shape().to_vec(), values });
    }
    Ok(state)
}

/// Sets every parameter and buffer of `module` from `state`; all names and shapes must agree.
///
/// # Errors
/// Names the first tensor that is missing, unexpected or of another shape; `module` may then be
/// partly changed.
pub fn load(module: &mut impl Visit, mut state: State, from: &str) -> Result<()> {
    let mut load = Load { state: &mut state, from, error: None };
    module.visit("", &mut load);
    if let Some(error) = load.error {
        return Err(error);
    }
    match state.into_keys().next() {
        Some(name) => Err(Error::UnexpectedTensor { from: from.to_string(), name }),
        None => Ok(()),
    }
}

/// Sets every parameter and buffer of `module`, named under `prefix`, from `state`, which may hold
/// more; returns the names taken.
///
/// # Errors
/// Names the first tensor that is missing or of another shape.
pub fn fill(
    module: &mut impl Visit,
    prefix: &str,
    state: &State,
    from: &str,
) -> Result<Vec<String>> {
    let mut rest = state.clone();
    let mut load = Load { state: &mut rest, from, error: None };
    module.visit(prefix, &mut load);
    match load.error {
        Some(error) => Err(error),
        None => Ok(state.keys().filter(|name| !rest.contains_key(*name)).cloned().collect()),
    }
}

/// Takes tensors out of a state; remembers the first that does not fit.
pub(crate) struct Load<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) from: &'a str,
    pub(crate) error: Option<Error>,
}

impl Load<'_> {
    fn take(&mut self, name: &str, expected: &[usize]) -> Option<Vec<f32>> {
        let from = self.from.to_string();
        let name = name.to_string();
        let error = match self.state.remove(&name) {
            None => Error::MissingTensor { from, name },
            Some(tensor) if tensor.shape != expected => {
                let expected = expected.to_vec();
                Error::TensorShape { from, name, got: tensor.shape, expected }
            }
            Some(tensor) => return Some(tensor.values),
        };
        self.error.get_or_insert(error);
        None
    }
}

impl Visitor for Load<'_> {
    fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
        if let Some(values) = self.take(name, &tensor.dims()) {
            *tensor = from_values(values, tensor.dims(), &tensor.device().inner());
        }
    }

    fn linear(&mut self, name: &str, weight_io: &mut Tensor<2>) {
        let [inputs, outputs] = weight_io.dims();
        if let Some(values) = self.take(name, &[outputs, inputs]) {
            let weight_oi: Tensor<2> =
                from_values(values, [outputs, inputs], &weight_io.device().inner());
            // Contiguous again, so that a loaded net computes with the layout of a trained one.
            let values = crate::param::values(&weight_oi.transpose());
            *weight_io = from_values(values, [inputs, outputs], &weight_io.device().inner());
        }
    }
}
