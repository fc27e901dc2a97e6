use super::*;
use crate::{Preset, hypervolume, macs, params};
use proptest::prelude::*;
use rand::{SeedableRng, rngs::ChaCha8Rng};

fn setting() -> (Arch, Space) {
    let arch = Preset::Demo.arch();
    let (heads, ffn) = (vec![1, 2, arch.heads], vec![arch.ffn / 4, arch.ffn / 2, arch.ffn]);
    let depths = vec![arch.depth - 2, arch.depth - 1, arch.depth];
    (arch.clone(), Space { depths, heads, ffn, ..Space::whole(&arch) })
}

/// Operations, and an error that falls with heads in early blocks and widths in late ones.
fn objectives(arch: &Arch, slice: &Slice) -> [f64; 2] {
    let late = |block: usize| block as f64 / arch.depth as f64;
    let gain = slice.blocks.iter().map(|kept| {
        (1.0 - late(kept.block)) * (kept.heads as f64).ln()
            + late(kept.block) * (kept.ffn as f64).ln()
    });
    [macs(arch, slice).total() as f64 / 1e6, -gain.sum::<f64>()]
}

fn run(evolution: &Evolution, most: u64, seed: u64) -> Result<Vec<Vec<Evaluated>>, Error> {
    let (arch, space) = setting();
    let search = Search {
        arch: &arch,
        space: &space,
        objectives: &|slices| Ok(slices.iter().map(|slice| objectives(&arch, slice)).collect()),
        allowed: &|slice| params(&arch, slice).total() <= most,
    };
    evolution.run(&search, &mut ChaCha8Rng::seed_from_u64(seed))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn fronts_are_allowed_not_dominated_and_never_worse(seed in 0_u64..1000, share in 0.6_f64..1.0) {
        let (arch, space) = setting();
        let most = (share * params(&arch, &Slice::full(&arch)).total() as f64) as u64;
        let evolution = Evolution { population: 20, generations: 8, ..Evolution::default() };
        let fronts = run(&evolution, most, seed).unwrap();
        prop_assert_eq!(fronts.len(), 9);
        let mut before = 0.0;
        for front in &fronts {
            let points: Vec<[f64; 2]> = front.iter().map(|one| one.objectives).collect();
            prop_assert_eq!(pareto_front(&points).unwrap().len(), points.len());
            for one in front {
                prop_assert!(params(&arch, &one.slice).total() <= most);
                prop_assert!(space.contains(&arch, &one.slice));
                let bits = |values: [f64; 2]| values.map(f64::to_bits);
                prop_assert_eq!(bits(objectives(&arch, &one.slice)), bits(one.objectives));
            }
            let volume = hypervolume(&points, [1e4, 0.0]).unwrap();
            prop_assert!(volume >= before);
            before = volume;
        }
    }
}

#[test]
fn beats_as_many_random_slices() {
    let (arch, space) = setting();
    let volume = |points: &[[f64; 2]]| {
        let worst = objectives(&arch, &space.largest(&arch))[0];
        hypervolume(points, [worst, objectives(&arch, &space.smallest(&arch))[1]]).unwrap()
    };
    let fronts = run(&Evolution::default(), u64::MAX, 3).unwrap();
    let last: Vec<[f64; 2]> = fronts[20].iter().map(|one| one.objectives).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let random: Vec<[f64; 2]> =
        (0..21 * 50).map(|_| objectives(&arch, &space.random(&arch, &mut rng))).collect();
    let (evolved, random) = (volume(&last), volume(&random));
    assert!(evolved > 1.05 * random, "{evolved} {random}");
}

#[test]
fn what_cannot_be_searched_is_named() {
    let error = |evolution: Evolution, most| run(&evolution, most, 1).unwrap_err().to_string();
    let none = "constraints = not satisfied: the smallest slice must satisfy the constraints";
    assert_eq!(error(Evolution::default(), 1), none);
    let one = Evolution { population: 1, ..Evolution::default() };
    assert_eq!(error(one, u64::MAX), "population = 1: must be at least 2");
    let rate = Evolution { gene_rate: 1.5, ..Evolution::default() };
    assert_eq!(error(rate, u64::MAX), "gene_rate = 1.5: must be 0 to 1");
}
