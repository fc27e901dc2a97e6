//! Which slices to measure: a first design that needs no measurement, then those of which the predictors of
//! accuracy and latency expect most (spec 6.5).
//!
//! Without bounds on latency and accuracy a slice is worth the expected growth of the volume that the front
//! of accuracy and log latency dominates; with them, the expected improvement over the best measured slice
//! within them times the probability that it keeps them.

use crate::{
    Arch, Encoding, Error, Evolution, Kernel, Limits, Predictor, Sampling, Search, Slice, Space,
    TaskSamples, Transform, choose, expected_hypervolume_improvement, expected_improvement,
    feasibility,
};
use rand::Rng;
use std::collections::HashSet;

/// Slices that a design is chosen from.
const POOL: usize = 400;
/// Random slices that are drawn at most for each that a longer design lacks.
const DRAWS: usize = 50;
/// Random slices that compete with evolved ones for the next measurements.
const RANDOM: usize = 200;

/// The first slices to measure: the smallest and the largest that the bounds afford, then of 400 random ones those
/// that tell most of the others under the covariance that is believed before any measurement. What a longer design
/// lacks is random. A design of fewer begins one of more; fewer than `count` are returned where the space ends.
///
/// # Errors
/// A space that does not fit, bounds that not even the smallest slice satisfies.
pub fn design(
    encoding: &Encoding,
    limits: &Limits,
    count: usize,
    rng: &mut impl Rng,
) -> Result<Vec<Slice>, Error> {
    let (arch, space) = (known_arch(encoding)?, &encoding.space);
    limits.validate(arch, space)?;
    let allowed = |slice: &Slice| limits.affords(arch, slice);
    let mut seen = HashSet::new();
    let mut pool = Vec::new();
    let largest = space.shrunk(arch, space.largest(arch), &allowed, rng);
    let ends = [Some(space.smallest(arch)), largest];
    let mut drawn = || {
        let slice = space.random(arch, rng);
        space.shrunk(arch, slice, &allowed, rng)
    };
    let random: Vec<Option<Slice>> = (0..POOL).map(|_| drawn()).collect();
    for slice in ends.into_iter().chain(random).flatten() {
        if seen.insert(slice.clone()) {
            pool.push(slice);
        }
    }
    let ends = 2.min(pool.len());
    let rest = pool.split_off(ends.min(count));
    let wanted = count.saturating_sub(pool.len()).min(rest.len());
    let kernel = Kernel::new(encoding.groups())?;
    let covariance = kernel.with_noise(&kernel.prior().mean, &encoding.matrix(&rest)?);
    let chosen = choose(Sampling::Information, &covariance, wanted)?;
    pool.extend(chosen.into_iter().map(|index| rest[index].clone()));
    for _ in 0..DRAWS * count.saturating_sub(pool.len()) {
        let Some(slice) = drawn().filter(|_| pool.len() < count) else { continue };
        if seen.insert(slice.clone()) {
            pool.push(slice);
        }
    }
    Ok(pool)
}

fn known_arch(encoding: &Encoding) -> Result<&Arch, Error> {
    let unknown = || Error::value("encoding.arch", "none", "must be given to search");
    encoding.arch.as_ref().ok_or_else(unknown)
}

/// What was measured of a slice.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Size.
    pub slice: Slice,
    /// The task's metric, a fraction, higher is better.
    pub accuracy: f64,
    /// Milliseconds of a batch.
    pub latency_ms: f64,
}

/// What is believed of a slice: means and standard deviations, noise excluded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guess {
    /// The task's metric, a fraction.
    pub accuracy: [f64; 2],
    /// Milliseconds of a batch.
    pub latency_ms: [f64; 2],
}

impl Guess {
    /// Accuracy turned around and log latency, both to be small, with deviations.
    fn objectives(&self) -> [[f64; 2]; 2] {
        let [accuracy, wide] = self.accuracy;
        let [latency, relative] =
            [self.latency_ms[0].ln(), self.latency_ms[1] / self.latency_ms[0]];
        [[-accuracy, latency], [wide, relative]]
    }
}

/// Predictors of accuracy and latency, and what they were told.
#[derive(Debug, Clone)]
pub struct Explorer {
    arch: Arch,
    space: Space,
    limits: Limits,
    accuracy: Believed,
    latency: Believed,
    measured: Vec<Measured>,
}

/// What is believed of one value of slices.
#[derive(Debug, Clone)]
enum Believed {
    /// As predicted.
    Learned(Box<Predictor>),
    /// What all measured slices have, as of a task that each of them solves.
    Same(f64),
}

impl Believed {
    fn fit(
        encoding: &Encoding,
        task: &str,
        transform: Transform,
        rows: &[(Slice, f64)],
    ) -> Result<Self, Error> {
        let (slices, values): (Vec<Slice>, Vec<f64>) = rows.iter().cloned().unzip();
        match values.first() {
            Some(&first)
                if first.is_finite()
                    && values.iter().all(|value| value.total_cmp(&first).is_eq()) =>
            {
                Ok(Self::Same(first))
            }
            _ => {
                let samples = TaskSamples { task: task.to_string(), transform, slices, values };
                Ok(Self::Learned(Box::new(Predictor::fit(encoding.clone(), vec![samples])?)))
            }
        }
    }

    /// Mean and standard deviation of each slice.
    fn of(&self, slices: &[Slice]) -> Result<Vec<[f64; 2]>, Error> {
        match self {
            Self::Learned(predictor) => {
                let told = predictor.predict(slices)?.remove(0);
                Ok(told.value.into_iter().zip(told.spread).map(|(value, s)| [value, s]).collect())
            }
            Self::Same(value) => Ok(vec![[*value, 0.0]; slices.len()]),
        }
    }
}

impl Explorer {
    /// Learns from slices whose accuracy was measured and from those whose latency was, which may be others. Where
    /// all have one accuracy, every slice is believed to have it, and only latency is left to improve.
    ///
    /// # Errors
    /// As [`Predictor::fit`].
    pub fn fit(
        encoding: &Encoding,
        limits: Limits,
        accuracies: &[(Slice, f64)],
        latencies: &[(Slice, f64)],
    ) -> Result<Self, Error> {
        let arch = known_arch(encoding)?.clone();
        let accuracy = Believed::fit(encoding, "accuracy", Transform::NormalScores, accuracies)?;
        let timed = latencies;
        let latency = Believed::fit(encoding, "latency_ms", Transform::Log, timed)?;
        let slices: Vec<Slice> = accuracies.iter().map(|(slice, _)| slice.clone()).collect();
        let predicted = latency.of(&slices)?;
        let measured = accuracies.iter().zip(predicted).map(|((slice, accuracy), predicted)| {
            let timed = timed.iter().find(|(other, _)| other == slice);
            let latency_ms = timed.map_or(predicted[0], |(_, latency)| *latency);
            Measured { slice: slice.clone(), accuracy: *accuracy, latency_ms }
        });
        let (space, measured) = (encoding.space.clone(), measured.collect());
        Ok(Self { arch, space, limits, accuracy, latency, measured })
    }

    /// The slices whose accuracy was measured; a latency that was not is the predicted one.
    pub fn measured(&self) -> &[Measured] {
        &self.measured
    }

    /// What is believed of each slice.
    ///
    /// # Errors
    /// A slice outside the space.
    pub fn guess(&self, slices: &[Slice]) -> Result<Vec<Guess>, Error> {
        let pairs = self.accuracy.of(slices)?.into_iter().zip(self.latency.of(slices)?);
        Ok(pairs.map(|(accuracy, latency_ms)| Guess { accuracy, latency_ms }).collect())
    }

    /// The slices that no other is predicted to beat in both accuracy and latency, by ascending latency; found
    /// by [`Evolution`] within the bounds on parameters and operations.
    ///
    /// # Errors
    /// Bounds that no slice satisfies.
    pub fn front(&self, rng: &mut impl Rng) -> Result<Vec<Slice>, Error> {
        let objectives = |slices: &[Slice]| -> Result<Vec<[f64; 2]>, Error> {
            let guesses = self.guess(slices)?;
            Ok(guesses.iter().map(|guess| [guess.latency_ms[0], -guess.accuracy[0]]).collect())
        };
        let search = Search {
            arch: &self.arch,
            space: &self.space,
            objectives: &objectives,
            allowed: &|slice| self.limits.affords(&self.arch, slice),
        };
        let fronts = Evolution::default().run(&search, rng)?;
        let last = fronts.into_iter().next_back().unwrap_or_default();
        Ok(last.into_iter().map(|one| one.slice).collect())
    }

    /// The `count` slices to measure next, none of which was and none of `without`; fewer where the space ends.
    ///
    /// # Errors
    /// As [`Explorer::front`].
    pub fn propose(
        &self,
        count: usize,
        without: &[Slice],
        rng: &mut impl Rng,
    ) -> Result<Vec<Slice>, Error> {
        let measured = self.measured.iter().map(|one| &one.slice);
        let mut seen: HashSet<Slice> = measured.chain(without).cloned().collect();
        let allowed = |slice: &Slice| self.limits.affords(&self.arch, slice);
        let mut candidates = self.front(rng)?;
        for _ in 0..RANDOM {
            let slice = self.space.random(&self.arch, rng);
            candidates.extend(self.space.shrunk(&self.arch, slice, &allowed, rng));
        }
        candidates.retain(|slice| seen.insert(slice.clone()));
        let mut guesses = self.guess(&candidates)?;
        let mut worth = Worth::new(&self.limits, &self.measured);
        let mut chosen = Vec::new();
        while chosen.len() < count && !candidates.is_empty() {
            let mut best = (0, f64::NEG_INFINITY);
            for (index, guess) in guesses.iter().enumerate() {
                let gain = worth.of(guess)?;
                if gain > best.1 {
                    best = (index, gain);
                }
            }
            chosen.push(candidates.swap_remove(best.0));
            // The rest is chosen as if this one turned out as predicted.
            let guess = guesses.swap_remove(best.0);
            worth.add(guess.accuracy[0], guess.latency_ms[0]);
        }
        Ok(chosen)
    }
}

/// What measuring a slice is expected to gain over what is known.
struct Worth {
    limits: Limits,
    /// Accuracy turned around and log latency of what is known.
    points: Vec<[f64; 2]>,
    /// The worst of each among what is measured.
    reference: [f64; 2],
}

impl Worth {
    fn new(limits: &Limits, measured: &[Measured]) -> Self {
        let point = |one: &Measured| [-one.accuracy, one.latency_ms.ln()];
        let points: Vec<[f64; 2]> = measured.iter().map(point).collect();
        let worst = |k: usize| points.iter().map(|p| p[k]).fold(f64::NEG_INFINITY, f64::max);
        let reference = [worst(0), worst(1)];
        Self { limits: *limits, points, reference }
    }

    fn add(&mut self, accuracy: f64, latency_ms: f64) {
        self.points.push([-accuracy, latency_ms.ln()]);
    }

    /// Best value of an objective within the bounds, if one keeps them.
    fn best(&self, objective: usize) -> Option<f64> {
        let kept = self.points.iter().filter(|p| self.limits.satisfied(-p[0], p[1].exp()));
        kept.map(|point| point[objective]).min_by(f64::total_cmp)
    }

    fn of(&self, guess: &Guess) -> Result<f64, Error> {
        let Limits { max_latency_ms, min_accuracy, .. } = self.limits;
        let [mean, deviation] = guess.objectives();
        if max_latency_ms.is_none() && min_accuracy.is_none() {
            let (points, reference) = (&self.points, self.reference);
            return expected_hypervolume_improvement(mean, deviation, points, reference);
        }
        let fast = max_latency_ms.map_or(1.0, |most| feasibility(mean[1], deviation[1], most.ln()));
        let good = min_accuracy.map_or(1.0, |least| feasibility(mean[0], deviation[0], -least));
        // With a bound on latency accuracy is to grow, with one on accuracy alone latency to fall.
        let goal = usize::from(max_latency_ms.is_none());
        let gain = self
            .best(goal)
            .map_or(1.0, |best| expected_improvement(-mean[goal], deviation[goal], -best));
        Ok(gain * fast * good)
    }
}

#[cfg(test)]
mod tests;
