//! ZIP archives from elsewhere: the list of files, then the bytes of each, within bounds that the caller sets.
//!
//! What is read is what people's programs write (APPNOTE 6.3): stored and deflated files, listed in the central
//! directory at the end. No encryption, no parts, no ZIP64; names are told and lead to no file.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::{Crc, read::DeflateDecoder};

/// The end of the central directory: at least so long, and with the longest comment.
const END: [u64; 2] = [22, 22 + 0xFFFF];
/// An entry of the central directory without its name.
const ENTRY: usize = 46;
/// The head of a file without its name.
const HEAD: usize = 30;

/// Why an archive, or a file in it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// The file that holds it.
    #[error("reading the archive: {0}")]
    Io(#[from] io::Error),
    /// Bytes that are no archive, or a damaged one.
    #[error("not a readable zip archive: {0}")]
    Damaged(&'static str),
    /// Something of the format that is not read.
    #[error("zip archives with {0} are not read")]
    Kind(&'static str),
    /// More entries than allowed.
    #[error("{got} entries; allowed: {most}")]
    Entries {
        /// How many there are.
        got: usize,
        /// How many are allowed.
        most: usize,
    },
    /// A file that is larger than allowed, whatever the list says of it.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipEntry {
    /// Its name, with `/` between folders; foreign, so no path to write to.
    pub name: String,
    offset: u64,
    packed: u64,
    method: u16,
    encrypted: bool,
    crc: u32,
}

/// An open archive.
#[derive(Debug)]
pub struct Zip<R> {
    reader: R,
    entries: Vec<ZipEntry>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl<R: Read + Seek> Zip<R> {
    /// Reads the list of files; folders are left out. Memory is taken for at most so many entries.
    ///
    /// # Errors
    /// Bytes that are no archive that this module reads, and more entries.
    pub fn open(mut reader: R, most: usize) -> Result<Self, ZipError> {
        let length = reader.seek(SeekFrom::End(0))?;
        let (end, at) = last(&mut reader, length)?;
        if u16_at(&end, 4) != 0 || u16_at(&end, 6) != 0 || u16_at(&end, 8) != u16_at(&end, 10) {
            return Err(ZipError::Kind("several parts"));
        }
        let count = usize::from(u16_at(&end, 10));
        let (size, offset) = (u64::from(u32_at(&end, 12)), u64::from(u32_at(&end, 16)));
        if count == 0xFFFF || offset == 0xFFFF_FFFF {
            return Err(ZipError::Kind("ZIP64 (more than 65534 files or 4 GB)"));
        }
        if count > most {
            return Err(ZipError::Entries { got: count, most });
        }
        let longest = count as u64 * (ENTRY as u64 + 3 * 0xFFFF);
        if offset + size > at || size > longest {
            return Err(ZipError::Damaged("its list lies outside of it"));
        }
        reader.seek(SeekFrom::Start(offset))?;
        let mut list = Vec::new();
        (&mut reader).take(size).read_to_end(&mut list)?;
        let entries = listed(&list, count)?;
        Ok(Self { reader, entries })
    }

    /// The files.
    pub fn entries(&self) -> &[ZipEntry] {
        &self.entries
    }

    /// The bytes of a file, checked by its checksum.
    ///
    /// # Errors
    /// A damaged file, or one of more than `most` bytes, of which no more are unpacked.
    pub fn read(&mut self, index: usize, most: u64) -> Result<Vec<u8>, ZipError> {
        let entry = &self.entries[index];
        if entry.encrypted {
            return Err(ZipError::Kind("encryption"));
        }
        self.reader.seek(SeekFrom::Start(entry.offset))?;
        let mut head = [0; HEAD];
        self.reader.read_exact(&mut head).map_err(|_| ZipError::Damaged("it is cut off"))?;
        if !head.starts_with(b"PK\x03\x04") {
            return Err(ZipError::Damaged("a file has no head"));
        }
        let skipped = i64::from(u16_at(&head, 26)) + i64::from(u16_at(&head, 28));
        self.reader.seek(SeekFrom::Current(skipped))?;
        let packed = (&mut self.reader).take(entry.packed);
        let mut bytes = Vec::new();
        let unpacked = match entry.method {
            0 => packed.take(most + 1).read_to_end(&mut bytes),
            8 => DeflateDecoder::new(packed).take(most + 1).read_to_end(&mut bytes),
            _ => return Err(ZipError::Kind("methods other than store and deflate")),
        };
        unpacked.map_err(|_| ZipError::Damaged("a file cannot be unpacked"))?;
        if bytes.len() as u64 > most {
            return Err(ZipError::TooLarge(most));
        }
        let mut crc = Crc::new();
        crc.update(&bytes);
        if crc.sum() != entry.crc {
            return Err(ZipError::Damaged("a file has another checksum"));
        }
        Ok(bytes)
    }
}

/// The end of the central directory, and where it lies.
fn last<R: Read + Seek>(reader: &mut R, length: u64) -> Result<(Vec<u8>, u64), ZipError> {
    let none = ZipError::Damaged("it has no list of files at its end");
    let start = length.saturating_sub(END[1]);
    reader.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    reader.take(END[1]).read_to_end(&mut tail)?;
    let least = END[0] as usize;
    let fits = |at: &usize| {
        let end = &tail[*at..];
        end.starts_with(b"PK\x05\x06") && usize::from(u16_at(end, 20)) + least == end.len()
    };
    let Some(at) = (0..(tail.len() + 1).saturating_sub(least)).rev().find(fits) else {
        return Err(none);
    };
    let place = start + at as u64;
    Ok((tail.split_off(at), place))
}

/// The entries of the central directory that are files.
fn listed(mut list: &[u8], count: usize) -> Result<Vec<ZipEntry>, ZipError> {
    let mut entries = Vec::new();
    for _ in 0..count {
        if list.len() < ENTRY || !list.starts_with(b"PK\x01\x02") {
            return Err(ZipError::Damaged("its list is cut off"));
        }
        let (head, rest) = list.split_at(ENTRY);
        let [name, more] = [
            usize::from(u16_at(head, 28)),
            usize::from(u16_at(head, 30)) + usize::from(u16_at(head, 32)),
        ];
        let Some(after) = rest.get(name + more..) else {
            return Err(ZipError::Damaged("its list is cut off"));
        };
        let (packed, size, offset) = (u32_at(head, 20), u32_at(head, 24), u32_at(head, 42));
        if [packed, size, offset].contains(&0xFFFF_FFFF) {
            return Err(ZipError::Kind("ZIP64 (more than 65534 files or 4 GB)"));
        }
        let name = String::from_utf8_lossy(&rest[..name]).replace('\\', "/");
        if !name.ends_with('/') {
            entries.push(ZipEntry {
                name,
                offset: u64::from(offset),
                packed: u64::from(packed),
                method: u16_at(head, 10),
                encrypted: u16_at(head, 8) & 1 != 0,
                crc: u32_at(head, 16),
            });
        }
        list = after;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
