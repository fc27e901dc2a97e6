//! ELPV: 2,624 electroluminescence images of solar cells, with the probability of a defect.
//!
//! The four probabilities 0, 1/3, 2/3, 1 become the classes `defect-0of3` to `defect-3of3`, whose
//! alphabetical order is that of the degree. The split is 80/20 of each class and cell type.

use std::path::Path;

use super::{
    ImportError, Package, Source, Split, Summary,
    distinct::{distinct, stratified},
    layout,
};

const FOLDER: &str = "elpv_dataset/data";
const LICENSE: &str = "elpv_dataset-1.0.0.post1.dist-info/licenses/LICENSE.md";
const CLASSES: [&str; 4] = ["defect-0of3", "defect-1of3", "defect-2of3", "defect-3of3"];
const TYPES: [&str; 2] = ["mono", "poly"];
const SIDE: u32 = 300;
const MOST_CELLS: usize = 10_000;

struct Cell {
    /// File name without folder.
    name: String,
    /// Class, then cell type: `class * 2 + type`.
    stratum: u32,
    png: Vec<u8>,
}

pub(super) fn convert(package: &Package, out: &Path) -> Result<Summary, ImportError> {
    let cells = cells(package)?;
    let found = distinct(cells.iter().map(|cell| (&cell.png[..], cell.stratum)));
    let kept: Vec<&Cell> = found.kept.iter().map(|&index| &cells[index]).collect();
    let images: Vec<(&[u8], u32)> = kept.iter().map(|cell| (&cell.png[..], cell.stratum)).collect();
    let (train, test) = stratified(&images);
    let mut splits = Vec::new();
    for (split, positions) in [("train", train), ("test", test)] {
        let mut seen = [false; CLASSES.len()];
        for &position in &positions {
            let cell = kept[position];
            let class = cell.stratum as usize / TYPES.len();
            seen[class] = true;
            let path = out.join(split).join(CLASSES[class]).join(&cell.name);
            layout::write_file(&path, &cell.png)?;
        }
        let labels = seen.into_iter().filter(|seen| *seen).count();
        splits.push(Split { name: split, images: positions.len(), labels });
    }
    layout::write_license(package, LICENSE, "", out)?;
    Ok(Summary {
        source: Source::Elpv,
        splits,
        classes: CLASSES.map(String::from).to_vec(),
        dropped: found.dropped,
    })
}

fn cells(package: &Package) -> Result<Vec<Cell>, ImportError> {
    let file = format!("{FOLDER}/labels.csv");
    let path = package.path(&file);
    let text = String::from_utf8(package.read(&file)?)
        .map_err(|error| ImportError::format(&path, "UTF-8", &error))?;
    let mut cells = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((name, stratum)) = parsed(line) else {
            let got = format!("'{line}' in line {}", index + 1);
            return Err(ImportError::format(&path, "'images/NAME.png PROBABILITY TYPE'", &got));
        };
        if index == MOST_CELLS {
            return Err(ImportError::format(&path, format!("at most {MOST_CELLS} lines"), &"more"));
        }
        let (png, _) = package.image(&format!("{FOLDER}/images/{name}"), SIDE)?;
        cells.push(Cell { name: name.to_owned(), stratum, png });
    }
    Ok(cells)
}

/// File name and stratum of a line; the columns are separated by spaces.
fn parsed(line: &str) -> Option<(&str, u32)> {
    let mut columns = line.split_whitespace();
    let name = columns.next()?.strip_prefix("images/")?;
    if !name.strip_suffix(".png")?.chars().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let probability: f64 = columns.next()?.parse().ok()?;
    let class = (0..4u32).find(|&class| (probability * 3.0 - f64::from(class)).abs() < 1e-6)?;
    let kind = columns.next()?;
    let kind = TYPES.iter().position(|&name| name == kind)? as u32;
    columns.next().is_none().then_some((name, class * 2 + kind))
}
