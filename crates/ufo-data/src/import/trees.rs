//! Trees from the air: four images of forests in the United States with a box around each crown.
//!
//! The images of NEON (National Ecological Observatory Network) that deepforest carries, of 10 cm a pixel or so. Each is
//! split in space: its left two thirds train, the rest tests, so that no ground is in both. The training part is
//! cut into tiles of at most 384 pixels that share 128 with the next, the test part into tiles of at most 640
//! that share nothing. A tile has the boxes in it, cut at its border; one of which less than half is left is
//! marked as a region that does not count. All are of one class; `Alive` and `Dead` of one image are trees, too.

use std::path::Path;

use super::{ImportError, Package, Source, Split, Summary, layout};
use crate::{Annotation, Bounds, Image};

const FOLDER: &str = "deepforest/data";
const LICENSE: &str = "deepforest-2.1.0.dist-info/licenses/LICENSE";
const IMAGES: [&str; 4] = [
    "2019_YELL_2_528000_4978000_image_crop2",
    "2019_YELL_2_541000_4977000_image_crop",
    "OSBS_029",
    "SOAP_061",
];
const CLASSES: [&str; 1] = ["tree"];
const MOST: u32 = 4096;
/// Longest side of a tile, and what neighbors share.
const TILES: [(&str, usize, usize); 2] = [("train", 384, 128), ("test", 640, 0)];

pub(super) fn convert(package: &Package, out: &Path) -> Result<Summary, ImportError> {
    let mut splits = TILES.map(|(name, ..)| (name, Vec::new()));
    for name in IMAGES {
        let (_, image) = package.image(&format!("{FOLDER}/{name}.png"), MOST)?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let image = Image { width, height, rgb: image.into_rgb8().into_raw() };
        let boxes = boxes(package, &format!("{FOLDER}/{name}.xml"), [width, height])?;
        let border = 2 * width / 3;
        for ((split, rows), (_, side, shared)) in splits.iter_mut().zip(TILES) {
            let (from, to) = if *split == "train" { (0, border) } else { (border, width) };
            for [left, right] in parts([from, to], side, shared) {
                for [top, bottom] in parts([0, height], side, shared) {
                    let tile = cut(&image, [left, top], [right, bottom]);
                    let corners = [left, top, right, bottom].map(|v| v as f32);
                    let boxes = inside(&boxes, &Bounds::new(corners));
                    let file = format!("{name}-x{left}-y{top}.png");
                    layout::write_image(&out.join(*split).join("images").join(&file), &tile)?;
                    rows.push(layout::BoxedRow { file, size: [tile.width, tile.height], boxes });
                }
            }
        }
    }
    let mut told = Vec::new();
    for (name, rows) in &splits {
        layout::write_boxes(&out.join(name).join("boxes.json"), rows, &CLASSES)?;
        told.push(Split { name, images: rows.len(), labels: CLASSES.len() });
    }
    layout::write_license(package, LICENSE, "", out)?;
    Ok(Summary {
        source: Source::Trees,
        splits: told,
        classes: CLASSES.map(String::from).to_vec(),
        dropped: super::Dropped::default(),
    })
}

/// Equal parts of a side, none longer than `most`, each sharing about `shared` with the next.
fn parts([from, to]: [usize; 2], most: usize, shared: usize) -> Vec<[usize; 2]> {
    let length = to - from;
    let side = length.min(most);
    let count = if length > side { (length - shared).div_ceil(side - shared) } else { 1 };
    if shared == 0 {
        return (0..count)
            .map(|part| [part, part + 1].map(|edge| from + edge * length / count))
            .collect();
    }
    let last = length - side;
    (0..count)
        .map(|part| from + part * last / (count - 1).max(1))
        .map(|start| [start, start + side])
        .collect()
}

fn cut(image: &Image, [left, top]: [usize; 2], [right, bottom]: [usize; 2]) -> Image {
    let width = right - left;
    let line = |y: usize| &image.rgb[image.at(left, y)..][..3 * width];
    Image { width, height: bottom - top, rgb: (top..bottom).flat_map(line).copied().collect() }
}

/// What a tile has of the boxes, in its pixels.
fn inside(boxes: &[Bounds], tile: &Bounds) -> Vec<Annotation> {
    let cut = |bounds: &Bounds| {
        let area = bounds.area() as f32;
        let found = Annotation { bounds: *bounds, class: 0, crowd: false, area }.cut(tile)?;
        let bounds = found.bounds.mapped([1.0; 2], [-tile.left, -tile.top]);
        Some(Annotation { bounds, ..found })
    };
    boxes.iter().filter_map(cut).collect()
}

/// The boxes of a file in PASCAL VOC's XML, whose first pixel is 1 and whose last pixel is inside.
fn boxes(
    package: &Package,
    file: &str,
    [width, height]: [usize; 2],
) -> Result<Vec<Bounds>, ImportError> {
    let said = |got: &dyn std::fmt::Display| {
        let expected = format!("boxes within {width} x {height} pixels as PASCAL VOC has them");
        ImportError::format(&package.path(file), expected, got)
    };
    let bytes = package.read(file)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| said(&error))?;
    let objects = text.split("<object>").skip(1);
    let found = objects.map(|object| {
        let number = |tag: &str| {
            let (_, rest) = object.split_once(&format!("<{tag}>"))?;
            rest.split_once(&format!("</{tag}>"))?.0.trim().parse::<f32>().ok()
        };
        let [xmin, ymin, xmax, ymax] = ["xmin", "ymin", "xmax", "ymax"].map(number);
        let bounds = match [xmin, ymin, xmax, ymax] {
            [Some(xmin), Some(ymin), Some(xmax), Some(ymax)] => {
                Some(Bounds::new([xmin - 1.0, ymin - 1.0, xmax, ymax]))
            }
            _ => None,
        };
        let fits = |b: &Bounds| {
            b.left >= 0.0
                && b.top >= 0.0
                && b.left < b.right
                && b.top < b.bottom
                && b.right <= width as f32
                && b.bottom <= height as f32
        };
        bounds.filter(fits).ok_or_else(|| said(&object.trim()))
    });
    let found = found.collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() { Err(said(&"no object")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_side_with_what_they_share() {
        assert_eq!(parts([0, 400], 384, 128), [[0, 384], [16, 400]]);
        assert_eq!(parts([0, 266], 384, 128), [[0, 266]]);
        let many = parts([0, 1532], 384, 128);
        assert_eq!((many[0], many[many.len() - 1]), ([0, 384], [1148, 1532]));
        assert!(many.windows(2).all(|pair| pair[0][1] >= pair[1][0] + 128), "{many:?}");
        // Tiles of the test part meet.
        assert_eq!(parts([1532, 2299], 640, 0), [[1532, 1915], [1915, 2299]]);
        assert_eq!(parts([0, 400], 640, 0), [[0, 400]]);
    }
}
