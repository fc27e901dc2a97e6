//! An epoch of JPEG files decoded, cropped, flipped and normalized, from the folder `UFO_BENCH_DATA`.

use super::Workload;
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::Arc;
use ufo_data::{
    Augment, Dataset, Format, Loader, LoaderConfig, Preprocess, ResizedCrop, Sampler, SamplerConfig,
};

const BATCH: usize = 64;

pub(crate) struct Epoch {
    loader: Loader,
    batches: usize,
}

impl Epoch {
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let folder = std::env::var("UFO_BENCH_DATA")
            .context("UFO_BENCH_DATA: must name a folder of class folders of JPEG files")?;
        let data = Arc::new(Dataset::open(Format::ImageFolder, Path::new(&folder))?);
        let labels = data.shared_labels();
        let sampler = || Sampler::new(Arc::clone(&labels), SamplerConfig::default(), BATCH, 0, 0);
        let augment = Augment {
            flip: 0.5,
            random_resized_crop: Some(ResizedCrop::default()),
            ..Augment::default()
        };
        let preprocess = Preprocess { size: [224, 224], ..Preprocess::default() };
        let config = LoaderConfig { workers: threads, queue: 4, ..LoaderConfig::default() };
        let loader = Loader::train(&data, sampler, augment, &preprocess, config)?;
        Ok(Self { loader, batches: data.len() / BATCH })
    }
}

impl Workload for Epoch {
    fn step(&mut self) -> Result<()> {
        for _ in 0..self.batches {
            self.loader.next_batch()?;
        }
        Ok(())
    }
}
