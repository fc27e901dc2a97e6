use super::*;
use crate::{Preset, hypervolume, macs, params};
use rand::{SeedableRng, rngs::ChaCha8Rng};

fn setting() -> Encoding {
    let arch = Preset::Demo.arch();
    let (heads, ffn) = (vec![1, 2, arch.heads], vec![arch.ffn / 4, arch.ffn / 2, arch.ffn]);
    let depths = vec![arch.depth - 2, arch.depth - 1, arch.depth];
    let space = Space { depths, heads, ffn, ..Space::whole(&arch) };
    Encoding { space, blocks: arch.depth, arch: Some(arch), coding: crate::Coding::default() }
}

/// An accuracy that saturates, and a latency of operations and blocks.
fn truth(encoding: &Encoding, slice: &Slice) -> (f64, f64) {
    let arch = encoding.arch.as_ref().unwrap();
    let gain = |kept: &crate::BlockSlice| {
        let late = kept.block as f64 / arch.depth as f64;
        (1.0 - late) * (kept.heads as f64).ln() + late * (kept.ffn as f64 / 64.0).ln()
    };
    let gain: f64 = slice.blocks.iter().map(gain).sum();
    let latency = 0.2 * slice.blocks.len() as f64 + macs(arch, slice).total() as f64 / 1e7;
    (0.9 - 0.4 * (-0.3 * gain).exp(), latency)
}

/// Measures a design, then proposals in fours up to `most`.
fn search(limits: Limits, most: usize, seed: u64) -> (Encoding, Explorer) {
    let encoding = setting();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut slices = design(&encoding, &limits, 16, &mut rng).unwrap();
    loop {
        let rows = |of: fn((f64, f64)) -> f64| -> Vec<(Slice, f64)> {
            slices.iter().map(|slice| (slice.clone(), of(truth(&encoding, slice)))).collect()
        };
        let explorer =
            Explorer::fit(&encoding, limits, &rows(|both| both.0), &rows(|both| both.1)).unwrap();
        if slices.len() >= most {
            return (encoding, explorer);
        }
        slices.extend(explorer.propose(4, &[], &mut rng).unwrap());
    }
}

fn random(encoding: &Encoding, count: usize) -> Vec<(f64, f64)> {
    let mut rng = ChaCha8Rng::seed_from_u64(77);
    let arch = encoding.arch.as_ref().unwrap();
    (0..count).map(|_| truth(encoding, &encoding.space.random(arch, &mut rng))).collect()
}

#[test]
fn within_a_latency_bound_few_measurements_beat_many_random_ones() {
    let limits = Limits { max_latency_ms: Some(3.0), ..Limits::default() };
    let (encoding, explorer) = search(limits, 40, 5);
    let kept = |one: &&Measured| limits.satisfied(one.accuracy, one.latency_ms);
    let found = explorer.measured().iter().filter(kept).map(|one| one.accuracy);
    let found = found.max_by(f64::total_cmp).unwrap();
    let pool = random(&encoding, 4000).into_iter().filter(|one| one.1 <= 3.0);
    let best = pool.map(|one| one.0).max_by(f64::total_cmp).unwrap();
    assert!(found > best - 1e-3, "{found} {best}");
}

#[test]
fn without_bounds_the_front_grows_beyond_that_of_random_ones() {
    let (encoding, explorer) = search(Limits::default(), 60, 6);
    let measured: Vec<[f64; 2]> =
        explorer.measured().iter().map(|one| [-one.accuracy, one.latency_ms]).collect();
    let many: Vec<[f64; 2]> = random(&encoding, 600).into_iter().map(|(a, l)| [-a, l]).collect();
    let worst = [-0.5, 12.0];
    let [ours, random] = [&measured, &many].map(|points| hypervolume(points, worst).unwrap());
    assert!(ours > random, "{ours} {random}");
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let front = explorer.front(&mut rng).unwrap();
    let guesses = explorer.guess(&front).unwrap();
    assert!(front.len() > 5 && guesses.is_sorted_by(|a, b| a.latency_ms[0] <= b.latency_ms[0]));
}

#[test]
fn the_fastest_slice_that_is_good_enough_is_found() {
    let limits = Limits { min_accuracy: Some(0.8), ..Limits::default() };
    let (encoding, explorer) = search(limits, 48, 7);
    let kept = |one: &&Measured| limits.satisfied(one.accuracy, one.latency_ms);
    let found = explorer.measured().iter().filter(kept).map(|one| one.latency_ms);
    let found = found.min_by(f64::total_cmp).unwrap();
    let pool = random(&encoding, 4000).into_iter().filter(|one| one.0 >= 0.8);
    let best = pool.map(|one| one.1).min_by(f64::total_cmp).unwrap();
    assert!(found < 1.02 * best, "{found} {best}");
}

#[test]
fn designs_are_affordable_distinct_and_begin_longer_ones() {
    let encoding = setting();
    let arch = encoding.arch.as_ref().unwrap();
    let least = params(arch, &encoding.space.smallest(arch)).total();
    let limits = Limits { max_params: Some(least + least / 4), ..Limits::default() };
    let make =
        |count| design(&encoding, &limits, count, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    let slices = make(30);
    assert_eq!(slices[..12], make(12));
    assert_eq!(slices.iter().collect::<HashSet<_>>().len(), 30);
    assert!(slices.iter().all(|slice| limits.affords(arch, slice)));
    assert_eq!(slices[0], encoding.space.smallest(arch));
    // Another seed looks elsewhere.
    let other = design(&encoding, &limits, 30, &mut ChaCha8Rng::seed_from_u64(2)).unwrap();
    assert_ne!(slices, other);
    let none = Limits { max_params: Some(1), ..Limits::default() };
    let error = design(&encoding, &none, 3, &mut ChaCha8Rng::seed_from_u64(1)).unwrap_err();
    assert!(error.to_string().contains(&format!("the smallest has {least}")), "{error}");
}

#[test]
fn a_design_of_a_thousand_has_a_thousand_and_a_small_space_ends() {
    let encoding = setting();
    let make = |encoding: &Encoding, count| {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        design(encoding, &Limits::default(), count, &mut rng).unwrap()
    };
    let slices = make(&encoding, 1000);
    assert_eq!(slices.iter().collect::<HashSet<_>>().len(), 1000);
    assert_eq!(slices[..30], make(&encoding, 30));
    assert_eq!(slices[..600], make(&encoding, 600));
    // One FFN width and two head counts in two blocks.
    let arch = encoding.arch.clone().unwrap();
    let (heads, ffn) = (vec![1, arch.heads], vec![arch.ffn]);
    let space = Space { depths: vec![2], heads, ffn, ..encoding.space.clone() };
    assert_eq!(make(&Encoding { space, ..encoding }, 1000).len(), 4);
}

#[test]
fn what_is_held_out_is_not_proposed() {
    let (_, explorer) = search(Limits::default(), 20, 4);
    let rng = || ChaCha8Rng::seed_from_u64(4);
    let first = explorer.propose(3, &[], &mut rng()).unwrap();
    let others = explorer.propose(3, &first, &mut rng()).unwrap();
    assert_eq!((first.len(), others.len()), (3, 3));
    assert!(others.iter().all(|slice| !first.contains(slice)));
}

#[test]
fn where_every_slice_is_as_good_the_fastest_is_proposed_and_believed() {
    let encoding = setting();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let slices = design(&encoding, &Limits::default(), 12, &mut rng).unwrap();
    let rows = |of: &dyn Fn(&Slice) -> f64| -> Vec<(Slice, f64)> {
        slices.iter().map(|slice| (slice.clone(), of(slice))).collect()
    };
    let (same, times) = (rows(&|_| 1.0), rows(&|slice| truth(&encoding, slice).1));
    let bound = Limits { max_latency_ms: Some(3.0), ..Limits::default() };
    for limits in [Limits::default(), bound] {
        let explorer = Explorer::fit(&encoding, limits, &same, &times).unwrap();
        let front = explorer.front(&mut rng).unwrap();
        assert_eq!(front, [encoding.space.smallest(encoding.arch.as_ref().unwrap())]);
        let guess = explorer.guess(&front).unwrap()[0];
        assert_eq!(guess.accuracy.map(f64::to_bits), [1.0, 0.0].map(f64::to_bits));
        assert_eq!(explorer.propose(3, &[], &mut rng).unwrap().len(), 3);
    }
    let error = Explorer::fit(&encoding, bound, &rows(&|_| f64::NAN), &times).unwrap_err();
    assert!(error.to_string().contains("NaN"), "{error}");
}
