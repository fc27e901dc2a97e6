//! Where the time of a workload's step goes.

use super::Workload;
use crate::html_report::Escaped;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

/// A part of a step: its name and its share of the time of all threads.
pub(crate) type Share = (&'static str, f64);

/// What is neither a kernel nor anything else that is counted.
const REST: &str = "rest: graph, memory, waiting";

/// The shares of `rounds` steps on so many threads, the largest first.
pub(crate) fn shares(
    workload: &mut dyn Workload,
    rounds: u32,
    threads: usize,
) -> Result<Vec<Share>> {
    let started = Instant::now();
    let (steps, times) = ufo_kernels::profile(|| (0..rounds).try_for_each(|_| workload.step()));
    steps?;
    let all = started.elapsed().as_secs_f64() * threads as f64;
    let mut parts = BTreeMap::<&str, f64>::new();
    for (kernel, time) in times {
        *parts.entry(part(kernel)).or_default() += time.as_secs_f64() / all;
    }
    let known: f64 = parts.values().sum();
    parts.insert(REST, (1.0 - known).max(0.0));
    let mut shares: Vec<Share> = parts.into_iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(shares)
}

/// The part of a step that a kernel belongs to, by the path of its type.
fn part(kernel: &str) -> &'static str {
    let path = kernel.strip_prefix("ufo_kernels::").unwrap_or(kernel);
    match path.split("::").next().unwrap_or_default() {
        "gemm" | "int8" => "matrix products with bias, GELU, residual",
        "attention" => "attention between tokens",
        "layer_norm" => "layer norms and gradient of residuals",
        "linear" => "gradients of biases",
        "conv" => "convolutions",
        "cross_entropy" => "cross entropy",
        "optimizer" => "optimizer",
        _ => "other kernels",
    }
}

pub(crate) fn json(name: &str, shares: &[Share]) -> Value {
    json!({"name": name, "shares": shares.iter().copied().collect::<BTreeMap<_, _>>()})
}

pub(crate) fn table(shares: &[Share]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["part of the step", "share of the threads' time"]);
    for (part, share) in shares {
        table.add_row([(*part).to_string(), format!("{:.1} %", share * 100.0)]);
    }
    table
}

/// A picture of the shares: one bar each.
pub(crate) fn svg(name: &str, shares: &[Share]) -> String {
    let (width, line, left) = (720, 30, 300);
    let height = 56 + line * shares.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"16\" y=\"28\" font-weight=\"bold\" fill=\"#222\">Where the time of {} goes</text>\n",
        Escaped(name)
    );
    for (index, (part, share)) in shares.iter().enumerate() {
        let y = 44 + line * index;
        let bar = share * f64::from(width - left - 80);
        let color = if *part == REST { "#b5b5b5" } else { "#2f6fb0" };
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#222\">{}</text><rect x=\"{left}\" y=\"{}\" width=\"{bar:.1}\" height=\"20\" fill=\"{color}\"/><text x=\"{:.1}\" y=\"{}\" fill=\"#222\">{:.1} %</text>",
            left - 8,
            y + 15,
            Escaped(part),
            y,
            f64::from(left) + bar + 6.0,
            y + 15,
            share * 100.0
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_a_step_are_drawn_and_add_up() {
        let mut workload = crate::bench::training::Plain::new(
            crate::bench::training::S,
            2,
            ufo_train::Precision::F32,
            1,
        )
        .unwrap();
        let shares = shares(&mut workload, 1, 1).unwrap();
        let sum: f64 = shares.iter().map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 0.02, "{shares:?}");
        for part in ["matrix products with bias, GELU, residual", "attention between tokens"] {
            assert!(
                shares.iter().any(|(name, share)| *name == part && *share > 0.01),
                "{shares:?}"
            );
        }
        let picture = svg("a & b", &shares);
        assert!(
            picture.contains("a &amp; b") && picture.matches("<rect").count() == shares.len() + 1
        );
    }
}
