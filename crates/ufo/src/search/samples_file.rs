//! `samples.jsonl` on disk: lines are only added, each whole or not at all.

use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use ufo_nas::{Sample, parse_samples};

/// Largest file that is read.
const MOST_BYTES: u64 = 256 << 20;

/// The file, open to add to.
pub(super) struct SamplesFile {
    path: PathBuf,
    file: File,
    samples: Vec<Sample>,
}

impl SamplesFile {
    /// Opens or creates the file. A last line that was cut off, as a killed process leaves it, is removed.
    ///
    /// # Errors
    /// Lines that are no samples or contradict each other.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let at = || path.display().to_string();
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(at)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path).with_context(at)?;
        let text = text(path)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let samples = parse_samples(&text[..whole]).with_context(at)?;
        if whole < text.len() {
            eprintln!("{}: the last line was cut off; it is measured again", path.display());
            file.set_len(whole as u64).with_context(at)?;
        }
        Ok(Self { path: path.to_path_buf(), file, samples })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Adds a sample; one that is there already is left out.
    ///
    /// # Errors
    /// One that contradicts what is there, a full disk.
    pub(super) fn add(&mut self, sample: Sample) -> Result<()> {
        if let Some(known) = self.samples.iter().find(|known| known.key == sample.key) {
            if *known == sample {
                return Ok(());
            }
            bail!(
                "key = {}: contradicts what {} has of it; a key has one measurement",
                sample.key,
                self.path.display()
            );
        }
        let line = format!("{}\n", sample.line()?);
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("writing {}", self.path.display()))?;
        self.samples.push(sample);
        Ok(())
    }
}

/// The samples of a file.
///
/// # Errors
/// As [`SamplesFile::open`], and a file that is not there.
pub(super) fn read(path: &Path) -> Result<Vec<Sample>> {
    parse_samples(&text(path)?).with_context(|| path.display().to_string())
}

fn text(path: &Path) -> Result<String> {
    let at = || format!("reading {}", path.display());
    let bytes = fs::metadata(path).with_context(at)?.len();
    if bytes > MOST_BYTES {
        bail!("{}: {bytes} bytes; must be at most {MOST_BYTES}", path.display());
    }
    fs::read_to_string(path).with_context(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ufo_nas::{BlockSlice, Slice};

    fn sample(key: &str, accuracy: f64) -> Sample {
        let slice = Slice { blocks: vec![BlockSlice { block: 0, heads: 1, ffn: 8 }] };
        let (task, split) = ("digits".to_string(), "validation".to_string());
        let accuracy = Some(accuracy);
        Sample { key: key.into(), slice, task, split, accuracy, latency_ms: None }
    }

    #[test]
    fn a_line_that_was_cut_off_is_removed_and_contradictions_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/samples.jsonl");
        let mut file = SamplesFile::open(&path).unwrap();
        file.add(sample("a", 0.5)).unwrap();
        file.add(sample("a", 0.5)).unwrap();
        let error = file.add(sample("a", 0.6)).unwrap_err().to_string();
        assert!(error.starts_with("key = a: contradicts"), "{error}");
        assert!(file.add(sample("b", f64::NAN)).is_err());
        drop(file);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{}", &whole[..20])).unwrap();
        let mut file = SamplesFile::open(&path).unwrap();
        assert_eq!(file.samples(), [sample("a", 0.5)]);
        file.add(sample("c", 0.7)).unwrap();
        assert_eq!(read(&path).unwrap(), [sample("a", 0.5), sample("c", 0.7)]);
        fs::write(&path, "{}\n").unwrap();
        let error = format!("{:#}", SamplesFile::open(&path).err().unwrap());
        assert!(error.contains("samples.jsonl: line 1"), "{error}");
    }
}
