//! Retrieval: Recall@K by cosine similarity (spec 4.5; SOP within one set, In-Shop with a gallery).

use crate::{Error, Metric, products, rows};
use serde::{Deserialize, Serialize};

/// Features with their classes.
#[derive(Debug, Clone, Copy)]
pub struct Labeled<'a> {
    /// Features, `[n, dim]`.
    pub features: &'a [f32],
    /// Classes, `[n]`.
    pub labels: &'a [u32],
}

/// Result of [`retrieval`] and [`retrieval_within`]; rates are fractions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retrieval {
    /// Queries judged, all of them.
    pub queries: usize,
    /// Queries whose class has no image to be found; they count as misses.
    pub without_match: usize,
    /// The K asked for.
    pub ks: Vec<usize>,
    /// Share of queries with an image of their class among the K most similar, one entry a K.
    pub recall: Vec<f64>,
}

impl Retrieval {
    /// The scalar metrics by name, `recall@K`.
    pub fn metrics(&self) -> Vec<Metric> {
        let metric = |(k, &recall): (&usize, &f64)| Metric::new(format!("recall@{k}"), recall);
        self.ks.iter().zip(&self.recall).map(metric).collect()
    }
}

/// Recall@K of `query` in a separate `gallery`; features are `dim` wide. At equal similarity an image
/// of another class comes first, so that the order of the gallery does not count.
///
/// # Errors
/// Lengths that do not fit, a feature beyond 1e12 or not a number, no `ks` or a K of 0.
pub fn retrieval(
    query: &Labeled<'_>,
    gallery: &Labeled<'_>,
    dim: usize,
    ks: &[usize],
) -> Result<Retrieval, Error> {
    check("query.features", "query.labels", query, dim)?;
    check("gallery.features", "gallery.labels", gallery, dim)?;
    check_ks(ks)?;
    let [from, to] = [query, gallery].map(|side| rows::normalized(side.features, dim));
    let ahead = products::map_queries(&from, &to, dim, |row, similarities| {
        ahead_of_match(similarities, gallery.labels, query.labels[row], None)
    });
    Ok(summarize(&ahead, ks))
}

/// Recall@K within one set: every image is a query and the others are its gallery. The query itself
/// is left out by its index, so an image stored twice is found rather than mistaken for the query.
///
/// # Errors
/// As [`retrieval`].
pub fn retrieval_within(set: &Labeled<'_>, dim: usize, ks: &[usize]) -> Result<Retrieval, Error> {
    check("features", "labels", set, dim)?;
    check_ks(ks)?;
    let unit = rows::normalized(set.features, dim);
    let ahead = products::map_queries(&unit, &unit, dim, |row, similarities| {
        ahead_of_match(similarities, set.labels, set.labels[row], Some(row))
    });
    Ok(summarize(&ahead, ks))
}

/// Images of other classes ranked before the first image of class `label`; none if there is none.
fn ahead_of_match(
    similarities: &[f32],
    labels: &[u32],
    label: u32,
    left_out: Option<usize>,
) -> Option<usize> {
    let others = || similarities.iter().zip(labels).enumerate();
    let matches =
        others().filter(|(index, (_, other))| **other == label && Some(*index) != left_out);
    let best = matches.map(|(_, (&similarity, _))| similarity).max_by(f32::total_cmp)?;
    Some(
        others()
            .filter(|(_, (similarity, other))| **other != label && **similarity >= best)
            .count(),
    )
}

fn summarize(ahead: &[Option<usize>], ks: &[usize]) -> Retrieval {
    let found = |&k: &usize| ahead.iter().flatten().filter(|&&ahead| ahead < k).count();
    Retrieval {
        queries: ahead.len(),
        without_match: ahead.iter().filter(|ahead| ahead.is_none()).count(),
        ks: ks.to_vec(),
        recall: ks.iter().map(|k| found(k) as f64 / ahead.len() as f64).collect(),
    }
}

fn check(
    features: &'static str,
    labels: &'static str,
    side: &Labeled<'_>,
    dim: usize,
) -> Result<(), Error> {
    let rows = rows::count(features, side.features, dim)?;
    rows::same_length(labels, rows, side.labels.len())
}

pub(crate) fn check_ks(ks: &[usize]) -> Result<(), Error> {
    if ks.is_empty() || ks.contains(&0) {
        let allowed = "must hold at least one K, each at least 1";
        return Err(Error::value("ks", format!("{ks:?}"), allowed));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
