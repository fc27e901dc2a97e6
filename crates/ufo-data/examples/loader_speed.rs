//! Images a second of the training loader, and its memory over a long run.
//!
//! `cargo run --release -p ufo-data --example loader_speed -- PATH [side] [batches] [workers]`
//!
//! PATH is a folder of class folders of images or what IDX files begin with, as `data/emoji/train`.
//! Random resized crop, flip, normalize, batches of 64. First 2 batches of fresh loaders, as `ufo bench`
//! times `loader-jpeg`; then one stream of `batches`, with this process's resident memory on the way.

use std::{error::Error, fs, path::Path, sync::Arc, time::Instant};

use ufo_data::{
    Augment, Dataset, Format, Loader, LoaderConfig, Preprocess, ResizedCrop, Sampler, SamplerConfig,
};

const BATCH: usize = 64;
const EPOCHS: u64 = 15;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().ok_or("usage: loader_speed PATH [side] [batches] [workers]")?;
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (side, batches, workers) = (number(1, 224)?, number(2, 200)? as u64, number(3, 2)?);
    let path = Path::new(path);
    let format = if path.is_dir() { Format::ImageFolder } else { Format::Idx };
    let data = Arc::new(Dataset::open(format, path)?);
    let config = LoaderConfig { workers, ..LoaderConfig::default() };
    let mut epochs = Vec::new();
    for epoch in 0..EPOCHS {
        let start = Instant::now();
        let config = LoaderConfig { first_step: 2 * epoch, ..config };
        let mut loader = loader(&data, side, config)?;
        loader.next_batch()?;
        loader.next_batch()?;
        drop(loader);
        epochs.push(start.elapsed().as_secs_f64() * 1e3);
    }
    epochs.sort_by(f64::total_cmp);
    let at = |tenth: usize| epochs[(epochs.len() - 1) * tenth / 10];
    println!("2 batches of a fresh loader: {:.1} ms ({:.1} - {:.1})", at(5), at(1), at(9));
    stream(&mut loader(&data, side, config)?, batches)
}

fn loader(
    data: &Arc<Dataset>,
    side: usize,
    config: LoaderConfig,
) -> Result<Loader, ufo_data::Error> {
    let labels = data.shared_labels();
    let sampler = || Sampler::new(labels, SamplerConfig::default(), BATCH, 0, 0);
    let crop = Some(ResizedCrop::default());
    let augment = Augment { flip: 0.5, random_resized_crop: crop, ..Augment::default() };
    let preprocess = Preprocess { size: [side, side], ..Preprocess::default() };
    Loader::train(data, sampler, augment, &preprocess, config)
}

fn stream(loader: &mut Loader, batches: u64) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    for batch in 0..batches {
        loader.next_batch()?;
        if batch % (batches / 5).max(1) == 9.min(batches / 10) {
            println!("after {batch:>6} batches: {:.1} MB resident", resident_mb()?);
        }
    }
    let images_per_s = (batches * BATCH as u64) as f64 / start.elapsed().as_secs_f64();
    println!("after {batches:>6} batches: {:.1} MB resident", resident_mb()?);
    println!("stream: {images_per_s:.0} images/s");
    Ok(())
}

/// `VmRSS` of this process.
fn resident_mb() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kb: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kb / 1024.0)
}
