use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;
use crate::Image;
use crate::{Format, Interpolation, ResizeMode, SamplerConfig, encode_png};

/// 4 classes of `each` distinct images; files named in `broken` hold no image.
fn dataset(folder: &Path, each: usize, broken: &[usize]) -> Arc<Dataset> {
    for index in 0..4 * each {
        let class = folder.join(format!("class-{}", index / each));
        fs::create_dir_all(&class).unwrap();
        let rgb = (0..5 * 4 * 3).map(|at| (index * 31 + at * 7) as u8).collect();
        let bytes = encode_png(&Image { width: 5, height: 4, rgb }).unwrap();
        let bytes = if broken.contains(&index) { b"no image".to_vec() } else { bytes };
        fs::write(class.join(format!("{index:03}.png")), bytes).unwrap();
    }
    Arc::new(Dataset::open(Format::ImageFolder, folder).unwrap())
}

fn preprocess() -> Preprocess {
    Preprocess {
        size: [6, 7],
        resize: ResizeMode::Squash,
        interpolation: Interpolation::Bicubic,
        ..Preprocess::default()
    }
}

fn everything() -> Augment {
    Augment {
        flip: 0.5,
        pad_crop: 2,
        auto_augment: 0.5,
        erase: 0.5,
        mixup: 1.0,
        cutmix: 1.0,
        mix_probability: 0.7,
        ..Augment::default()
    }
}

fn loader(dataset: &Arc<Dataset>, augment: Augment, config: LoaderConfig) -> Loader {
    let labels = dataset.shared_labels();
    let sampler = || Sampler::new(labels, SamplerConfig::Shuffled, 6, 5, config.task);
    Loader::train(dataset, sampler, augment, &preprocess(), config).unwrap()
}

#[test]
fn batches_do_not_depend_on_workers_or_resume() {
    let folder = TempDir::new().unwrap();
    let dataset = dataset(folder.path(), 5, &[3]);
    let batches = |workers, queue, first_step: u64, task| {
        let config = LoaderConfig { workers, queue, task, first_step, ..LoaderConfig::default() };
        let mut loader = loader(&dataset, everything(), config);
        (first_step..12).map(|_| loader.next_batch().unwrap()).collect::<Vec<_>>()
    };
    let one = batches(1, 1, 0, 0);
    assert_eq!(one[3].size, [6, 3, 6, 7]);
    assert_eq!(one.iter().map(|batch| batch.step).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    assert!(one.iter().any(|batch| batch.soft.is_some()));
    assert!(one.iter().any(|batch| batch.soft.is_none()));
    for (workers, queue) in [(2, 3), (4, 1), (4, 8)] {
        assert_eq!(batches(workers, queue, 0, 0), one, "{workers} workers");
    }
    assert_eq!(batches(2, 2, 7, 0), one[7..]);
    let other = batches(2, 2, 0, 1);
    assert!(other.iter().zip(&one).all(|(other, one)| other.images != one.images));
}

#[test]
fn labels_and_soft_targets_belong_to_the_images() {
    let folder = TempDir::new().unwrap();
    let dataset = dataset(folder.path(), 5, &[]);
    let mut loader = loader(&dataset, Augment::default(), LoaderConfig::default());
    for _ in 0..4 {
        let batch = loader.next_batch().unwrap();
        for ((&index, &label), image) in
            batch.indices.iter().zip(&batch.labels).zip(batch.images.chunks(3 * 6 * 7))
        {
            assert_eq!(label, dataset.label(index));
            assert_eq!(image, preprocess().apply(&dataset.image(index).unwrap()));
        }
    }
}

#[test]
fn augmentation_differs_by_position_step_and_seed() {
    let folder = TempDir::new().unwrap();
    let one = Arc::new(dataset(folder.path(), 1, &[]).select(&[0]));
    let augment = Augment { erase: 1.0, ..Augment::default() };
    let images = |seed| {
        let config = LoaderConfig { seed, ..LoaderConfig::default() };
        let mut loader = loader(&one, augment, config);
        let batches = [(); 3].map(|()| loader.next_batch().unwrap().images);
        batches.concat().chunks(3 * 6 * 7).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    let mut all = [images(1), images(2)].concat();
    assert_eq!(all.len(), 36);
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all.dedup();
    assert!(all.len() >= 34, "{} of 36 samples differ", all.len());
}

#[test]
fn a_broken_image_is_replaced_and_counted() {
    let folder = TempDir::new().unwrap();
    let dataset = dataset(folder.path(), 3, &[4, 5, 11]);
    let mut loader = loader(&dataset, Augment::default(), LoaderConfig::default());
    // Two batches of 6 are one epoch of all 12.
    let mut indices = Vec::new();
    let mut skipped = 0;
    for _ in 0..2 {
        let batch = loader.next_batch().unwrap();
        let labels = batch.indices.iter().map(|&index| dataset.label(index));
        assert_eq!(batch.labels, labels.collect::<Vec<_>>());
        skipped += batch.skipped;
        indices.extend(batch.indices);
    }
    indices.sort_unstable();
    assert_eq!(skipped, 3);
    // 4 and 5 become 6, 11 becomes 0.
    assert_eq!(indices, [0, 0, 1, 2, 3, 6, 6, 6, 7, 8, 9, 10]);
}

#[test]
fn too_many_broken_images_are_an_error_that_names_them() {
    let folder = TempDir::new().unwrap();
    let dataset = dataset(folder.path(), 3, &[4, 7, 11]);
    for workers in [1, 3] {
        let config = LoaderConfig { workers, max_broken: 2, ..LoaderConfig::default() };
        let mut loader = loader(&dataset, Augment::default(), config);
        let error = (0..2).find_map(|_| loader.next_batch().err()).unwrap().to_string();
        assert!(error.contains("3 broken images; allowed: 2"), "{error}");
        assert!(error.contains("004.png") && error.contains("unknown format"), "{error}");
        let error = loader.next_batch().unwrap_err().to_string();
        assert!(error.contains("an earlier batch failed"), "{error}");
    }
}

#[test]
fn the_same_broken_image_counts_once() {
    let folder = TempDir::new().unwrap();
    let dataset = dataset(folder.path(), 3, &[4]);
    let config = LoaderConfig { max_broken: 1, ..LoaderConfig::default() };
    let mut loader = loader(&dataset, Augment::default(), config);
    let skipped: usize = (0..20).map(|_| loader.next_batch().unwrap().skipped).sum();
    assert_eq!(skipped, 10, "once in each of ten epochs");
}

#[test]
fn eleven_broken_images_in_a_row_are_an_error() {
    let folder = TempDir::new().unwrap();
    let dataset = dataset(folder.path(), 3, &(0..12).collect::<Vec<_>>());
    let config = LoaderConfig { max_broken: 100, ..LoaderConfig::default() };
    let mut loader = loader(&dataset, Augment::default(), config);
    let error = loader.next_batch().unwrap_err().to_string();
    assert!(error.contains("the next 10 are broken too"), "{error}");
}

#[test]
fn a_wrong_setting_is_an_error_at_once() {
    let folder = TempDir::new().unwrap();
    let dataset = dataset(folder.path(), 3, &[]);
    let start = |flip, batch, size| {
        let sampler =
            || Sampler::new(dataset.shared_labels(), SamplerConfig::Shuffled, batch, 0, 0);
        let augment = Augment { flip, ..Augment::default() };
        let preprocess = Preprocess { size, ..preprocess() };
        let loader =
            Loader::train(&dataset, sampler, augment, &preprocess, LoaderConfig::default());
        loader.unwrap_err().to_string()
    };
    assert!(start(2.0, 6, [6, 7]).contains("augment.flip is 2"));
    assert!(start(0.0, 0, [6, 7]).contains("batch is 0"));
    assert!(start(0.0, 6, [0, 7]).contains("preprocess.size is [0, 7]"));
    let mut batches = eval_batches(&dataset, &preprocess(), 0);
    assert!(batches.next().unwrap().unwrap_err().to_string().contains("batch is 0"));
    assert!(batches.next().is_none());
}

#[test]
fn a_dropped_loader_ends_its_threads() {
    let folder = TempDir::new().unwrap();
    let dataset = dataset(folder.path(), 3, &[]);
    let config = LoaderConfig { workers: 4, queue: 2, ..LoaderConfig::default() };
    let mut full = loader(&dataset, Augment::default(), config);
    full.next_batch().unwrap();
    drop(full);
    drop(loader(&dataset, Augment::default(), config));
    // The workers held the only other references.
    assert_eq!(Arc::strong_count(&dataset), 1);
}

#[test]
fn evaluation_sees_every_sample_in_order() {
    let folder = TempDir::new().unwrap();
    let dataset = dataset(folder.path(), 5, &[]);
    let run = |workers| {
        eval_batches_on(workers, &dataset, &preprocess(), 6).collect::<Result<Vec<_>, _>>().unwrap()
    };
    let batches = run(1);
    let indices: Vec<usize> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
    assert_eq!(indices, (0..20).collect::<Vec<_>>());
    assert_eq!(batches.last().unwrap().size, [2, 3, 6, 7]);
    let image = preprocess().apply(&dataset.image(7).unwrap());
    assert_eq!(batches[1].images[3 * 42..6 * 42], image);
    for workers in [2, 4] {
        assert_eq!(run(workers), batches);
    }
}

#[test]
fn evaluation_does_not_skip_a_broken_image() {
    let folder = TempDir::new().unwrap();
    let dataset = dataset(folder.path(), 3, &[7]);
    let results: Vec<_> = eval_batches(&dataset, &preprocess(), 3).collect();
    assert_eq!(results.len(), 3, "two good batches and the error");
    assert!(results[2].as_ref().unwrap_err().to_string().contains("007.png"));
}
