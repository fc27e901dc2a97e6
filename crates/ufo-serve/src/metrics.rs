//! Counts and times, in the text format of Prometheus (version 0.0.4).

use crate::engine::{Lane, Ran};
use crate::served::Served;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Upper bounds of times, in seconds.
const SECONDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Upper bounds of batches, in images.
const IMAGES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0];

/// Counts of a server since its start; those of a model are its own [`Counts`].
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    seconds: Mutex<BTreeMap<&'static str, Histogram>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    decoded: AtomicU64,
}

/// Counts of a model.
#[derive(Debug)]
pub(crate) struct Counts {
    name: String,
    tasks: Vec<(String, AtomicU64)>,
    batches: Mutex<[Histogram; 2]>,
}

/// How often a value was at most each bound.
#[derive(Debug, Clone)]
struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    count: u64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], sum: 0.0, count: 0 }
    }

    fn observe(&mut self, value: f64) {
        for (count, bound) in self.counts.iter_mut().zip(self.bounds) {
            *count += u64::from(value <= *bound);
        }
        self.sum += value;
        self.count += 1;
    }

    fn write(&self, text: &mut Text, name: &str, labels: &str) {
        for (count, bound) in self.counts.iter().zip(self.bounds) {
            text.value(&format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), *count);
        }
        text.value(&format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), self.count);
        text.value(&format!("{name}_sum"), labels, self.sum);
        text.value(&format!("{name}_count"), labels, self.count);
    }
}

/// The text under construction.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _infallible = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }
}

/// A label's value with what the format reserves escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Counts {
    pub(crate) fn new(model: &Served) -> Self {
        Self {
            name: escaped(&model.name),
            tasks: model.tasks.iter().map(|t| (escaped(&t.name), AtomicU64::new(0))).collect(),
            batches: Mutex::new([Histogram::new(&IMAGES), Histogram::new(&SECONDS)]),
        }
    }

    /// Whether a model has these tasks, in this order.
    pub(crate) fn are_of(&self, model: &Served) -> bool {
        self.tasks
            .iter()
            .map(|(task, _)| task.clone())
            .eq(model.tasks.iter().map(|task| escaped(&task.name)))
    }

    /// Notes a batch.
    pub(crate) fn batch(&self, ran: &Ran<'_>) {
        for ((_, count), images) in self.tasks.iter().zip(ran.per_task) {
            count.fetch_add(*images as u64, Ordering::Relaxed);
        }
        let mut batches = lock(&self.batches);
        batches[0].observe(ran.images as f64);
        batches[1].observe(ran.seconds);
    }

    /// Images that a task ran on.
    pub(crate) fn task_images(&self, task: usize) -> u64 {
        self.tasks[task].1.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// Notes the answer to a request.
    pub(crate) fn request(&self, route: &'static str, code: u16, seconds: f64) {
        *lock(&self.requests).entry((route, code)).or_default() += 1;
        let mut times = lock(&self.seconds);
        times.entry(route).or_insert_with(|| Histogram::new(&SECONDS)).observe(seconds);
    }

    /// Notes why a request was refused.
    pub(crate) fn refused(&self, reason: &'static str) {
        *lock(&self.refused).entry(reason).or_default() += 1;
    }

    /// Notes a decoded image.
    pub(crate) fn decoded(&self) {
        self.decoded.fetch_add(1, Ordering::Relaxed);
    }

    /// The text, with the counts of the models that there are.
    pub(crate) fn text(&self, models: &[Arc<Lane>], body_bytes: usize) -> String {
        let mut text = Text::default();
        text.family("ufo_requests_total", "counter", "Answered requests.");
        for ((route, code), count) in lock(&self.requests).iter() {
            text.value("ufo_requests_total", &format!("route=\"{route}\",code=\"{code}\""), *count);
        }
        text.family("ufo_request_seconds", "histogram", "From a request's head to its answer.");
        for (route, times) in lock(&self.seconds).iter() {
            times.write(&mut text, "ufo_request_seconds", &format!("route=\"{route}\""));
        }
        text.family("ufo_refused_total", "counter", "Refused requests by reason.");
        for (reason, count) in lock(&self.refused).iter() {
            text.value("ufo_refused_total", &format!("reason=\"{reason}\""), *count);
        }
        text.family("ufo_decoded_images_total", "counter", "Decoded images.");
        text.value("ufo_decoded_images_total", "", self.decoded.load(Ordering::Relaxed));
        text.family("ufo_body_bytes", "gauge", "Bytes reserved for bodies.");
        text.value("ufo_body_bytes", "", body_bytes);
        write_models(&mut text, models);
        if let Some(bytes) = resident_bytes() {
            text.family("process_resident_memory_bytes", "gauge", "Memory in use.");
            text.value("process_resident_memory_bytes", "", bytes);
        }
        text.0
    }
}

fn write_models(text: &mut Text, models: &[Arc<Lane>]) {
    let all = || models.iter().map(|lane| &lane.counts);
    text.family("ufo_queue_images", "gauge", "Images admitted and not answered.");
    for lane in models {
        let labels = format!("model=\"{}\"", lane.counts.name);
        text.value("ufo_queue_images", &labels, lane.waiting());
    }
    text.family("ufo_task_images_total", "counter", "Images a task ran on.");
    for model in all() {
        for (task, count) in &model.tasks {
            let labels = format!("model=\"{}\",task=\"{task}\"", model.name);
            text.value("ufo_task_images_total", &labels, count.load(Ordering::Relaxed));
        }
    }
    let families = [
        ("ufo_batch_images", "Images of a batch."),
        ("ufo_batch_seconds", "Time to compute a batch."),
    ];
    for (index, (name, help)) in families.into_iter().enumerate() {
        text.family(name, "histogram", help);
        for model in all() {
            let batches = lock(&model.batches);
            batches[index].write(text, name, &format!("model=\"{}\"", model.name));
        }
    }
}

/// Memory of this process, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_count_up_to_each_bound() {
        let mut histogram = Histogram::new(&IMAGES);
        for value in [1.0, 2.0, 3.0, 1000.0] {
            histogram.observe(value);
        }
        let mut text = Text::default();
        histogram.write(&mut text, "h", "m=\"x\"");
        for line in [
            "h_bucket{m=\"x\",le=\"1\"} 1",
            "h_bucket{m=\"x\",le=\"2\"} 2",
            "h_bucket{m=\"x\",le=\"4\"} 3",
            "h_bucket{m=\"x\",le=\"256\"} 3",
            "h_bucket{m=\"x\",le=\"+Inf\"} 4",
            "h_sum{m=\"x\"} 1006",
            "h_count{m=\"x\"} 4",
        ] {
            assert!(text.0.lines().any(|found| found == line), "{line} not in {}", text.0);
        }
        assert_eq!(escaped("a\"\\\n"), "a\\\"\\\\\\n");
    }
}
