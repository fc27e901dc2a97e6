//! A safetensors file whose tensors are read one by one, in the memory that the system maps the file to.
//!
//! Nothing but the header is read when it is opened. Pages of tensors come when these are asked for, are not counted
//! twice where other processes map the file, too, and may be dropped by the system at any time.
#![allow(
    unsafe_code,
    reason = "a mapped file is memory that this process alone does not decide about"
)]

use crate::{BATCH_COUNT, Error, fitting, refused, widened};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use std::borrow::Cow;
use std::fs::File;

/// An open file of tensors.
#[derive(Debug)]
pub struct Stored {
    from: String,
    header: Metadata,
    /// Where the header ends.
    start: usize,
    map: Mmap,
}

impl Stored {
    /// Reads the header, which must account for every byte of the file; `from` names it in errors.
    ///
    /// # Errors
    /// A file that cannot be mapped, is cut off, or no safetensors file.
    pub fn open(file: &File, from: &str) -> Result<Self, Error> {
        // SAFETY: the map is only read, and only while this value lives. Models are replaced by renaming, which leaves
        // what is mapped as it is; who writes into the file of a model that is being opened gets other
        // values, or, where it is cut off, SIGBUS.
        let map = unsafe { Mmap::map(file) }.map_err(|error| refused(from, &error))?;
        let (length, header) = SafeTensors::read_metadata(&map).map_err(|e| refused(from, &e))?;
        Ok(Self { from: from.to_string(), header, start: 8 + length, map })
    }

    /// What it is called in errors.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// Names of its tensors, but for the counts of batches of PyTorch's batch norms.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.retain(|name| !name.ends_with(BATCH_COUNT));
        names
    }

    /// The values of a tensor; f32 are those of the file, others are widened.
    ///
    /// # Errors
    /// As [`get`](crate::get), or a tensor of another type than f32, f16 or bf16.
    pub fn get(&self, name: &str, expected: &[usize]) -> Result<Cow<'_, [f32]>, Error> {
        let info = self.header.info(name);
        let info = fitting(info, |info| &info.shape, name, expected, &self.from)?;
        let (from, to) = info.data_offsets;
        let bytes = &self.map[self.start + from..self.start + to];
        if info.dtype == Dtype::F32 && cfg!(target_endian = "little") {
            // SAFETY: any four bytes are an f32.
            if let ([], values, []) = unsafe { bytes.align_to::<f32>() } {
                return Ok(Cow::Borrowed(values));
            }
        }
        widened(info.dtype, bytes, name, &self.from).map(Cow::Owned)
    }
}
