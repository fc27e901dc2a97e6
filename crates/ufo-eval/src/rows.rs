//! Checks and normalization of row-major features.

use crate::Error;

/// Largest size of a feature; products of two rows stay finite in single precision.
const LARGEST: f32 = 1e12;

/// Number of rows of width `dim`; an error unless `values` divides into at least one row of numbers.
pub(crate) fn count(what: &'static str, values: &[f32], dim: usize) -> Result<usize, Error> {
    if dim == 0 {
        return Err(Error::value("dim", 0, "must be at least 1"));
    }
    let rows = values.len() / dim;
    if rows == 0 || !values.len().is_multiple_of(dim) {
        return Err(Error::Length { what, expected: rows.max(1) * dim, got: values.len() });
    }
    match values.iter().position(|value| value.is_nan() || value.abs() > LARGEST) {
        Some(index) => Err(Error::Number {
            what,
            row: index / dim,
            got: values[index].into(),
            allowed: "-1e12 to 1e12",
        }),
        None => Ok(rows),
    }
}

/// An error unless `got` equals `expected`.
pub(crate) fn same_length(what: &'static str, expected: usize, got: usize) -> Result<(), Error> {
    if expected == got { Ok(()) } else { Err(Error::Length { what, expected, got }) }
}

/// Every row divided by its length; a zero row stays zero.
pub(crate) fn normalized(values: &[f32], dim: usize) -> Vec<f32> {
    let unit = |row: &[f32]| {
        let norm = squared_norm(row).sqrt();
        let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        row.iter().map(|&value| (f64::from(value) * scale) as f32).collect::<Vec<_>>()
    };
    values.chunks_exact(dim).flat_map(unit).collect()
}

/// Sum of squares.
pub(crate) fn squared_norm(row: &[f32]) -> f64 {
    row.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

/// Squared Euclidean distance.
pub(crate) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |(&a, &b): (&f32, &f32)| {
        let difference = f64::from(a) - f64::from(b);
        difference * difference
    };
    a.iter().zip(b).map(square).sum()
}
