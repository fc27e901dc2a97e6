//! Reading back what a model file declares. The bytes may be anyone's: their structure is counted
//! before anything is built from it, so memory stays within a small multiple of the file.

use crate::proto::{
    AttributeProto, EXTERNAL, FLOAT, INT64, ModelProto, NodeProto, Size, StringEntry, TensorProto,
    ValueInfo,
};
use crate::{Attribute, Dim, Error};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Fields of a graph and its nodes together; a transformer of a thousand blocks has some 100,000.
const MAX_FIELDS: usize = 2_000_000;

/// What a model file declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Name of the graph.
    pub name: String,
    /// Version of the default operator set.
    pub opset: i64,
    /// Version of the file format.
    pub ir_version: i64,
    /// Inputs in order.
    pub inputs: Vec<Port>,
    /// Outputs in order.
    pub outputs: Vec<Port>,
    /// Nodes in order.
    pub nodes: Vec<Node>,
    /// Weights and constants in order.
    pub initializers: Vec<Constant>,
    /// Keys and texts.
    pub metadata: Vec<(String, String)>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its sizes; one that is not declared has the name `?`.
    pub dims: Vec<Dim>,
}

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// Names of the values it takes.
    pub inputs: Vec<String>,
    /// Names of the values it gives.
    pub outputs: Vec<String>,
    /// Attributes; `None` for a kind that [`Attribute`] does not have.
    pub attributes: Vec<(String, Option<Attribute>)>,
}

/// A weight or constant.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub dims: Vec<usize>,
    /// Its values, or where they are.
    pub values: Stored,
}

/// A constant's values, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// In the model.
    F32(Vec<f32>),
    /// In the model.
    I64(Vec<i64>),
    /// In another file of the same folder.
    External {
        /// The file's name as the model gives it: check it before use.
        location: String,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
    /// Another element type or encoding, not read.
    Other,
}

impl Model {
    /// Reads the bytes of a model file.
    ///
    /// # Errors
    /// When they are not an ONNX model, or have more than 2,000,000 parts.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut budget = MAX_FIELDS;
        count_fields(bytes, Message::Model, &mut budget)?;
        let model = <ModelProto as prost::Message>::decode(bytes).map_err(invalid)?;
        let graph = model.graph.ok_or_else(|| refuse("it has no graph".to_string()))?;
        let default_set =
            model.opset_import.iter().find(|set| ["", "ai.onnx"].contains(&set.domain.as_str()));
        Ok(Self {
            name: graph.name,
            opset: default_set.map_or(0, |set| set.version),
            ir_version: model.ir_version,
            inputs: graph.input.into_iter().map(port).collect::<Result<_, _>>()?,
            outputs: graph.output.into_iter().map(port).collect::<Result<_, _>>()?,
            nodes: graph.node.into_iter().map(node).collect(),
            initializers: graph.initializer.into_iter().map(constant).collect::<Result<_, _>>()?,
            metadata: model.metadata_props.into_iter().map(|e| (e.key, e.value)).collect(),
        })
    }
}

/// The messages that hold repeated messages, so that a few bytes of file could take many of memory.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Tensor,
    Info,
    Type,
    TensorType,
    Shape,
}

impl Message {
    /// The message in one of its fields.
    fn inside(self, field: u32) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) => Some(Self::Graph),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Graph, 5) => Some(Self::Tensor),
            (Self::Graph, 11 | 12) => Some(Self::Info),
            (Self::Info, 2) => Some(Self::Type),
            (Self::Type, 1) => Some(Self::TensorType),
            (Self::TensorType, 2) => Some(Self::Shape),
            _ => None,
        }
    }
}

/// Takes one from `budget` for each field of `message` and of the messages inside it.
fn count_fields(mut bytes: &[u8], message: Message, budget: &mut usize) -> Result<(), Error> {
    while !bytes.is_empty() {
        let (field, wire) = decode_key(&mut bytes).map_err(invalid)?;
        *budget = budget
            .checked_sub(1)
            .ok_or_else(|| refuse(format!("it has more than {MAX_FIELDS} parts")))?;
        match message.inside(field) {
            Some(inner) if wire == WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).map_err(invalid)?;
                let (part, rest) = usize::try_from(length)
                    .ok()
                    .and_then(|length| bytes.split_at_checked(length))
                    .ok_or_else(|| refuse(format!("field {field} ends behind the file")))?;
                count_fields(part, inner, budget)?;
                bytes = rest;
            }
            _ => skip_field(wire, field, &mut bytes, DecodeContext::default()).map_err(invalid)?,
        }
    }
    Ok(())
}

fn port(info: ValueInfo) -> Result<Port, Error> {
    let shape = info.kind.and_then(|kind| kind.tensor).and_then(|tensor| tensor.shape);
    let dims = shape.unwrap_or_default().dim.into_iter().map(|dim| match dim.size {
        Some(Size::Fixed(size)) => dimension(&info.name, size).map(Dim::Fixed),
        Some(Size::Named(name)) => Ok(Dim::Named(name)),
        None => Ok(Dim::Named("?".to_string())),
    });
    let dims = dims.collect::<Result<_, _>>()?;
    Ok(Port { name: info.name, dims })
}

fn node(node: NodeProto) -> Node {
    let attribute = |attribute: AttributeProto| (attribute.name.clone(), attribute.value());
    Node {
        name: node.name,
        op: node.op_type,
        inputs: node.input,
        outputs: node.output,
        attributes: node.attribute.into_iter().map(attribute).collect(),
    }
}

fn constant(tensor: TensorProto) -> Result<Constant, Error> {
    let name = tensor.name;
    let dims = tensor.dims.iter().map(|&size| dimension(&name, size));
    let dims = dims.collect::<Result<Vec<usize>, _>>()?;
    let count = dims.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
    let count = count.ok_or_else(|| refuse(format!("`{name}`: shape {dims:?} is too large")))?;
    let values = match (tensor.data_type, tensor.raw_data) {
        _ if tensor.data_location == EXTERNAL => external(&name, &tensor.external_data)?,
        (FLOAT, Some(raw)) => {
            Stored::F32(elements(&name, &raw, count)?.map(f32::from_le_bytes).collect())
        }
        (INT64, Some(raw)) => {
            Stored::I64(elements(&name, &raw, count)?.map(i64::from_le_bytes).collect())
        }
        _ => Stored::Other,
    };
    Ok(Constant { name, dims, values })
}

/// The `count` elements of N bytes that `raw` must consist of.
fn elements<'a, const N: usize>(
    name: &str,
    raw: &'a [u8],
    count: usize,
) -> Result<impl Iterator<Item = [u8; N]> + use<'a, N>, Error> {
    let (elements, rest) = raw.as_chunks::<N>();
    if elements.len() != count || !rest.is_empty() {
        let bytes = raw.len();
        return Err(refuse(format!("`{name}`: {bytes} bytes for {count} elements of {N} bytes")));
    }
    Ok(elements.iter().copied())
}

fn external(name: &str, entries: &[StringEntry]) -> Result<Stored, Error> {
    let get = |key: &str| entries.iter().find(|entry| entry.key == key).map(|e| e.value.as_str());
    let number = |key: &str| get(key).and_then(|value| value.parse().ok());
    let missing = || refuse(format!("`{name}`: external data need location, offset and length"));
    Ok(Stored::External {
        location: get("location").ok_or_else(missing)?.to_string(),
        offset: number("offset").ok_or_else(missing)?,
        length: number("length").ok_or_else(missing)?,
    })
}

fn dimension(name: &str, size: i64) -> Result<usize, Error> {
    usize::try_from(size).map_err(|_| refuse(format!("`{name}` has a size of {size}")))
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn invalid(error: prost::DecodeError) -> Error {
    refuse(error.to_string())
}

fn refuse(reason: String) -> Error {
    Error::Decode { reason }
}

#[cfg(test)]
mod tests;
