//! A list of images: columns `path`, `label` and optional `camera`.
//!
//! Labels are class names, sorted; when every one is an integer they are sorted as numbers.

use std::{fs::File, path::Path};

use csv::StringRecord;

use super::{Listing, Source, classes_of_integers};
use crate::Error;

const ALLOWED: &str = "path, label and optionally camera";

struct Row {
    line: u64,
    label: String,
}

pub(super) fn read(path: &Path) -> Result<Listing, Error> {
    let file = File::open(path).map_err(Error::io(path))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let wrong = |error: csv::Error| Error::layout(path, error.to_string());
    let columns = columns(path, reader.headers().map_err(wrong)?)?;
    let folder = path.parent().unwrap_or(Path::new(""));

    let (mut files, mut rows) = (Vec::new(), Vec::new());
    let mut cameras = columns.camera.map(|_| Vec::new());
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |at, column| match record.get(at) {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(value_error(path, line, column, "", "not empty")),
        };
        files.push(folder.join(field(columns.path, "path")?));
        rows.push(Row { line, label: field(columns.label, "label")?.to_owned() });
        if let (Some(cameras), Some(at)) = (&mut cameras, columns.camera) {
            let text = field(at, "camera")?;
            let camera = text.parse::<u32>();
            cameras.push(
                camera.map_err(|_| {
                    value_error(path, line, "camera", text, "an integer of 0 or more")
                })?,
            );
        }
    }
    let (labels, classes) = classes_of(&rows);
    let mut places = vec![String::new(); classes.len()];
    for (row, &label) in rows.iter().zip(&labels).rev() {
        places[label as usize] = format!("{}, line {}", path.display(), row.line);
    }
    Ok(Listing {
        source: Source::Files(files),
        labels,
        cameras,
        classes,
        places,
        masks: None,
        boxes: None,
    })
}

struct Columns {
    path: usize,
    label: usize,
    camera: Option<usize>,
}

fn columns(path: &Path, header: &StringRecord) -> Result<Columns, Error> {
    for (at, name) in header.iter().enumerate() {
        let repeated = header.iter().take(at).any(|other| other == name);
        if repeated || !["path", "label", "camera"].contains(&name) {
            return Err(value_error(path, 1, "column", name, ALLOWED));
        }
    }
    let find = |wanted| header.iter().position(|name| name == wanted);
    let missing = |wanted| {
        let reason = format!("line 1: no column {wanted}; allowed: {ALLOWED}");
        Error::layout(path, reason)
    };
    Ok(Columns {
        path: find("path").ok_or_else(|| missing("path"))?,
        label: find("label").ok_or_else(|| missing("label"))?,
        camera: find("camera"),
    })
}

fn classes_of(rows: &[Row]) -> (Vec<u32>, Vec<String>) {
    let integers: Result<Vec<i64>, _> = rows.iter().map(|row| row.label.parse()).collect();
    if let Ok(integers) = integers {
        let (labels, distinct) = classes_of_integers(&integers);
        return (labels, distinct.iter().map(i64::to_string).collect());
    }
    let mut classes: Vec<String> = rows.iter().map(|row| row.label.clone()).collect();
    classes.sort_unstable();
    classes.dedup();
    let position = |row: &Row| classes.partition_point(|class| *class < row.label) as u32;
    (rows.iter().map(position).collect(), classes)
}

fn value_error(path: &Path, line: u64, column: &'static str, value: &str, allowed: &str) -> Error {
    Error::Value {
        path: path.to_owned(),
        row: format!("line {line}"),
        column,
        value: format!("'{value}'"),
        allowed: allowed.to_owned(),
    }
}
