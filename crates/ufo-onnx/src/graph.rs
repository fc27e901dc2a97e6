//! Building a graph: inputs, weights, nodes, outputs; then its bytes or its files.

use crate::Error;
use crate::proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetId, Shape, Size,
    StringEntry, TensorProto, TensorType, TypeProto, ValueInfo,
};
use prost::Message;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;
const FLOAT: i32 = 1;
const INT64: i32 = 7;
const SINGLE_FILE_LIMIT: usize = i32::MAX as usize;
const EXTERNAL_ABOVE: usize = 1 << 30;
const PAGE: usize = 4096;

/// A tensor of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(String);

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
#[derive(Debug, Clone)]
pub struct Graph {
    proto: GraphProto,
    metadata: Vec<StringEntry>,
    initializers: HashMap<String, usize>,
    scope: Vec<String>,
    names: HashMap<String, usize>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self {
            proto: GraphProto { name: name.to_string(), ..GraphProto::default() },
            metadata: Vec::new(),
            initializers: HashMap::new(),
            scope: Vec::new(),
            names: HashMap::new(),
        }
    }

    /// Adds an f32 input.
    pub fn input(&mut self, name: &str, dims: &[Dim]) -> Value {
        self.proto.input.push(value_info(name, dims));
        Value(name.to_string())
    }

    /// Adds f32 weights, row-major. The same name with the same content again gives the same value.
    ///
    /// # Errors
    /// When the values do not fill the shape, or the name exists with other content.
    pub fn weight(&mut self, name: &str, dims: &[usize], data: &[f32]) -> Result<Value, Error> {
        let raw = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, dims, FLOAT, data.len(), raw)
    }

    /// Adds i64 constants, row-major, under the rules of [`Graph::weight`].
    ///
    /// # Errors
    /// As [`Graph::weight`].
    pub fn ints(&mut self, name: &str, dims: &[usize], data: &[i64]) -> Result<Value, Error> {
        let raw = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, dims, INT64, data.len(), raw)
    }

    fn initializer(
        &mut self,
        name: &str,
        dims: &[usize],
        data_type: i32,
        got: usize,
        raw_data: Vec<u8>,
    ) -> Result<Value, Error> {
        let expected = dims.iter().product();
        if got != expected {
            return Err(Error::Count {
                name: name.to_string(),
                dims: dims.to_vec(),
                got,
                expected,
            });
        }
        let tensor = TensorProto {
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type,
            name: name.to_string(),
            raw_data,
            ..TensorProto::default()
        };
        match self.initializers.get(name) {
            Some(&index) if self.proto.initializer[index] != tensor => {
                return Err(Error::Conflict { name: name.to_string() });
            }
            Some(_) => {}
            None => {
                self.initializers.insert(name.to_string(), self.proto.initializer.len());
                self.proto.initializer.push(tensor);
            }
        }
        Ok(Value(name.to_string()))
    }

    /// Adds a node with one output, named after the scope and the operator.
    pub fn node(&mut self, op: &str, inputs: &[&Value], attributes: &[(&str, Attribute)]) -> Value {
        let stem = self.scope.iter().map(|part| format!("{part}/")).collect::<String>() + op;
        let count = self.names.entry(stem.clone()).or_insert(0);
        let name = if *count == 0 { stem } else { format!("{stem}.{count}") };
        *count += 1;
        self.push_node(op, inputs, attributes, &name);
        Value(name)
    }

    fn push_node(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
        output: &str,
    ) {
        self.proto.node.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output: vec![output.to_string()],
            name: output.to_string(),
            op_type: op.to_string(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
        });
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
        self.proto.output.push(value_info(name, dims));
    }

    /// Adds a key and text that runtimes show as the model's metadata.
    pub fn metadata(&mut self, key: &str, value: &str) {
        self.metadata.push(StringEntry { key: key.to_string(), value: value.to_string() });
    }

    /// The model as the bytes of one file.
    ///
    /// # Errors
    /// When it is larger than a protobuf file may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        encode(self.proto.clone(), self.metadata.clone())
    }

    /// Writes the model, beside and renamed. Above 1 GiB of weights these go to `FILE.data`.
    ///
    /// # Errors
    /// When a file cannot be written; an earlier model of that name is then untouched.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        self.save_split(path, EXTERNAL_ABOVE)
    }

    /// As [`Graph::save`] with the limit of a single file in bytes.
    ///
    /// # Errors
    /// As [`Graph::save`].
    pub fn save_split(&self, path: &Path, external_above: usize) -> Result<(), Error> {
        let weights: usize = self.proto.initializer.iter().map(|t| t.raw_data.len()).sum();
        if weights <= external_above {
            return write(path, &self.to_bytes()?);
        }
        let mut data_name = path.file_name().unwrap_or_default().to_os_string();
        data_name.push(".data");
        let mut graph = self.proto.clone();
        let mut data = Vec::new();
        for tensor in &mut graph.initializer {
            data.resize(data.len().next_multiple_of(PAGE), 0);
            let entry = |key: &str, value: String| StringEntry { key: key.to_string(), value };
            tensor.external_data = vec![
                entry("location", data_name.to_string_lossy().into_owned()),
                entry("offset", data.len().to_string()),
                entry("length", tensor.raw_data.len().to_string()),
            ];
            tensor.data_location = 1;
            data.append(&mut tensor.raw_data);
        }
        write(&path.with_file_name(data_name), &data)?;
        write(path, &encode(graph, self.metadata.clone())?)
    }
}

fn encode(graph: GraphProto, metadata_props: Vec<StringEntry>) -> Result<Vec<u8>, Error> {
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "ufo".to_string(),
        producer_version: env!("CARGO_PKG_VERSION").to_string(),
        graph: Some(graph),
        opset_import: vec![OperatorSetId { domain: String::new(), version: OPSET }],
        metadata_props,
    };
    let bytes = model.encoded_len();
    if bytes > SINGLE_FILE_LIMIT {
        return Err(Error::TooLarge { bytes });
    }
    Ok(model.encode_to_vec())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::Io { file: path.display().to_string(), source };
    let mut beside = path.as_os_str().to_os_string();
    beside.push(".partial");
    let written = std::fs::File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // Best effort: the error of the write itself is the one to report.
        let _ = std::fs::remove_file(&beside);
    }
    written.map_err(failed)
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

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: name.to_string(), ..AttributeProto::default() };
    match value {
        Attribute::Float(f) => (proto.f, proto.kind) = (*f, 1),
        Attribute::Int(i) => (proto.i, proto.kind) = (*i, 2),
        Attribute::Text(text) => (proto.s, proto.kind) = (text.clone().into_bytes(), 3),
        Attribute::Ints(ints) => (proto.ints, proto.kind) = (ints.clone(), 7),
    }
    proto
}
