//! Building a graph: inputs, weights, nodes, outputs.

use crate::Error;
use crate::proto::{
    AttributeProto, Dimension, FLOAT, GraphProto, INT8, INT64, ModelProto, NodeProto,
    OperatorSetId, Shape, Size, StringEntry, TensorProto, TensorType, TypeProto, ValueInfo,
    attribute,
};
use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;

const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;
const SINGLE_FILE_LIMIT: usize = i32::MAX as usize;

/// A tensor of a graph: a name, cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Value(Arc<str>);

impl Value {
    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// One size of an input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Always this.
    Fixed(usize),
    /// Any; equal names are equal sizes, such as `batch`.
    Named(String),
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Self::Fixed(size)
    }
}

impl From<&str> for Dim {
    fn from(name: &str) -> Self {
        Self::Named(name.to_string())
    }
}

/// A node's attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A float.
    Float(f32),
    /// A string.
    Text(String),
}

/// A model under construction: opset 17, IR 8, f32 inputs and outputs.
///
/// A mistake in a call that returns no `Result` (a name taken twice, a value of another graph) is
/// kept and returned by [`Graph::to_bytes`] and [`Graph::save`].
#[derive(Debug)]
pub struct Graph {
    pub(crate) model: ModelProto,
    /// What each name stands for.
    names: HashMap<Arc<str>, Named>,
    /// Nodes so far for each `scope/operator`.
    counts: HashMap<String, usize>,
    scope: Vec<String>,
    mistake: Option<Mistake>,
    pub(crate) external_above: usize,
    int8: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// An input or a node's output.
    Computed,
    /// The initializer of this index.
    Stored(usize),
}

#[derive(Debug)]
enum Mistake {
    Conflict(String),
    Foreign(String),
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "ufo".to_string(),
            producer_version: env!("CARGO_PKG_VERSION").to_string(),
            graph: Some(GraphProto { name: name.to_string(), ..GraphProto::default() }),
            opset_import: vec![OperatorSetId { domain: String::new(), version: OPSET }],
            metadata_props: Vec::new(),
        };
        Self {
            model,
            names: HashMap::new(),
            counts: HashMap::new(),
            scope: Vec::new(),
            mistake: None,
            external_above: 1 << 30,
            int8: false,
        }
    }

    /// The same graph, asking that linear layers be added with 8-bit weights.
    #[must_use]
    pub fn with_int8(self) -> Self {
        Self { int8: true, ..self }
    }

    /// Whether linear layers shall be added by [`Graph::linear_int8`].
    pub fn int8(&self) -> bool {
        self.int8
    }

    /// Adds an f32 input.
    pub fn input(&mut self, name: &str, dims: &[Dim]) -> Value {
        self.graph_mut().input.push(value_info(name, dims));
        self.claim(name)
    }

    /// Adds f32 weights, row-major. The same name with the same content again gives the same value.
    ///
    /// # Errors
    /// When the values do not fill the shape, or the name exists with other content.
    pub fn weight(&mut self, name: &str, dims: &[usize], data: &[f32]) -> Result<Value, Error> {
        let raw = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, dims, data.len(), (FLOAT, raw))
    }

    /// Adds i64 constants, row-major, under the rules of [`Graph::weight`].
    ///
    /// # Errors
    /// As [`Graph::weight`].
    pub fn ints(&mut self, name: &str, dims: &[usize], data: &[i64]) -> Result<Value, Error> {
        let raw = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, dims, data.len(), (INT64, raw))
    }

    /// Adds 8-bit weights, row-major, under the rules of [`Graph::weight`].
    ///
    /// # Errors
    /// As [`Graph::weight`].
    pub fn bytes(&mut self, name: &str, dims: &[usize], data: &[i8]) -> Result<Value, Error> {
        let raw = data.iter().map(|value| value.cast_unsigned()).collect();
        self.initializer(name, dims, data.len(), (INT8, raw))
    }

    fn initializer(
        &mut self,
        name: &str,
        dims: &[usize],
        got: usize,
        (data_type, raw): (i32, Vec<u8>),
    ) -> Result<Value, Error> {
        let filled = dims.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
        if filled != Some(got) {
            return Err(Error::Count { name: name.to_string(), dims: dims.to_vec(), got });
        }
        let tensor = TensorProto {
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type,
            name: name.to_string(),
            raw_data: Some(raw),
            ..TensorProto::default()
        };
        let stored = &mut self.model.graph.as_mut().expect("set by new").initializer;
        match self.names.get(name) {
            None => {
                let name: Arc<str> = name.into();
                self.names.insert(name.clone(), Named::Stored(stored.len()));
                stored.push(tensor);
                Ok(Value(name))
            }
            Some(Named::Stored(index)) if stored[*index] == tensor => Ok(Value(name.into())),
            Some(_) => Err(Error::Conflict { name: name.to_string() }),
        }
    }

    /// Adds a node with one output, named after the scope and the operator.
    pub fn node(&mut self, op: &str, inputs: &[&Value], attributes: &[(&str, Attribute)]) -> Value {
        let name = self.fresh(op);
        self.push_node(op, inputs, attributes, &name)
    }

    /// Adds a node of three outputs with no attributes, named like that of [`Graph::node`].
    pub(crate) fn node_of_three(&mut self, op: &str, inputs: &[&Value]) -> [Value; 3] {
        let name = self.fresh(op);
        let first = self.push_node(op, inputs, &[], &name);
        let [second, third] = ["second", "third"].map(|which| format!("{name}.{which}"));
        let node = self.graph_mut().node.last_mut().expect("just pushed");
        node.output.extend([second.clone(), third.clone()]);
        [first, self.claim(&second), self.claim(&third)]
    }

    /// A name after the scope and the operator.
    fn fresh(&mut self, op: &str) -> String {
        let stem = [self.scope.as_slice(), &[op.to_string()]].concat().join("/");
        let count = self.counts.entry(stem.clone()).or_insert(0);
        loop {
            let name = if *count == 0 { stem.clone() } else { format!("{stem}.{count}") };
            *count += 1;
            if !self.names.contains_key(name.as_str()) {
                return name;
            }
        }
    }

    fn push_node(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
        name: &str,
    ) -> Value {
        for input in inputs {
            if !self.names.contains_key(&input.0) {
                self.mistake.get_or_insert(Mistake::Foreign(input.name().to_string()));
            }
        }
        let attribute: Vec<AttributeProto> =
            attributes.iter().map(|(name, value)| attribute(name, value)).collect();
        self.graph_mut().node.push(NodeProto {
            input: inputs.iter().map(|value| value.name().to_string()).collect(),
            output: vec![name.to_string()],
            name: name.to_string(),
            op_type: op.to_string(),
            attribute,
        });
        self.claim(name)
    }

    /// Names of nodes added by `build` start with `name/`.
    pub fn scope<R>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> R) -> R {
        self.scope.push(name.to_string());
        let result = build(self);
        self.scope.pop();
        result
    }

    /// Makes `value` an f32 output called `name`.
    pub fn output(&mut self, name: &str, value: &Value, dims: &[Dim]) {
        self.push_node("Identity", &[value], &[], name);
        self.graph_mut().output.push(value_info(name, dims));
    }

    /// Sets a key and text that runtimes show as the model's metadata.
    pub fn metadata(&mut self, key: &str, value: &str) {
        let entries = &mut self.model.metadata_props;
        match entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.value = value.to_string(),
            None => entries.push(StringEntry::new(key, value)),
        }
    }

    /// The model as the bytes of one file.
    ///
    /// # Errors
    /// When it is larger than a protobuf file may be, has no output, or was built with a mistake.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        encode(&self.model)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.mistake {
            Some(Mistake::Conflict(name)) => Err(Error::Conflict { name: name.clone() }),
            Some(Mistake::Foreign(name)) => Err(Error::Foreign { name: name.clone() }),
            None if self.graph().output.is_empty() => Err(Error::NoOutput),
            None => Ok(()),
        }
    }

    pub(crate) fn graph(&self) -> &GraphProto {
        self.model.graph.as_ref().expect("set by new")
    }

    fn graph_mut(&mut self) -> &mut GraphProto {
        self.model.graph.as_mut().expect("set by new")
    }

    /// Makes `name` a computed value; a name that is taken is a mistake.
    fn claim(&mut self, name: &str) -> Value {
        let name: Arc<str> = name.into();
        if self.names.insert(name.clone(), Named::Computed).is_some() {
            self.mistake.get_or_insert(Mistake::Conflict(name.to_string()));
        }
        Value(name)
    }
}

pub(crate) fn encode(model: &ModelProto) -> Result<Vec<u8>, Error> {
    let bytes = model.encoded_len();
    if bytes > SINGLE_FILE_LIMIT {
        return Err(Error::TooLarge { bytes });
    }
    Ok(model.encode_to_vec())
}

fn value_info(name: &str, dims: &[Dim]) -> ValueInfo {
    let dimension = |dim: &Dim| Dimension {
        size: Some(match dim {
            Dim::Fixed(size) => Size::Fixed(*size as i64),
            Dim::Named(name) => Size::Named(name.clone()),
        }),
    };
    let shape = Shape { dim: dims.iter().map(dimension).collect() };
    let tensor = TensorType { element: FLOAT, shape: Some(shape) };
    ValueInfo { name: name.to_string(), kind: Some(TypeProto { tensor: Some(tensor) }) }
}

#[cfg(test)]
mod tests;
