//! Named tensors on the host, in and out of safetensors files, in PyTorch's layout.

mod stored;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
pub use stored::Stored;

/// A tensor on the host, in file layout.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Row-major values; their count is the product of `shape`.
    pub values: Vec<f32>,
}

/// Named tensors on the host.
pub type State = BTreeMap<String, HostTensor>;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file lacks a tensor.
    #[error("{from}: no tensor `{name}`")]
    Missing {
        /// Where it was looked for.
        from: String,
        /// Its key.
        name: String,
    },
    /// A file holds a tensor that the model does not have.
    #[error("{from}: unexpected tensor `{name}`")]
    Unexpected {
        /// Where it was found.
        from: String,
        /// Its key.
        name: String,
    },
    /// A tensor has another shape than the model's.
    #[error("{from}: tensor `{name}` has shape {got:?}, the model needs {expected:?}")]
    Shape {
        /// Where it was found.
        from: String,
        /// Its key.
        name: String,
        /// Shape in the file.
        got: Vec<usize>,
        /// Shape the model needs.
        expected: Vec<usize>,
    },
    /// A file is not what it should be.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, with what is allowed.
        reason: String,
    },
}

/// Serializes named tensors to the bytes of a safetensors file.
///
/// # Errors
/// When the format cannot hold them.
pub fn to_bytes(state: &State, metadata: &[(&str, String)]) -> Result<Vec<u8>, Error> {
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
    let views = views.collect::<Result<Vec<_>, Error>>()?;
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_string(), value.clone())).collect();
    safetensors::serialize(views, Some(metadata)).map_err(|e| refused("safetensors", &e))
}

fn refused(file: &str, error: &impl ToString) -> Error {
    Error::File { file: file.to_string(), reason: error.to_string() }
}

/// The end of the names of PyTorch's counts of batches, integers that no computation needs.
const BATCH_COUNT: &str = ".num_batches_tracked";

/// Reads the named tensors of a safetensors file; f32, f16 and bf16 become f32. The counts of batches
/// that PyTorch's batch norms keep (`*.num_batches_tracked`) are left out.
///
/// # Errors
/// Not a safetensors file, or a tensor of another type; `from` names the file in the error.
pub fn from_bytes(bytes: &[u8], from: &str) -> Result<State, Error> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| refused(from, &e))?;
    let mut state = State::new();
    for (name, view) in file.tensors().into_iter().filter(|(name, _)| !name.ends_with(BATCH_COUNT))
    {
        let values = widened(view.dtype(), view.data(), &name, from)?;
        state.insert(name.clone(), HostTensor { shape: view.shape().to_vec(), values });
    }
    Ok(state)
}

/// The values of a tensor's bytes, as f32.
fn widened(dtype: Dtype, bytes: &[u8], name: &str, from: &str) -> Result<Vec<f32>, Error> {
    let half = |widen: fn(u16) -> f32| {
        let pairs = bytes.chunks_exact(2);
        pairs.map(|b| widen(u16::from_le_bytes([b[0], b[1]]))).collect()
    };
    match dtype {
        Dtype::F32 => {
            let quads = bytes.chunks_exact(4);
            Ok(quads.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        }
        Dtype::BF16 => Ok(half(|bits| f32::from_bits(u32::from(bits) << 16))),
        Dtype::F16 => Ok(half(|bits| half::f16::from_bits(bits).to_f32())),
        other => {
            let reason = format!("tensor `{name}` is {other:?}; allowed: F32, F16, BF16");
            Err(refused(from, &reason))
        }
    }
}

/// The values of tensor `name` in `state`, which came `from` a file.
///
/// # Errors
/// It is missing, or of another shape than `expected`.
pub fn get<'a>(
    state: &'a State,
    name: &str,
    expected: &[usize],
    from: &str,
) -> Result<&'a [f32], Error> {
    let tensor = fitting(state.get(name), |tensor| &tensor.shape, name, expected, from)?;
    Ok(&tensor.values)
}

/// What was found under a name, if it has the shape.
fn fitting<'a, T>(
    found: Option<&'a T>,
    shape: impl Fn(&T) -> &Vec<usize>,
    name: &str,
    expected: &[usize],
    from: &str,
) -> Result<&'a T, Error> {
    let (from, name) = (from.to_string(), name.to_string());
    let tensor = found.ok_or_else(|| Error::Missing { from: from.clone(), name: name.clone() })?;
    if shape(tensor) != expected {
        let (got, expected) = (shape(tensor).clone(), expected.to_vec());
        return Err(Error::Shape { from, name, got, expected });
    }
    Ok(tensor)
}

/// [`get`] that takes the tensor out of `state`.
///
/// # Errors
/// As [`get`]; `state` is then unchanged.
pub fn take(
    state: &mut State,
    name: &str,
    expected: &[usize],
    from: &str,
) -> Result<Vec<f32>, Error> {
    get(state, name, expected, from)?;
    Ok(state.remove(name).map(|tensor| tensor.values).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_survive_a_file_and_wrong_ones_are_named() {
        let tensor = HostTensor { shape: vec![2, 3], values: vec![1.0, -2.0, 3.5, 0.0, 5.0, 6.0] };
        let state = State::from([("a.weight".to_string(), tensor)]);
        let bytes = to_bytes(&state, &[("format", "pt".to_string())]).unwrap();
        assert_eq!(from_bytes(&bytes, "f").unwrap(), state);
        let error = |name, shape: &[usize]| take(&mut state.clone(), name, shape, "f").unwrap_err();
        assert_eq!(error("b", &[1]).to_string(), "f: no tensor `b`");
        let message = "f: tensor `a.weight` has shape [2, 3], the model needs [3, 2]";
        assert_eq!(error("a.weight", &[3, 2]).to_string(), message);
        assert!(
            from_bytes(&bytes[..bytes.len() - 1], "cut").unwrap_err().to_string().contains("cut")
        );
    }

    #[test]
    fn half_precision_is_widened_and_integers_are_refused() {
        let halves = [half::f16::from_f32(1.5), half::f16::from_f32(-2.0)];
        let raw: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let file = |dtype, raw: &[u8]| {
            let view = TensorView::new(dtype, vec![2], raw).unwrap();
            safetensors::serialize([("x", view)], None).unwrap()
        };
        let read = from_bytes(&file(Dtype::F16, &raw), "f").unwrap();
        assert_eq!(read["x"].values, [1.5, -2.0]);
        let bfloats = [0xC0, 0x3F, 0x00, 0xC0];
        assert_eq!(from_bytes(&file(Dtype::BF16, &bfloats), "f").unwrap()["x"].values, [1.5, -2.0]);
        let message = from_bytes(&file(Dtype::I16, &raw), "f").unwrap_err().to_string();
        assert_eq!(message, "f: tensor `x` is I16; allowed: F32, F16, BF16");
    }
    #[test]
    fn counts_of_batches_are_left_out() {
        let count = TensorView::new(Dtype::I64, vec![], &[0; 8]).unwrap();
        let mean = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        let views = [("bn1.num_batches_tracked", count), ("bn1.running_mean", mean)];
        let state = from_bytes(&safetensors::serialize(views, None).unwrap(), "f").unwrap();
        assert_eq!(state.into_keys().collect::<Vec<_>>(), ["bn1.running_mean"]);
    }
}
