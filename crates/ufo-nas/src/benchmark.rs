//! Files of the public benchmark of VIMER-UFO sub-networks: a JSON object of
//! `"archN": {"arch": CODE, "TASK_rank": RANK, ...}`, lower rank = better (spec 6.4).

use crate::arch_code::parse_code;
use crate::{Error, Slice, TaskSamples, Transform};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;

/// Largest file that is read, in bytes: ten times the competition's 99,500 networks.
const MOST_BYTES: usize = 256 << 20;

const SUFFIX: &str = "_rank";

/// A file's networks, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Benchmark {
    /// Tasks that every network has a score for, in the order of the first; none if there are no scores.
    pub tasks: Vec<String>,
    /// Name of each network.
    pub keys: Vec<String>,
    /// Code of each network.
    pub codes: Vec<String>,
    /// Size of each network.
    pub slices: Vec<Slice>,
    /// Scores by task, one a network.
    pub scores: Vec<Vec<f64>>,
}

impl Benchmark {
    /// Reads networks with a score for each of some tasks, to learn from or to compare with.
    ///
    /// # Errors
    /// Text that is no such file, no network or task, a code outside the space, a score that is
    /// missing or not finite, a key or a network that repeats; each names the network and key.
    pub fn scored(text: &str) -> Result<Self, Error> {
        let benchmark = Self::parse(text, true)?;
        if benchmark.tasks.is_empty() {
            let allowed = "must have a score for each task, such as `sop_rank`: 12";
            return Err(Error::value(benchmark.keys[0].clone(), "no score", allowed));
        }
        let mut seen: HashMap<&Slice, usize> = HashMap::new();
        for (row, slice) in benchmark.slices.iter().enumerate() {
            let Some(first) = seen.insert(slice, row) else { continue };
            let equal =
                benchmark.scores.iter().all(|scores| scores[first].total_cmp(&scores[row]).is_eq());
            let how = if equal { "repeats" } else { "contradicts" };
            let allowed =
                format!("{how} `{}`; every network must stand once", benchmark.keys[first]);
            let key = format!("{}.arch", benchmark.keys[row]);
            return Err(Error::value(key, &benchmark.codes[row], allowed));
        }
        Ok(benchmark)
    }

    /// Reads networks to predict; scores are not looked at.
    ///
    /// # Errors
    /// As [`Benchmark::scored`], but for scores and networks that repeat.
    pub fn unscored(text: &str) -> Result<Self, Error> {
        Self::parse(text, false)
    }

    /// The samples of every task, to fit a predictor.
    pub fn samples(&self) -> Vec<TaskSamples> {
        let samples = |(task, values): (&String, &Vec<f64>)| TaskSamples {
            task: task.clone(),
            transform: Transform::NormalScores,
            slices: self.slices.clone(),
            values: values.clone(),
        };
        self.tasks.iter().zip(&self.scores).map(samples).collect()
    }

    /// The networks of these rows.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        fn of<T: Clone>(all: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|&row| all[row].clone()).collect()
        }
        Self {
            tasks: self.tasks.clone(),
            keys: of(&self.keys, rows),
            codes: of(&self.codes, rows),
            slices: of(&self.slices, rows),
            scores: self.scores.iter().map(|scores| of(scores, rows)).collect(),
        }
    }

    fn parse(text: &str, scored: bool) -> Result<Self, Error> {
        if text.len() > MOST_BYTES {
            let allowed = format!("must be at most {MOST_BYTES} bytes");
            return Err(Error::value("file", format!("{} bytes", text.len()), allowed));
        }
        let entries: Entries = serde_json::from_str(text).map_err(|error| {
            Error::value(
                "file",
                error,
                "must be an object of {\"arch\": code, \"TASK_rank\": rank}",
            )
        })?;
        let empty = Vec::new();
        let mut read = Self {
            tasks: empty.clone(),
            keys: empty.clone(),
            codes: empty,
            slices: Vec::new(),
            scores: Vec::new(),
        };
        if entries.0.is_empty() {
            return Err(Error::value("file", "{}", "must hold at least one network"));
        }
        for (key, fields) in entries.0 {
            read.push(key, fields, scored)?;
        }
        Ok(read)
    }

    fn push(&mut self, key: String, fields: Entries<Value>, scored: bool) -> Result<(), Error> {
        let mut code = None;
        let mut scores: Vec<Option<f64>> = vec![None; self.tasks.len()];
        for (name, value) in fields.0 {
            if name == "arch" {
                code = Some(value);
                continue;
            }
            if !scored {
                continue;
            }
            let at = format!("{key}.{name}");
            let task = name.strip_suffix(SUFFIX).filter(|task| !task.is_empty());
            let allowed = "must be `arch` or a task's name and `_rank`";
            let task = task.ok_or_else(|| Error::value(&key, &name, allowed))?;
            if self.keys.is_empty() {
                self.tasks.push(task.to_string());
                self.scores.push(Vec::new());
                scores.push(None);
            }
            let known = self.tasks.iter().position(|known| known == task);
            let index = known.ok_or_else(|| Error::Unknown {
                what: "score",
                got: at.clone(),
                known: self.tasks.iter().map(|task| format!("{task}{SUFFIX} ")).collect(),
            })?;
            let score = value.as_f64().filter(|score| score.is_finite());
            scores[index] =
                Some(score.ok_or_else(|| Error::value(at, &value, "must be a number"))?);
        }
        let code = code.ok_or_else(|| Error::value(&key, "no `arch`", "must have one"))?;
        let text = code.as_str().unwrap_or_default();
        let slice = parse_code(text).map_err(|error| match error {
            Error::Value { allowed, .. } => Error::value(format!("{key}.arch"), &code, allowed),
            other => other,
        })?;
        for (index, score) in scores.into_iter().enumerate() {
            let task = format!("{key}.{}{SUFFIX}", self.tasks[index]);
            self.scores[index].push(score.ok_or_else(|| {
                Error::value(task, "nothing", "must be a number, as for the networks before")
            })?);
        }
        self.codes.push(text.to_string());
        self.keys.push(key);
        self.slices.push(slice);
        Ok(())
    }

    /// The networks with these scores, in the file's own format.
    ///
    /// # Shapes
    /// `scores (tasks, n)`.
    pub fn with_scores(&self, tasks: &[String], scores: &[Vec<f64>]) -> Value {
        let network = |row: usize| {
            let code = ("arch".to_string(), Value::from(self.codes[row].clone()));
            let scores = tasks.iter().zip(scores);
            let scores = scores.map(|(task, all)| (format!("{task}{SUFFIX}"), all[row].into()));
            Value::Object([code].into_iter().chain(scores).collect())
        };
        self.keys.iter().enumerate().map(|(row, key)| (key.clone(), network(row))).collect()
    }
}

/// An object's fields in order, each once.
struct Entries<T = Entries<Value>>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(std::marker::PhantomData))
    }
}

struct EntriesVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(serde::de::Error::custom(format_args!("key `{key}` stands twice")));
            }
            entries.push((key, map.next_value()?));
        }
        Ok(Entries(entries))
    }
}

#[cfg(test)]
mod tests;
