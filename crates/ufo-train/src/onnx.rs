//! Exported models in rten, an ONNX runtime that this project did not write.

use anyhow::{Context, Result};
use rten::{RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// An exported file in rten.
pub struct Onnx {
    model: rten::Model,
    options: RunOptions,
}

impl Onnx {
    /// Reads the file.
    ///
    /// # Errors
    /// rten does not take it.
    pub fn open(file: &Path) -> Result<Self> {
        let model = rten::Model::load_file(file);
        let model = model.with_context(|| format!("loading {}", file.display()))?;
        Ok(Self { model, options: RunOptions::default() })
    }

    /// Takes the bytes of a file, to run with so many threads.
    ///
    /// # Errors
    /// rten does not take them.
    pub(crate) fn new(bytes: Vec<u8>, threads: usize) -> Result<Self> {
        let model = rten::Model::load(bytes).context("loading an ONNX graph")?;
        let pool = Arc::new(ThreadPool::with_num_threads(threads));
        Ok(Self { model, options: RunOptions::default().with_thread_pool(Some(pool)) })
    }

    /// Output `task`, row-major, of images of `size`.
    ///
    /// # Errors
    /// There is no such output, or it is not of f32.
    pub fn outputs(&self, task: &str, images: &[f32], size: [usize; 4]) -> Result<Vec<f32>> {
        let (input, output) = (self.model.node_id("image")?, self.model.node_id(task)?);
        let images = NdTensor::from_data(size, images.to_vec());
        let options = Some(self.options.clone());
        let [out] = self.model.run_n(vec![(input, images.into())], [output], options)?;
        let out: rten_tensor::Tensor<f32> = out.try_into().context("the output is not of f32")?;
        Ok(out.to_vec())
    }
}

/// The largest difference over the largest expected value; NaN where a value is, or lengths differ.
pub(crate) fn relative_error(got: &[f32], expected: &[f32]) -> f64 {
    if got.len() != expected.len() {
        return f64::NAN;
    }
    let largest = expected.iter().fold(0.0_f64, |most, v| most.max(f64::from(v.abs())));
    let gap = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).abs();
    let gaps = got.iter().zip(expected).map(gap);
    // `f64::max` drops a NaN, so it is looked for alone.
    let nan = got.iter().chain(expected).any(|v| v.is_nan());
    if nan { f64::NAN } else { gaps.fold(0.0, f64::max) / largest.max(f64::MIN_POSITIVE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_errors_are_of_the_largest_output_and_nan_is_kept() {
        assert!((relative_error(&[1.0, -4.1], &[1.0, -4.0]) - 0.025).abs() < 1e-6);
        assert!(relative_error(&[f32::NAN, 1.0], &[1.0, 1.0]).is_nan());
        assert!(relative_error(&[1.0], &[1.0, 2.0]).is_nan());
    }
}
