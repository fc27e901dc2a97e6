//! `ufo predictor bench`: rank correlations on networks that the predictor has not seen.

use super::Bits;
use super::networks::{Networks, encoding, scored};
use anyhow::{Context, Result, bail};
use rand::{SeedableRng, rngs::ChaCha8Rng};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;
use ufo_nas::{
    Coding, Encoding, GpNas, GpNasKernel, Kernel, Predictor, Sampling, Slice, TaskSamples,
};
use ufo_nas::{Matrix, Update, choose, choose_at_random, kendall_tau, spearman, tau_ceiling};

/// Numbers of samples that rules of sampling are compared at.
const SAMPLES: [usize; 4] = [25, 50, 100, 200];
/// Rules of sampling; without one, at random.
const RULES: [(&str, Option<Sampling>); 3] = [
    ("random", None),
    ("variance", Some(Sampling::Variance)),
    ("information", Some(Sampling::Information)),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Networks with scores, a file of the public benchmark or samples.jsonl.
    #[arg(long)]
    train: PathBuf,
    /// Configuration of the run that samples.jsonl is of, as for `fit`.
    #[arg(long)]
    config: Option<PathBuf>,
    /// How choices become bits, as for `fit`; the public estimator has its own.
    #[arg(long, value_enum, default_value_t = Bits::Overlapping)]
    encoding: Bits,
    /// Networks to predict; without it, cross-validation.
    #[arg(long)]
    test: Option<PathBuf>,
    /// Parts of a cross-validation: each is predicted from all others.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=100))]
    folds: u64,
    /// Cross-validations, each with folds of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Numbers of samples that rules of sampling are compared at, such as 25,100; 0 compares none.
    #[arg(long, value_delimiter = ',', default_values_t = SAMPLES)]
    samples: Vec<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Networks to learn from and to predict.
struct Split {
    seed: u64,
    seen: Networks,
    unseen: Networks,
}

/// Figures of each task on a split.
#[derive(Default)]
struct Figures {
    tau: Vec<f64>,
    rho: Vec<f64>,
    /// Tau of the public estimator.
    reference: Vec<f64>,
    /// Learned noise, a share of the variance.
    noise: Vec<f64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let networks = networks(&args.train)?;
    let splits = match &args.test {
        Some(path) => vec![held_out(&networks, path)?],
        None => folds(&networks, args.folds as usize, args.seeds)?,
    };
    let all = splits.iter().flat_map(|split| [split.seen.samples(), split.unseen.samples()]);
    let all: Vec<TaskSamples> = all.flatten().collect();
    let all: Vec<&TaskSamples> = all.iter().collect();
    let encoding = encoding(&args.train, &all, (args.config.as_deref(), args.encoding.coding()))?;
    let mut seconds = 0.0;
    let mut figures = Vec::new();
    for split in &splits {
        let started = Instant::now();
        let predictor = Predictor::fit(encoding.clone(), split.seen.samples())?;
        seconds += started.elapsed().as_secs_f64() / splits.len() as f64;
        figures.push(judge(&predictor, &encoding, split)?);
    }
    let samples = after_samples(&splits, &encoding, &args.samples)?;
    let report = report(&networks.tasks, &splits, &figures, seconds);
    let report = with(report, "samples", samples);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_tables(&report);
    }
    Ok(())
}

fn judge(
    predictor: &Predictor,
    encoding: &Encoding,
    Split { seen, unseen, .. }: &Split,
) -> Result<Figures> {
    let predicted = predictor.predict(&unseen.slices)?;
    let mut figures = Figures { noise: predictor.noise(), ..Figures::default() };
    for (task, (predicted, truth)) in predicted.iter().zip(&unseen.scores).enumerate() {
        figures.tau.push(kendall_tau(&predicted.mean, truth)?);
        figures.rho.push(spearman(&predicted.mean, truth)?);
        let reference = reference(encoding, &seen.samples()[task], &unseen.slices)?;
        figures.reference.push(kendall_tau(&reference, truth)?);
    }
    Ok(figures)
}

/// The public estimator as it is used for this benchmark: mean from the first half, update by the second,
/// joint prediction; of normal scores, with which it does better than with ranks.
fn reference(encoding: &Encoding, samples: &TaskSamples, unseen: &[Slice]) -> Result<Vec<f64>> {
    let scores = samples.transform.scores(&samples.task, &samples.values)?;
    let encoding = Encoding { arch: None, coding: Coding::Overlapping, ..encoding.clone() };
    let (all, unseen) = (encoding.matrix(&samples.slices)?, encoding.matrix(unseen)?);
    let half = scores.len() / 2;
    let rows = |from: usize, to: usize| -> Matrix { all.select(&(from..to).collect::<Vec<_>>()) };
    let first = rows(0, half);
    let mut model =
        GpNas::new(GpNasKernel::Distance, Update::Information, &first, &scores[..half])?;
    model.observe(&rows(half, scores.len()), &scores[half..])?;
    Ok(model.predict_joint(&unseen, &all, &scores)?)
}

/// Mean tau over tasks and splits after so many samples of the networks to learn from, chosen by each rule
/// with the covariance that is believed before any score is known.
fn after_samples(splits: &[Split], encoding: &Encoding, counts: &[usize]) -> Result<Value> {
    let known = 1..=splits[0].seen.slices.len();
    let counts: Vec<usize> = counts.iter().copied().filter(|count| known.contains(count)).collect();
    let mut sums = vec![[0.0; RULES.len()]; counts.len()];
    let Some(&most) = counts.iter().max() else { return Ok(json!([])) };
    let kernel = Kernel::new(encoding.groups())?;
    for Split { seed, seen, unseen } in splits {
        let inputs = encoding.matrix(&seen.slices)?;
        let covariance = kernel.with_noise(&kernel.prior().mean, &inputs);
        for (rule, (_, sampling)) in RULES.iter().enumerate() {
            let chosen = if let Some(sampling) = sampling {
                choose(*sampling, &covariance, most)?
            } else {
                let mut rng = ChaCha8Rng::seed_from_u64(*seed);
                choose_at_random(seen.slices.len(), most, &mut rng)?
            };
            for (sums, &count) in sums.iter_mut().zip(&counts) {
                let samples = seen.select(&chosen[..count]).samples();
                let predictor = Predictor::fit(encoding.clone(), samples)?;
                for (predicted, truth) in
                    predictor.predict(&unseen.slices)?.iter().zip(&unseen.scores)
                {
                    let share = (unseen.scores.len() * splits.len()) as f64;
                    sums[rule] += kendall_tau(&predicted.mean, truth)? / share;
                }
            }
        }
    }
    let row = |(count, taus): (&usize, &[f64; RULES.len()])| {
        let start = json!({"count": count});
        RULES.iter().zip(taus).fold(start, |row, ((name, _), tau)| with(row, name, json!(tau)))
    };
    Ok(counts.iter().zip(&sums).map(row).collect())
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

fn report(tasks: &[String], splits: &[Split], figures: &[Figures], seconds: f64) -> Value {
    // Mean of a figure over the splits, and the deviation of the means of seeds.
    let spread = |of: &dyn Fn(&Figures) -> f64| {
        let seeds = 1 + splits.last().map_or(0, |split| split.seed) as usize;
        let by_seed = figures.chunks(figures.len() / seeds);
        let means: Vec<f64> = by_seed.map(|part| mean(part.iter().map(of))).collect();
        let all = mean(means.iter().copied());
        let square: f64 = means.iter().map(|m| (m - all).powi(2)).sum();
        let deviation = (seeds > 1).then(|| (square / (seeds - 1) as f64).sqrt());
        json!({"mean": all, "deviation_of_seeds": deviation})
    };
    let figures_of = |task: usize| {
        json!({
            "kendall_tau": spread(&|figures| figures.tau[task]),
            "spearman": spread(&|figures| figures.rho[task]),
            "reference_kendall_tau": spread(&|figures| figures.reference[task]),
            "noise_variance": spread(&|figures| figures.noise[task]),
            "kendall_tau_ceiling": spread(&|figures| tau_ceiling(figures.noise[task])),
        })
    };
    let by_task: serde_json::Map<_, _> =
        tasks.iter().enumerate().map(|(task, name)| (name.clone(), figures_of(task))).collect();
    json!({
        "splits": splits.len(),
        "trained_on": splits[0].seen.slices.len(),
        "tasks": by_task,
        "mean_kendall_tau": spread(&|figures| mean(figures.tau.iter().copied())),
        "mean_reference_kendall_tau": spread(&|figures| mean(figures.reference.iter().copied())),
        "mean_kendall_tau_ceiling": spread(&|figures| mean(figures.noise.iter().map(|n| tau_ceiling(*n)))),
        "seconds_per_fit": seconds,
    })
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

fn print_tables(report: &Value) {
    let new = |header: Vec<String>| {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED).set_header(header);
        table
    };
    let figure = |value: &Value| {
        let mean = format!("{:.4}", value["mean"].as_f64().unwrap_or(f64::NAN));
        match value["deviation_of_seeds"].as_f64() {
            Some(deviation) => format!("{mean} ± {deviation:.4}"),
            None => mean,
        }
    };
    let columns = [
        ("Kendall tau", "kendall_tau"),
        ("Spearman rho", "spearman"),
        ("tau of the public estimator", "reference_kendall_tau"),
        ("noise", "noise_variance"),
        ("tau at most, by the noise", "kendall_tau_ceiling"),
    ];
    let header = ["task"].into_iter().chain(columns.map(|(title, _)| title));
    let mut table = new(header.map(String::from).collect());
    for (task, figures) in report["tasks"].as_object().into_iter().flatten() {
        let figures = columns.iter().map(|(_, key)| figure(&figures[key]));
        table.add_row([task.clone()].into_iter().chain(figures));
    }
    let mean = |(_, key): &(&str, &str)| match &report[format!("mean_{key}")] {
        Value::Null => String::new(),
        value => figure(value),
    };
    table.add_row(["mean".to_string()].into_iter().chain(columns.iter().map(mean)));
    println!("{table}");
    let header = ["samples"].into_iter().chain(RULES.map(|rule| rule.0));
    let mut table = new(header.map(String::from).collect());
    for row in report["samples"].as_array().into_iter().flatten() {
        let taus = RULES.map(|(rule, _)| format!("{:.4}", row[rule].as_f64().unwrap_or(f64::NAN)));
        table.add_row([row["count"].to_string()].into_iter().chain(taus));
    }
    if !table.is_empty() {
        println!("mean tau after samples, chosen by each rule:\n{table}");
    }
    let seconds = report["seconds_per_fit"].as_f64().unwrap_or(f64::NAN);
    println!("{seconds:.2} s to fit {} networks, all tasks", report["trained_on"]);
}

fn networks(path: &Path) -> Result<Networks> {
    Networks::new(scored(path)?).with_context(|| path.display().to_string())
}

fn held_out(seen: &Networks, path: &Path) -> Result<Split> {
    let unseen = networks(path)?;
    if unseen.tasks != seen.tasks {
        let (got, expected) = (unseen.tasks.join(", "), seen.tasks.join(", "));
        bail!("{}: its tasks are {got}; must be {expected}", path.display());
    }
    Ok(Split { seed: 0, seen: seen.clone(), unseen })
}

/// For each seed every network is held out once.
fn folds(networks: &Networks, folds: usize, seeds: u64) -> Result<Vec<Split>> {
    let count = networks.slices.len();
    if count < 2 * folds {
        bail!("{count} networks; must be {} at least for --folds {folds}", 2 * folds);
    }
    let mut splits = Vec::new();
    for seed in 0..seeds {
        let order = choose_at_random(count, count, &mut ChaCha8Rng::seed_from_u64(seed))?;
        for fold in 0..folds {
            let part = |held: bool| {
                let places = (0..count).filter(|place| (place % folds == fold) == held);
                networks.select(&places.map(|place| order[place]).collect::<Vec<_>>())
            };
            splits.push(Split { seed, seen: part(false), unseen: part(true) });
        }
    }
    Ok(splits)
}
