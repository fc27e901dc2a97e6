//! ONNX files in a library of onnxruntime that lies on this machine; nothing of it is linked or fetched.

use super::{Said, Size};
use crate::{Error, Result as Started};
use ort::environment::Environment;
use ort::session::Session as Inner;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;
use std::fmt::Display;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The library, loaded. A process loads one, and once.
#[derive(Clone)]
pub(crate) struct Library(Environment);

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Library")
    }
}

impl Library {
    /// Loads `libonnxruntime.so` (`.dylib`, `onnxruntime.dll`) of version 1.20 or newer.
    ///
    /// # Errors
    /// A file that is not there, no such library, or too old.
    pub(crate) fn load(file: &Path) -> Started<Self> {
        let said = |reason: &dyn Display| Error::File {
            place: file.display().to_string(),
            reason: format!(
                "onnxruntime: {reason}; needed: a library of onnxruntime 1.{} or newer, such as that of pip's onnxruntime (capi/libonnxruntime.so.1.*)",
                ort::MINOR_VERSION
            ),
        };
        // The system's own words for a missing file name another one that it tried.
        let file = file.canonicalize().map_err(|error| said(&error))?;
        let builder = ort::init_from(&file).map_err(|error| said(&error))?;
        builder.with_telemetry(false).build().map(Self).map_err(|error| said(&error))
    }
}

/// A file ready to run; one run at a time.
pub(super) struct Session(Mutex<Inner>);

impl Session {
    /// Opens a file that computes with so many threads.
    pub(super) fn open(
        library: &Library,
        file: &Path,
        threads: usize,
    ) -> Result<(Self, Said), String> {
        let said = |error: &dyn Display| error.to_string();
        let builder = SessionBuilder::new(&library.0).map_err(|error| said(&error))?;
        let builder = builder.with_intra_threads(threads).map_err(|error| said(&error))?;
        // Threads that wait by spinning would take the time of other models.
        let mut builder = builder.with_intra_op_spinning(false).map_err(|error| said(&error))?;
        let inner = builder.commit_from_file(file).map_err(|error| said(&error))?;
        let size = |size: &i64| usize::try_from(*size).map_or(Size::Any, Size::Fixed);
        let input = |input: &ort::value::Outlet| {
            let shape = input.dtype().tensor_shape();
            (input.name().to_string(), shape.map(|shape| shape.iter().map(size).collect()))
        };
        let metadata = inner.metadata().map_err(|error| said(&error))?;
        let told = Said {
            inputs: inner.inputs().iter().map(input).collect(),
            outputs: inner.outputs().iter().map(|output| output.name().to_string()).collect(),
            preprocess: metadata.custom("preprocess"),
            tasks: metadata.custom("tasks"),
        };
        drop(metadata);
        Ok((Self(Mutex::new(inner)), told))
    }

    /// Shape and values of an output.
    pub(super) fn run(
        &self,
        (input, output): (&str, &str),
        shape: [usize; 4],
        images: &[f32],
    ) -> Result<(Vec<usize>, Vec<f32>), String> {
        let said = |error: ort::Error| error.to_string();
        let images = TensorRef::from_array_view((shape, images)).map_err(said)?;
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = ort::session::OutputSelector::no_default().with(output);
        let options = ort::session::RunOptions::new().map_err(said)?.with_outputs(wanted);
        let outputs =
            inner.run_with_options(ort::inputs![input => images], &options).map_err(said)?;
        let (shape, values) = outputs[output].try_extract_tensor::<f32>().map_err(said)?;
        Ok((shape.iter().map(|size| *size as usize).collect(), values.to_vec()))
    }
}
