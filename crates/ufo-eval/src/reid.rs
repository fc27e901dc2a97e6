//! Re-identification: CMC, mAP and mINP with the camera filter (spec 4.3).
//!
//! For every query the gallery is sorted by distance, less the images of the query's identity seen
//! by the query's camera. AP is the mean over matches of the precision at their rank, INP the number
//! of matches over the rank of the last (Ye et al., arXiv 2001.04193).

use crate::{Error, Metric, products, rows};
use serde::{Deserialize, Serialize};

/// How features are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distance {
    /// `1 - cos`.
    #[default]
    Cosine,
    /// Squared Euclidean, which ranks as the Euclidean does.
    Euclidean,
}

/// Images with who is seen and by which camera.
#[derive(Debug, Clone, Copy)]
pub struct Sightings<'a> {
    /// Features, `[n, dim]`.
    pub features: &'a [f32],
    /// Identities, `[n]`.
    pub ids: &'a [u32],
    /// Cameras, `[n]`; give every image its own for no filter.
    pub cameras: &'a [u32],
}

/// Result of [`reid`]; rates are fractions, means are over the queries judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReId {
    /// Queries judged.
    pub queries: usize,
    /// Queries skipped because the filtered gallery has no match.
    pub skipped: usize,
    /// Mean average precision.
    pub mean_ap: f64,
    /// Mean inverse negative penalty.
    pub mean_inp: f64,
    /// `cmc[k - 1]` is the share of queries with a match in the first k.
    pub cmc: Vec<f64>,
}

impl ReId {
    /// Share of queries with a match in the first `k`, `k >= 1`; the longest rank kept if beyond it.
    pub fn rank(&self, k: usize) -> f64 {
        self.cmc[k.min(self.cmc.len()).saturating_sub(1)]
    }

    /// The original's headline, the mean of mAP and Rank-1.
    pub fn map_rank1(&self) -> f64 {
        f64::midpoint(self.mean_ap, self.rank(1))
    }

    /// The scalar metrics by name.
    pub fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new("map_rank1", self.map_rank1()),
            Metric::new("map", self.mean_ap),
            Metric::new("minp", self.mean_inp),
            Metric::new("rank1", self.rank(1)),
            Metric::new("rank5", self.rank(5)),
            Metric::new("rank10", self.rank(10)),
        ]
    }
}

/// Judges `query` against `gallery`, whose features are `dim` wide; the CMC goes to rank `most_rank`
/// or the gallery's size. At equal distance a wrong image comes before a match, so that the order of
/// the gallery does not count.
///
/// # Errors
/// Lengths that do not fit, a feature beyond 1e12 or not a number, `most_rank` 0, no query with a match.
pub fn reid(
    query: &Sightings<'_>,
    gallery: &Sightings<'_>,
    dim: usize,
    distance: Distance,
    most_rank: usize,
) -> Result<ReId, Error> {
    check(QUERY, query, dim)?;
    check(GALLERY, gallery, dim)?;
    if most_rank == 0 {
        return Err(Error::value("most_rank", 0, "must be at least 1"));
    }
    let [from, to] = match distance {
        Distance::Cosine => [query, gallery].map(|side| rows::normalized(side.features, dim)),
        Distance::Euclidean => [query, gallery].map(|side| side.features.to_vec()),
    };
    let norms: Vec<f64> = to.chunks_exact(dim).map(rows::squared_norm).collect();
    let judged = products::map_queries(&from, &to, dim, |row, products| {
        // The query's own norm is the same for all and does not change their order.
        let far = |g: usize| match distance {
            Distance::Cosine => 1.0 - f64::from(products[g]),
            Distance::Euclidean => norms[g] - 2.0 * f64::from(products[g]),
        };
        let same = |g: usize| gallery.ids[g] == query.ids[row];
        let kept = |g: &usize| !(same(*g) && gallery.cameras[*g] == query.cameras[row]);
        let seen = (0..norms.len()).filter(kept).map(|g| (far(g), same(g)));
        Ranking::new(seen.collect())
    });
    summarize(&judged, most_rank.min(norms.len()))
}

fn summarize(judged: &[Option<Ranking>], ranks: usize) -> Result<ReId, Error> {
    let rankings: Vec<&Ranking> = judged.iter().flatten().collect();
    if rankings.is_empty() {
        let reason = "no query has a match in the gallery after the camera filter";
        return Err(Error::Undefined { metric: "mAP", reason });
    }
    let mean = |value: &dyn Fn(&Ranking) -> f64| {
        rankings.iter().map(|ranking| value(ranking)).sum::<f64>() / rankings.len() as f64
    };
    let cmc = (1..=ranks).map(|k| mean(&|ranking| f64::from(ranking.first <= k)));
    Ok(ReId {
        queries: rankings.len(),
        skipped: judged.len() - rankings.len(),
        mean_ap: mean(&|ranking| ranking.ap),
        mean_inp: mean(&|ranking| ranking.inp),
        cmc: cmc.collect(),
    })
}

/// One query's ranking.
#[derive(Debug, PartialEq)]
struct Ranking {
    /// Rank of the first match, from 1.
    first: usize,
    ap: f64,
    inp: f64,
}

impl Ranking {
    /// Sorts `(distance, is a match)`; none without a match.
    fn new(mut seen: Vec<(f64, bool)>) -> Option<Self> {
        seen.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let matches = seen.iter().enumerate().filter(|(_, seen)| seen.1);
        let ranks: Vec<usize> = matches.map(|(place, _)| place + 1).collect();
        let (first, last) = (*ranks.first()?, *ranks.last()?);
        let precisions =
            ranks.iter().enumerate().map(|(hit, &rank)| (hit + 1) as f64 / rank as f64);
        let count = ranks.len() as f64;
        Some(Self { first, ap: precisions.sum::<f64>() / count, inp: count / last as f64 })
    }
}

const QUERY: [&str; 3] = ["query.features", "query.ids", "query.cameras"];
const GALLERY: [&str; 3] = ["gallery.features", "gallery.ids", "gallery.cameras"];

fn check(names: [&'static str; 3], side: &Sightings<'_>, dim: usize) -> Result<(), Error> {
    let rows = rows::count(names[0], side.features, dim)?;
    rows::same_length(names[1], rows, side.ids.len())?;
    rows::same_length(names[2], rows, side.cameras.len())
}

#[cfg(test)]
mod tests;
