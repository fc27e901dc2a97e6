//! Operators that take several nodes, constants or fixed attributes.
//!
//! Constants get names made of their content (`shape.0.-1`, `scalar.0.5`), so that a graph holds
//! each once. An error of these functions means that such a name was taken for something else.

use crate::proto::FLOAT;
use crate::{Attribute, Error, Graph, Value};

/// Largest 8-bit weight: two products of it with a byte fit the 16 bits in which onnxruntime adds them
/// up where there is no VNNI (<https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html>).
pub const INT8_RANGE: i8 = 64;

impl Graph {
    /// An f32 constant of no dimensions.
    ///
    /// # Errors
    /// See the module's note on constants.
    pub fn scalar(&mut self, value: f32) -> Result<Value, Error> {
        self.weight(&format!("scalar.{value:?}"), &[], &[value])
    }

    /// `x @ weight_io + bias`.
    ///
    /// # Shapes
    /// `[.., in]`, `[in, out]`, `[out]` to `[.., out]`.
    pub fn linear(&mut self, x: &Value, weight_io: &Value, bias: Option<&Value>) -> Value {
        let product = self.node("MatMul", &[x, weight_io], &[]);
        match bias {
            Some(bias) => self.node("Add", &[&product, bias], &[]),
            None => product,
        }
    }

    /// `x @ (weight_io * scale_o) + bias` with 8-bit weights; x is quantized to 8 bits, too, with one
    /// scale and zero point for the whole of it, as onnxruntime's dynamic quantization does. Weights
    /// beyond [`INT8_RANGE`] overflow in onnxruntime on CPUs without VNNI.
    ///
    /// # Shapes
    /// `[.., in]`, `[in, out]` of 8-bit integers, `[out]`, `[out]` to `[.., out]`.
    pub fn linear_int8(
        &mut self,
        x: &Value,
        [weight_io, scale_o]: [&Value; 2],
        bias: Option<&Value>,
    ) -> Value {
        let [bytes, scale, zero] = self.node_of_three("DynamicQuantizeLinear", &[x]);
        let sums = self.node("MatMulInteger", &[&bytes, weight_io, &zero], &[]);
        let sums = self.node("Cast", &[&sums], &[("to", Attribute::Int(i64::from(FLOAT)))]);
        let scale = self.node("Mul", &[&scale, scale_o], &[]);
        let product = self.node("Mul", &[&sums, &scale], &[]);
        match bias {
            Some(bias) => self.node("Add", &[&product, bias], &[]),
            None => product,
        }
    }

    /// Layer normalization over the last dimension (arXiv:1607.06450).
    pub fn layer_norm(&mut self, x: &Value, weight: &Value, bias: &Value, epsilon: f32) -> Value {
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(epsilon))];
        self.node("LayerNormalization", &[x, weight, bias], &attributes)
    }

    /// Batch normalization by stored statistics (arXiv:1502.03167):
    /// `(x - mean) / sqrt(variance + epsilon) * weight + bias`, channels in dimension 1.
    ///
    /// `parameters` are weight, bias, mean, variance, each `[channels]`.
    pub fn batch_norm(&mut self, x: &Value, parameters: [&Value; 4], epsilon: f32) -> Value {
        let [weight, bias, mean, variance] = parameters;
        let inputs = [x, weight, bias, mean, variance];
        self.node("BatchNormalization", &inputs, &[("epsilon", Attribute::Float(epsilon))])
    }

    /// The exact GELU (arXiv:1606.08415), `x / 2 * (1 + erf(x / sqrt 2))`; opset 17 has no operator
    /// for it.
    ///
    /// # Errors
    /// See the module's note on constants.
    pub fn gelu(&mut self, x: &Value) -> Result<Value, Error> {
        let root = self.scalar(std::f32::consts::SQRT_2)?;
        let one = self.scalar(1.0)?;
        let half = self.scalar(0.5)?;
        let scaled = self.node("Div", &[x, &root], &[]);
        let erf = self.node("Erf", &[&scaled], &[]);
        let gate = self.node("Add", &[&erf, &one], &[]);
        let product = self.node("Mul", &[x, &gate], &[]);
        Ok(self.node("Mul", &[&product, &half], &[]))
    }

    /// Softmax over `axis`; negative counts from the end.
    pub fn softmax(&mut self, x: &Value, axis: i64) -> Value {
        self.node("Softmax", &[x], &[("axis", Attribute::Int(axis))])
    }

    /// Reshape; 0 keeps a size, -1 infers it.
    ///
    /// # Errors
    /// See the module's note on constants.
    pub fn reshape(&mut self, x: &Value, shape: &[i64]) -> Result<Value, Error> {
        let shape = self.list("shape", shape)?;
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

    /// Positions `start..end` of `axis`; negative ones count from the end, `i64::MAX` is the end.
    ///
    /// # Errors
    /// See the module's note on constants.
    pub fn slice(&mut self, x: &Value, axis: i64, start: i64, end: i64) -> Result<Value, Error> {
        let start = self.list("list", &[start])?;
        let end = self.list("list", &[end])?;
        let axis = self.list("list", &[axis])?;
        Ok(self.node("Slice", &[x, &start, &end, &axis], &[]))
    }

    /// Position `index` of `axis`, which is dropped; a negative index counts from the end.
    ///
    /// # Errors
    /// See the module's note on constants.
    pub fn select(&mut self, x: &Value, axis: i64, index: i64) -> Result<Value, Error> {
        let index = self.ints(&format!("index.{index}"), &[], &[index])?;
        Ok(self.gather(x, axis, &index))
    }

    /// Positions `indices` (i64) of `axis`, whose place their shape takes.
    pub fn gather(&mut self, x: &Value, axis: i64, indices: &Value) -> Value {
        self.node("Gather", &[x, indices], &[("axis", Attribute::Int(axis))])
    }

    /// 2-D convolution; pads are top, left, bottom, right.
    ///
    /// # Shapes
    /// `[b, in, h, w]`, `[out, in, kh, kw]`, `[out]` to `[b, out, h', w']`. Where the weight has
    /// fewer inputs than `x`, use [`Graph::node`] with `group`.
    #[allow(
        clippy::too_many_arguments,
        reason = "the operator's own three inputs and two settings"
    )]
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
        // Dilations are 1 by default; some runtimes take the default for one axis only.
        let attributes =
            [("strides", ints(&strides)), ("pads", ints(&pads)), ("dilations", ints(&[1, 1]))];
        self.node("Conv", &inputs, &attributes)
    }

    /// 8-bit integers times a scale for each place of the first dimension, as floats.
    ///
    /// # Shapes
    /// `[n, ..]` and `[n]` to `[n, ..]`.
    pub fn dequantized(&mut self, bytes: &Value, scale: &Value) -> Value {
        self.node("DequantizeLinear", &[bytes, scale], &[("axis", Attribute::Int(0))])
    }

    /// Bilinear resizing by the factors `[vertical, horizontal]`, at least 1, corners not aligned.
    ///
    /// # Shapes
    /// `[b, c, h, w]` to `[b, c, floor(h * vertical), floor(w * horizontal)]`.
    ///
    /// # Errors
    /// See the module's note on constants.
    pub fn upsample(&mut self, x: &Value, [down, along]: [f32; 2]) -> Result<Value, Error> {
        let region = self.weight("resize.region", &[0], &[])?;
        let name = format!("resize.{down:?}.{along:?}");
        let factors = self.weight(&name, &[4], &[1.0, 1.0, down, along])?;
        let text = |text: &str| Attribute::Text(text.to_string());
        let attributes =
            [("mode", text("linear")), ("coordinate_transformation_mode", text("half_pixel"))];
        Ok(self.node("Resize", &[x, &region, &factors], &attributes))
    }

    /// Divides by the Euclidean length over the last dimension, at least 1e-12 as PyTorch's
    /// `normalize` has it: a vector of zeros stays one.
    ///
    /// # Errors
    /// See the module's note on constants.
    pub fn l2_normalize(&mut self, x: &Value) -> Result<Value, Error> {
        let least = self.scalar(1e-12)?;
        let length = self.node("ReduceL2", &[x], &[("axes", Attribute::Ints(vec![-1]))]);
        let divisor = self.node("Max", &[&length, &least], &[]);
        Ok(self.node("Div", &[x, &divisor], &[]))
    }

    fn list(&mut self, kind: &str, values: &[i64]) -> Result<Value, Error> {
        let parts: Vec<String> = values.iter().map(ToString::to_string).collect();
        self.ints(&format!("{kind}.{}", parts.join(".")), &[values.len()], values)
    }
}
