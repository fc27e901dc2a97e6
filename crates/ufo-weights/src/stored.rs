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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_bytes;
    use safetensors::tensor::TensorView;
    use std::io::Write;

    #[test]
    fn tensors_are_those_of_the_file_read_whole_whatever_their_type_and_place() {
        let floats: Vec<u8> = [1.5_f32, -2.0, 3.25].iter().flat_map(|v| v.to_le_bytes()).collect();
        let halves = [0xC0, 0x3F, 0x00, 0xC0];
        let views = [
            ("floats", TensorView::new(Dtype::F32, vec![3], &floats).unwrap()),
            ("halves", TensorView::new(Dtype::BF16, vec![1, 2], &halves).unwrap()),
            ("bytes", TensorView::new(Dtype::U8, vec![1], &[7]).unwrap()),
            ("bn.num_batches_tracked", TensorView::new(Dtype::I64, vec![], &[0; 8]).unwrap()),
        ];
        let bytes = safetensors::serialize(views, None).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let stored = Stored::open(&file, "f").unwrap();
        let mut names = stored.names();
        names.sort();
        assert_eq!(names, ["bytes", "floats", "halves"]);
        assert_eq!(*stored.get("floats", &[3]).unwrap(), [1.5, -2.0, 3.25]);
        assert_eq!(*stored.get("halves", &[1, 2]).unwrap(), [1.5, -2.0]);
        let said = |name, shape: &[usize]| stored.get(name, shape).unwrap_err().to_string();
        assert_eq!(said("bytes", &[1]), "f: tensor `bytes` is U8; allowed: F32, F16, BF16");
        assert_eq!(said("x", &[1]), "f: no tensor `x`");
        assert!(said("floats", &[1]).contains("has shape [3], the model needs [1]"));
        let whole = from_bytes(&bytes, "f").unwrap_err().to_string();
        assert_eq!(whole, said("bytes", &[1]));
        for length in [0, 7, 40, bytes.len() as u64 - 1, bytes.len() as u64 + 1] {
            file.set_len(length).unwrap();
            assert!(
                Stored::open(&file, "cut").unwrap_err().to_string().contains("cut"),
                "{length}"
            );
            file.set_len(0).unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            file.write_all(&bytes).unwrap();
        }
    }
}
