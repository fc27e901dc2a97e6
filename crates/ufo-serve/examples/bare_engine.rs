//! Images a second of a model folder with no server around it: what load figures are compared with.
//!
//! `bare_engine FOLDER THREADS BATCH SECONDS`, run by `scripts/bench-serve.sh`.

#![allow(clippy::print_stdout, reason = "its output")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use ufo_runtime::{Model, Precision};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, numbers @ ..] = arguments.as_slice() else {
        return Err("FOLDER THREADS BATCH SECONDS".into());
    };
    let numbers: Vec<usize> = numbers.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let &[threads, batch, seconds] = numbers.as_slice() else {
        return Err("FOLDER THREADS BATCH SECONDS".into());
    };
    let model = Model::open(Path::new(folder), Precision::F32)?;
    let [height, width] = model.described.arch.image_size;
    let images = vec![0.5; batch * model.described.arch.channels * height * width];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(|| model.outputs(0, &images))?;
    let (started, mut count) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(seconds as u64) {
        pool.install(|| model.outputs(0, &images))?;
        count += batch;
    }
    println!("{:.2}", count as f64 / started.elapsed().as_secs_f64());
    Ok(())
}
