//! A site of the supernet: the two experts of a residual branch, and how a pass uses them.
//!
//! Training routes with the hard straight-through Gumbel estimator (spec 1.3; arXiv 1611.01144).
//! With soft weights `y` and one-hot choice `h`, the original computes `sum_k p_k F_k(x)` with
//! `p = h - stopgrad(y) + y`. Its value is `F_chosen(x)`; its gradient to the experts and to `x`
//! flows through the chosen one alone, and the router gets `<dL/dout, F_k(x)>` for each k. As
//! `y_other = 1 - y_chosen`, the same value and gradients are
//! `F_chosen(x) + (y_chosen - stopgrad(y_chosen)) * stopgrad(F_chosen(x) - F_other(x))`,
//! which needs the other expert forward only. A residual in both experts changes nothing of it.

use crate::fused::{self, Factors, Input, Mode, StraightThrough};
use crate::param::{Visitor, from_values};
use crate::{Error, Result};
use burn_tensor::Tensor;
use ufo_nas::Names;
use ufo_onnx::{Graph, Value};

/// A function of a token sequence with its residual, where it has one: an expert's body.
pub trait Branch {
    /// Fused operations compute in `mode`; what is added to x is multiplied by `factors`, one an image.
    ///
    /// # Shapes
    /// `[b, t, d]` to `[b, t, d]`.
    fn forward(&self, x_btd: Tensor<3>, factors: Option<&Factors>, mode: Mode) -> Tensor<3>;

    /// Adds the branch to an ONNX graph; weights are named under `names`.
    fn to_onnx(&self, graph: &mut Graph, names: &Names, x: &Value) -> Result<Value>;

    /// Calls `visitor` for each parameter under `names`.
    fn visit_named(&mut self, names: &Names, visitor: &mut impl Visitor);
}

/// One routing decision of one pass.
#[derive(Debug, Clone)]
pub enum Site<B> {
    /// The expert is given: evaluation, extraction, export.
    Fixed(B),
    /// One draw for the whole batch.
    Routed(Routed<B>),
    /// One draw an image, as the original did.
    PerImage(PerImage<B>),
}

/// A batch-wide choice with the router's straight-through gradient.
#[derive(Debug, Clone)]
pub struct Routed<B> {
    chosen: B,
    other: B,
    weight: Tensor<1>,
    fraction: f32,
}

/// A choice an image.
#[derive(Debug, Clone)]
pub struct PerImage<B> {
    shared: B,
    task: B,
    share_b: Tensor<1>,
}

impl<B: Branch + Clone> Site<B> {
    /// A batch-wide choice. `weight` is the soft weight of `chosen`, shape `[1]`, tracked to the
    /// router's logits. `other` runs forward only, on the first `fraction` (above 0, at most 1) of
    /// the images, its effect scaled so that the router's gradient stays unbiased.
    pub fn routed(chosen: B, other: &B, weight: Tensor<1>, fraction: f32) -> Self {
        Self::Routed(Routed { chosen, other: constant(other), weight, fraction })
    }

    /// A choice an image: `share_b` holds the straight-through weight of the shared expert.
    pub fn per_image(shared: B, task: B, share_b: Tensor<1>) -> Self {
        Self::PerImage(PerImage { shared, task, share_b })
    }

    /// The expert, when no router decides.
    pub fn fixed(&self) -> Option<&B> {
        match self {
            Self::Fixed(expert) => Some(expert),
            _ => None,
        }
    }

    /// # Shapes
    /// `[b, t, d]` to `[b, t, d]`.
    pub fn forward(&self, x_btd: Tensor<3>, factors: Option<&Factors>, mode: Mode) -> Tensor<3> {
        match self {
            Self::Fixed(expert) => expert.forward(x_btd, factors, mode),
            Self::Routed(site) => site.forward(x_btd, factors, mode),
            Self::PerImage(site) => {
                let [b, _, _] = x_btd.dims();
                let share = site.share_b.clone().reshape([b, 1, 1]);
                let task = site.task.forward(x_btd.clone(), factors, mode);
                let shared = site.shared.forward(x_btd, factors, mode);
                shared * share.clone() + task * (-share + 1.0)
            }
        }
    }

    /// Calls `visitor` for each parameter of the expert in use.
    pub(crate) fn visit_named(&mut self, names: &Names, visitor: &mut impl Visitor) {
        match self {
            Self::Fixed(expert) => expert.visit_named(names, visitor),
            Self::Routed(site) => site.chosen.visit_named(names, visitor),
            Self::PerImage(site) => site.task.visit_named(names, visitor),
        }
    }

    /// Adds the fixed expert to an ONNX graph.
    pub(crate) fn to_onnx(&self, graph: &mut Graph, names: &Names, x: &Value) -> Result<Value> {
        match self {
            Self::Fixed(expert) => expert.to_onnx(graph, names, x),
            _ => Err(Error::RoutedExport { site: names.body.clone() }),
        }
    }
}

/// `x + factors * added`, a factor an image.
pub(crate) fn residual(
    x_btd: Tensor<3>,
    added_btd: Tensor<3>,
    factors: Option<&Factors>,
) -> Tensor<3> {
    let Some(factors) = factors else { return x_btd + added_btd };
    let [b, ..] = x_btd.dims();
    let factors = from_values(factors[..b].to_vec(), [b, 1, 1], &x_btd.device());
    x_btd + added_btd * factors
}

/// The same expert computing without a graph; storage is shared.
fn constant<B: Branch + Clone>(expert: &B) -> B {
    struct Constants;
    impl Visitor for Constants {
        fn tensor<const D: usize>(&mut self, _: &str, tensor: &mut Tensor<D>) {
            *tensor = tensor.clone().inner();
        }
    }
    let mut expert = expert.clone();
    expert.visit_named(&Names::both(""), &mut Constants);
    expert
}

impl<B: Branch> Routed<B> {
    fn forward(&self, x_btd: Tensor<3>, factors: Option<&Factors>, mode: Mode) -> Tensor<3> {
        let [b, _, _] = x_btd.dims();
        let seen = ((b as f32 * self.fraction).ceil() as usize).clamp(1, b);
        let x_seen = x_btd.clone().inner().slice([0..seen]);
        let out = self.chosen.forward(x_btd, factors, mode);
        let other = self.other.forward(x_seen, factors, mode);
        let scale = b as f32 / seen as f32;
        let fused = self.fused(&out, &other, scale);
        fused.unwrap_or_else(|| self.composed(out, other, scale))
    }

    fn fused(&self, out: &Tensor<3>, other: &Tensor<3>, scale: f32) -> Option<Tensor<3>> {
        let inputs = fused::inputs([Input::new(out), Input::new(&self.weight)])?;
        let op = StraightThrough { other: fused::constant(other)?, scale };
        Some(fused::apply(&op, inputs))
    }

    fn composed(&self, out: Tensor<3>, other: Tensor<3>, scale: f32) -> Tensor<3> {
        let ([b, t, d], [seen, ..]) = (out.dims(), other.dims());
        let gap = (out.clone().inner().slice([0..seen]) - other) * scale;
        let gap = if seen == b {
            gap
        } else {
            Tensor::zeros([b, t, d], &gap.device()).slice_assign([0..seen], gap)
        };
        let zero = self.weight.clone() - self.weight.clone().detach();
        out + zero.reshape([1, 1, 1]) * gap.autodiff()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LayerNorm;
    use crate::fused::testing::{assert_all_same, random};
    use crate::values;
    use burn_tensor::Device;

    #[test]
    fn the_fused_straight_through_equals_burns() {
        let norm = |seed| LayerNorm { weight: random([6], seed), bias: random([6], seed + 1) };
        for fraction in [1.0, 0.5, 0.01] {
            let run = |fused: bool| {
                let weight = Tensor::<1>::from_floats([0.7], &Device::default());
                let weight = weight.autodiff().require_grad();
                let x = random([5, 3, 6], 9).autodiff().require_grad();
                let site = Routed { chosen: norm(1), other: norm(3), weight, fraction };
                let seen = ((5.0 * fraction).ceil() as usize).max(1);
                let y = if fused {
                    site.forward(x.clone(), None, Mode::default())
                } else {
                    let out = site.chosen.forward(x.clone(), None, Mode::default());
                    let part = x.clone().inner().slice([0..seen]);
                    let other = site.other.forward(part, None, Mode::default());
                    site.composed(out, other, 5.0 / seen as f32)
                };
                let mut grads = (y.clone() * random([5, 3, 6], 4).autodiff()).sum().backward();
                let weight = values(&site.weight.grad_remove(&mut grads).unwrap());
                [values(&y), values(&x.grad_remove(&mut grads).unwrap()), weight]
            };
            assert_all_same(&run(true), &run(false));
        }
    }
}
