//! Convolutional networks as ONNX graphs: batch norms folded into the convolutions before them.

use super::{Activation, Cnn, ConvNorm, InvertedResidual, Layers, ResidualBlock, SqueezeExcite};
use crate::Result;
use crate::linear::to_bytes;
use crate::param::{key, values};
use burn_tensor::Tensor;
use ufo_kernels::conv::Groups;
use ufo_onnx::{Attribute, Graph, Value};

impl Cnn {
    /// Adds the network before its classifier to a graph and returns its features, `[batch, d]`.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn features_onnx(&self, graph: &mut Graph, images: &Value) -> Result<Value> {
        let map = match &self.layers {
            Layers::ResNet(net) => {
                let stem = net.conv1.to_onnx(graph, "conv1", (images, None))?;
                let ints = |list: &[i64]| Attribute::Ints(list.to_vec());
                let window = [
                    ("kernel_shape", ints(&[3, 3])),
                    ("strides", ints(&[2, 2])),
                    ("pads", ints(&[1; 4])),
                ];
                let mut x = graph.node("MaxPool", &[&stem], &window);
                for (stage, blocks) in net.stages.iter().enumerate() {
                    for (index, block) in blocks.iter().enumerate() {
                        x = block.to_onnx(graph, &format!("layer{}.{index}", stage + 1), &x)?;
                    }
                }
                x
            }
            Layers::MobileNetV3(net) => {
                let mut x = net.first.to_onnx(graph, "features.0", (images, None))?;
                for (index, block) in net.blocks.iter().enumerate() {
                    x = block.to_onnx(graph, &format!("features.{}", index + 1), &x)?;
                }
                net.last.to_onnx(
                    graph,
                    &format!("features.{}", net.blocks.len() + 1),
                    (&x, None),
                )?
            }
        };
        let pooled = graph.node("GlobalAveragePool", &[&map], &[]);
        Ok(graph.reshape(&pooled, &[0, -1])?)
    }

    /// Adds the classifier of features to a graph and returns the logits, `[batch, classes]`.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn classify_onnx(&self, graph: &mut Graph, features: &Value) -> Result<Value> {
        match &self.layers {
            Layers::ResNet(net) => net.fc.to_onnx(graph, "fc", features),
            Layers::MobileNetV3(net) => {
                let hidden = net.hidden.to_onnx(graph, "classifier.0", features)?;
                let hidden = activation(graph, Activation::Hardswish, hidden);
                net.classes.to_onnx(graph, "classifier.3", &hidden)
            }
        }
    }
}

fn activation(graph: &mut Graph, which: Activation, x: Value) -> Value {
    match which {
        Activation::None => x,
        Activation::Relu => graph.node("Relu", &[&x], &[]),
        Activation::Hardswish => graph.node("HardSwish", &[&x], &[]),
    }
}

/// A convolution whose sizes are those of its weight.
fn conv(
    graph: &mut Graph,
    x: &Value,
    [weight, bias]: [&Value; 2],
    (kernel, stride, groups): (usize, usize, usize),
) -> Value {
    let ints = |size: usize, count: usize| Attribute::Ints(vec![size as i64; count]);
    let attributes = [
        ("strides", ints(stride, 2)),
        ("pads", ints(kernel / 2, 4)),
        ("dilations", ints(1, 2)),
        ("group", Attribute::Int(groups as i64)),
    ];
    graph.node("Conv", &[x, weight, bias], &attributes)
}

impl ConvNorm {
    pub(crate) fn to_onnx(
        &self,
        graph: &mut Graph,
        name: &str,
        (x, residual): (&Value, Option<&Value>),
    ) -> Result<Value> {
        let dims = self.weight.dims();
        let norm = &self.norm;
        let [gain, shift, mean, var] =
            [&norm.weight, &norm.bias, &norm.running_mean, &norm.running_var].map(values);
        let root = |var: &f32| (var + norm.settings.eps).sqrt();
        let scale: Vec<f32> = gain.iter().zip(&var).map(|(gain, var)| gain / root(var)).collect();
        let bias: Vec<f32> =
            shift.iter().zip(mean.iter().zip(&scale)).map(|(b, (m, s))| b - m * s).collect();
        let mut weight = values(&self.weight);
        let filter = weight.len() / dims[0];
        for (filter, scale) in weight.chunks_exact_mut(filter).zip(&scale) {
            for w in filter {
                *w *= scale;
            }
        }
        let weight = weight_onnx(graph, name, dims, &weight)?;
        let bias = graph.weight(&key(name, "bias"), &dims[..1], &bias)?;
        let groups = if self.groups == Groups::One { 1 } else { dims[0] };
        let mut y = conv(graph, x, [&weight, &bias], (dims[2], self.stride, groups));
        if let Some(residual) = residual {
            y = graph.node("Add", &[&y, residual], &[]);
        }
        Ok(activation(graph, self.activation, y))
    }
}

/// A weight of a convolution; in 8 bits with a scale an output where the graph asks for that. The products stay in floats:
/// rten 0.27 gives wrong numbers for `ConvInteger`.
fn weight_onnx(graph: &mut Graph, name: &str, dims: [usize; 4], weight: &[f32]) -> Result<Value> {
    let name = key(name, "weight");
    if !graph.int8() {
        return Ok(graph.weight(&name, &dims, weight)?);
    }
    let outputs = dims[0];
    let inputs = weight.len() / outputs;
    let by_input = (0..inputs).flat_map(|at| weight.iter().skip(at).step_by(inputs));
    let (bytes_io, scale) = to_bytes(&by_input.copied().collect::<Vec<_>>(), outputs);
    let by_output = (0..outputs).flat_map(|at| bytes_io.iter().skip(at).step_by(outputs));
    let bytes: Vec<i8> = by_output.copied().collect();
    let bytes = graph.bytes(&name, &dims, &bytes)?;
    let scale = graph.weight(&format!("{name}.scale"), &dims[..1], &scale)?;
    Ok(graph.dequantized(&bytes, &scale))
}

impl ResidualBlock {
    fn to_onnx(&self, graph: &mut Graph, name: &str, x: &Value) -> Result<Value> {
        let shortcut = match &self.downsample {
            Some(conv) => conv.to_onnx(graph, &key(name, "downsample"), (x, None))?,
            None => x.clone(),
        };
        let mut y = x.clone();
        for (index, conv) in self.convs.iter().enumerate() {
            let residual = (index + 1 == self.convs.len()).then_some(&shortcut);
            y = conv.to_onnx(graph, &key(name, &format!("conv{}", index + 1)), (&y, residual))?;
        }
        Ok(y)
    }
}

impl InvertedResidual {
    fn to_onnx(&self, graph: &mut Graph, name: &str, x: &Value) -> Result<Value> {
        let mut inner = x.clone();
        if let Some(expand) = &self.expand {
            inner = expand.to_onnx(graph, &key(name, "expand"), (&inner, None))?;
        }
        inner = self.depthwise.to_onnx(graph, &key(name, "depthwise"), (&inner, None))?;
        if let Some(squeeze) = &self.squeeze {
            inner = squeeze.to_onnx(graph, &key(name, "squeeze"), &inner)?;
        }
        let residual = self.adds_input().then_some(x);
        self.project.to_onnx(graph, &key(name, "project"), (&inner, residual))
    }
}

impl SqueezeExcite {
    fn to_onnx(&self, graph: &mut Graph, name: &str, x: &Value) -> Result<Value> {
        let pooled = graph.node("GlobalAveragePool", &[x], &[]);
        let hidden = layer(graph, &key(name, "fc1"), &self.fc1, &pooled)?;
        let hidden = graph.node("Relu", &[&hidden], &[]);
        let gates = layer(graph, &key(name, "fc2"), &self.fc2, &hidden)?;
        let slope = [("alpha", Attribute::Float(1.0 / 6.0)), ("beta", Attribute::Float(0.5))];
        let gates = graph.node("HardSigmoid", &[&gates], &slope);
        Ok(graph.node("Mul", &[x, &gates], &[]))
    }
}

fn layer(
    graph: &mut Graph,
    name: &str,
    (weight, bias): &(Tensor<4>, Tensor<1>),
    x: &Value,
) -> Result<Value> {
    let dims = weight.dims();
    let weight = weight_onnx(graph, name, dims, &values(weight))?;
    let bias = graph.weight(&key(name, "bias"), &dims[..1], &values(bias))?;
    Ok(conv(graph, x, [&weight, &bias], (1, 1, 1)))
}
