//! `TensorBoard` event files: scalars over steps, appended while a run goes on.
//!
//! A file is a sequence of `TFRecord`s: length (u64), masked CRC32C of the length, the bytes, masked
//! CRC32C of the bytes, all little-endian; each record is one `Event` message
//! (`tensorflow/core/util/event.proto`). A resumed run opens a further file in the same folder, which
//! starts with a session record of its first step.

use prost::Message;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const FORMAT: &str = "brain.Event:2";

/// Writes one event file.
#[derive(Debug)]
pub struct EventWriter {
    file: BufWriter<File>,
    path: PathBuf,
    started: Duration,
    opened: Instant,
}

impl EventWriter {
    /// Opens `dir/events.out.tfevents.SECONDS.HOST`, with `dir` made if it is missing. A file that is
    /// there already stays: the new one then gets a number at its end. `started` is the wall time of
    /// the first event; later events count from there.
    ///
    /// # Errors
    /// When the folder or the file cannot be made or written.
    pub fn create(dir: &Path, started: SystemTime) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let started = started.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let name = format!("events.out.tfevents.{:010}.{}", started.as_secs(), host());
        let (file, path) = create_numbered(dir, &name)?;
        let mut writer = Self { file: BufWriter::new(file), path, started, opened: Instant::now() };
        let head = Event {
            wall_time: started.as_secs_f64(),
            file_version: Some(FORMAT.to_string()),
            ..Event::default()
        };
        write_record(&mut writer.file, &head.encode_to_vec())?;
        writer.flush()?;
        Ok(writer)
    }

    /// The file written to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one point of the curve `tag`; `/` in a tag groups curves.
    ///
    /// # Errors
    /// When the file cannot be written, or the step is above 2^63 - 1.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f32) -> io::Result<()> {
        let point = Point { tag: tag.to_string(), simple_value: Some(value) };
        let event = Event {
            wall_time: (self.started + self.opened.elapsed()).as_secs_f64(),
            step: i64::try_from(step).map_err(io::Error::other)?,
            file_version: None,
            summary: Some(Summary { value: vec![point] }),
            session_log: None,
        };
        write_record(&mut self.file, &event.encode_to_vec())
    }

    /// Says that the run goes on at `step`: readers drop what earlier files hold from there on, the
    /// steps that a killed process did after its last checkpoint.
    ///
    /// # Errors
    /// When the file cannot be written, or the step is above 2^63 - 1.
    pub fn restart(&mut self, step: u64) -> io::Result<()> {
        let event = Event {
            wall_time: (self.started + self.opened.elapsed()).as_secs_f64(),
            step: i64::try_from(step).map_err(io::Error::other)?,
            session_log: Some(SessionLog { status: 1 }),
            ..Event::default()
        };
        write_record(&mut self.file, &event.encode_to_vec())
    }

    /// Hands everything written so far to the system, so that a running `TensorBoard` shows it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn create_numbered(dir: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    for number in 0_u32.. {
        let path =
            dir.join(if number == 0 { name.to_string() } else { format!("{name}.{number}") });
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (file, path)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The machine's name as far as it fits a file name, else `ufo`.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || "-_".contains(*c);
    let name: String = name.trim().chars().filter(allowed).collect();
    if name.is_empty() { "ufo".to_string() } else { name }
}

fn write_record(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = (bytes.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc(&length).to_le_bytes())?;
    out.write_all(bytes)?;
    out.write_all(&masked_crc(bytes).to_le_bytes())
}

/// CRC32C, rotated and shifted so that a checksum of bytes that hold checksums stays strong.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SessionLog {
    /// 1 is START.
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Point>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Point {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 3720, B.4.
    #[test]
    fn checksum_is_castagnoli() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    /// Checksums by tensorboard 2.21's `pywrap_tensorflow.masked_crc32c`.
    #[test]
    fn a_record_is_length_checksum_bytes_checksum() {
        let mut out = Vec::new();
        write_record(&mut out, b"hello").unwrap();
        assert_eq!(out[..8], [5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&out[12..17], b"hello");
        assert_eq!(out.len(), 21);
        assert_eq!(out[8..12], 0x3e04_b2ea_u32.to_le_bytes());
        assert_eq!(out[17..], 0x191c_1fbb_u32.to_le_bytes());
    }

    fn records(bytes: &[u8]) -> Vec<Event> {
        let mut rest = bytes;
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            events.push(Event::decode(&rest[12..12 + length]).unwrap());
            rest = &rest[16 + length..];
        }
        events
    }

    #[test]
    fn scalars_follow_the_version_and_zero_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let started = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut writer = EventWriter::create(dir.path(), started).unwrap();
        writer.scalar(0, "loss/faces", 0.0).unwrap();
        writer.scalar(7, "lr", 1e-3).unwrap();
        writer.flush().unwrap();
        let name = writer.path().file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("events.out.tfevents.1700000000."), "{name}");

        let events = records(&std::fs::read(writer.path()).unwrap());
        assert_eq!(events[0].file_version.as_deref(), Some(FORMAT));
        let points: Vec<_> = events[1..]
            .iter()
            .map(|event| (event.step, event.summary.as_ref().unwrap().value[0].clone()))
            .collect();
        let point = |tag: &str, value| Point { tag: tag.to_string(), simple_value: Some(value) };
        assert_eq!(points, [(0, point("loss/faces", 0.0)), (7, point("lr", 1e-3))]);
    }

    #[test]
    fn a_resumed_run_keeps_the_earlier_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = EventWriter::create(dir.path(), UNIX_EPOCH).unwrap();
        let second = EventWriter::create(dir.path(), UNIX_EPOCH).unwrap();
        assert_ne!(first.path(), second.path());
        assert!(first.path().exists());
    }
}
