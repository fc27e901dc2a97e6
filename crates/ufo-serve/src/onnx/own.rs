//! ONNX files in rten, which is linked.

use super::{Said, Size};
use rten::{Dimension, Model, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// A file ready to run.
pub(super) struct Rten {
    model: Model,
    options: RunOptions,
}

impl Rten {
    /// Opens a file that computes with so many threads.
    pub(super) fn open(file: &Path, threads: usize) -> Result<(Self, Said), String> {
        let model = Model::load_file(file).map_err(|error| error.to_string())?;
        let name = |node| {
            let info = model.node_info(node);
            let name = info.and_then(|info| info.name().map(String::from));
            name.ok_or_else(|| "an input or output without a name".to_string())
        };
        let size = |size: &Dimension| match size {
            Dimension::Fixed(size) => Size::Fixed(*size),
            Dimension::Symbolic(_) => Size::Any,
        };
        let shape = |at| Some(model.input_shape(at)?.iter().map(size).collect());
        let input = |(at, &node)| Ok((name(node)?, shape(at)));
        let metadata = |key: &str| model.metadata().get(key).map(str::to_string);
        let said = Said {
            inputs: model
                .input_ids()
                .iter()
                .enumerate()
                .map(input)
                .collect::<Result<_, String>>()?,
            outputs: model.output_ids().iter().map(|&id| name(id)).collect::<Result<_, _>>()?,
            preprocess: metadata("preprocess"),
            tasks: metadata("tasks"),
        };
        let pool = Arc::new(ThreadPool::with_num_threads(threads));
        let options = RunOptions::default().with_thread_pool(Some(pool));
        Ok((Self { model, options }, said))
    }

    /// Shape and values of an output.
    pub(super) fn run(
        &self,
        (input, output): (&str, &str),
        shape: [usize; 4],
        images: &[f32],
    ) -> Result<(Vec<usize>, Vec<f32>), String> {
        let ids = [input, output].map(|name| self.model.node_id(name));
        let [Ok(input), Ok(output)] = ids else { return Err("not in the file".into()) };
        let images = NdTensor::from_data(shape, images.to_vec());
        let options = Some(self.options.clone());
        let [out] = self
            .model
            .run_n(vec![(input, images.into())], [output], options)
            .map_err(|error| error.to_string())?;
        let out: rten_tensor::Tensor<f32> = out.try_into().map_err(|_| "not of f32")?;
        Ok((out.shape().to_vec(), out.to_vec()))
    }
}
