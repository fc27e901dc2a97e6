//! Feed-forward network with its norm: one expert of a block's second half (spec 1.1).

use crate::branch::Branch;
use crate::param::{Names, Visit, Visitor, key};
use crate::{LayerNorm, Linear};
use burn_tensor::{Device, Tensor, activation};
use rand::Rng;
use ufo_nas::Arch;
use ufo_onnx::{Graph, Value};

/// `fc2(gelu(fc1(norm(x))))` with the exact (erf) GELU.
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

    /// Calls `visitor` for each parameter but the norm's.
    pub(crate) fn visit_body(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        self.fc1.visit(&key(prefix, "mlp.fc1"), visitor);
        self.fc2.visit(&key(prefix, "mlp.fc2"), visitor);
    }
}

impl Branch for Ffn {
    fn forward(&self, x_btd: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(activation::gelu(self.fc1.forward(self.norm.forward(x_btd))))
    }

    fn to_onnx(&self, graph: &mut Graph, names: &Names, x: &Value) -> crate::Result<Value> {
        let name = &names.body;
        let normed = self.norm.onnx(graph, &key(&names.norm, "norm2"), x)?;
        let hidden = self.fc1.to_onnx(graph, &key(name, "mlp.fc1"), &normed)?;
        let active = graph.gelu(&hidden)?;
        self.fc2.to_onnx(graph, &key(name, "mlp.fc2"), &active)
    }

    fn visit_named(&mut self, names: &Names, visitor: &mut impl Visitor) {
        self.norm.visit(&key(&names.norm, "norm2"), visitor);
        self.visit_body(&names.body, visitor);
    }
}
