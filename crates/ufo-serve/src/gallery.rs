//! Embeddings of images under names, and the nearest of them to another by cosine, exactly.

mod journal;

use crate::Result;
use journal::Journal;
pub(crate) use journal::{Change, Stamp};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};

/// Longest name of an image, in bytes.
pub(crate) const MAX_ID: usize = 256;

/// Named embeddings. A change is on disk before it is seen.
#[derive(Debug)]
pub(crate) struct Gallery {
    journal: Mutex<Journal>,
    index: RwLock<Index>,
    most: usize,
}

/// What is searched.
#[derive(Debug, Default)]
pub(crate) struct Index {
    dim: usize,
    ids: Vec<String>,
    /// `[n, dim]`, each of length 1.
    rows: Vec<f32>,
    places: BTreeMap<String, usize>,
}

/// Why a change was not made.
#[derive(Debug, PartialEq)]
pub(crate) enum Unchanged {
    /// The gallery has its most images.
    Full,
    /// There is no such name.
    Missing,
    /// An embedding that has no direction.
    NoDirection,
    /// Another model took the place of the gallery's.
    Retired,
    /// The disk.
    Disk(String),
}

/// A name and how similar it is: the cosine, -1 to 1.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct Match {
    pub(crate) id: String,
    pub(crate) similarity: f32,
}

impl Gallery {
    /// Opens or makes the file of a gallery of at most so many images; one of another model that holds none is made
    /// anew.
    ///
    /// # Errors
    /// A file with images of another model or dimension, a damaged one, or one that cannot be written.
    pub(crate) fn open(file: &Path, stamp: Stamp, most: usize) -> Result<Self> {
        let mut index = Index { dim: stamp.dim, ..Index::default() };
        let mut journal = Journal::open(file, stamp, |change| index.apply(change))?;
        journal.compact_if_worth(&index);
        Ok(Self { journal: Mutex::new(journal), index: RwLock::new(index), most })
    }

    /// Whether [`Self::open`] takes a file; changes nothing.
    ///
    /// # Errors
    /// As it says.
    pub(crate) fn check(file: &Path, stamp: Stamp) -> Result<()> {
        journal::check(file, stamp)
    }

    /// Takes no more images where it holds none, so that another model may take its file, and says whether that is so.
    pub(crate) fn retire(&self) -> bool {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.retired = self.len() == 0;
        journal.retired
    }

    /// Takes images again.
    pub(crate) fn go_on(&self) {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).retired = false;
    }

    /// Adds an image or replaces the one of that name, and says whether it replaced one.
    pub(crate) fn put(&self, id: &str, embedding: &[f32]) -> Result<bool, Unchanged> {
        let row = unit(embedding).ok_or(Unchanged::NoDirection)?;
        self.change(Change::Put { id: id.to_string(), row }, |index| {
            let replaces = index.places.contains_key(id);
            let full = !replaces && index.ids.len() >= self.most;
            if full { Err(Unchanged::Full) } else { Ok(replaces) }
        })
    }

    /// Removes an image.
    pub(crate) fn remove(&self, id: &str) -> Result<(), Unchanged> {
        self.change(Change::Remove { id: id.to_string() }, |index| {
            index.places.get(id).map(drop).ok_or(Unchanged::Missing)
        })
    }

    /// Changes wait for one another; searches go on until a change is on disk.
    fn change<T>(
        &self,
        change: Change,
        check: impl FnOnce(&Index) -> Result<T, Unchanged>,
    ) -> Result<T, Unchanged> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = self.read(check)?;
        if journal.retired {
            return Err(Unchanged::Retired);
        }
        journal.append(&change).map_err(|error| Unchanged::Disk(error.to_string()))?;
        self.index.write().unwrap_or_else(PoisonError::into_inner).apply(change);
        self.read(|index| journal.compact_if_worth(index));
        Ok(checked)
    }

    fn read<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Images.
    pub(crate) fn len(&self) -> usize {
        self.read(|index| index.ids.len())
    }

    /// Names in their order, those behind `after` only, at most `limit`.
    pub(crate) fn ids(&self, after: &str, limit: usize) -> Vec<String> {
        use std::ops::Bound::{Excluded, Unbounded};
        let range = (Excluded(after.to_string()), Unbounded);
        self.read(|index| index.places.range(range).take(limit).map(|(id, _)| id.clone()).collect())
    }

    /// The `top` most similar images, the best first, of equal ones the earlier name.
    pub(crate) fn search(&self, embedding: &[f32], top: usize) -> Result<Vec<Match>, Unchanged> {
        let query = unit(embedding).ok_or(Unchanged::NoDirection)?;
        Ok(self.read(|index| index.search(&query, top)))
    }
}

impl Index {
    /// Of rows with their names; one that has no direction is left out.
    pub(crate) fn of(dim: usize, rows: impl IntoIterator<Item = (String, Vec<f32>)>) -> Self {
        let mut index = Self { dim, ..Self::default() };
        for (id, row) in rows {
            if let Some(row) = unit(&row) {
                index.apply(Change::Put { id, row });
            }
        }
        index
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Put { id, row } => {
                if let Some(place) = self.places.get(&id) {
                    self.rows[place * self.dim..][..self.dim].copy_from_slice(&row);
                } else {
                    self.places.insert(id.clone(), self.ids.len());
                    self.ids.push(id);
                    self.rows.extend(row);
                }
            }
            Change::Remove { id } => {
                let Some(place) = self.places.remove(&id) else { return };
                // The last one takes its place.
                self.ids.swap_remove(place);
                let last = self.ids.len() * self.dim;
                self.rows.copy_within(last..last + self.dim, place * self.dim);
                self.rows.truncate(last);
                if let Some(moved) = self.ids.get(place) {
                    self.places.insert(moved.clone(), place);
                }
            }
        }
    }

    /// Names with their rows.
    fn entries(&self) -> impl ExactSizeIterator<Item = (&String, &[f32])> {
        self.ids.iter().zip(self.rows.chunks_exact(self.dim))
    }

    /// The `top` names whose rows are most similar to a query of length 1.
    pub(crate) fn search(&self, query: &[f32], top: usize) -> Vec<Match> {
        let mut found: Vec<(f32, &String)> =
            self.entries().map(|(id, row)| (dot(query, row), id)).collect();
        let order = |a: &(f32, &String), b: &(f32, &String)| b.0.total_cmp(&a.0).then(a.1.cmp(b.1));
        if top < found.len() {
            found.select_nth_unstable_by(top, order);
            found.truncate(top);
        }
        found.sort_unstable_by(order);
        let told = |(similarity, id): (f32, &String)| Match { id: id.clone(), similarity };
        found.into_iter().map(told).collect()
    }
}

/// The cosine of two embeddings, in either order the same; none where one has no direction.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> Option<f32> {
    Some(dot(&unit(a)?, &unit(b)?).clamp(-1.0, 1.0))
}

/// The embedding at length 1.
pub(crate) fn unit(embedding: &[f32]) -> Option<Vec<f32>> {
    let length = embedding.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    let some = length.is_finite() && length > 0.0;
    some.then(|| embedding.iter().map(|v| (f64::from(*v) / length) as f32).collect())
}

/// In eight sums, so that the compiler can use vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_8, b_8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a_8.remainder().iter().zip(b_8.remainder()).map(|(a, b)| a * b).sum::<f32>();
    let mut sums = [0.0_f32; 8];
    for (a, b) in a_8.zip(b_8) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests;
