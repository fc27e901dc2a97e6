//! Where the time of the training loader goes: nanoseconds an image, stage by stage, on one thread.
//!
//! `cargo run --release -p ufo-data --example loader_stages -- FOLDER [passes]`, with a folder of class
//! folders of images. A pass takes every image through every stage; medians over the passes and their
//! 10th and 90th percentile are printed.

use std::{fs, path::PathBuf, time::Instant};

use ufo_data::{Augment, Image, Preprocess, Purpose, ResizedCrop, decode, stream};

const STAGES: [&str; 5] = ["read", "decode", "crop + resize", "all but decode", "memset of output"];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("usage: loader_stages FOLDER [passes]");
    let passes = arguments.next().map_or(31, |passes| passes.parse().expect("passes is a number"));
    let files = files(&folder);
    let mut times: [Vec<f64>; 5] = Default::default();
    for pass in 0..passes {
        for (all, time) in times.iter_mut().zip(one_pass(&files, pass)) {
            all.push(time / files.len() as f64);
        }
    }
    println!("{} images, {passes} passes, ns an image: median (p10 - p90)", files.len());
    for (stage, mut all) in STAGES.into_iter().zip(times) {
        all.sort_by(f64::total_cmp);
        let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize];
        println!("{stage:<18} {:>9.0} ({:.0} - {:.0})", at(0.5), at(0.1), at(0.9));
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = |path: PathBuf| {
        let listing = fs::read_dir(path).expect("a readable folder");
        listing.map(|entry| entry.expect("a readable entry").path())
    };
    let mut files: Vec<PathBuf> =
        entries(folder.into()).filter(|path| path.is_dir()).flat_map(entries).collect();
    files.sort();
    files
}

/// Nanoseconds of each stage, over all files.
fn one_pass(files: &[PathBuf], pass: u64) -> [f64; 5] {
    let preprocess = Preprocess { size: [224, 224], ..Preprocess::default() };
    let crop = Augment { random_resized_crop: Some(ResizedCrop::default()), ..Augment::default() };
    let whole = Augment { flip: 0.5, ..crop };
    let rng = |at: usize| stream(0, Purpose::Augment, &[0, pass, at as u64]);
    let mut out = vec![0.0; 3 * 224 * 224];
    let mut start = Instant::now();
    let mut lap = || {
        let before = std::mem::replace(&mut start, Instant::now());
        (start - before).as_nanos() as f64
    };
    let bytes: Vec<Vec<u8>> =
        files.iter().map(|path| fs::read(path).expect("a readable file")).collect();
    let read = lap();
    let images: Vec<Image> = bytes.iter().map(|bytes| decode(bytes).expect("an image")).collect();
    let decoded = lap();
    for (at, image) in images.iter().enumerate() {
        std::hint::black_box(crop.image(image, &preprocess, &mut rng(at)));
    }
    let resized = lap();
    for (at, image) in images.iter().enumerate() {
        whole.apply_into(image, &preprocess, &mut rng(at), &mut out);
        std::hint::black_box(&mut out);
    }
    let all = lap();
    for at in 0..images.len() {
        out.fill(at as f32);
        std::hint::black_box(&mut out);
    }
    [read, decoded, resized, all, lap()]
}
