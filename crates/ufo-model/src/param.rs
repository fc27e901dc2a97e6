//! Walking over a model's parameters by name.
//!
//! A name is the parameter's checkpoint key and follows timm (`blocks.3.attn.proj.weight`). In
//! memory a linear weight is `(in, out)`; in files it is `(out, in)` as in PyTorch and timm, and
//! only [`Visitor::linear`] knows the difference.

use burn_tensor::{Device, Tensor, TensorData};
use rand::Rng;
use rand_distr::{Distribution, Normal};
use ufo_weights::{HostTensor, State};

/// Called once for each parameter or buffer of a module, in a fixed order.
pub trait Visitor {
    /// Any tensor whose file layout is its memory layout.
    fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>);

    /// A linear weight, `(in, out)` in memory and `(out, in)` in files.
    fn linear(&mut self, name: &str, weight_io: &mut Tensor<2>) {
        self.tensor(name, weight_io);
    }

    /// A buffer: kept in checkpoints, never trained.
    fn buffer<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
        self.tensor(name, tensor);
    }
}

/// A module whose parameters have names.
pub trait Visit {
    /// Calls `visitor` for each parameter, names starting with `prefix`.
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor);
}

/// Joins a prefix and a field name with a dot.
pub(crate) fn key(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") }
}

/// The values of a tensor, row-major.
pub fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().inner().into_data().try_into_vec::<f32>().expect("models compute in f32")
}

/// The values of a tensor, row-major, with an empty tensor left in its place: no copy when nothing
/// shares them.
pub fn take_values<const D: usize>(tensor: &mut Tensor<D>) -> Vec<f32> {
    let empty = Tensor::empty([0; D], &tensor.device());
    let taken = std::mem::replace(tensor, empty);
    taken.inner().into_data().try_into_vec::<f32>().expect("models compute in f32")
}

/// A tensor on `device` from row-major values.
pub fn from_values<const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Copies every parameter and buffer of `module` to the host, in file layout.
pub fn state_of(module: &mut impl Visit, prefix: &str) -> State {
    struct Collect(State);
    impl Visitor for Collect {
        fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
            let host = HostTensor { shape: tensor.dims().to_vec(), values: values(tensor) };
            self.0.insert(name.to_string(), host);
        }
        fn linear(&mut self, name: &str, weight_io: &mut Tensor<2>) {
            self.tensor(name, &mut weight_io.clone().inner().transpose());
        }
    }
    let mut collect = Collect(State::new());
    module.visit(prefix, &mut collect);
    collect.0
}

/// Marks every parameter as a leaf whose gradient is kept; buffers stay constants.
pub fn require_grad(module: &mut impl Visit) {
    require_grad_where(module, "", |_| true);
}

/// Marks the parameters that are `wanted` by their names, which start with `prefix`, as leaves whose
/// gradients are kept; others stay constants, and what computes with constants alone keeps nothing.
pub fn require_grad_where(module: &mut impl Visit, prefix: &str, wanted: impl Fn(&str) -> bool) {
    struct Leaves<F>(F);
    impl<F: Fn(&str) -> bool> Visitor for Leaves<F> {
        fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
            let values = tensor.clone().inner();
            *tensor = if (self.0)(name) { values.autodiff().require_grad() } else { values };
        }
        fn buffer<const D: usize>(&mut self, _: &str, tensor: &mut Tensor<D>) {
            *tensor = tensor.clone().inner();
        }
    }
    module.visit(prefix, &mut Leaves(wanted));
}

/// Normal values of deviation `std`, cut at two deviations (spec 1.1: 0.02).
pub(crate) fn truncated_normal(count: usize, std: f32, rng: &mut impl Rng) -> Vec<f32> {
    let normal = Normal::new(0.0_f32, 1.0).expect("one is a valid deviation");
    let mut draw = || {
        loop {
            let value = normal.sample(rng);
            if value.abs() <= 2.0 {
                return value * std;
            }
        }
    };
    (0..count).map(|_| draw()).collect()
}
