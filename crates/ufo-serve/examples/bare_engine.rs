//! Images a second of a model folder with no server around it: what load figures are compared with.
//!
//! `cargo run --release -p ufo-serve --example bare_engine -- FOLDER IMAGE [THREADS]`

#![allow(clippy::print_stdout, reason = "its output")]

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use ufo_data::decode;
use ufo_runtime::{Model, Precision};

/// How long each figure is taken.
const SECONDS: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, image, threads @ ..] = arguments.as_slice() else {
        return Err("FOLDER IMAGE [THREADS]".into());
    };
    let threads = threads.first().map_or(Ok(2), |text| text.parse())?;
    let model = Model::open(&PathBuf::from(folder), Precision::F32)?;
    let file = std::fs::read(image)?;
    let input = || -> Result<Vec<f32>, ufo_data::Error> {
        Ok(model.described.preprocess.apply(&decode(&file)?))
    };
    let per_second = |images: usize, work: &(dyn Fn() -> Result<(), Box<dyn Error>> + Sync)| {
        let (started, mut count) = (Instant::now(), 0);
        while started.elapsed() < SECONDS {
            work()?;
            count += images;
        }
        Ok::<f64, Box<dyn Error>>(count as f64 / started.elapsed().as_secs_f64())
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    for batch in [1, 8, 32] {
        let images = input()?.repeat(batch);
        let run = || pool.install(|| model.outputs(0, &images).map(drop)).map_err(Into::into);
        println!("batch {batch}: {:.0} images/s", per_second(batch, &run)?);
    }
    let prepare = || input().map(drop).map_err(Into::into);
    println!("decode and resize, one thread: {:.0} images/s", per_second(1, &prepare)?);
    Ok(())
}
