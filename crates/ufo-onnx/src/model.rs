//! Reading back what a model file declares: names, operators and metadata.

use crate::Error;
use crate::proto::ModelProto;
use prost::Message;

/// What a model file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Names of the inputs.
    pub inputs: Vec<String>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// Operators in order.
    pub operators: Vec<String>,
    /// Names of the weights, in order.
    pub initializers: Vec<String>,
    /// Keys and texts.
    pub metadata: Vec<(String, String)>,
}

impl Model {
    /// Reads the bytes of a model file.
    ///
    /// # Errors
    /// When they are not an ONNX model.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let model = ModelProto::decode(bytes)
            .map_err(|error| Error::Decode { reason: error.to_string() })?;
        let Some(graph) = model.graph else {
            return Err(Error::Decode { reason: "it has no graph".to_string() });
        };
        Ok(Self {
            inputs: graph.input.into_iter().map(|value| value.name).collect(),
            outputs: graph.output.into_iter().map(|value| value.name).collect(),
            operators: graph.node.into_iter().map(|node| node.op_type).collect(),
            initializers: graph.initializer.into_iter().map(|tensor| tensor.name).collect(),
            metadata: model.metadata_props.into_iter().map(|e| (e.key, e.value)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dim, Graph};
    use proptest::prelude::*;

    fn sample() -> Graph {
        let mut graph = Graph::new("sample");
        let x = graph.input("x", &[Dim::Named("batch".into()), Dim::Fixed(2)]);
        let weight = graph.weight("w", &[2, 1], &[1.0, 2.0]).unwrap();
        let y = graph.scope("layer", |graph| graph.linear(&x, &weight, None));
        graph.output("y", &y, &[Dim::Named("batch".into()), Dim::Fixed(1)]);
        graph.metadata("labels", "a,b");
        graph
    }

    #[test]
    fn a_written_model_reads_back() {
        let model = Model::decode(&sample().to_bytes().unwrap()).unwrap();
        assert_eq!(model.inputs, ["x"]);
        assert_eq!(model.outputs, ["y"]);
        assert_eq!(model.operators, ["MatMul", "Identity"]);
        assert_eq!(model.initializers, ["w"]);
        assert_eq!(model.metadata, [("labels".to_string(), "a,b".to_string())]);
    }

    #[test]
    fn weights_are_checked_and_shared_by_name() {
        let mut graph = sample();
        assert!(graph.weight("w", &[2, 1], &[1.0, 2.0]).is_ok());
        assert!(matches!(graph.weight("w", &[2, 1], &[1.0, 3.0]), Err(Error::Conflict { .. })));
        assert!(matches!(graph.weight("v", &[3], &[1.0]), Err(Error::Count { .. })));
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_an_error_or_a_model_but_never_a_panic(
            cut in 0usize..200, at in 0usize..200, value: u8,
        ) {
            let mut bytes = sample().to_bytes().unwrap();
            let index = at % bytes.len();
            bytes[index] = value;
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = Model::decode(&bytes);
        }
    }
}
