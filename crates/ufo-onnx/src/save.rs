//! Writing a model to disk: one file, or a small file and its weights beside it.
//!
//! External data (<https://onnx.ai/onnx/repo-docs/ExternalData.html>): each weight names file,
//! offset and length; offsets are multiples of a page, so that a runtime can map them.

use crate::graph::encode;
use crate::proto::{EXTERNAL, GraphProto, ModelProto, StringEntry, TensorProto};
use crate::{Error, Graph};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

const PAGE: u64 = 4096;
/// Smaller tensors stay in the model: runtimes read shapes and axes while they load it.
const EXTERNAL_FROM: usize = 1024;

impl Graph {
    /// Bytes of weights above which [`Graph::save`] puts them beside the model; default 1 GiB.
    pub fn external_above(&mut self, bytes: usize) {
        self.external_above = bytes;
    }

    /// Writes the model: beside, flushed to disk, renamed. Large weights go to `FILE.data`, which
    /// must stay beside the model. While both are replaced there is no model, so that a stop never
    /// leaves one with another's weights.
    ///
    /// # Errors
    /// As [`Graph::to_bytes`], and when a file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        self.check()?;
        let data_path = with_suffix(path, ".data");
        if self.weight_bytes() <= self.external_above {
            let model = encode(&self.model)?;
            replace(path, |file| file.write_all(&model))?;
            return remove(&data_path).and_then(|()| sync_folder(path));
        }
        let location = data_path.file_name().and_then(OsStr::to_str).ok_or_else(|| Error::Io {
            file: path.display().to_string(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "a file name in UTF-8 is needed"),
        })?;
        let (tensors, offsets) = self.place(location);
        let graph = GraphProto {
            node: self.graph().node.clone(),
            name: self.graph().name.clone(),
            initializer: tensors,
            input: self.graph().input.clone(),
            output: self.graph().output.clone(),
        };
        let model = encode(&ModelProto {
            ir_version: self.model.ir_version,
            producer_name: self.model.producer_name.clone(),
            producer_version: self.model.producer_version.clone(),
            graph: Some(graph),
            opset_import: self.model.opset_import.clone(),
            metadata_props: self.model.metadata_props.clone(),
        })?;
        let data = write_beside(&data_path, |file| self.write_data(file, &offsets))?;
        remove(path)?;
        rename(&data, &data_path)?;
        replace(path, |file| file.write_all(&model))?;
        sync_folder(path)
    }

    fn weight_bytes(&self) -> usize {
        self.graph().initializer.iter().map(|tensor| raw(tensor).len()).sum()
    }

    /// The initializers without the values that move, and where each of these starts.
    fn place(&self, location: &str) -> (Vec<TensorProto>, Vec<Option<u64>>) {
        let mut end = 0;
        let place = |tensor: &TensorProto| {
            let length = raw(tensor).len();
            if length < EXTERNAL_FROM {
                return (tensor.clone(), None);
            }
            let offset = u64::next_multiple_of(end, PAGE);
            end = offset + length as u64;
            let moved = TensorProto {
                dims: tensor.dims.clone(),
                data_type: tensor.data_type,
                name: tensor.name.clone(),
                raw_data: None,
                external_data: vec![
                    StringEntry::new("location", location),
                    StringEntry::new("offset", &offset.to_string()),
                    StringEntry::new("length", &length.to_string()),
                ],
                data_location: EXTERNAL,
            };
            (moved, Some(offset))
        };
        self.graph().initializer.iter().map(place).unzip()
    }

    fn write_data(&self, file: &mut impl Write, offsets: &[Option<u64>]) -> io::Result<()> {
        let mut end = 0;
        for (tensor, offset) in self.graph().initializer.iter().zip(offsets) {
            let Some(offset) = *offset else { continue };
            let gap = [0; PAGE as usize];
            file.write_all(&gap[..(offset - end) as usize])?;
            file.write_all(raw(tensor))?;
            end = offset + raw(tensor).len() as u64;
        }
        Ok(())
    }
}

fn raw(tensor: &TensorProto) -> &[u8] {
    tensor.raw_data.as_deref().unwrap_or_default()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), Error> {
    let beside = write_beside(path, write)?;
    rename(&beside, path)
}

/// Writes and flushes `path.partial`, and gives its path.
fn write_beside(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<PathBuf, Error> {
    let beside = with_suffix(path, ".partial");
    let written = File::create(&beside).map(BufWriter::new).and_then(|mut file| {
        write(&mut file)?;
        file.flush()?;
        file.get_ref().sync_all()
    });
    if written.is_err() {
        // Best effort: the error of the write itself is the one to report.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed(&beside))?;
    Ok(beside)
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(failed(to))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(failed(path)),
    }
}

/// Makes renames in the file's folder last; other systems than Unix cannot open a folder.
fn sync_folder(path: &Path) -> Result<(), Error> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let file = path.display().to_string();
    move |source| Error::Io { file, source }
}
