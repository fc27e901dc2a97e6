//! One IDX file to an array, with every size of its header checked against the file.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use flate2::read::GzDecoder;

use crate::Error;

/// The most values' bytes that are read from one file: 8 GiB.
const MAX_BYTES: usize = 8 << 30;
/// Deflate stores at most 1032 bytes in one.
const MAX_DEFLATE_RATIO: u64 = 1032;
/// One length a dimension.
const MAX_DIMENSIONS: u8 = 4;

/// The content of an IDX file of u8 (type 0x08) or i32 (type 0x0C).
pub(super) struct Array {
    pub(super) is_u8: bool,
    pub(super) sizes: Vec<usize>,
    pub(super) data: Vec<u8>,
}

impl Array {
    /// The values.
    pub(super) fn integers(&self) -> Vec<i64> {
        if self.is_u8 {
            return self.data.iter().map(|&value| i64::from(value)).collect();
        }
        let (values, _) = self.data.as_chunks::<4>();
        values.iter().map(|&bytes| i64::from(i32::from_be_bytes(bytes))).collect()
    }
}

/// Reads a file, plain or (by its `.gz`) compressed.
pub(super) fn read(path: &Path) -> Result<Array, Error> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let length = file.metadata().map_err(Error::io(path))?.len();
    let parsed = if path.extension().is_some_and(|extension| extension == "gz") {
        parse(&mut GzDecoder::new(file), length.saturating_mul(MAX_DEFLATE_RATIO))
    } else {
        parse(&mut file, length)
    };
    parsed.map_err(|reason| Error::layout(path, reason))
}

/// `longest` bounds what the reader can give, so that no header is believed beyond it.
fn parse(reader: &mut impl Read, longest: u64) -> Result<Array, String> {
    let mut magic = [0; 4];
    fill(reader, &mut magic)?;
    let (is_u8, width) = match magic {
        [0, 0, 0x08, 1..=MAX_DIMENSIONS] => (true, 1),
        [0, 0, 0x0C, 1..=MAX_DIMENSIONS] => (false, 4),
        _ => {
            let allowed = "00 00 08 DIMS (u8) or 00 00 0C DIMS (i32), 1 to 4 DIMS";
            return Err(format!("magic is {magic:02X?}; allowed: {allowed}"));
        }
    };
    let mut sizes = Vec::new();
    let mut need = width;
    for _ in 0..magic[3] {
        let mut size = [0; 4];
        fill(reader, &mut size)?;
        let size = u32::from_be_bytes(size) as usize;
        sizes.push(size);
        need = size.checked_mul(need).filter(|&need| need <= MAX_BYTES).ok_or_else(|| {
            format!("the header claims {sizes:?}; allowed: up to {MAX_BYTES} bytes")
        })?;
    }
    if need as u64 > longest {
        return Err(format!("the header claims {sizes:?}, {need} bytes, more than the file has"));
    }
    // Grows with what really comes; one byte more than claimed is read to notice it.
    let mut data = Vec::new();
    reader.take(need as u64 + 1).read_to_end(&mut data).map_err(|error| error.to_string())?;
    if data.len() != need {
        let found = if data.len() > need { "more".to_owned() } else { data.len().to_string() };
        return Err(format!("the header claims {sizes:?}, {need} bytes, but {found} follow"));
    }
    data.shrink_to_fit();
    Ok(Array { is_u8, sizes, data })
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), String> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => "the header is cut off".to_owned(),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_give_a_result_no_larger_than_the_file(
            mut bytes in proptest::collection::vec(0u8..6, 0..80), kind in 0usize..3,
        ) {
            for (at, value) in [0, 0, [0x08, 0x0C, 0x0B][kind]].into_iter().enumerate() {
                if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            }
            if let Ok(array) = parse(&mut bytes.as_slice(), bytes.len() as u64) {
                let values: usize = array.sizes.iter().product();
                proptest::prop_assert_eq!(array.integers().len(), values);
                proptest::prop_assert!(array.data.len() < bytes.len());
            }
        }
    }
}
