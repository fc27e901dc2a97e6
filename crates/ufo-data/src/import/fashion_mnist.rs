//! Fashion-MNIST (arXiv 1708.07747): the official splits, files renamed.

use std::path::Path;

use super::{Dropped, ImportError, Package, Source, Summary, layout};

const FOLDER: &str = "usr/share/datasets/fashion-mnist";
const LICENSE: &str = "usr/share/doc/dataset-fashion-mnist/copyright";
const SIDE: usize = 28;
const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

pub(super) fn convert(package: &Package, out: &Path) -> Result<Summary, ImportError> {
    let mut splits = Vec::new();
    for (split, prefix) in [("train", "train"), ("test", "t10k")] {
        let images = idx(package, &format!("{prefix}-images-idx3-ubyte.gz"), &[SIDE, SIDE])?;
        let labels = idx(package, &format!("{prefix}-labels-idx1-ubyte.gz"), &[])?;
        let images: Vec<&[u8]> = images.chunks_exact(SIDE * SIDE).collect();
        let path = package.path(&format!("{FOLDER}/{prefix}-labels-idx1-ubyte.gz"));
        if images.len() != labels.len() {
            return Err(ImportError::format(
                &path,
                format!("{} labels", images.len()),
                &labels.len(),
            ));
        }
        if let Some(label) = labels.iter().find(|&&label| usize::from(label) >= CLASSES.len()) {
            return Err(ImportError::format(&path, "labels 0 to 9", label));
        }
        splits.push(layout::write_gray(out, split, SIDE, &images, &labels)?);
    }
    layout::write_names(out, "classes.txt", &CLASSES)?;
    layout::write_license(package, LICENSE, "", out)?;
    Ok(Summary {
        source: Source::FashionMnist,
        splits,
        classes: CLASSES.map(String::from).to_vec(),
        dropped: Dropped::default(),
    })
}

/// The values of a u8 IDX file whose items have the shape `item`.
fn idx(package: &Package, name: &str, item: &[usize]) -> Result<Vec<u8>, ImportError> {
    let file = format!("{FOLDER}/{name}");
    let mut bytes = package.gunzip(&file, 64 << 20)?;
    let header = 8 + 4 * item.len();
    let count = bytes.get(4..8).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let mut expected = vec![0, 0, 0x08, 1 + item.len() as u8];
    expected.extend(count.to_be_bytes());
    expected.extend(item.iter().flat_map(|&dim| (dim as u32).to_be_bytes()));
    if bytes.get(..header) != Some(&expected[..]) {
        let got = format!("header {:02x?}", &bytes[..header.min(bytes.len())]);
        return Err(ImportError::format(
            &package.path(&file),
            format!("an IDX header of u8, items {item:?}"),
            &got,
        ));
    }
    let values = item.iter().product::<usize>() as u64 * u64::from(count);
    if (bytes.len() - header) as u64 != values {
        let got = bytes.len() - header;
        return Err(ImportError::format(&package.path(&file), format!("{values} values"), &got));
    }
    Ok(bytes.split_off(header))
}
