//! MNIST's IDX format: `0, 0, type, dimensions`, big-endian sizes, then the values; plain or gzip.

use super::{Parts, Source};
use crate::{Error, Image};
use flate2::read::GzDecoder;
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

const U8: u8 = 0x08;
const I32: u8 = 0x0C;
/// No IDX file of images is larger; a gzip bomb stops here.
const MOST_BYTES: u64 = 8 << 30;

/// Images of equal size in memory.
#[derive(Debug)]
pub(crate) struct Images {
    file: PathBuf,
    height: usize,
    width: usize,
    channels: usize,
    values: Vec<u8>,
}

impl Images {
    pub(super) fn name(&self, index: usize) -> String {
        format!("{}#{index}", self.file.display())
    }

    pub(super) fn image(&self, index: usize) -> Image {
        let size = self.height * self.width * self.channels;
        let values = &self.values[index * size..][..size];
        let rgb = match self.channels {
            1 => values.iter().flat_map(|&gray| [gray; 3]).collect(),
            _ => values.to_vec(),
        };
        Image { width: self.width, height: self.height, rgb }
    }
}

pub(super) fn read(path: &Path) -> Result<Parts, Error> {
    let images_file = find(path, "images")?
        .ok_or_else(|| Error::layout(path, "no `*images*` IDX file with this prefix"))?;
    let labels_file = find(path, "labels")?
        .ok_or_else(|| Error::layout(path, "no `*labels*` IDX file with this prefix"))?;
    let images = images(&images_file)?;
    let count = images.values.len() / (images.height * images.width * images.channels);
    let labels = integers(&labels_file, count)?;
    let cameras = find(path, "cameras")?.map(|file| integers(&file, count)).transpose()?;
    let folder = images_file.parent().unwrap_or(Path::new("."));
    let classes = classes(&folder.join("classes.txt"), &labels)?;
    if let Some(row) = labels.iter().position(|&label| label as usize >= classes.len()) {
        return Err(Error::Value {
            path: labels_file,
            row: format!("row {row}"),
            column: "label",
            value: labels[row].to_string(),
            allowed: format!("0 to {} (classes.txt)", classes.len() - 1),
        });
    }
    Ok(Parts { source: Source::Idx(Arc::new(images)), labels, cameras, classes })
}

/// The names of `classes.txt`, or the numbers up to the largest label.
fn classes(file: &Path, labels: &[u32]) -> Result<Vec<String>, Error> {
    if file.exists() {
        let text = fs::read_to_string(file).map_err(Error::io(file))?;
        return Ok(text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect());
    }
    let most = labels.iter().max().map_or(0, |&label| label as usize + 1);
    if most > 10_000_000 {
        return Err(Error::layout(file, format!("labels reach {most}; allowed: 10000000 classes")));
    }
    Ok((0..most).map(|label| label.to_string()).collect())
}

/// The file whose name starts with the prefix and `kind`, such as `train-images.idx.gz`.
fn find(prefix: &Path, kind: &str) -> Result<Option<PathBuf>, Error> {
    let (folder, start) = if prefix.is_dir() {
        (prefix, String::new())
    } else {
        let name = prefix.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (prefix.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")), name)
    };
    let listed = fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut found: Vec<PathBuf> = listed
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.strip_prefix(&start)
                .is_some_and(|rest| rest.trim_start_matches(['-', '_', '.']).starts_with(kind))
        })
        .collect();
    found.sort();
    Ok(found.into_iter().next())
}

fn images(file: &Path) -> Result<Images, Error> {
    let (kind, dims, values) = parse(file)?;
    let sizes = match *dims.as_slice() {
        [_, height, width] if kind == U8 => [height, width, 1],
        [_, height, width, channels @ (1 | 3)] if kind == U8 => [height, width, channels],
        _ => {
            let reason = format!(
                "type {kind:#04x} with sizes {dims:?}; allowed: u8 with sizes [n, height, width] or [n, height, width, 1 or 3]"
            );
            return Err(Error::layout(file, reason));
        }
    };
    if sizes.contains(&0) || dims[0] == 0 {
        return Err(Error::layout(file, format!("sizes {dims:?}; each must be at least 1")));
    }
    let [height, width, channels] = sizes;
    Ok(Images { file: file.to_path_buf(), height, width, channels, values })
}

fn integers(file: &Path, count: usize) -> Result<Vec<u32>, Error> {
    let (kind, dims, values) = parse(file)?;
    if dims != [count] {
        let reason = format!("sizes {dims:?}; there are {count} images, so [{count}] is needed");
        return Err(Error::layout(file, reason));
    }
    match kind {
        U8 => Ok(values.into_iter().map(u32::from).collect()),
        _ => values
            .chunks_exact(4)
            .enumerate()
            .map(|(row, b)| {
                let value = i32::from_be_bytes([b[0], b[1], b[2], b[3]]);
                u32::try_from(value).map_err(|_| Error::Value {
                    path: file.to_path_buf(),
                    row: format!("row {row}"),
                    column: "label",
                    value: value.to_string(),
                    allowed: "0 and above".to_owned(),
                })
            })
            .collect(),
    }
}

/// Type, sizes and value bytes; the sizes are checked against the bytes that are really there.
fn parse(file: &Path) -> Result<(u8, Vec<usize>, Vec<u8>), Error> {
    let opened = fs::File::open(file).map_err(Error::io(file))?;
    let gzip = file.extension().is_some_and(|extension| extension == "gz");
    let mut bytes = Vec::new();
    if gzip {
        GzDecoder::new(opened).take(MOST_BYTES).read_to_end(&mut bytes)
    } else {
        opened.take(MOST_BYTES).read_to_end(&mut bytes)
    }
    .map_err(Error::io(file))?;
    let header = |reason: String| Error::layout(file, format!("not an IDX file: {reason}"));
    let &[0, 0, kind @ (U8 | I32), rank @ 1..=4] = bytes.first_chunk().unwrap_or(&[1; 4]) else {
        return Err(header("it must start with 0, 0, 8 or 12, 1 to 4".to_owned()));
    };
    let start = 4 + 4 * rank as usize;
    let sizes = bytes.get(4..start).ok_or_else(|| header("the header is cut".to_owned()))?;
    let dims: Vec<usize> = sizes
        .chunks_exact(4)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize)
        .collect();
    let width = if kind == U8 { 1 } else { 4 };
    let needed = dims.iter().try_fold(width, |all: usize, &dim| all.checked_mul(dim));
    if needed != Some(bytes.len() - start) {
        let got = bytes.len() - start;
        return Err(header(format!("sizes {dims:?} do not fit its {got} bytes of values")));
    }
    bytes.drain(..start);
    Ok((kind, dims, bytes))
}

#[cfg(test)]
mod tests {
    use crate::{Dataset, Format};
    use std::fs;

    fn write(name: &str, bytes: &[u8], labels: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("{name}-images.idx")), bytes).unwrap();
        let mut idx = vec![0, 0, 8, 1, 0, 0, 0, labels.len() as u8];
        idx.extend(labels);
        fs::write(folder.path().join(format!("{name}-labels.idx")), idx).unwrap();
        let prefix = folder.path().join(name);
        (folder, prefix)
    }

    const TWO: [u8; 24] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn images_and_labels_are_read() {
        let (_folder, prefix) = write("train", &TWO, &[0, 1]);
        let dataset = Dataset::open(Format::Idx, &prefix).unwrap();
        assert_eq!(dataset.labels(), [0, 1]);
        assert_eq!(dataset.image(1).unwrap().rgb, [5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8]);
    }

    #[test]
    fn damaged_files_are_errors_that_name_the_file() {
        let mut huge = TWO;
        huge[4] = 255;
        let wrong_magic = [&[1, 0, 8, 3], &TWO[4..]].concat();
        for bytes in [&TWO[..20], &TWO[..3], &huge, &wrong_magic] {
            let (_folder, prefix) = write("train", bytes, &[0, 1]);
            let error = Dataset::open(Format::Idx, &prefix).unwrap_err().to_string();
            assert!(error.contains("train-images.idx"), "{error}");
        }
        let (folder, prefix) = write("train", &TWO, &[0, 7]);
        fs::write(folder.path().join("classes.txt"), "a\nb\n").unwrap();
        let error = Dataset::open(Format::Idx, &prefix).unwrap_err().to_string();
        assert!(error.contains("row 1") && error.contains('7'), "{error}");
    }
}
