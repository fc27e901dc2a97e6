//! Tensors of the Open Inference Protocol: JSON, and the binary extension.

use crate::refusal::Refusal;
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use std::fmt;

/// Header that says how many bytes of a body are its JSON, before binary tensors.
pub(crate) const HEADER_LENGTH: &str = "inference-header-content-length";

/// A request to infer.
#[derive(Debug, Deserialize)]
pub(crate) struct Infer {
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default)]
    pub(crate) parameters: Parameters,
    pub(crate) inputs: Vec<Input>,
    #[serde(default)]
    pub(crate) outputs: Vec<Output>,
}

/// Parameters that are known; others change nothing, as the protocol asks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Parameters {
    /// Bytes of an input's binary tensor.
    pub(crate) binary_data_size: Option<usize>,
    /// Whether an output is given as a binary tensor.
    pub(crate) binary_data: Option<bool>,
    /// The same for all outputs.
    pub(crate) binary_data_output: Option<bool>,
    /// A deadline before the server's, in microseconds.
    pub(crate) timeout: Option<u64>,
    /// Most likely classes instead of numbers: not supported.
    pub(crate) classification: Option<u64>,
    /// Memory shared with the client: not supported.
    pub(crate) shared_memory_region: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) datatype: String,
    #[serde(default)]
    pub(crate) parameters: Parameters,
    #[serde(default)]
    data: Option<Numbers>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Output {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) parameters: Parameters,
}

/// Numbers, nested in any way, in their order.
#[derive(Debug, Default, PartialEq)]
struct Numbers(Vec<f32>);

struct Into<'a>(&'a mut Vec<f32>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut numbers = Vec::new();
        Into(&mut numbers).deserialize(deserializer)?;
        Ok(Self(numbers))
    }
}

impl<'de> DeserializeSeed<'de> for Into<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Into<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers; other data is taken as a binary tensor only")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Into(self.0))?.is_some() {}
        Ok(())
    }
}

/// Data of the one input.
#[derive(Debug, PartialEq)]
pub(crate) enum Data {
    /// `FP32`
    Floats(Vec<f32>),
    /// `BYTES`, each the file of an image.
    Files(Vec<Vec<u8>>),
}

fn wrong(said: impl fmt::Display) -> Refusal {
    Refusal::Request(said.to_string())
}

/// Splits a body into its JSON and the bytes of binary tensors.
///
/// # Errors
/// 400 with what is wrong.
pub(crate) fn parse(body: &[u8], header: Option<&str>) -> Result<(Infer, Vec<u8>), Refusal> {
    let length = match header {
        None => body.len(),
        Some(text) => {
            text.parse().ok().filter(|length| *length <= body.len()).ok_or_else(|| {
                wrong(format!("{HEADER_LENGTH} is {text}; the body is {} bytes", body.len()))
            })?
        }
    };
    let (text, rest) = body.split_at(length);
    let infer: Infer = serde_json::from_slice(text)
        .map_err(|error| wrong(format!("the request's JSON: {error}")))?;
    infer.supported()?;
    Ok((infer, rest.to_vec()))
}

impl Infer {
    /// Refuses what is not supported.
    ///
    /// # Errors
    /// 400 with what to do.
    pub(crate) fn supported(&self) -> Result<(), Refusal> {
        let given = self.inputs.iter().map(|input| &input.parameters);
        let asked = self.outputs.iter().map(|output| &output.parameters);
        for parameters in given.chain(asked).chain([&self.parameters]) {
            if parameters.shared_memory_region.is_some() {
                return Err(wrong("shared memory is not supported; send the tensors"));
            }
            if parameters.classification.is_some_and(|classes| classes > 0) {
                return Err(wrong("classification is not supported; ask /v1/predict for classes"));
            }
        }
        Ok(())
    }
}

impl Input {
    /// Takes the data out of the JSON or out of `rest`, which is then used up.
    ///
    /// # Errors
    /// 400 when data and shape do not agree.
    pub(crate) fn data(&mut self, rest: &[u8]) -> Result<Data, Refusal> {
        let name = &self.name;
        let count = self.shape.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
        let count =
            count.ok_or_else(|| wrong(format!("input `{name}`: shape {:?}", self.shape)))?;
        let data = match (self.parameters.binary_data_size, self.data.take()) {
            (Some(size), None) if size == rest.len() => match self.datatype.as_str() {
                "FP32" => Data::Floats(floats(rest)),
                "BYTES" => Data::Files(files(rest).ok_or_else(|| {
                    wrong(format!(
                        "input `{name}`: each of BYTES is a length of 4 bytes and its bytes"
                    ))
                })?),
                other => return Err(self.other_type(other)),
            },
            (Some(size), None) => {
                let got = rest.len();
                let said =
                    format!("input `{name}`: binary_data_size is {size}, but {got} bytes follow");
                return Err(wrong(said));
            }
            (None, Some(Numbers(numbers))) if rest.is_empty() => match self.datatype.as_str() {
                "FP32" => Data::Floats(numbers),
                other => return Err(self.other_type(other)),
            },
            (None, Some(_)) => return Err(wrong("bytes follow the JSON, but no input is binary")),
            (Some(_), Some(_)) => return Err(wrong(format!("input `{name}`: data given twice"))),
            (None, None) => return Err(wrong(format!("input `{name}`: data is missing"))),
        };
        let got = match &data {
            Data::Floats(floats) => floats.len(),
            Data::Files(files) => files.len(),
        };
        let whole = self.datatype != "FP32" || rest.len().is_multiple_of(4);
        if got != count || !whole {
            let (shape, given) = (&self.shape, if rest.is_empty() { got } else { rest.len() });
            let unit = if rest.is_empty() { "values" } else { "bytes" };
            let said = format!("input `{name}`: shape {shape:?} with {given} {unit}");
            return Err(wrong(said));
        }
        Ok(data)
    }

    fn other_type(&self, got: &str) -> Refusal {
        let name = &self.name;
        wrong(format!(
            "input `{name}`: datatype {got}; allowed: FP32, and BYTES as a binary tensor"
        ))
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let quads = bytes.chunks_exact(4);
    quads.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Elements with their lengths before them.
fn files(mut rest: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (file, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        files.push(file.to_vec());
        rest = after;
    }
    Some(files)
}

/// An output on its way out.
pub(crate) struct Told<'a> {
    pub(crate) name: &'a str,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: &'a [f32],
    pub(crate) binary: bool,
}

/// The body of an answer, and the length of its JSON when binary tensors follow.
///
/// # Errors
/// 500 for values that JSON cannot hold.
pub(crate) fn answer(
    model: &str,
    id: Option<&str>,
    outputs: &[Told<'_>],
) -> Result<(Vec<u8>, Option<usize>), Refusal> {
    #[derive(Serialize)]
    struct Out<'a> {
        name: &'a str,
        datatype: &'static str,
        shape: &'a [usize],
        #[serde(skip_serializing_if = "Option::is_none")]
        parameters: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a [f32]>,
    }
    #[derive(Serialize)]
    struct Reply<'a> {
        model_name: &'a str,
        model_version: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        outputs: Vec<Out<'a>>,
    }
    let finite = |told: &Told<'_>| told.binary || told.values.iter().all(|v| v.is_finite());
    if !outputs.iter().all(finite) {
        return Err(Refusal::Failed("the model gave values that are not finite".into()));
    }
    let outs = outputs.iter().map(|told| Out {
        name: told.name,
        datatype: "FP32",
        shape: &told.shape,
        parameters: told.binary.then(|| json!({"binary_data_size": told.values.len() * 4})),
        data: (!told.binary).then_some(told.values),
    });
    let reply = Reply { model_name: model, model_version: "1", id, outputs: outs.collect() };
    let mut body = serde_json::to_vec(&reply).map_err(|e| Refusal::Failed(e.to_string()))?;
    let length = body.len();
    for told in outputs.iter().filter(|told| told.binary) {
        body.extend(told.values.iter().flat_map(|value| value.to_le_bytes()));
    }
    Ok((body, outputs.iter().any(|told| told.binary).then_some(length)))
}

#[cfg(test)]
mod tests;
