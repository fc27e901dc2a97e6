//! `samples.jsonl`: measured sub-networks, a JSON object a line, to which lines are only added.

use crate::{Error, Slice};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What was measured: a hash of checkpoint, slice, task and split.
    pub key: String,
    /// Size of the sub-network.
    pub slice: Slice,
    /// Task.
    pub task: String,
    /// Split of the task's data that was evaluated.
    pub split: String,
    /// Metric of the task, higher is better, if it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Milliseconds for an image, if they were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
}

impl Sample {
    /// The line that is added to a file, without its end.
    pub fn line(&self) -> Result<String, Error> {
        self.validate().map_err(|error| error.within("sample"))?;
        serde_json::to_string(self).map_err(|error| Error::value("sample", error, "must be JSON"))
    }

    fn validate(&self) -> Result<(), Error> {
        for (key, value) in [("accuracy", self.accuracy), ("latency_ms", self.latency_ms)] {
            if let Some(value) = value.filter(|value| !value.is_finite()) {
                return Err(Error::value(key, value, "must be finite"));
            }
        }
        if self.accuracy.is_none() && self.latency_ms.is_none() {
            return Err(Error::value("accuracy", "nothing", "must be given, or latency_ms"));
        }
        if let Some(latency) = self.latency_ms.filter(|&latency| latency <= 0.0) {
            return Err(Error::value("latency_ms", latency, "must be more than 0"));
        }
        if self.slice.blocks.is_empty() {
            return Err(Error::value("slice.blocks", "[]", "must keep at least one block"));
        }
        Ok(())
    }
}

/// Reads a file's text. A line that repeats an earlier one is left out, as a run that was cut off and
/// continued writes some twice.
///
/// # Errors
/// A line that is no sample, or contradicts an earlier one of its key; each names the line, from 1.
pub fn parse_samples(text: &str) -> Result<Vec<Sample>, Error> {
    let mut samples: Vec<Sample> = Vec::new();
    let mut seen: HashMap<String, (usize, usize)> = HashMap::new();
    for (row, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("line {}", row + 1);
        let sample: Sample = serde_json::from_str(line)
            .map_err(|error| Error::value(&place, error, "must be a sample"))?;
        sample.validate().map_err(|error| error.within(&place))?;
        if let Some(&(first, at)) = seen.get(&sample.key) {
            if samples[at] != sample {
                let allowed = format!("contradicts line {}; a key has one measurement", first + 1);
                return Err(Error::value(format!("{place}.key"), &sample.key, allowed));
            }
            continue;
        }
        seen.insert(sample.key.clone(), (row, samples.len()));
        samples.push(sample);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BlockSlice;

    fn sample(key: &str) -> Sample {
        let slice = Slice { blocks: vec![BlockSlice { block: 0, heads: 2, ffn: 64 }] };
        let (task, split) = ("digits".to_string(), "val".to_string());
        Sample { key: key.into(), slice, task, split, accuracy: Some(0.5), latency_ms: None }
    }

    #[test]
    fn lines_come_back_and_repeats_are_left_out() {
        let (first, second) = (sample("a"), sample("b"));
        let lines = [first.line().unwrap(), second.line().unwrap(), first.line().unwrap()];
        assert_eq!(parse_samples(&lines.join("\n")).unwrap(), [first, second]);
        assert!(parse_samples("\n").unwrap().is_empty());
    }

    #[test]
    fn errors_name_the_line() {
        let first = sample("a");
        let mut second = sample("a");
        second.accuracy = Some(0.6);
        let text = format!("{}\n\n{}\n", first.line().unwrap(), second.line().unwrap());
        let error = parse_samples(&text).unwrap_err().to_string();
        assert_eq!(error, "line 3.key = a: contradicts line 1; a key has one measurement");
        let nothing = first.line().unwrap().replace(",\"accuracy\":0.5", "");
        let error = parse_samples(&nothing).unwrap_err().to_string();
        assert_eq!(error, "line 1.accuracy = nothing: must be given, or latency_ms");
        assert!(parse_samples("{").unwrap_err().to_string().starts_with("line 1 = EOF"));
        second.accuracy = Some(f64::NAN);
        let error = second.line().unwrap_err().to_string();
        assert_eq!(error, "sample.accuracy = NaN: must be finite");
    }
}
