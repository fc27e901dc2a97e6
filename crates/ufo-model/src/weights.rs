//! Named tensors into a model's parameters.

use crate::Result;
use crate::param::{Visit, Visitor, from_values};
use burn_tensor::Tensor;
use ufo_weights::{Error, State, take};

/// Sets every parameter and buffer of `module` from `state`; all names and shapes must agree.
///
/// # Errors
/// Names the first tensor that is missing, unexpected or of another shape; `module` may then be
/// partly changed.
pub fn load(module: &mut impl Visit, mut state: State, from: &str) -> Result<()> {
    let mut load = Load { state: &mut state, from, error: None };
    module.visit("", &mut load);
    if let Some(error) = load.error {
        return Err(error.into());
    }
    match state.into_keys().next() {
        Some(name) => Err(Error::Unexpected { from: from.to_string(), name }.into()),
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
        Some(error) => Err(error.into()),
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
        let taken = take(self.state, name, expected, self.from);
        taken.map_err(|error| self.error.get_or_insert(error)).ok()
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
