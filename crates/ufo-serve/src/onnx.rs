//! ONNX files: in rten, a runtime in pure Rust, or, where the configuration says so, in a library of onnxruntime.

mod library;
mod own;

use crate::served::ServedTask;
pub(crate) use library::Library;
use library::Session;
use own::Rten;
use std::path::Path;
use ufo_data::Preprocess;
use ufo_runtime::DescribedTask;

/// Largest side of an input, as for preprocessing.
const MAX_SIDE: usize = 4096;
/// Most channels of an input.
const MAX_CHANNELS: usize = 64;

/// A file ready to run.
pub(crate) struct Onnx {
    runs: Runs,
    input: String,
    image: [usize; 3],
    /// Whether the file takes one image only.
    single: bool,
    preprocess: Option<Preprocess>,
    tasks: Vec<ServedTask>,
}

/// What runs it.
enum Runs {
    Rten(Box<Rten>),
    Library(Session),
}

/// What a file says of itself.
struct Said {
    /// Names, and shapes where they are told.
    inputs: Vec<(String, Option<Vec<Size>>)>,
    outputs: Vec<String>,
    /// Metadata of files that `ufo extract` wrote.
    preprocess: Option<String>,
    tasks: Option<String>,
}

/// A size of an input.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Size {
    Fixed(usize),
    Any,
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
    /// the shapes of its outputs. It computes with so many threads, in the library where one is given. Files
    /// that `ufo extract` wrote say their preprocessing and labels, too.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn open(
        file: &Path,
        threads: usize,
        library: Option<&Library>,
    ) -> Result<Self, String> {
        let said = |reason: String| format!("{}: {reason}", file.display());
        let opened = match library {
            None => {
                Rten::open(file, threads).map(|(runs, told)| (Runs::Rten(Box::new(runs)), told))
            }
            Some(library) => Session::open(library, file, threads)
                .map(|(runs, told)| (Runs::Library(runs), told)),
        };
        let (runs, told) = opened.map_err(said)?;
        let [(input, shape)] = told.inputs.as_slice() else {
            return Err(said(format!("{} inputs; allowed: 1", told.inputs.len())));
        };
        let shape = shape.as_deref().unwrap_or_default();
        let (image, single) = sizes(shape).map_err(|reason| said(format!("input: {reason}")))?;
        let preprocess = told.preprocess.and_then(|text| serde_json::from_str(&text).ok());
        let preprocess = preprocess
            .filter(|p: &Preprocess| p.validate().is_ok() && [3, p.size[0], p.size[1]] == image);
        let described: Vec<DescribedTask> =
            told.tasks.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let input = input.clone();
        let mut onnx = Self { runs, input, image, single, preprocess, tasks: Vec::new() };
        let probe = vec![0.0; image.iter().product()];
        for output in told.outputs {
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
        let said = |reason: String| format!("output `{output}`: {reason}");
        let [channels, height, width] = self.image;
        let (names, shape) = ((self.input.as_str(), output), [count, channels, height, width]);
        let (shape, values) = match &self.runs {
            Runs::Rten(rten) => rten.run(names, shape, images),
            Runs::Library(session) => session.run(names, shape, images),
        }
        .map_err(said)?;
        if shape.first() != Some(&count) {
            return Err(said(format!("shape {shape:?} for {count} images")));
        }
        Ok((shape, values))
    }
}

/// Channels, height and width of an input, and whether it takes one image only.
fn sizes(shape: &[Size]) -> Result<([usize; 3], bool), String> {
    let wrong = || format!("{shape:?}; allowed: [batch, channels, height, width] of fixed sizes");
    let &[batch, Size::Fixed(channels), Size::Fixed(height), Size::Fixed(width)] = shape else {
        return Err(wrong());
    };
    let sides = [height, width].iter().all(|side| (1..=MAX_SIDE).contains(side));
    if !sides || !(1..=MAX_CHANNELS).contains(&channels) {
        return Err(wrong());
    }
    match batch {
        Size::Fixed(1) => Ok(([channels, height, width], true)),
        Size::Any => Ok(([channels, height, width], false)),
        Size::Fixed(_) => Err(format!("{shape:?}; allowed: a batch of 1 or of any size")),
    }
}
