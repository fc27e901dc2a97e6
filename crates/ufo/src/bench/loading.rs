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
    data: Arc<Dataset>,
    workers: usize,
    step: u64,
}

impl Epoch {
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let folder = std::env::var("UFO_BENCH_DATA")
            .context("UFO_BENCH_DATA: must name a folder of class folders of JPEG files")?;
        let data = Arc::new(Dataset::open(Format::ImageFolder, Path::new(&folder))?);
        Ok(Self { data, workers: threads, step: 0 })
    }
}

impl Workload for Epoch {
    /// From a loader of its own: nothing is ready before the step begins.
    fn step(&mut self) -> Result<()> {
        let labels = self.data.shared_labels();
        let sampler = || Sampler::new(Arc::clone(&labels), SamplerConfig::default(), BATCH, 0, 0);
        let augment = Augment {
            flip: 0.5,
            random_resized_crop: Some(ResizedCrop::default()),
            ..Augment::default()
        };
        let preprocess = Preprocess { size: [224, 224], ..Preprocess::default() };
        let (workers, first_step) = (self.workers, self.step);
        let config = LoaderConfig { workers, queue: 4, first_step, ..LoaderConfig::default() };
        let mut loader = Loader::train(&self.data, sampler, augment, &preprocess, config)?;
        let batches = self.data.len() / BATCH;
        for _ in 0..batches {
            loader.next_batch()?;
        }
        self.step += batches as u64;
        Ok(())
    }
}
