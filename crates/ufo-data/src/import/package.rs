//! Reads files of an unpacked package, every size bounded.

use std::{
    fs::{self, File},
    io::{self, BufReader, Cursor, Read},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use image::{DynamicImage, ImageReader, Limits};

use super::{ImportError, Source};

/// More than any single plain file of the packages: an image or a list.
const FILE_LIMIT: u64 = 16 << 20;

/// An unpacked package.
pub(super) struct Package {
    source: Source,
    root: PathBuf,
}

impl Package {
    /// The folder of `source` below `packages`.
    pub(super) fn open(packages: &Path, source: Source) -> Result<Self, ImportError> {
        let root = packages.join(source.name());
        if root.is_dir() {
            Ok(Self { source, root })
        } else {
            Err(ImportError::Missing { path: root, package: source })
        }
    }

    /// The full path of a file of the package.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// A whole plain file, of 16 MiB at most.
    pub(super) fn read(&self, file: &str) -> Result<Vec<u8>, ImportError> {
        bounded(self.file(file)?, &self.path(file), FILE_LIMIT)
    }

    /// A whole gzip file, of `limit` bytes at most when unpacked.
    pub(super) fn gunzip(&self, file: &str, limit: u64) -> Result<Vec<u8>, ImportError> {
        bounded(self.gunzip_stream(file)?, &self.path(file), limit)
    }

    /// An image file and the image in it, of `side` pixels at most in each direction.
    pub(super) fn image(
        &self,
        file: &str,
        side: u32,
    ) -> Result<(Vec<u8>, DynamicImage), ImportError> {
        let bytes = self.read(file)?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(side);
        limits.max_image_height = Some(side);
        let mut reader = ImageReader::new(Cursor::new(&bytes[..]));
        reader.limits(limits);
        let image = reader
            .with_guessed_format()
            .map_err(image::ImageError::from)
            .and_then(ImageReader::decode)
            .map_err(|error| {
                let expected = format!("an image of at most {side}x{side} pixels");
                ImportError::format(&self.path(file), expected, &error)
            })?;
        Ok((bytes, image))
    }

    /// The unpacked bytes of a gzip file, one after another.
    pub(super) fn gunzip_stream(&self, file: &str) -> Result<impl Read, ImportError> {
        Ok(GzDecoder::new(BufReader::new(self.file(file)?)))
    }

    /// The names of a folder's entries, sorted.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<String>, ImportError> {
        let path = self.path(folder);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(|error| self.missing_or(&path, error))? {
            let name = entry.map_err(ImportError::io(&path))?.file_name();
            let name = name.into_string().map_err(|name| {
                ImportError::format(&path, "names in UTF-8", &name.to_string_lossy())
            })?;
            names.push(name);
        }
        names.sort_unstable();
        Ok(names)
    }

    fn file(&self, file: &str) -> Result<File, ImportError> {
        let path = self.path(file);
        File::open(&path).map_err(|error| self.missing_or(&path, error))
    }

    fn missing_or(&self, path: &Path, error: io::Error) -> ImportError {
        match error.kind() {
            io::ErrorKind::NotFound => {
                ImportError::Missing { path: path.to_owned(), package: self.source }
            }
            _ => ImportError::Io { path: path.to_owned(), error },
        }
    }
}

fn bounded(reader: impl Read, path: &Path, limit: u64) -> Result<Vec<u8>, ImportError> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes).map_err(ImportError::io(path))?;
    if bytes.len() as u64 > limit {
        return Err(ImportError::format(path, format!("at most {limit} bytes"), &"more"));
    }
    Ok(bytes)
}
