//! A search judged on slices that it never saw: `held-out.json`.

use super::cross::Foretold;
use super::lab::Lab;
use super::{Plan, bar};
use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use ufo_nas::{Explorer, Limits, Slice};
use ufo_train::write_atomic;

/// Numbers of samples that predictions are made from, and all.
const SAMPLES: [usize; 4] = [25, 50, 100, 200];
/// Bounds on latency, as quantiles of the held-out slices' latencies, that a slice is chosen under.
const BOUNDS: [f64; 4] = [0.25, 0.5, 0.75, 1.0];

/// What `held-out.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeldOut {
    /// Predictions from more and more samples.
    pub(crate) predictions: Vec<Foretold>,
    /// Choices under bounds on latency, from the most samples.
    pub(crate) choices: Vec<Regret>,
}

/// Choices beside the best held-out slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Regret {
    /// Bound on the measured latency.
    pub(crate) max_latency_ms: f64,
    /// Measured accuracy of the search's sample of which its predictors believe most within it; none where no
    /// sample is so fast.
    pub(crate) searched: Option<f64>,
    /// Measured accuracy of the held-out slice that is predicted to be best within it.
    pub(crate) foretold: f64,
    /// The best measured accuracy of a held-out slice within it.
    pub(crate) best: f64,
}

/// The slices that were held out, which nothing may be learned of.
pub(super) fn slices(lab: &Lab) -> Result<Vec<Slice>> {
    Ok(lab.held_out()?.into_iter().map(|(slice, _)| slice).collect())
}

/// Measures random slices where more are asked for, and predicts all that were held out of these weights; none
/// where there are none.
pub(super) fn judge(lab: &mut Lab, plan: &Plan) -> Result<Option<HeldOut>> {
    let (encoding, seen) = (lab.run().encoding(), lab.accuracies()?);
    if plan.held_out > 0 {
        measure(lab, plan, &seen)?;
    }
    let truth = unseen(lab, &seen)?;
    if truth.is_empty() {
        return Ok(None);
    }
    let slices: Vec<Slice> = truth.iter().map(|(slice, _)| slice.clone()).collect();
    let latencies = lab.latencies();
    let mut counts: Vec<usize> = SAMPLES.into_iter().filter(|&n| n < seen.len()).collect();
    counts.push(seen.len());
    let (mut predictions, mut choices) = (Vec::new(), Vec::new());
    for count in counts {
        let times = &latencies[..count.min(latencies.len())];
        let explorer = Explorer::fit(&encoding, Limits::default(), &seen[..count], times)?;
        let guesses = explorer.guess(&slices)?;
        let pairs =
            guesses.iter().zip(&truth).map(|(guess, (_, value))| [guess.accuracy[0], *value]);
        let timed = guesses.iter().zip(&slices);
        let timed =
            timed.filter_map(|(guess, slice)| Some([guess.latency_ms[0], lab.latency(slice)?]));
        predictions.push(Foretold::new(count, pairs.collect(), timed.collect()));
        let predicted: Vec<f64> = guesses.iter().map(|guess| guess.accuracy[0]).collect();
        choices = regrets(&predicted, &truth, &explorer, lab)?;
    }
    let all = HeldOut { predictions, choices };
    write_atomic(&plan.out.join("held-out.json"), &serde_json::to_vec_pretty(&all)?)?;
    say(&all);
    Ok(Some(all))
}

/// Adds random slices to those held out, none of them learned from, and times all.
fn measure(lab: &mut Lab, plan: &Plan, seen: &[(Slice, f64)]) -> Result<()> {
    let (arch, space) = (&lab.run().supernet.arch, lab.run().space());
    // Drawn from another stream than the search's.
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed ^ 0x6865_6c64);
    let known = slices(lab)?;
    let mut slices: Vec<Slice> = known.into_iter().filter(|slice| !learned(slice, seen)).collect();
    for _ in 0..50 * plan.held_out {
        let slice = space.random(arch, &mut rng);
        if slices.len() < plan.held_out && !slices.contains(&slice) && !learned(&slice, seen) {
            slices.push(slice);
        }
    }
    let bar = bar(slices.len());
    lab.time(&slices)?;
    lab.hold_out(&slices, |count| bar.set_position(count as u64))?;
    bar.finish_and_clear();
    let done = unseen(lab, seen)?.len();
    if done < slices.len() {
        eprintln!("--budget: over after {done} of {} held-out slices", slices.len());
    }
    Ok(())
}

/// The held-out slices that were judged and timed and are not among those learned from.
fn unseen(lab: &Lab, seen: &[(Slice, f64)]) -> Result<Vec<(Slice, f64)>> {
    let mut held = lab.held_out()?;
    let count = held.len();
    held.retain(|(slice, _)| !learned(slice, seen));
    if held.len() < count {
        eprintln!(
            "held-out.jsonl: {} slices are among the samples, too, and are left out",
            count - held.len()
        );
    }
    held.retain(|(slice, _)| lab.latency(slice).is_some());
    Ok(held)
}

fn learned(slice: &Slice, seen: &[(Slice, f64)]) -> bool {
    seen.iter().any(|(other, _)| other == slice)
}

fn say(all: &HeldOut) {
    for one in &all.predictions {
        eprintln!("{}", one.said());
    }
    for Regret { max_latency_ms, searched, best, .. } in &all.choices {
        let searched =
            searched.map_or("none".to_string(), |value| format!("{:.2} %", 100.0 * value));
        eprintln!(
            "within {max_latency_ms:.3} ms: searched {searched}, best held-out {:.2} %",
            100.0 * best
        );
    }
}

fn regrets(
    predicted: &[f64],
    truth: &[(Slice, f64)],
    explorer: &Explorer,
    lab: &Lab,
) -> Result<Vec<Regret>> {
    let own = explorer.measured();
    let slices: Vec<Slice> = own.iter().map(|one| one.slice.clone()).collect();
    let believed = explorer.guess(&slices)?;
    let searched = |most: f64| {
        let kept = (0..own.len()).filter(|&i| own[i].latency_ms <= most);
        let best =
            kept.max_by(|&i, &j| believed[i].accuracy[0].total_cmp(&believed[j].accuracy[0]));
        best.map(|best| own[best].accuracy)
    };
    let timed = |slice: &Slice| lab.latency(slice).unwrap_or(f64::NAN);
    let mut latencies: Vec<f64> = truth.iter().map(|(slice, _)| timed(slice)).collect();
    latencies.sort_by(f64::total_cmp);
    let regret = |share: f64| {
        let max_latency_ms = latencies[((latencies.len() - 1) as f64 * share) as usize];
        let kept = || (0..truth.len()).filter(|&i| timed(&truth[i].0) <= max_latency_ms);
        let best = kept().map(|i| truth[i].1).max_by(f64::total_cmp);
        let foretold = kept().max_by(|&i, &j| predicted[i].total_cmp(&predicted[j]));
        let (foretold, best) = foretold.zip(best).context("the held-out slices were timed")?;
        let (searched, foretold) = (searched(max_latency_ms), truth[foretold].1);
        Ok(Regret { max_latency_ms, searched, foretold, best })
    };
    BOUNDS.into_iter().map(regret).collect()
}
