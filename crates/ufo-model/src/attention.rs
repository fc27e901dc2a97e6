//! Multi-head self-attention with its norm: one expert of a block's first half.
//!
//! The qkv weight is `(D, 3E)` with `E = heads * head_dim`, laid out `[all q | all k | all v]`,
//! each ordered by head; a slice keeps the first heads of each (spec 2.3).

use crate::branch::{Branch, residual};
use crate::fused::{self, Factors, Input, Mode, SelfAttention};
use crate::param::{Visit, Visitor, key};
use crate::{LayerNorm, Linear};
use burn_tensor::{Device, Tensor, activation, s};
use rand::Rng;
use ufo_nas::{Arch, Names};
use ufo_onnx::{Attribute, Graph, Value};

/// `x + proj(softmax(q k^T / sqrt(head_dim)) v)`, q, k and v of the normalized x.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Norm before attention, `norm1` in timm.
    pub norm: LayerNorm,
    /// Query, key and value projection, `(D, 3E)`.
    pub qkv: Linear,
    /// Output projection, `(E, D)`.
    pub proj: Linear,
    /// Heads held.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl Attention {
    /// Fresh weights for the largest block of `arch`.
    pub fn init(arch: &Arch, rng: &mut impl Rng, device: &Device) -> Self {
        let inner = arch.attn_dim();
        Self {
            norm: LayerNorm::init(arch.dim, device),
            qkv: Linear::init(arch.dim, 3 * inner, arch.qkv_bias, rng, device),
            proj: Linear::init(inner, arch.dim, true, rng, device),
            heads: arch.heads,
            head_dim: arch.head_dim,
        }
    }

    /// The first `heads` heads.
    #[must_use]
    pub fn slice(&self, heads: usize) -> Self {
        if heads == self.heads {
            return self.clone();
        }
        let [dim, _] = self.qkv.weight_io.dims();
        let (whole, kept) = (self.heads * self.head_dim, heads * self.head_dim);
        let weight = self.qkv.weight_io.clone().reshape([dim, 3, whole]);
        let bias = self
            .qkv
            .bias
            .clone()
            .map(|bias| bias.reshape([3, whole]).slice([0..3, 0..kept]).reshape([3 * kept]));
        Self {
            norm: self.norm.clone(),
            qkv: Linear {
                weight_io: weight.slice([0..dim, 0..3, 0..kept]).reshape([dim, 3 * kept]),
                bias,
            },
            proj: self.proj.slice(kept, dim),
            heads,
            head_dim: self.head_dim,
        }
    }

    fn fused(&self, x_btd: &Tensor<3>, factors: Option<&Factors>, mode: Mode) -> Option<Tensor<3>> {
        let [norm_weight, norm_bias] = [&self.norm.weight, &self.norm.bias].map(Input::new);
        let [qkv, proj] = [&self.qkv.weight_io, &self.proj.weight_io].map(Input::new);
        let zeros = || Tensor::zeros([3 * self.heads * self.head_dim], &x_btd.device().inner());
        let qkv_bias = Input::new(&self.qkv.bias.clone().unwrap_or_else(zeros));
        let proj_bias = self.proj.bias.as_ref().and_then(Input::new);
        let x = Input::new(x_btd);
        let inputs = fused::inputs([x, norm_weight, norm_bias, qkv, qkv_bias, proj, proj_bias])?;
        let (heads, eps) = (self.heads, LayerNorm::EPSILON);
        let op = SelfAttention { mode, factors: factors.cloned(), heads, eps };
        Some(fused::apply(&op, inputs))
    }

    fn composed(&self, x_btd: Tensor<3>) -> Tensor<3> {
        let [b, t, _] = x_btd.dims();
        let [h, e] = [self.heads, self.head_dim];
        let qkv = self.qkv.composed(self.norm.composed(x_btd));
        let qkv_3bhte = qkv.reshape([b, t, 3, h, e]).permute([2, 0, 3, 1, 4]);
        let part = |i: usize| qkv_3bhte.clone().slice(s![i..=i]).reshape([b, h, t, e]);
        let (q, k, v) = (part(0), part(1), part(2));
        let scores = (q * self.scale()).matmul(k.swap_dims(2, 3));
        let mixed = activation::softmax(scores, 3).matmul(v);
        self.proj.composed(mixed.swap_dims(1, 2).reshape([b, t, h * e]))
    }

    fn scale(&self) -> f32 {
        (self.head_dim as f32).powf(-0.5)
    }
}

impl Branch for Attention {
    fn forward(&self, x_btd: Tensor<3>, factors: Option<&Factors>, mode: Mode) -> Tensor<3> {
        let fused = self.fused(&x_btd, factors, mode);
        fused.unwrap_or_else(|| residual(x_btd.clone(), self.composed(x_btd), factors))
    }

    fn to_onnx(&self, graph: &mut Graph, names: &Names, x: &Value) -> crate::Result<Value> {
        let name = &names.body;
        let [h, e] = [self.heads as i64, self.head_dim as i64];
        let normed = self.norm.onnx(graph, &key(&names.norm, "norm1"), x)?;
        let qkv = self.qkv.to_onnx(graph, &key(name, "attn.qkv"), &normed)?;
        let qkv = graph.reshape(&qkv, &[0, 0, 3, h, e])?;
        let qkv = graph.transpose(&qkv, &[2, 0, 3, 1, 4]);
        let mut part = |i: i64| -> crate::Result<Value> {
            let index = graph.ints(&format!("index.{i}"), &[], &[i])?;
            Ok(graph.node("Gather", &[&qkv, &index], &[("axis", Attribute::Int(0))]))
        };
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        let scale = graph.weight(&format!("attn.scale.{e}"), &[], &[self.scale()])?;
        let q = graph.node("Mul", &[&q, &scale], &[]);
        let k = graph.transpose(&k, &[0, 1, 3, 2]);
        let scores = graph.node("MatMul", &[&q, &k], &[]);
        let weights = graph.softmax(&scores, -1);
        let mixed = graph.node("MatMul", &[&weights, &v], &[]);
        let mixed = graph.transpose(&mixed, &[0, 2, 1, 3]);
        let mixed = graph.reshape(&mixed, &[0, 0, h * e])?;
        let added = self.proj.to_onnx(graph, &key(name, "attn.proj"), &mixed)?;
        Ok(graph.node("Add", &[x, &added], &[]))
    }

    fn visit_named(&mut self, names: &Names, visitor: &mut impl Visitor) {
        self.norm.visit(&key(&names.norm, "norm1"), visitor);
        self.qkv.visit(&key(&names.body, "attn.qkv"), visitor);
        self.proj.visit(&key(&names.body, "attn.proj"), visitor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::testing::{assert_all_same, outputs_and_grads, random};

    #[test]
    fn the_fused_attention_equals_burns_on_slices_and_without_a_bias() {
        let [d, heads, head_dim] = [12, 3, 8];
        let e = heads * head_dim;
        for bias in [true, false] {
            let whole = Attention {
                norm: LayerNorm { weight: random([d], 1), bias: random([d], 2) },
                qkv: Linear {
                    weight_io: random([d, 3 * e], 3),
                    bias: bias.then(|| random([3 * e], 4)),
                },
                proj: Linear { weight_io: random([e, d], 5), bias: Some(random([d], 6)) },
                heads,
                head_dim,
            };
            let some: Factors = [1.25, 0.0, 0.5].into();
            for (kept, factors) in [(3, None), (2, None), (2, Some(&some)), (1, None)] {
                let run = |mode: Option<Mode>| {
                    outputs_and_grads(&whole, random([3, 7, d], 7), |attention, x| {
                        let attention = attention.slice(kept);
                        match mode {
                            Some(mode) => attention.fused(&x, factors, mode).unwrap(),
                            None => residual(x.clone(), attention.composed(x), factors),
                        }
                    })
                };
                let fused = run(Some(Mode::default()));
                assert_all_same(&fused, &run(None));
                assert_eq!(run(Some(Mode { recompute: true, ..Mode::default() })), fused);
            }
        }
    }
}
