//! ONNX files in rten, a runtime in pure Rust.

use crate::served::ServedTask;
use rten::{Dimension, Model, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::path::Path;
use std::sync::Arc;
use ufo_data::Preprocess;
use ufo_runtime::DescribedTask;

/// Largest side of an input, as for preprocessing.
const MAX_SIDE: usize = 4096;
/// Most channels of an input.
const MAX_CHANNELS: usize = 64;

/// A file ready to run.
pub(crate) struct Onnx {
    model: Model,
    options: RunOptions,
    input: String,
    image: [usize; 3],
    /// Whether the file takes one image only.
    single: bool,
    preprocess: Option<Preprocess>,
    tasks: Vec<ServedTask>,
}

impl std::fmt::Debug for Onnx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Onnx")
            .field("input", &self.input)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

impl Onnx {
    /// Reads a file with one input `[batch, channels, height, width]` of floats, and runs it once to learn
    /// the shapes of its outputs. It computes with so many threads. Files that `ufo extract` wrote say their preprocessing and labels, too.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn open(file: &Path, threads: usize) -> Result<Self, String> {
        let said = |reason: String| format!("{}: {reason}", file.display());
        let model = Model::load_file(file).map_err(|error| said(error.to_string()))?;
        let inputs = model.input_ids();
        let &[input] = inputs else {
            return Err(said(format!("{} inputs; allowed: 1", inputs.len())));
        };
        let shape = model.input_shape(0).unwrap_or_default();
        let (image, single) = sizes(&shape).map_err(|reason| said(format!("input: {reason}")))?;
        let name = |node| model.node_info(node).and_then(|info| info.name().map(String::from));
        let input = name(input).ok_or_else(|| said("an input without a name".into()))?;
        let metadata = |key: &str| model.metadata().get(key).map(str::to_string);
        let preprocess = metadata("preprocess").and_then(|text| serde_json::from_str(&text).ok());
        let preprocess = preprocess
            .filter(|p: &Preprocess| p.validate().is_ok() && [3, p.size[0], p.size[1]] == image);
        let described: Vec<DescribedTask> =
            metadata("tasks").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let outputs: Option<Vec<String>> = model.output_ids().iter().map(|&id| name(id)).collect();
        let outputs = outputs.ok_or_else(|| said("an output without a name".into()))?;
        let pool = Arc::new(ThreadPool::with_num_threads(threads));
        let options = RunOptions::default().with_thread_pool(Some(pool));
        let mut onnx = Self { model, options, input, image, single, preprocess, tasks: Vec::new() };
        let probe = vec![0.0; image.iter().product()];
        for output in outputs {
            let (shape, _) = onnx.tensor(&output, &probe, 1).map_err(said)?;
            let described = described.iter().find(|task| task.name == output).cloned();
            onnx.tasks.push(ServedTask { name: output, shape: shape[1..].to_vec(), described });
        }
        Ok(onnx)
    }

    pub(crate) fn input(&self) -> &str {
        &self.input
    }

    pub(crate) fn image(&self) -> [usize; 3] {
        self.image
    }

    pub(crate) fn preprocess(&self) -> Option<&Preprocess> {
        self.preprocess.as_ref()
    }

    pub(crate) fn tasks(&self) -> &[ServedTask] {
        &self.tasks
    }

    /// An output, row-major, of images `[n, channels, height, width]`.
    pub(crate) fn outputs(&self, task: usize, images: &[f32]) -> Result<Vec<f32>, String> {
        let (name, len) = (&self.tasks[task].name, self.image.iter().product::<usize>());
        let count = if self.single { 1 } else { images.len() / len };
        let mut all = Vec::new();
        for images in images.chunks(count * len) {
            all.extend(self.tensor(name, images, count)?.1);
        }
        Ok(all)
    }

    /// Shape and values of an output.
    fn tensor(
        &self,
        output: &str,
        images: &[f32],
        count: usize,
    ) -> Result<(Vec<usize>, Vec<f32>), String> {
        let said = |error: &dyn std::fmt::Display| format!("output `{output}`: {error}");
        let ids = [&self.input, output].map(|name| self.model.node_id(name));
        let [Ok(input), Ok(id)] = ids else { return Err(said(&"not in the file")) };
        let [channels, height, width] = self.image;
        let images = NdTensor::from_data([count, channels, height, width], images.to_vec());
        let options = Some(self.options.clone());
        let [out] = self
            .model
            .run_n(vec![(input, images.into())], [id], options)
            .map_err(|error| said(&error))?;
        let out: rten_tensor::Tensor<f32> = out.try_into().map_err(|_| said(&"not of f32"))?;
        let shape = out.shape().to_vec();
        if shape.first() != Some(&count) {
            return Err(said(&format!("shape {shape:?} for {count} images")));
        }
        Ok((shape, out.to_vec()))
    }
}

/// Channels, height and width of an input, and whether it takes one image only.
fn sizes(shape: &[Dimension]) -> Result<([usize; 3], bool), String> {
    let wrong = || format!("{shape:?}; allowed: [batch, channels, height, width] of fixed sizes");
    let [batch, sizes @ ..] = shape else { return Err(wrong()) };
    let fixed = |size: &Dimension| match size {
        Dimension::Fixed(size) => Some(*size),
        Dimension::Symbolic(_) => None,
    };
    let sizes: Option<Vec<usize>> = sizes.iter().map(fixed).collect();
    let Some(&[channels, height, width]) = sizes.as_deref() else { return Err(wrong()) };
    let sides = [height, width].iter().all(|side| (1..=MAX_SIDE).contains(side));
    if !sides || !(1..=MAX_CHANNELS).contains(&channels) {
        return Err(wrong());
    }
    match fixed(batch) {
        Some(1) => Ok(([channels, height, width], true)),
        None => Ok(([channels, height, width], false)),
        Some(_) => Err(format!("{shape:?}; allowed: a batch of 1 or of any size")),
    }
}
