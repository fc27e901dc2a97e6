//! The file of a gallery: a head, then every change behind the one before, each with a checksum.
//!
//! A change is synced to disk before it counts, so that a crash loses at most the one that nobody was told
//! of: what it left at the end of the file is cut off when the file is opened. When more than half is out of
//! date, the file is written anew beside the old one and renamed over it.
//!
//! Head: `UFOGAL1\n`, dimension (u32), model (32 bytes), CRC-32C of these. Change: kind (1 put, 2 remove),
//! length of the name (u16), name, for a put the row (f32 each), CRC-32C of these; all little endian.

use super::{Index, MAX_ID};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"UFOGAL1\n";
const HEAD: usize = 8 + 4 + 32 + 4;
/// Changes out of date that are always allowed.
const SLACK: usize = 1024;

/// What made the embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Numbers of an embedding.
    pub(crate) dim: usize,
    /// Hash of the model.
    pub(crate) model: [u8; 32],
}

/// A change of a gallery.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// An image under a name, in place of an earlier one of that name.
    Put { id: String, row: Vec<f32> },
    /// No image under the name.
    Remove { id: String },
}

/// The open file.
#[derive(Debug)]
pub(super) struct Journal {
    place: PathBuf,
    stamp: Stamp,
    file: File,
    /// Bytes that are sound.
    length: u64,
    /// Changes in the file.
    changes: usize,
    /// Changes in it when it could not be written anew for the last time.
    failed_at: usize,
    /// Whether the file's place in its folder is on disk.
    placed: bool,
    /// Whether the gallery of another model takes the file.
    pub(super) retired: bool,
}

fn said(place: &Path, reason: &(impl ToString + ?Sized)) -> Error {
    Error::File { place: place.display().to_string(), reason: reason.to_string() }
}

impl Journal {
    /// Opens or makes a file, and tells its changes in their order. One of another model that holds no image is made
    /// anew.
    ///
    /// # Errors
    /// A file with images of another model, or a damaged one.
    pub(super) fn open(place: &Path, stamp: Stamp, mut tell: impl FnMut(Change)) -> Result<Self> {
        if !place.exists() || holds_none_of_another(place, stamp)? {
            let anew = write_anew(place, stamp, std::iter::empty());
            anew.and_then(|_| sync_folder(place)).map_err(|error| said(place, &error))?;
        }
        let file = OpenOptions::new().read(true).write(true).open(place);
        let file = file.map_err(|error| said(place, &error))?;
        let total = file.metadata().map_err(|error| said(place, &error))?.len();
        let mut reader = BufReader::new(&file);
        let head = read_head(&mut reader).map_err(|reason| said(place, reason))?;
        check_head(&head, stamp).map_err(|reason| said(place, reason))?;
        let mut changes = 0;
        let told = |change| {
            changes += 1;
            tell(change);
        };
        let length = read_changes(&mut reader, stamp.dim, total, told);
        let length = length.map_err(|error| said(place, &error))?;
        let left = total - length;
        if left > largest(stamp.dim) {
            let reason = format!("damaged at byte {length}, with {left} bytes after it");
            return Err(said(place, &reason));
        }
        if left > 0 {
            tracing::warn!(file = %place.display(), bytes = left, "cutting off an unfinished change");
            file.set_len(length).map_err(|error| said(place, &error))?;
        }
        let place = place.to_path_buf();
        let (failed_at, placed, retired) = (0, true, false);
        Ok(Self { place, stamp, file, length, changes, failed_at, placed, retired })
    }

    /// Writes a change behind the others and syncs it.
    ///
    /// # Errors
    /// The disk; the file is as it was.
    pub(super) fn append(&mut self, change: &Change) -> std::io::Result<()> {
        if !self.placed {
            sync_folder(&self.place)?;
            self.placed = true;
        }
        let bytes = bytes_of(change);
        self.file.seek(SeekFrom::Start(self.length))?;
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What was written would be cut off at the next start, too.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.changes += 1;
        Ok(())
    }

    /// Writes the file anew when more than half of it is out of date. Where that fails the file is as it was, which
    /// is logged: it holds every change, and after some more the same is tried again.
    pub(super) fn compact_if_worth(&mut self, index: &Index) {
        let live = index.entries().len();
        if self.changes <= (2 * live).max(self.failed_at) + SLACK {
            return;
        }
        let put = |(id, row): (&String, &[f32])| Change::Put { id: id.clone(), row: row.to_vec() };
        match write_anew(&self.place, self.stamp, index.entries().map(put)) {
            Ok((file, length)) => {
                (self.file, self.length) = (file, length);
                (self.changes, self.failed_at) = (live, 0);
                // Otherwise a crash may bring the old file back, which later changes are not in: they wait for it.
                self.placed = sync_folder(&self.place).is_ok();
            }
            Err(error) => {
                tracing::warn!(file = %self.place.display(), %error, "writing a gallery anew");
                self.failed_at = self.changes;
            }
        }
    }
}

/// Whether a model may take a file: there is none, or it is the model's, or it holds no image.
///
/// # Errors
/// A file with images of another model, or a damaged one.
pub(super) fn check(place: &Path, stamp: Stamp) -> Result<()> {
    if !place.exists() || holds_none_of_another(place, stamp)? {
        return Ok(());
    }
    let mut file = File::open(place).map_err(|error| said(place, &error))?;
    let head = read_head(&mut file).map_err(|reason| said(place, reason))?;
    check_head(&head, stamp).map_err(|reason| said(place, reason))
}

/// Whether a file is sound, of another model, and holds no image.
fn holds_none_of_another(place: &Path, stamp: Stamp) -> Result<bool> {
    let looked = || -> std::io::Result<bool> {
        let file = File::open(place)?;
        let total = file.metadata()?.len();
        let mut reader = BufReader::new(file);
        let Ok(head) = read_head(&mut reader) else { return Ok(false) };
        if head == *head_of(stamp) {
            return Ok(false);
        }
        let dim = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        if 4 * dim as u64 > total {
            // No image fits, so that there is no change, either.
            return Ok(total == HEAD as u64);
        }
        let mut ids = BTreeSet::new();
        let length = read_changes(&mut reader, dim, total, |change| match change {
            Change::Put { id, .. } => drop(ids.insert(id)),
            Change::Remove { id } => drop(ids.remove(&id)),
        })?;
        Ok(ids.is_empty() && total - length <= largest(dim))
    };
    looked().map_err(|error| said(place, &error))
}

/// Bytes of the largest change.
fn largest(dim: usize) -> u64 {
    (1 + 2 + MAX_ID + 4 * dim + 4) as u64
}

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32c::crc32c(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

fn head_of(stamp: Stamp) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend((stamp.dim as u32).to_le_bytes());
    head.extend(stamp.model);
    with_checksum(head)
}

/// The head of a gallery of any model.
fn read_head(reader: &mut impl Read) -> Result<[u8; HEAD], &'static str> {
    let mut head = [0; HEAD];
    reader.read_exact(&mut head).map_err(|_| "not a gallery")?;
    if with_checksum(head[..HEAD - 4].to_vec()) != head || !head.starts_with(MAGIC) {
        return Err("not a gallery, or a damaged one");
    }
    Ok(head)
}

fn check_head(head: &[u8; HEAD], stamp: Stamp) -> Result<(), &'static str> {
    if head_of(stamp) != head {
        return Err("embeddings of another model: move the file away, or serve that model");
    }
    Ok(())
}

fn bytes_of(change: &Change) -> Vec<u8> {
    let (kind, id, row) = match change {
        Change::Put { id, row } => (1, id, row.as_slice()),
        Change::Remove { id } => (2, id, &[][..]),
    };
    let mut bytes = vec![kind];
    bytes.extend((id.len() as u16).to_le_bytes());
    bytes.extend(id.as_bytes());
    bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
    with_checksum(bytes)
}

/// Tells the changes behind a head, and where the sound ones end.
fn read_changes(
    reader: &mut impl Read,
    dim: usize,
    total: u64,
    mut tell: impl FnMut(Change),
) -> std::io::Result<u64> {
    let mut length = HEAD as u64;
    while length < total {
        match read_change(reader, dim)? {
            Some((change, bytes)) if length + bytes <= total => {
                tell(change);
                length += bytes;
            }
            _ => break,
        }
    }
    Ok(length)
}

/// The next change and its bytes; none where there is no whole and sound one.
fn read_change(reader: &mut impl Read, dim: usize) -> std::io::Result<Option<(Change, u64)>> {
    let mut bytes = vec![0; 3];
    if !filled(reader, &mut bytes)? {
        return Ok(None);
    }
    let id_len = usize::from(u16::from_le_bytes([bytes[1], bytes[2]]));
    let row_len = match bytes[0] {
        1 => 4 * dim,
        2 => 0,
        _ => return Ok(None),
    };
    if id_len > MAX_ID {
        return Ok(None);
    }
    bytes.resize(3 + id_len + row_len + 4, 0);
    if !filled(reader, &mut bytes[3..])? {
        return Ok(None);
    }
    let (content, _) = bytes.split_at(bytes.len() - 4);
    if with_checksum(content.to_vec()) != bytes {
        return Ok(None);
    }
    let Ok(id) = String::from_utf8(content[3..3 + id_len].to_vec()) else { return Ok(None) };
    let quads = content[3 + id_len..].chunks_exact(4);
    let row = quads.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let change = if bytes[0] == 1 { Change::Put { id, row } } else { Change::Remove { id } };
    Ok(Some((change, bytes.len() as u64)))
}

/// Whether there were enough bytes.
fn filled(reader: &mut impl Read, bytes: &mut [u8]) -> std::io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a file beside and renames it; the open file, which is at that place now, and its length.
fn write_anew(
    place: &Path,
    stamp: Stamp,
    changes: impl Iterator<Item = Change>,
) -> std::io::Result<(File, u64)> {
    let beside = tempfile::NamedTempFile::new_in(folder_of(place))?;
    let mut writer = BufWriter::new(beside);
    let head = head_of(stamp);
    let mut length = head.len() as u64;
    writer.write_all(&head)?;
    for change in changes {
        let bytes = bytes_of(&change);
        length += bytes.len() as u64;
        writer.write_all(&bytes)?;
    }
    let beside = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    beside.as_file().sync_all()?;
    Ok((beside.persist(place).map_err(|error| error.error)?, length))
}

fn folder_of(place: &Path) -> &Path {
    place.parent().unwrap_or(Path::new("."))
}

/// Puts a file's place in its folder on disk, too.
fn sync_folder(place: &Path) -> std::io::Result<()> {
    File::open(folder_of(place))?.sync_all()
}
