//! How long slices of a task's network take in the runtimes that serve them.

use crate::Onnx;
use crate::extract::{Entry, Probe, build, describe};
use anyhow::Result;
use cores::Threads;
use std::time::Instant;
use ufo_data::Preprocess;
use ufo_nas::{Slice, Timed};
use ufo_onnx::Graph;
use ufo_runtime::{Model, Precision};

mod cores;

/// Networks that are in memory at a time, and take turns.
const TOGETHER: usize = 16;
/// How much slower or faster a machine may become while it times: more is other programs' doing, and falls on some
/// networks alone.
pub const MOST_DRIFT: f64 = 2.0;
/// How often a few slices are timed at most.
pub const TRIES: usize = 3;
/// Turns before the first that counts.
const WARM_UP: usize = 3;
/// What a turn should take at least: a shorter one tells little.
const TURN_MS: f64 = 1.0;
/// Most runs of a turn that count.
const MOST_REPEATS: f64 = 64.0;

/// What runs a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `ufo-runtime`, as in `ufo predict`, with products in this precision.
    Ufo(Precision),
    /// The ONNX file in rten.
    Rten,
}

/// A task's network that slices are cut from.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// Task, path, and the images that run at a time.
    pub entry: &'a Entry<'a>,
    /// How images become inputs.
    pub preprocess: &'a Preprocess,
}

/// How times are taken.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The runtime.
    pub engine: Engine,
    /// Threads, at least 1.
    pub threads: usize,
    /// Turns of each network, at least 1: a run to warm up, and one, or as many as take a millisecond, that count.
    pub rounds: usize,
}

enum Runner {
    Ufo(Box<Model>),
    Rten(Box<Onnx>),
}

/// Times of slices.
#[derive(Debug, Clone)]
pub struct Times {
    /// Median milliseconds of the uncut network, at whose speed the others are given.
    pub whole_ms: f64,
    /// The slices', in their order.
    pub rows: Vec<Timed>,
    /// Whether the threads stayed on cores of their own; those of rten on as many as there are threads.
    pub pinned: bool,
}

/// Times each slice of `whole` in turns, so that what else the machine does falls on all alike; `done` is told how
/// many are finished. The uncut network runs among every few slices: where it takes longer than `whole_ms` (its
/// time among the first, if none), the machine is slower than it was, and their times are scaled by as much, up to
/// [`MOST_DRIFT`]: where threads wait for others' work, a few slices are timed up to [`TRIES`] times.
///
/// # Errors
/// When a slice does not fit the supernet.
pub fn time(
    whole: Whole<'_>,
    slices: &[Slice],
    timing: Timing,
    whole_ms: Option<f64>,
    mut done: impl FnMut(usize),
) -> Result<Times> {
    let threads = Threads::start(timing.threads)?;
    // Threads of rten's own are those of the cores that it is made on.
    let runner = |slice: &Slice| threads.make(|| whole.runner(slice, timing));
    let uncut = runner(&Slice::full(&whole.entry.supernet.arch))?;
    let (mut rows, mut known, mut runners) = (Vec::new(), whole_ms, vec![uncut]);
    for some in slices.chunks(TOGETHER) {
        for slice in some {
            runners.push(runner(slice)?);
        }
        let mut tries = 1;
        let (mut times, scale) = loop {
            let mut times = threads.pool.install(|| whole.turns(&runners, timing.rounds))?;
            let now = median(&mut times[0]);
            let (scale, plausible) = drift(*known.get_or_insert(now), now);
            if plausible || tries == TRIES {
                break (times, scale);
            }
            tries += 1;
        };
        runners.truncate(1);
        rows.extend(
            some.iter().zip(&mut times[1..]).map(|(slice, times)| summary(slice, times, scale)),
        );
        done(rows.len());
    }
    Ok(Times { whole_ms: known.unwrap_or(f64::NAN), rows, pinned: threads.pinned })
}

/// By how much times are scaled when the uncut network takes `now` and not `known`, and whether a machine may drift so
/// far.
fn drift(known: f64, now: f64) -> (f64, bool) {
    let scale = known / now;
    let kept = scale.clamp(1.0 / MOST_DRIFT, MOST_DRIFT);
    (kept, kept.to_bits() == scale.to_bits())
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

impl Whole<'_> {
    fn runner(&self, slice: &Slice, timing: Timing) -> Result<Runner> {
        let entries = [Entry { slice: slice.clone(), ..self.entry.clone() }];
        let described = describe(&entries, self.preprocess)?;
        let (graph, state) = build(&entries, &described, Graph::new("ufo"))?;
        Ok(match timing.engine {
            Engine::Ufo(precision) => {
                let from = slice.to_string();
                Runner::Ufo(Box::new(Model::new(described, &state, &from, precision)?))
            }
            Engine::Rten => Runner::Rten(Box::new(Onnx::new(graph.to_bytes()?, timing.threads)?)),
        })
    }

    /// Milliseconds a run in each round of each runner.
    fn turns(&self, runners: &[Runner], rounds: usize) -> Result<Vec<Vec<f64>>> {
        let Entry { name, probe: Probe { images, size }, .. } = self.entry;
        let run = |runner: &Runner, repeats: usize| -> Result<f64> {
            let mut started = Instant::now();
            for repeat in 0..=repeats {
                // The first one only brings the network into the caches.
                if repeat == 1 {
                    started = Instant::now();
                }
                let outputs = match runner {
                    Runner::Ufo(model) => model.outputs(0, images)?,
                    Runner::Rten(onnx) => onnx.outputs(name, images, *size)?,
                };
                std::hint::black_box(outputs);
            }
            Ok(started.elapsed().as_secs_f64() * 1e3 / repeats as f64)
        };
        let mut times = vec![Vec::new(); runners.len()];
        let mut repeats = vec![1; runners.len()];
        for round in 0..WARM_UP + rounds {
            // Another one begins each round.
            for place in 0..runners.len() {
                let index = (place + round) % runners.len();
                let time = run(&runners[index], repeats[index])?;
                if round >= WARM_UP {
                    times[index].push(time);
                } else {
                    let needed = (TURN_MS / time).ceil().clamp(1.0, MOST_REPEATS) as usize;
                    repeats[index] = needed.max(repeats[index]);
                }
            }
        }
        Ok(times)
    }
}

fn summary(slice: &Slice, times: &mut [f64], scale: f64) -> Timed {
    let median_ms = scale * median(times);
    let at = |share: f64| scale * times[(share * (times.len() - 1) as f64).round() as usize];
    Timed { slice: slice.clone(), median_ms, spread_ms: [at(0.1), at(0.9)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_starved_machine_does_not_make_networks_fast() {
        assert!((drift(0.2, 0.25).0 - 0.8).abs() < 1e-12);
        assert_eq!(drift(0.2, 0.1), (2.0, true));
        // A median of 40 ms for a network of 0.2 ms is waiting.
        assert_eq!(drift(0.2, 40.0), (0.5, false));
        assert_eq!(drift(0.2, 0.01), (2.0, false));
    }
}
