//! Curves of training, out of a run's `metrics.jsonl`, while it is written.

use serde::Serialize;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Most bytes that are read of a file.
const MOST: u64 = 32 << 20;
/// Most points of a curve; of more, every second one is left out, and so on.
const POINTS: usize = 240;

/// Steps and values.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Curves {
    /// Loss on the training images.
    pub(crate) loss: Vec<(u64, f64)>,
    /// The task's metric on images that are held out.
    pub(crate) metric: Vec<(u64, f64)>,
    /// Images a second, the latest.
    pub(crate) images_per_s: Option<f64>,
}

/// The curves of a task in a run folder; none before training has begun.
pub(crate) fn curves(run: &Path, task: &str) -> Option<Curves> {
    let file = File::open(run.join("metrics.jsonl")).ok()?;
    let mut curves = Curves::default();
    for line in BufReader::new(file.take(MOST)).lines() {
        // A line that is being written is read the next time.
        let Ok(line) =
            line.map_err(drop).and_then(|l| serde_json::from_str::<Value>(&l).map_err(drop))
        else {
            continue;
        };
        let Some(step) = line["step"].as_u64() else { continue };
        if let Some(loss) = line["loss"][task].as_f64() {
            curves.loss.push((step, loss));
            curves.images_per_s = line["images_per_s"].as_f64();
        } else if let Some(value) = line["value"].as_f64().filter(|_| line["task"] == task) {
            curves.metric.push((step, value));
        }
    }
    curves.loss = thinned(curves.loss);
    curves.metric = thinned(curves.metric);
    Some(curves)
}

fn thinned(points: Vec<(u64, f64)>) -> Vec<(u64, f64)> {
    let every = points.len().div_ceil(POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.into_iter().enumerate();
    kept.filter(|(at, _)| at % every == 0 || *at == last).map(|(_, point)| point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_read_while_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(curves(folder.path(), "a"), None);
        let line = |step: u64| {
            let loss = step * 2;
            format!("{{\"step\":{step},\"loss\":{{\"a\":{loss}}},\"images_per_s\":7}}\n")
        };
        let mut text: String = (0..500).map(line).collect();
        text +=
            "{\"step\":499,\"kind\":\"eval\",\"task\":\"a\",\"metric\":\"top1\",\"value\":0.5}\n";
        text +=
            "{\"step\":499,\"kind\":\"eval\",\"task\":\"b\",\"value\":0.25}\n{\"step\":500,\"lo";
        std::fs::write(folder.path().join("metrics.jsonl"), text).unwrap();
        let curves = curves(folder.path(), "a").unwrap();
        assert_eq!((curves.metric, curves.images_per_s), (vec![(499, 0.5)], Some(7.0)));
        assert!(curves.loss.len() <= POINTS + 1);
        assert_eq!((curves.loss[1], curves.loss.last()), ((3, 6.0), Some(&(499, 998.0))));
    }
}
