//! Multi-head self-attention with its norm: one expert of a block's first half.
//!
//! The qkv weight is `(D, 3E)` with `E = heads * head_dim`, laid out `[all q | all k | all v]`,
//! each ordered by head; a slice keeps the first heads of each (spec 2.3).

use crate::branch::Branch;
use crate::param::{Names, Visit, Visitor, key};
use crate::{LayerNorm, Linear};
use burn_tensor::{Device, Tensor, activation, s};
use rand::Rng;
use ufo_nas::Arch;
use ufo_onnx::{Attribute, Graph, Value};

/// `proj(softmax(q k^T / sqrt(head_dim)) v)` of the normalized input.
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

    fn scale(&self) -> f32 {
        (self.head_dim as f32).powf(-0.5)
    }
}

impl Branch for Attention {
    fn forward(&self, x_btd: Tensor<3>) -> Tensor<3> {
        let [b, t, _] = x_btd.dims();
        let [h, e] = [self.heads, self.head_dim];
        let qkv = self.qkv.forward(self.norm.forward(x_btd));
        let qkv_3bhte = qkv.reshape([b, t, 3, h, e]).permute([2, 0, 3, 1, 4]);
        let part = |i: usize| qkv_3bhte.clone().slice(s![i..=i]).reshape([b, h, t, e]);
        let (q, k, v) = (part(0), part(1), part(2));
        let scores = (q * self.scale()).matmul(k.swap_dims(2, 3));
        let mixed = activation::softmax(scores, 3).matmul(v);
        self.proj.forward(mixed.swap_dims(1, 2).reshape([b, t, h * e]))
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
        self.proj.to_onnx(graph, &key(name, "attn.proj"), &mixed)
    }

    fn visit_named(&mut self, names: &Names, visitor: &mut impl Visitor) {
        self.norm.visit(&key(&names.norm, "norm1"), visitor);
        self.qkv.visit(&key(&names.body, "attn.qkv"), visitor);
        self.proj.visit(&key(&names.body, "attn.proj"), visitor);
    }
}
