//! Operators that take several nodes or fixed attributes.

use crate::{Attribute, Error, Graph, Value};

impl Graph {
    /// `x @ weight_io + bias`; weight `(in, out)`.
    pub fn linear(&mut self, x: &Value, weight_io: &Value, bias: Option<&Value>) -> Value {
        let product = self.node("MatMul", &[x, weight_io], &[]);
        match bias {
            Some(bias) => self.node("Add", &[&product, bias], &[]),
            None => product,
        }
    }

    /// Layer normalization over the last dimension.
    pub fn layer_norm(&mut self, x: &Value, weight: &Value, bias: &Value, epsilon: f32) -> Value {
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(epsilon))];
        self.node("LayerNormalization", &[x, weight, bias], &attributes)
    }

    /// The exact GELU, `x / 2 * (1 + erf(x / sqrt 2))`; opset 17 has no operator for it.
    ///
    /// # Errors
    /// When one of its constants' names is taken.
    pub fn gelu(&mut self, x: &Value) -> Result<Value, Error> {
        let root = self.weight("gelu.root", &[], &[std::f32::consts::SQRT_2])?;
        let one = self.weight("gelu.one", &[], &[1.0])?;
        let half = self.weight("gelu.half", &[], &[0.5])?;
        let scaled = self.node("Div", &[x, &root], &[]);
        let erf = self.node("Erf", &[&scaled], &[]);
        let gate = self.node("Add", &[&erf, &one], &[]);
        let product = self.node("Mul", &[x, &gate], &[]);
        Ok(self.node("Mul", &[&product, &half], &[]))
    }

    /// Softmax over `axis`.
    pub fn softmax(&mut self, x: &Value, axis: i64) -> Value {
        self.node("Softmax", &[x], &[("axis", Attribute::Int(axis))])
    }

    /// Reshape; 0 keeps a size, -1 infers it.
    ///
    /// # Errors
    /// Never for a fresh graph; the shape is stored under a name made of its sizes.
    pub fn reshape(&mut self, x: &Value, shape: &[i64]) -> Result<Value, Error> {
        let name = shape.iter().map(|size| format!(".{size}")).collect::<String>();
        let shape = self.ints(&format!("shape{name}"), &[shape.len()], shape)?;
        Ok(self.node("Reshape", &[x, &shape], &[]))
    }

    /// Permutes the dimensions.
    pub fn transpose(&mut self, x: &Value, permutation: &[i64]) -> Value {
        self.node("Transpose", &[x], &[("perm", Attribute::Ints(permutation.to_vec()))])
    }

    /// Joins along `axis`.
    pub fn concat(&mut self, values: &[&Value], axis: i64) -> Value {
        self.node("Concat", values, &[("axis", Attribute::Int(axis))])
    }

    /// 2-D convolution; pads are top, left, bottom, right.
    pub fn conv(
        &mut self,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        strides: [usize; 2],
        pads: [usize; 4],
    ) -> Value {
        let ints = |sizes: &[usize]| Attribute::Ints(sizes.iter().map(|&s| s as i64).collect());
        let inputs: Vec<&Value> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
        self.node("Conv", &inputs, &[("strides", ints(&strides)), ("pads", ints(&pads))])
    }

    /// Divides by the Euclidean length over the last dimension.
    pub fn l2_normalize(&mut self, x: &Value) -> Value {
        let attributes = [("axis", Attribute::Int(-1)), ("p", Attribute::Int(2))];
        self.node("LpNormalization", &[x], &attributes)
    }
}
