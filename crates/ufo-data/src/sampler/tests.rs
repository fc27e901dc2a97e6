use std::collections::HashSet;

use super::*;

const PAIRS: SamplerConfig = SamplerConfig::Identity { per_identity: 4 };

fn sampler(labels: &[u32], config: SamplerConfig, batch: usize, seed: u64, task: u64) -> Sampler {
    Sampler::new(labels.into(), config, batch, seed, task).unwrap()
}

/// 6 identities of 1, 3, 4, 9, 12 and 30 samples.
fn uneven() -> Vec<u32> {
    [(7, 1), (2, 3), (3, 4), (4, 9), (5, 12), (9, 30)]
        .iter()
        .flat_map(|&(label, count)| vec![label; count])
        .collect()
}

#[test]
fn shuffled_sees_every_sample_once_an_epoch() {
    let mut sampler = sampler(&[0; 10], SamplerConfig::Shuffled, 4, 1, 0);
    let seen: Vec<usize> = (0..10).flat_map(|step| sampler.batch(step)).collect();
    let epochs: Vec<&[usize]> = seen.chunks(10).collect();
    for epoch in &epochs {
        assert_eq!(epoch.iter().collect::<HashSet<_>>().len(), 10);
    }
    assert_ne!(epochs[0], epochs[1]);
}

#[test]
fn identity_gives_each_of_p_identities_k_samples() {
    let labels = uneven();
    let mut sampler = sampler(&labels, PAIRS, 12, 3, 0);
    let mut met = HashSet::new();
    for step in 0..200 {
        let batch = sampler.batch(step);
        let mut counts = BTreeMap::new();
        for &index in &batch {
            *counts.entry(labels[index]).or_insert(0) += 1;
        }
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [4, 4, 4]);
        // The samples of an identity stand together.
        for group in batch.chunks(4) {
            assert!(group.iter().all(|&index| labels[index] == labels[group[0]]));
            // Repeats only where there are fewer than 4.
            let distinct = group.iter().collect::<HashSet<_>>().len();
            let have = labels.iter().filter(|&&label| label == labels[group[0]]).count();
            assert!(distinct == 4 || have < 4);
        }
        met.extend(batch);
    }
    assert_eq!(met.len(), labels.len(), "every sample is met");
}

#[test]
fn identity_repeats_no_sample_within_an_epoch() {
    let labels: Vec<u32> = (0..6).flat_map(|label| vec![label; 8]).collect();
    // All identities are drawn in every batch, so an epoch is two batches of all 48 samples.
    let mut sampler = sampler(&labels, PAIRS, 24, 3, 0);
    for epoch in 0..4 {
        let mut seen = sampler.batch(2 * epoch);
        seen.extend(sampler.batch(2 * epoch + 1));
        seen.sort_unstable();
        assert_eq!(seen, (0..48).collect::<Vec<_>>());
    }
}

#[test]
fn a_batch_depends_on_seed_task_and_step_alone() {
    let labels = uneven();
    for config in [SamplerConfig::Shuffled, PAIRS] {
        let mut forward = sampler(&labels, config, 12, 5, 1);
        let batches: Vec<_> = (0..60).map(|step| forward.batch(step)).collect();
        for step in [59, 0, 31, 30] {
            let resumed = sampler(&labels, config, 12, 5, 1).batch(step);
            assert_eq!(resumed, batches[step as usize], "{config:?} resumed at {step}");
            assert_eq!(forward.batch(step), resumed, "{config:?} back to {step}");
        }
        assert_ne!(sampler(&labels, config, 12, 6, 1).batch(0), batches[0]);
        assert_ne!(sampler(&labels, config, 12, 5, 2).batch(0), batches[0]);
    }
}

#[test]
fn wrong_sizes_are_named() {
    let cases = [
        (PAIRS, 10, "batch is 10; allowed: a multiple of per_identity, 4"),
        (PAIRS, 28, "batch is 28; allowed: up to 24 for 6 identities"),
        (SamplerConfig::Identity { per_identity: 0 }, 8, "per_identity is 0"),
        (SamplerConfig::Shuffled, 0, "batch is 0"),
    ];
    for (config, batch, want) in cases {
        let error = Sampler::new(uneven().into(), config, batch, 0, 0).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    assert!(Sampler::new([].into(), PAIRS, 4, 0, 0).is_err());
}

#[test]
fn config_is_tagged_by_kind() {
    let config: SamplerConfig =
        serde_json::from_str(r#"{"kind":"identity","per_identity":4}"#).unwrap();
    assert_eq!(config, PAIRS);
    assert_eq!(serde_json::to_string(&SamplerConfig::Shuffled).unwrap(), r#"{"kind":"shuffled"}"#);
}
