//! Operations with hand-written backward on the CPU, entered into burn's graph.
//!
//! An [`Op`] computes on host slices (`ufo-kernels`); [`apply`] makes it one node of the graph. On
//! every other device, and for types other than `f32`, layers take burn's own operations, which are
//! also what the tests compare with.

use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_backend::DType;
use burn_backend::tensor::FloatTensor;
use burn_flex::{Flex, FlexTensor, Layout};
use burn_tensor::{Bytes, Shape, Tensor};
use std::cell::RefCell;
use std::fmt::Debug;
use std::marker::PhantomData;
use ufo_kernels::{Level, Mat, Scratch};

mod attention;
mod batch_norm;
mod conv;
mod ffn;
mod layer_norm;
mod linear;
mod losses;
mod max_pool;
mod residual;
mod routed;
mod squeeze_excite;
mod tokens;
mod upsample;

pub(crate) use attention::SelfAttention;
pub(crate) use batch_norm::Normalization;
pub(crate) use conv::Convolution;
pub(crate) use ffn::FeedForward;
pub(crate) use layer_norm::Norm;
pub(crate) use linear::Product;
pub(crate) use losses::{MarginCrossEntropy, Unit};
pub(crate) use max_pool::MaxPool;
pub use residual::Factors;
pub(crate) use routed::StraightThrough;
pub(crate) use squeeze_excite::Excitation;
pub(crate) use tokens::{FirstToken, Sequence};
pub(crate) use upsample::Upsample;

type Graph = Autodiff<Flex>;

/// How fused operations compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Instructions and precision.
    pub level: Level,
    /// Whether what lies inside of an operation is computed again in the backward pass and not kept:
    /// the same gradients bit for bit, for less memory and more time.
    pub recompute: bool,
}

impl Default for Mode {
    /// The widest instructions, f32, everything kept.
    fn default() -> Self {
        Self { level: Level::detect(), recompute: false }
    }
}

/// A function of N tensors with its gradients.
pub(crate) trait Op<const N: usize>: Debug + Clone + Send + 'static {
    /// What the backward pass needs beside the inputs.
    type Saved: Debug + Clone + Send + 'static;

    /// The value.
    fn forward(&self, inputs: &[FlexTensor; N]) -> FlexTensor;

    /// The value, and what backward needs.
    fn forward_saving(&self, inputs: &[FlexTensor; N]) -> (FlexTensor, Self::Saved);

    /// What of the inputs stays in memory for [`Op::backward`].
    fn kept(inputs: [FlexTensor; N]) -> [FlexTensor; N] {
        inputs
    }

    /// Gradients of the inputs, at least of those `wanted`, from that of the value.
    fn backward(
        &self,
        inputs: &[FlexTensor; N],
        saved: Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// An input of an operation: a tensor of any rank.
#[derive(Debug)]
pub(crate) struct Input {
    tensor: FloatTensor<Graph>,
    tracked: bool,
}

impl Input {
    /// The tensor, when it is one of `f32` on the CPU.
    pub(crate) fn new<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        if tensor.dtype() != DType::F32 {
            return None;
        }
        let tracked = tensor.is_autodiff();
        let tensor = tensor.clone().autodiff().try_into_primitive::<Graph>().ok()?;
        Some(Self { tensor, tracked })
    }
}

/// The values of a tensor without its graph, when it is one of `f32` on the CPU.
pub(crate) fn constant<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    if tensor.dtype() != DType::F32 {
        return None;
    }
    tensor.clone().inner().try_into_primitive::<Flex>().ok()
}

/// The inputs, when all of them are of `f32` on the CPU.
pub(crate) fn inputs<const N: usize>(inputs: [Option<Input>; N]) -> Option<[Input; N]> {
    let found: Vec<Input> = inputs.into_iter().collect::<Option<_>>()?;
    found.try_into().ok()
}

/// Runs `op`; the result is part of the graph when an input is.
pub(crate) fn apply<O: Op<N>, const N: usize, const D: usize>(
    op: &O,
    inputs: [Input; N],
) -> Tensor<D> {
    if !inputs.iter().any(|input| input.tracked) {
        let inputs = inputs.map(|input| input.tensor.into_primitive());
        return Tensor::from_primitive::<Flex>(op.forward(&inputs));
    }
    let tensors = inputs.each_ref().map(|input| input.tensor.primitive().clone());
    let step = Step { op: op.clone(), held: PhantomData };
    let nodes = inputs.each_ref().map(|input| input.tensor.node());
    let out = match step
        .prepare::<burn_autodiff::checkpoint::strategy::NoCheckpointing>(nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => {
            let (value, saved) = op.forward_saving(&tensors);
            prep.finish((O::kept(tensors), saved), value)
        }
        OpsKind::UnTracked(prep) => prep.finish(op.forward(&tensors)),
    };
    Tensor::from_primitive::<Graph>(out)
}

/// The node that an operation leaves in the graph.
#[derive(Debug)]
struct Step<O, const N: usize> {
    op: O,
    held: PhantomData<[(); N]>,
}

impl<O: Op<N>, const N: usize> Backward<Flex, N> for Step<O, N> {
    type State = ([FlexTensor; N], O::Saved);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (inputs, saved) = ops.state;
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = self.op.backward(&inputs, saved, &contiguous(&gradient), wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

/// The tensor with its values in row-major order.
pub(crate) fn contiguous(tensor: &FlexTensor) -> FlexTensor {
    if tensor.as_slice::<f32>().is_some() { tensor.clone() } else { tensor.to_contiguous() }
}

/// The values of a tensor in row-major order.
///
/// # Panics
/// When they are not; see [`contiguous`].
pub(crate) fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("the tensor was made contiguous")
}

/// A tensor of these values.
pub(crate) fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    assert_eq!(values.len(), shape.num_elements(), "values of {shape:?}");
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

/// A gradient for each input that is `computed`, of its shape: `fill` writes into zeros; the buffers of
/// others are empty.
pub(crate) fn gradients_of<const N: usize>(
    inputs: &[FlexTensor; N],
    computed: [bool; N],
    fill: impl FnOnce(&mut [Vec<f32>; N]),
) -> [Option<FlexTensor>; N] {
    let shape = |input: &FlexTensor| input.layout().shape().clone();
    let mut all = inputs.iter().zip(computed);
    let mut grads = inputs.each_ref().map(|_| Vec::new());
    for (grad, (input, computed)) in grads.iter_mut().zip(&mut all) {
        grad.resize(if computed { shape(input).num_elements() } else { 0 }, 0.0);
    }
    fill(&mut grads);
    let mut all = inputs.iter().zip(computed);
    grads.map(|values| {
        let (input, computed) = all.next()?;
        computed.then(|| tensor(values, shape(input)))
    })
}

/// The tensor as a matrix where it lies; a weight's slice is never copied.
pub(crate) fn matrix(tensor: &FlexTensor) -> Mat<'_> {
    let layout = tensor.layout();
    let [rows, cols] = layout.shape().dims();
    let stride =
        |dim: usize| usize::try_from(layout.strides()[dim]).expect("views are not flipped");
    let data = &tensor.storage::<f32>()[layout.start_offset()..];
    Mat::new(data, [rows, cols], [stride(0), stride(1)])
}

thread_local! {
    /// Working memory that a thread's operations reuse: what it holds never reaches a result.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Calls `f` with this thread's working memory.
pub(crate) fn with_scratch<T>(f: impl FnOnce(&mut Scratch) -> T) -> T {
    // Taken out, since rayon may run another operation on this thread while `f` waits.
    let mut scratch = SCRATCH.take();
    let result = f(&mut scratch);
    SCRATCH.replace(scratch);
    result
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::branch::Branch;
    use crate::param::{Visit, Visitor, require_grad, values};
    use burn_tensor::Device;
    use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
    use ufo_nas::Names;

    /// Values in -1..1.
    pub(crate) fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let count = shape.iter().product();
        let values = (0..count).map(|_| rng.random_range(-1.0..1.0)).collect();
        crate::from_values(values, shape, &Device::flex())
    }

    /// [`gradients`] of a branch and of its input.
    pub(crate) fn outputs_and_grads<B: Branch + Clone>(
        branch: &B,
        x: Tensor<3>,
        forward: impl Fn(&B, Tensor<3>) -> Tensor<3>,
    ) -> Vec<Vec<f32>> {
        #[derive(Clone)]
        struct Named<B>(B);
        impl<B: Branch> Visit for Named<B> {
            fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
                self.0.visit_named(&Names::both(prefix), visitor);
            }
        }
        let x = x.autodiff().require_grad();
        gradients(&Named(branch.clone()), (x, true), |named, x| forward(&named.0, x))
    }

    /// The output of `forward` for `x`, and the gradients of a random projection of it: of x where it
    /// is tracked, then of every parameter that it reaches.
    pub(crate) fn gradients<M: Visit + Clone, const D: usize>(
        module: &M,
        (x, tracked): (Tensor<D>, bool),
        forward: impl Fn(&M, Tensor<D>) -> Tensor<3>,
    ) -> Vec<Vec<f32>> {
        struct Take(Vec<Vec<f32>>, burn_tensor::Gradients);
        impl Visitor for Take {
            fn tensor<const D: usize>(&mut self, _: &str, tensor: &mut Tensor<D>) {
                self.0.extend(tensor.grad_remove(&mut self.1).as_ref().map(values));
            }
        }
        let mut module = module.clone();
        require_grad(&mut module);
        let y = forward(&module, x.clone());
        let mut grads = (y.clone() * random(y.dims(), 99).autodiff()).sum().backward();
        let mut found = vec![values(&y)];
        if tracked {
            found.push(values(&x.grad_remove(&mut grads).unwrap()));
        }
        let mut take = Take(found, grads);
        module.visit("", &mut take);
        assert!(take.0.len() > 1 + usize::from(tracked), "the parameters have gradients");
        take.0
    }

    /// As many slices, each equal to 1e-5 of its largest value.
    pub(crate) fn assert_all_same(got: &[Vec<f32>], expected: &[Vec<f32>]) {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert_same(got, expected);
        }
    }

    fn assert_same(got: &[f32], expected: &[f32]) {
        assert_eq!(got.len(), expected.len());
        let largest = expected.iter().fold(1e-3_f32, |most, value| most.max(value.abs()));
        for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
            let error = (got - expected).abs() / largest;
            assert!(error < 1e-5, "value {index}: {got} for {expected}");
        }
    }
}
