//! Feed-forward network with its norm: one expert of a block's second half (spec 1.1).

use crate::branch::{Branch, residual};
use crate::fused::{self, Factors, FeedForward, Input, Mode};
use crate::param::{Visit, Visitor, key};
use crate::{LayerNorm, Linear};
use burn_tensor::{Device, Tensor, activation};
use rand::Rng;
use ufo_nas::{Arch, Names};
use ufo_onnx::{Graph, Value};

/// `x + fc2(gelu(fc1(norm(x))))` with the exact (erf) GELU.
#[derive(Debug, Clone)]
pub struct Ffn {
    /// Norm before the FFN, `norm2` in timm.
    pub norm: LayerNorm,
    /// `(D, hidden)`.
    pub fc1: Linear,
    /// `(hidden, D)`.
    pub fc2: Linear,
}

impl Ffn {
    /// Fresh weights for the largest block of `arch`.
    pub fn init(arch: &Arch, rng: &mut impl Rng, device: &Device) -> Self {
        Self {
            norm: LayerNorm::init(arch.dim, device),
            fc1: Linear::init(arch.dim, arch.ffn, true, rng, device),
            fc2: Linear::init(arch.ffn, arch.dim, true, rng, device),
        }
    }

    /// The first `hidden` hidden units.
    #[must_use]
    pub fn slice(&self, hidden: usize) -> Self {
        let [dim, _] = self.fc1.weight_io.dims();
        Self {
            norm: self.norm.clone(),
            fc1: self.fc1.slice(dim, hidden),
            fc2: self.fc2.slice(hidden, dim),
        }
    }

    fn fused(&self, x_btd: &Tensor<3>, factors: Option<&Factors>, mode: Mode) -> Option<Tensor<3>> {
        let [norm_weight, norm_bias] = [&self.norm.weight, &self.norm.bias].map(Input::new);
        let [fc1, fc2] = [&self.fc1.weight_io, &self.fc2.weight_io].map(Input::new);
        let [bias1, bias2] =
            [&self.fc1.bias, &self.fc2.bias].map(|b| b.as_ref().and_then(Input::new));
        let x = Input::new(x_btd);
        let inputs = fused::inputs([x, norm_weight, norm_bias, fc1, bias1, fc2, bias2])?;
        Some(fused::apply(&FeedForward { mode, factors: factors.cloned() }, inputs))
    }

    fn composed(&self, x_btd: Tensor<3>) -> Tensor<3> {
        self.fc2.composed(activation::gelu(self.fc1.composed(self.norm.composed(x_btd))))
    }

    /// Calls `visitor` for each parameter but the norm's.
    pub(crate) fn visit_body(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        self.fc1.visit(&key(prefix, "mlp.fc1"), visitor);
        self.fc2.visit(&key(prefix, "mlp.fc2"), visitor);
    }
}

impl Branch for Ffn {
    fn forward(&self, x_btd: Tensor<3>, factors: Option<&Factors>, mode: Mode) -> Tensor<3> {
        let fused = self.fused(&x_btd, factors, mode);
        fused.unwrap_or_else(|| residual(x_btd.clone(), self.composed(x_btd), factors))
    }

    fn to_onnx(&self, graph: &mut Graph, names: &Names, x: &Value) -> crate::Result<Value> {
        let name = &names.body;
        let normed = self.norm.onnx(graph, &key(&names.norm, "norm2"), x)?;
        let hidden = self.fc1.to_onnx(graph, &key(name, "mlp.fc1"), &normed)?;
        let active = graph.gelu(&hidden)?;
        let added = self.fc2.to_onnx(graph, &key(name, "mlp.fc2"), &active)?;
        Ok(graph.node("Add", &[x, &added], &[]))
    }

    fn visit_named(&mut self, names: &Names, visitor: &mut impl Visitor) {
        self.norm.visit(&key(&names.norm, "norm2"), visitor);
        self.visit_body(&names.body, visitor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::{assert_all_same, outputs_and_grads, random};

    #[test]
    fn the_fused_feed_forward_equals_burns_on_slices_too() {
        let whole = Ffn {
            norm: LayerNorm { weight: random([12], 1), bias: random([12], 2) },
            fc1: Linear { weight_io: random([12, 40], 3), bias: Some(random([40], 4)) },
            fc2: Linear { weight_io: random([40, 12], 5), bias: Some(random([12], 6)) },
        };
        let some: Factors = [1.25, 0.0, 0.5].into();
        for (hidden, factors) in [(40, None), (17, None), (17, Some(&some))] {
            let run = |mode: Option<Mode>| {
                outputs_and_grads(&whole, random([3, 7, 12], 7), |ffn, x| {
                    let ffn = ffn.slice(hidden);
                    match mode {
                        Some(mode) => ffn.fused(&x, factors, mode).unwrap(),
                        None => residual(x.clone(), ffn.composed(x), factors),
                    }
                })
            };
            let fused = run(Some(Mode::default()));
            assert_all_same(&fused, &run(None));
            assert_eq!(run(Some(Mode { recompute: true, ..Mode::default() })), fused);
        }
    }
}
