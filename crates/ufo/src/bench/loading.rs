//! An epoch of images decoded, augmented and normalized: of JPEG files, from the folder `UFO_BENCH_DATA`, cropped and
//! resized to 224 pixels; or of the IDX files that begin with `UFO_BENCH_IDX`, such as the bundled ones, padded and cropped.

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
    augment: Augment,
    preprocess: Preprocess,
    workers: usize,
    step: u64,
}

impl Epoch {
    pub(crate) fn jpeg(threads: usize) -> Result<Self> {
        let folder = std::env::var("UFO_BENCH_DATA")
            .context("UFO_BENCH_DATA: must name a folder of class folders of JPEG files")?;
        let random_resized_crop = Some(ResizedCrop::default());
        let augment = Augment { flip: 0.5, random_resized_crop, ..Augment::default() };
        Self::new((Format::ImageFolder, &folder), augment, 224, threads)
    }

    pub(crate) fn idx(threads: usize) -> Result<Self> {
        let place = std::env::var("UFO_BENCH_IDX").context(
            "UFO_BENCH_IDX: must name what IDX files begin with, such as data/fashion/train",
        )?;
        let augment = Augment { flip: 0.5, pad_crop: 2, ..Augment::default() };
        Self::new((Format::Idx, &place), augment, 28, threads)
    }

    fn new(
        (format, place): (Format, &str),
        augment: Augment,
        side: usize,
        workers: usize,
    ) -> Result<Self> {
        let data = Arc::new(Dataset::open(format, Path::new(place))?);
        let preprocess = Preprocess { size: [side; 2], ..Preprocess::default() };
        Ok(Self { data, augment, preprocess, workers, step: 0 })
    }
}

impl Workload for Epoch {
    /// From a loader of its own: nothing is ready before the step begins.
    fn step(&mut self) -> Result<()> {
        let labels = self.data.shared_labels();
        let sampler = || Sampler::new(Arc::clone(&labels), SamplerConfig::default(), BATCH, 0, 0);
        let (workers, first_step) = (self.workers, self.step);
        let config = LoaderConfig { workers, queue: 4, first_step, ..LoaderConfig::default() };
        let mut loader =
            Loader::train(&self.data, sampler, self.augment, &self.preprocess, config)?;
        let batches = self.data.len() / BATCH;
        for _ in 0..batches {
            loader.next_batch()?;
        }
        self.step += batches as u64;
        Ok(())
    }
}
