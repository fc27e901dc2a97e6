//! Search of a space for the front of two objectives: NSGA-II (Deb et al., 2002).
//!
//! Parents are drawn by tournaments on rank and crowding; half of the children are mutated, half crossed
//! between parents of one depth, and of parents and children the best by rank, then crowding, live
//! on. Sizes and rates are those of `AutoFormer` (Chen et al., 2021; spec 6.5). Every slice that was
//! evaluated counts for the front that is returned, so that it only ever gets better.

use crate::{Arch, Error, Slice, Space, pareto_front};
use rand::{Rng, RngExt};
use std::collections::HashSet;

/// Draws of a slice that was not seen before a generation does without.
const TRIES: usize = 50;

/// Sizes and rates of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Evolution {
    /// Slices that live at a time, at least 2.
    pub population: usize,
    /// Generations after the first.
    pub generations: usize,
    /// Probability that a mutation draws the heads, and the FFN width, of a block anew.
    pub gene_rate: f64,
    /// Probability that it draws the depth anew.
    pub depth_rate: f64,
}

impl Default for Evolution {
    fn default() -> Self {
        Self { population: 50, generations: 20, gene_rate: 0.2, depth_rate: 0.4 }
    }
}

/// A slice and what it scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// Size.
    pub slice: Slice,
    /// Both objectives, lower is better.
    pub objectives: [f64; 2],
}

/// Both objectives of every slice, lower is better.
pub type Objectives<'a> = dyn Fn(&[Slice]) -> Result<Vec<[f64; 2]>, Error> + 'a;

/// What is searched.
pub struct Search<'a> {
    /// The largest network.
    pub arch: &'a Arch,
    /// The choices.
    pub space: &'a Space,
    /// Both objectives of every slice, lower is better.
    pub objectives: &'a Objectives<'a>,
    /// Whether a slice satisfies the constraints; one that does not is never evaluated. Where a slice does,
    /// smaller ones must.
    pub allowed: &'a dyn Fn(&Slice) -> bool,
}

impl Evolution {
    /// The front of all slices that were evaluated, by ascending first objective, after every generation.
    ///
    /// # Errors
    /// A field out of range, constraints that the smallest slice does not satisfy, objectives that are not one a slice or
    /// not finite, or those of the closure.
    pub fn run(&self, search: &Search, rng: &mut impl Rng) -> Result<Vec<Vec<Evaluated>>, Error> {
        self.validate()?;
        search.space.validate(search.arch)?;
        let mut seen = HashSet::new();
        let mut first = Vec::new();
        for _ in 0..self.population {
            let draw = |rng: &mut _| search.space.random(search.arch, rng);
            first.extend(fresh(search, &mut seen, rng, draw));
        }
        if first.is_empty() {
            let allowed = "the smallest slice must satisfy the constraints";
            return Err(Error::value("constraints", "not satisfied", allowed));
        }
        let mut living = evaluate(search, first)?;
        let mut fronts = vec![front(&living)?];
        for _ in 0..self.generations {
            let ranks = ranked(&living)?;
            let mut children = Vec::new();
            for child in 0..self.population {
                let make = |rng: &mut _| self.child(search, &living, &ranks, child % 2 == 0, rng);
                children.extend(fresh(search, &mut seen, rng, make));
            }
            let children = evaluate(search, children)?;
            let before = fronts.last().map_or(&[][..], Vec::as_slice);
            fronts.push(front(&before.iter().chain(&children).cloned().collect::<Vec<_>>())?);
            living.extend(children);
            living = self.survivors(&living)?;
        }
        Ok(fronts)
    }

    fn validate(&self) -> Result<(), Error> {
        if self.population < 2 {
            return Err(Error::value("population", self.population, "must be at least 2"));
        }
        for (key, rate) in [("gene_rate", self.gene_rate), ("depth_rate", self.depth_rate)] {
            if !(0.0..=1.0).contains(&rate) {
                return Err(Error::value(key, rate, "must be 0 to 1"));
            }
        }
        Ok(())
    }

    /// A mutation of a parent, or a crossing of two.
    #[allow(clippy::too_many_arguments, reason = "what a generation holds")]
    fn child(
        &self,
        search: &Search,
        living: &[Evaluated],
        ranks: &[(usize, f64)],
        mutate: bool,
        rng: &mut impl Rng,
    ) -> Slice {
        let mut parent = || {
            let [a, b] = [0, 1].map(|_| rng.random_range(0..living.len()));
            let first =
                ranks[a].0 < ranks[b].0 || (ranks[a].0 == ranks[b].0 && ranks[a].1 >= ranks[b].1);
            &living[if first { a } else { b }].slice
        };
        let (one, other) = (parent(), parent());
        if mutate || one.blocks.len() != other.blocks.len() {
            return self.mutated(search, one, rng);
        }
        let mut child = one.clone();
        for (kept, other) in child.blocks.iter_mut().zip(&other.blocks) {
            if rng.random_bool(0.5) {
                kept.heads = other.heads;
            }
            if rng.random_bool(0.5) {
                kept.ffn = other.ffn;
            }
        }
        child
    }

    /// A slice whose depth, heads and widths are the parent's or drawn anew.
    fn mutated(&self, search: &Search, parent: &Slice, rng: &mut impl Rng) -> Slice {
        let drawn = search.space.random(search.arch, rng);
        let mut child =
            if rng.random_bool(self.depth_rate) { drawn.clone() } else { parent.clone() };
        for kept in &mut child.blocks {
            let of = |slice: &Slice| slice.blocks.iter().find(|b| b.block == kept.block).copied();
            let (Some(old), new) = (of(parent), of(&drawn)) else { continue };
            // A block that the draw cuts takes the choices of the draw's first block.
            let new = new.unwrap_or(drawn.blocks[0]);
            let mut pick = |new, old| if rng.random_bool(self.gene_rate) { new } else { old };
            (kept.heads, kept.ffn) = (pick(new.heads, old.heads), pick(new.ffn, old.ffn));
        }
        child
    }

    fn survivors(&self, all: &[Evaluated]) -> Result<Vec<Evaluated>, Error> {
        let ranks = ranked(all)?;
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|&i, &j| {
            ranks[i].0.cmp(&ranks[j].0).then(ranks[j].1.total_cmp(&ranks[i].1)).then(i.cmp(&j))
        });
        order.truncate(self.population);
        Ok(order.into_iter().map(|i| all[i].clone()).collect())
    }
}

/// A slice that was not drawn before, made smaller step by step until it satisfies the constraints, if some
/// tries find one.
fn fresh<R: Rng>(
    search: &Search,
    seen: &mut HashSet<Slice>,
    rng: &mut R,
    draw: impl Fn(&mut R) -> Slice,
) -> Option<Slice> {
    let slice = (0..TRIES).find_map(|_| {
        let slice = search.space.shrunk(search.arch, draw(rng), search.allowed, rng)?;
        (!seen.contains(&slice)).then_some(slice)
    })?;
    seen.insert(slice.clone());
    Some(slice)
}

fn evaluate(search: &Search, slices: Vec<Slice>) -> Result<Vec<Evaluated>, Error> {
    if slices.is_empty() {
        return Ok(Vec::new());
    }
    let objectives = (search.objectives)(&slices)?;
    if objectives.len() != slices.len() {
        let allowed = format!("must be {}, one a slice", slices.len());
        return Err(Error::value("objectives", objectives.len(), allowed));
    }
    let pairs = slices.into_iter().zip(objectives);
    Ok(pairs.map(|(slice, objectives)| Evaluated { slice, objectives }).collect())
}

fn front(all: &[Evaluated]) -> Result<Vec<Evaluated>, Error> {
    let points: Vec<[f64; 2]> = all.iter().map(|one| one.objectives).collect();
    Ok(pareto_front(&points)?.into_iter().map(|i| all[i].clone()).collect())
}

/// Front of each, counted from 0, and its crowding distance: how far its neighbors on the front are apart
/// in both objectives, infinite at the ends.
fn ranked(all: &[Evaluated]) -> Result<Vec<(usize, f64)>, Error> {
    let mut ranks = vec![(0, 0.0); all.len()];
    let mut left: Vec<usize> = (0..all.len()).collect();
    for rank in 0.. {
        let points: Vec<[f64; 2]> = left.iter().map(|&i| all[i].objectives).collect();
        let front: Vec<usize> = pareto_front(&points)?.into_iter().map(|i| left[i]).collect();
        let (Some(&first), Some(&last)) = (front.first(), front.last()) else { break };
        let span = |k: usize| (all[last].objectives[k] - all[first].objectives[k]).abs();
        for (at, &i) in front.iter().enumerate() {
            let [before, after] = [at.checked_sub(1), Some(at + 1)]
                .map(|at| at.and_then(|at| front.get(at)).map(|&i| all[i].objectives));
            let crowding = before.zip(after).map_or(f64::INFINITY, |(before, after)| {
                (0..2).map(|k| (after[k] - before[k]).abs() / span(k)).sum()
            });
            ranks[i] = (rank, crowding);
        }
        left.retain(|i| !front.contains(i));
    }
    Ok(ranks)
}

#[cfg(test)]
mod tests;
