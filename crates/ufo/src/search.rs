//! `ufo search`: the slices of a chip supernet that a device and its limits ask for, found by measuring few.

mod alone;
mod budget;
mod choice;
mod cross;
mod held_out;
mod lab;
mod outcome;
mod report;
mod samples_file;
mod shard;

use crate::profile::How;
use crate::run::Run;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
pub(crate) use lab::Split;
use lab::{Lab, TOGETHER};
pub(crate) use outcome::{Pareto, Point};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use samples_file::SamplesFile;
use shard::{Shard, shard};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use ufo_nas::{Explorer, Limits, Slice, design};
use ufo_train::write_atomic;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    merge: Option<Merge>,
    /// Run folder of a chip supernet.
    #[arg(long, required = true)]
    run: Option<PathBuf>,
    /// Task that the run must be of.
    #[arg(long)]
    task: Option<String>,
    /// Folder of measurements and results; what it holds is not measured again.
    /// Default `search` in the run folder.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    bounds: Bounds,
    /// Slices to judge, those that the folder holds included.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=4096))]
    samples: u32,
    /// Time after which no further slice is measured, such as 90s or 40m; 0s measures none. What is chosen is
    /// still timed and judged on the test images.
    #[arg(long, value_parser = budget::parse)]
    budget: Option<Duration>,
    /// Times of another machine, which `ufo profile` wrote there, in place of this one's.
    #[arg(long, conflicts_with_all = ["batch", "threads", "runtime", "precision", "rounds"])]
    device_file: Option<PathBuf>,
    #[command(flatten)]
    how: How,
    /// Images that slices are judged on.
    #[arg(long, value_enum, default_value_t = Split::Validation)]
    split: Split,
    /// Only judge part i of n of the first --samples slices, such as 0/4; `auto` reads part and parts from a
    /// Slurm array, an indexed job or MPI.
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<Shard>,
    /// Judge and time so many random slices more, tell how well the search predicts them, and learn nothing of
    /// them.
    #[arg(long, default_value_t = 0, conflicts_with_all = ["device_file", "shard"],
        value_parser = clap::value_parser!(u32).range(0..=4096))]
    held_out: u32,
    /// Run whose network, trained alone, has the depth, heads and FFN width of a slice: that one is measured, too, and
    /// compared with it in the report. May be given several times.
    #[arg(long, value_name = "RUN", conflicts_with = "shard")]
    alone: Vec<PathBuf>,
    /// Seed of the search.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print pareto.json.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Merge {
    /// Put the samples of several shards in one file.
    #[command(
        after_help = "Example:\n  ufo search merge a/samples.jsonl b/samples.jsonl --out all/samples.jsonl"
    )]
    Merge {
        /// Files of samples.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// File to write, or to add to.
        #[arg(long)]
        out: PathBuf,
    },
}

/// What the network must keep.
#[derive(clap::Args, Default)]
pub(crate) struct Bounds {
    /// Most milliseconds of a batch.
    #[arg(long)]
    pub(crate) max_latency_ms: Option<f64>,
    /// Most parameters, the head excluded, such as 5M or 400k.
    #[arg(long, value_parser = number)]
    max_params: Option<u64>,
    /// Most multiply-accumulates of an image, such as 20M.
    #[arg(long, value_parser = number)]
    max_macs: Option<u64>,
    /// Least value of the task's metric, a fraction.
    #[arg(long)]
    min_accuracy: Option<f64>,
}

impl Bounds {
    fn limits(&self) -> Limits {
        Limits {
            max_params: self.max_params,
            max_macs: self.max_macs,
            max_latency_ms: self.max_latency_ms,
            min_accuracy: self.min_accuracy,
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}`: allowed are numbers such as 400000, 400k, 5M, 1.2G");
    let (digits, scale) = match text.char_indices().last().ok_or_else(wrong)? {
        (at, 'k') => (&text[..at], 1e3),
        (at, 'M') => (&text[..at], 1e6),
        (at, 'G') => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    let value = digits.parse::<f64>().map_err(|_| wrong())? * scale;
    if (1.0..=1e18).contains(&value) { Ok(value.round() as u64) } else { Err(wrong()) }
}

/// Slices that are proposed at a time.
const PROPOSED: usize = 8;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(Merge::Merge { files, out }) = &args.merge {
        return merge(files, out);
    }
    let folder = args.run.as_ref().context("--run is required")?;
    let run = Run::open(folder)?;
    run.chip_space()?;
    let name = &run.tasks[0].config.name;
    if let Some(task) = args.task.as_ref().filter(|task| *task != name) {
        bail!("--task {task}: {} is a chip supernet of {name}", folder.display());
    }
    let plan = Plan {
        out: args.out.clone().unwrap_or_else(|| folder.join("search")),
        limits: args.bounds.limits(),
        samples: args.samples as usize,
        budget: args.budget,
        device_file: args.device_file.as_deref(),
        how: &args.how,
        split: args.split,
        seed: args.seed,
        held_out: args.held_out as usize,
        alone: &args.alone,
    };
    if let Some(shard) = args.shard {
        return judge_part(&run, &plan, shard);
    }
    let pareto = search(&run, &plan)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&pareto)?);
    } else {
        println!("{}", pareto.table());
        println!("{}", pareto.said());
        let [front, page] = ["pareto.json", "report.html"].map(|name| plan.out.join(name));
        println!("{}\npictures in {}", front.display(), page.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// What to search, and where results go.
pub(crate) struct Plan<'a> {
    pub(crate) out: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) samples: usize,
    pub(crate) budget: Option<Duration>,
    pub(crate) device_file: Option<&'a Path>,
    pub(crate) how: &'a How,
    pub(crate) split: Split,
    pub(crate) seed: u64,
    pub(crate) held_out: usize,
    pub(crate) alone: &'a [PathBuf],
}

impl Plan<'_> {
    fn random(&self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.seed)
    }
}

/// Measures, learns, proposes and measures again; writes `samples.jsonl`, `device.json`, `predictor.json`,
/// `pareto.json` and `report.html`.
///
/// # Errors
/// Limits that no slice keeps, with the nearest values that one does; files of another run; a budget that is over
/// before enough is known.
pub(crate) fn search(run: &Run, plan: &Plan) -> Result<Pareto> {
    let mut lab = Lab::open(run, plan)?;
    let mut rng = plan.random();
    let bar = bar(plan.samples);
    let done = |count: usize| bar.set_position(count as u64);
    let alone = lab.judge_alone(plan.alone)?;
    begin(&mut lab, plan, &mut rng, done)?;
    let held = held_out::slices(&lab)?;
    while !lab.over() {
        let explorer = lab.explorer(&plan.limits)?;
        let left = plan.samples.saturating_sub(explorer.measured().len());
        let next = explorer.propose(PROPOSED.min(left), &held, &mut rng)?;
        if next.is_empty() {
            break;
        }
        lab.time(&next)?;
        lab.judge(&next, done)?;
    }
    bar.finish_and_clear();
    plan.say_left_out(&lab)?;
    let explorer = lab.explorer(&plan.limits)?;
    let held_out = held_out::judge(&mut lab, plan)?;
    let pareto = outcome::conclude(&lab, &explorer, plan, &alone)?;
    if let Some(predictor) = outcome::predictor(&lab, plan)? {
        crate::predictor::write(predictor.file(), &plan.out.join("predictor.json"))?;
    }
    let text = serde_json::to_vec_pretty(&pareto)?;
    write_atomic(&plan.out.join("pareto.json"), &text)?;
    let page = report::page(&run.folder, &pareto, held_out.as_ref());
    write_atomic(&plan.out.join("report.html"), page.as_bytes())?;
    Ok(pareto)
}

/// Measures what needs no predictor: the times of known slices and the first design, held-out slices excluded.
fn begin(
    lab: &mut Lab,
    plan: &Plan,
    rng: &mut ChaCha8Rng,
    mut done: impl FnMut(usize),
) -> Result<()> {
    let (run, held) = (lab.run(), held_out::slices(lab)?);
    let count = (plan.samples / 2).max(MIN_DESIGN);
    let mut first = design(&run.encoding(), &plan.limits, count + held.len(), rng)?;
    first.retain(|slice| !held.contains(slice));
    first.truncate(count);
    lab.time(&[run.space().smallest(&run.supernet.arch)])?;
    plan.check_latency(lab)?;
    let known: Vec<Slice> = lab.accuracies()?.into_iter().map(|(slice, _)| slice).collect();
    first.retain(|slice| !known.contains(slice));
    first.truncate(plan.samples.saturating_sub(known.len()));
    // Samples of other machines come without times.
    lab.time(&known)?;
    for some in first.chunks(TOGETHER) {
        lab.time(some)?;
        lab.judge(some, &mut done)?;
    }
    Ok(())
}

/// Fewest slices that are measured before anything is learned.
const MIN_DESIGN: usize = 6;

impl Plan<'_> {
    /// Tells that fewer slices were judged than asked for, and why.
    ///
    /// # Errors
    /// So few that nothing can be learned of them.
    fn say_left_out(&self, lab: &Lab) -> Result<()> {
        let (judged, wanted) = (lab.accuracies()?.len(), self.samples);
        if judged >= wanted {
            return Ok(());
        }
        let place = lab.place().display();
        if !lab.over() {
            eprintln!("{judged} of {wanted} slices: no other was found within the bounds");
        } else if judged.min(lab.latencies().len()) < MIN_DESIGN {
            bail!(
                "--budget: over after {judged} of {wanted} slices, too few to learn from; {place} keeps them, and the same command goes on"
            );
        } else {
            eprintln!(
                "--budget: over after {judged} of {wanted} slices; {place} keeps them, and the same command goes on"
            );
        }
        Ok(())
    }

    /// Refuses a bound on latency that the fastest known slice exceeds, before anything slow begins.
    fn check_latency(&self, lab: &Lab) -> Result<()> {
        let Some(most) = self.limits.max_latency_ms else { return Ok(()) };
        let times = lab.latencies();
        let fastest = times.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((slice, least)) = fastest.filter(|(_, least)| *least > most) else {
            return Ok(());
        };
        bail!(
            "--max-latency-ms {most}: no slice is so fast; the fastest measured, {slice}, takes {least:.3} ms"
        );
    }
}

fn bar(count: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} slices  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count as u64).with_style(style)
}

/// Judges a part of the first slices, so that several machines share the work.
fn judge_part(run: &Run, plan: &Plan, shard: Shard) -> Result<ExitCode> {
    let mut lab = Lab::open(run, plan)?;
    let first = design(&run.encoding(), &plan.limits, plan.samples, &mut plan.random())?;
    let part: Vec<Slice> = first.into_iter().skip(shard.index).step_by(shard.count).collect();
    let bar = bar(part.len());
    lab.judge(&part, |count| bar.set_position(count as u64))?;
    bar.finish_and_clear();
    let (Shard { index, count }, known) = (shard, lab.accuracies()?);
    let judged = known.iter().filter(|(slice, _)| part.contains(slice)).count();
    if judged < part.len() {
        let left = part.len() - judged;
        eprintln!("--budget: over, {left} slices are left out; the same command goes on");
    }
    println!("{judged} slices, part {index} of {count}: {}", lab.place().display());
    Ok(ExitCode::SUCCESS)
}

fn merge(files: &[PathBuf], out: &Path) -> Result<ExitCode> {
    let mut merged = SamplesFile::open(out)?;
    let before = merged.samples().len();
    for file in files {
        for sample in samples_file::read(file)? {
            merged.add(sample).with_context(|| file.display().to_string())?;
        }
    }
    let after = merged.samples().len();
    println!("{} samples, {} of them new: {}", after, after - before, out.display());
    Ok(ExitCode::SUCCESS)
}

/// What `Lab` gives to learn from.
impl Lab<'_> {
    fn explorer(&self, limits: &Limits) -> Result<Explorer> {
        let (accuracies, latencies) = (self.accuracies()?, self.latencies());
        Explorer::fit(&self.run().encoding(), *limits, &accuracies, &latencies)
            .context("learning from the measurements")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        assert_eq!((number("5M"), number("1.5k"), number("7")), (Ok(5_000_000), Ok(1500), Ok(7)));
        for wrong in ["", "M", "-1", "0", "5m", "nan", "1e30"] {
            assert!(number(wrong).unwrap_err().contains("allowed"), "{wrong}");
        }
    }
}
