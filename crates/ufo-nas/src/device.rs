//! What slices cost on a device: the file that `ufo profile` writes and a search reads.

use crate::{Arch, Error, Slice, Space};
use serde::{Deserialize, Serialize};

/// How times were taken. Times are comparable where all of it is equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Model of the processor.
    pub cpu: String,
    /// Runtime and its version.
    pub runtime: String,
    /// Threads, each on a core of its own where the runtime allows it.
    pub threads: usize,
    /// Images that run at a time.
    pub batch: usize,
}

/// The time of one slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    /// Size of the network.
    pub slice: Slice,
    /// Milliseconds of a batch, the median over the turns, each the mean of its runs.
    pub median_ms: f64,
    /// The tenth and the ninetieth percentile.
    pub spread_ms: [f64; 2],
}

/// Times of slices of a space on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceFile {
    /// Version of the format and of how times are taken, 2.
    pub version: u32,
    /// How the times were taken.
    pub setting: Setting,
    /// The largest network.
    pub arch: Arch,
    /// Sizes of slices.
    pub space: Space,
    /// Whether each thread stayed on a core of its own (rten's on as many cores as there are threads); not known
    /// of older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
    /// Milliseconds of the uncut network; the times are given at the speed that the machine had then.
    pub whole_ms: f64,
    /// Times.
    pub rows: Vec<Timed>,
}

impl DeviceFile {
    /// Version that is written and read.
    pub const VERSION: u32 = 2;

    /// Reads a file's text.
    ///
    /// # Errors
    /// Another version, a slice outside the space, a time that is not above 0; each names the key.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let file: Self = serde_json::from_str(text)
            .map_err(|error| Error::value("file", error, "must be what `ufo profile` writes"))?;
        if file.version != Self::VERSION {
            return Err(Error::value(
                "version",
                file.version,
                format!("must be {}", Self::VERSION),
            ));
        }
        file.space.validate(&file.arch)?;
        if !(file.whole_ms.is_finite() && file.whole_ms > 0.0) {
            return Err(Error::value("whole_ms", file.whole_ms, "must be above 0"));
        }
        for (index, row) in file.rows.iter().enumerate() {
            let key = |name: &str| format!("rows.{index}.{name}");
            if !file.space.contains(&file.arch, &row.slice) {
                return Err(Error::value(key("slice"), &row.slice, "must be of the file's space"));
            }
            if !(row.median_ms.is_finite() && row.median_ms > 0.0) {
                return Err(Error::value(key("median_ms"), row.median_ms, "must be above 0"));
            }
        }
        Ok(file)
    }

    /// Checks that the times are of slices of these networks.
    ///
    /// # Errors
    /// Names what differs.
    pub fn check(&self, arch: &Arch, space: &Space) -> Result<(), Error> {
        differ("arch", &self.arch, arch)?;
        differ("space", &self.space, space)
    }
}

/// An error where a value of the file is not the run's.
fn differ<T: PartialEq + Serialize>(key: &str, file: &T, run: &T) -> Result<(), Error> {
    if file == run {
        return Ok(());
    }
    let text = |value| serde_json::to_string(value).unwrap_or_default();
    Err(Error::value(key, text(file), format!("must be the run's, {}", text(run))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;

    #[test]
    fn files_are_checked_and_must_be_of_the_run() {
        let arch = Preset::Demo.arch();
        let space = Space { heads: vec![1, arch.heads], ..Space::whole(&arch) };
        let setting = Setting { cpu: "a".into(), runtime: "b".into(), threads: 1, batch: 1 };
        let row = Timed { slice: space.smallest(&arch), median_ms: 1.5, spread_ms: [1.4, 1.9] };
        let version = DeviceFile::VERSION;
        let (a, s) = (arch.clone(), space.clone());
        let (pinned, whole_ms, rows) = (Some(true), 2.0, vec![row]);
        let file = DeviceFile { version, setting, arch: a, space: s, pinned, whole_ms, rows };
        let read = |change: fn(&mut DeviceFile)| {
            let mut file = file.clone();
            change(&mut file);
            DeviceFile::parse(&serde_json::to_string(&file).unwrap())
        };
        assert_eq!(read(|_| ()).unwrap(), file);
        assert_eq!(read(|file| file.pinned = None).unwrap().pinned, None);
        for (change, said) in [
            ((|file| file.version = 1) as fn(&mut DeviceFile), "version = 1: must be 2"),
            (|file| file.whole_ms = -1.0, "whole_ms = -1"),
            (|file| file.rows[0].median_ms = 0.0, "rows.0.median_ms = 0"),
            (|file| file.rows[0].slice.blocks[1].heads = 2, "rows.0.slice = 0:1:"),
            (|file| file.space.ffn.clear(), "space.ffn"),
        ] {
            let message = read(change).unwrap_err().to_string();
            assert!(message.contains(said), "{message}");
        }
        file.check(&arch, &space).unwrap();
        let other = Space::whole(&arch);
        let message = file.check(&arch, &other).unwrap_err().to_string();
        assert!(message.starts_with("space = {"), "{message}");
    }
}
