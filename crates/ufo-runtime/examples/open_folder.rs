//! How long a model folder takes to open, and the memory that it takes meanwhile and then (Linux).
//!
//! `open_folder FOLDER [f32|bf16|int8]` prints milliseconds, the largest resident set in MB, and what of the
//! resident set is no file's afterwards.

#![allow(clippy::print_stdout, reason = "its output")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;
use ufo_runtime::{Model, Precision};

fn mb(key: &str) -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, precision) = match arguments.as_slice() {
        [folder] => (folder, Precision::F32),
        [folder, name] => {
            let known = Precision::ALL.into_iter().find(|known| known.name() == name);
            (folder, known.ok_or("f32, bf16 or int8")?)
        }
        _ => return Err("FOLDER [f32|bf16|int8]".into()),
    };
    let started = Instant::now();
    let model = Model::open(Path::new(folder), precision)?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    println!("{ms:.0} ms, at most {:.0} MB, then {:.0} MB", mb("VmHWM:")?, mb("RssAnon:")?);
    drop(model);
    Ok(())
}
