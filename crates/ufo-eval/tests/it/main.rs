//! Every protocol against scikit-learn and numpy; `tests/reference/eval_reference.py` in the root of
//! the repository writes the fixture.

mod detection;

use serde::Deserialize;
use std::path::Path;
use ufo_eval::{
    Distance, Labeled, Logistic, PixelCounts, Sightings, classification, nearest_labels,
    pair_distances, reid, retrieval, retrieval_within, roc, segmentation, val_at_far, verification,
};

/// Both sides compute in double precision from equal inputs.
const CLOSE: f64 = 1e-12;
/// Features are normalized to single precision here.
const APPROXIMATE: f64 = 1e-6;

fn fixture<T: for<'a> Deserialize<'a>>(protocol: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference.json");
    let text = std::fs::read_to_string(path).expect("the fixture is part of the repository");
    let mut all: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    serde_json::from_value(all[protocol].take()).expect("it has the protocol's fields")
}

#[track_caller]
fn assert_close(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected}");
}

#[track_caller]
fn assert_all_close(got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (&got, &expected) in got.iter().zip(expected) {
        assert_close(got, expected, tolerance);
    }
}

#[derive(Deserialize)]
struct Classification {
    classes: usize,
    logits: Vec<f32>,
    labels: Vec<u32>,
    top1: f64,
    top5: f64,
    mean_per_class: f64,
    quadratic_kappa: f64,
    confusion: Vec<Vec<u64>>,
}

#[test]
fn classification_equals_scikit_learn() {
    let expected: Classification = fixture("classification");
    let got = classification(&expected.logits, expected.classes, &expected.labels).unwrap();
    assert_close(got.top1, expected.top1, CLOSE);
    assert_close(got.top5, expected.top5, CLOSE);
    assert_close(got.mean_per_class, expected.mean_per_class, CLOSE);
    assert_close(got.quadratic_kappa.unwrap(), expected.quadratic_kappa, CLOSE);
    assert_eq!(got.confusion.unwrap(), expected.confusion);
}

#[derive(Deserialize)]
struct Point {
    wanted: f64,
    far: f64,
    #[serde(alias = "val")]
    tar: f64,
}

#[derive(Deserialize)]
struct Roc {
    scores: Vec<f64>,
    same: Vec<bool>,
    far: Vec<f64>,
    tar: Vec<f64>,
    points: Vec<Point>,
    eer: f64,
}

#[test]
fn roc_equals_scikit_learn() {
    let expected: Roc = fixture("roc");
    let got = roc(&expected.scores, &expected.same).unwrap();
    assert_all_close(&got.far, &expected.far, CLOSE);
    assert_all_close(&got.tar, &expected.tar, CLOSE);
    assert_close(got.equal_error_rate(), expected.eer, CLOSE);
    for point in expected.points {
        let got = got.tar_at_far(point.wanted);
        assert_close(got.far, point.far, CLOSE);
        assert_close(got.tar, point.tar, CLOSE);
    }
}

#[derive(Deserialize)]
struct Verification {
    dim: usize,
    features: Vec<f32>,
    same: Vec<bool>,
    distances: Vec<f64>,
    accuracy: f64,
    threshold: f64,
    fold_accuracies: Vec<f64>,
    val_at_far: Vec<Point>,
}

#[test]
fn verification_equals_scikit_learns_folds() {
    let expected: Verification = fixture("verification");
    let distances = pair_distances(&expected.features, expected.dim).unwrap();
    assert_all_close(&distances, &expected.distances, APPROXIMATE);
    let got = verification(&expected.distances, &expected.same).unwrap();
    assert_close(got.accuracy, expected.accuracy, CLOSE);
    assert_close(got.threshold, expected.threshold, CLOSE);
    assert_all_close(&got.fold_accuracies, &expected.fold_accuracies, CLOSE);
    for point in expected.val_at_far {
        let got = val_at_far(&expected.distances, &expected.same, point.wanted).unwrap();
        assert_close(got.val, point.tar, CLOSE);
        assert_close(got.far, point.far, CLOSE);
    }
}

#[derive(Deserialize)]
struct Side {
    features: Vec<f32>,
    #[serde(alias = "labels")]
    ids: Vec<u32>,
    #[serde(default)]
    cameras: Vec<u32>,
}

impl Side {
    fn sightings(&self) -> Sightings<'_> {
        Sightings { features: &self.features, ids: &self.ids, cameras: &self.cameras }
    }

    fn labeled(&self) -> Labeled<'_> {
        Labeled { features: &self.features, labels: &self.ids }
    }
}

#[derive(Deserialize)]
struct Judged {
    mean_ap: f64,
    mean_inp: f64,
    cmc: Vec<f64>,
    skipped: usize,
}

#[derive(Deserialize)]
struct ReId {
    dim: usize,
    query: Side,
    gallery: Side,
    cosine: Judged,
    euclidean: Judged,
}

#[test]
fn reid_equals_scikit_learns_average_precision() {
    let fixture: ReId = fixture("reid");
    let (query, gallery) = (fixture.query.sightings(), fixture.gallery.sightings());
    for (distance, expected) in
        [(Distance::Cosine, fixture.cosine), (Distance::Euclidean, fixture.euclidean)]
    {
        let got = reid(&query, &gallery, fixture.dim, distance, 50).unwrap();
        assert_close(got.mean_ap, expected.mean_ap, CLOSE);
        assert_close(got.mean_inp, expected.mean_inp, CLOSE);
        assert_all_close(&got.cmc, &expected.cmc, CLOSE);
        assert_eq!(got.skipped, expected.skipped);
        assert!(got.skipped > 0, "the fixture has queries without a match");
    }
}

#[derive(Deserialize)]
struct Retrieval {
    dim: usize,
    ks: Vec<usize>,
    query: Side,
    gallery: Side,
    recall: Vec<f64>,
    recall_within: Vec<f64>,
}

#[test]
fn recall_equals_numpy() {
    let fixture: Retrieval = fixture("retrieval");
    let (query, gallery) = (fixture.query.labeled(), fixture.gallery.labeled());
    let got = retrieval(&query, &gallery, fixture.dim, &fixture.ks).unwrap();
    assert_all_close(&got.recall, &fixture.recall, CLOSE);
    let got = retrieval_within(&gallery, fixture.dim, &fixture.ks).unwrap();
    assert_all_close(&got.recall, &fixture.recall_within, CLOSE);
}

#[derive(Deserialize)]
struct Nearest {
    dim: usize,
    train: Vec<f32>,
    train_labels: Vec<u32>,
    test: Vec<f32>,
    test_labels: Vec<u32>,
    accuracy: f64,
}

#[test]
fn nearest_neighbor_equals_numpy() {
    let Nearest { dim, train, train_labels, test, test_labels, accuracy } = fixture("nearest");
    let labels = nearest_labels(&train, &train_labels, &test, dim).unwrap();
    let right = labels.iter().zip(&test_labels).filter(|(got, label)| got == label).count();
    assert_close(right as f64 / test_labels.len() as f64, accuracy, CLOSE);
}

#[derive(Deserialize)]
struct Segmentation {
    classes: usize,
    truth: Vec<Vec<u8>>,
    predicted: Vec<Vec<u8>>,
    mean_iou: f64,
    iou: Vec<f64>,
    mean_dice: f64,
    mean_accuracy: f64,
    pixel_accuracy: f64,
    confusion: Vec<Vec<u64>>,
}

#[test]
fn segmentation_equals_scikit_learn_over_the_whole_set() {
    let expected: Segmentation = fixture("segmentation");
    let mut pixels = PixelCounts::new(expected.classes);
    for (truth, predicted) in expected.truth.iter().zip(&expected.predicted) {
        pixels.add(truth, predicted).unwrap();
    }
    let got = segmentation(&pixels).unwrap();
    assert_eq!(got.confusion, expected.confusion);
    assert_close(got.mean_iou, expected.mean_iou, CLOSE);
    assert_close(got.mean_dice, expected.mean_dice, CLOSE);
    assert_close(got.mean_accuracy, expected.mean_accuracy, CLOSE);
    assert_close(got.pixel_accuracy, expected.pixel_accuracy, CLOSE);
    // The last class is nowhere.
    let iou: Vec<f64> = got.iou.iter().flatten().copied().collect();
    assert_eq!(iou.len() + 1, expected.classes);
    assert_all_close(&iou, &expected.iou, CLOSE);
}

#[derive(Deserialize)]
struct LogisticRows {
    inputs: usize,
    classes: usize,
    rows: Vec<f32>,
    labels: Vec<u8>,
    predicted: Vec<u8>,
}

#[test]
fn logistic_regression_predicts_as_scikit_learn() {
    let LogisticRows { inputs, classes, rows, labels, predicted } = fixture("logistic");
    let model = Logistic::fit(&rows, inputs, (&labels, classes)).unwrap();
    assert_eq!(model.predict(&rows), predicted);
    let right = labels.iter().zip(&predicted).filter(|(a, b)| a == b).count();
    assert!(right > labels.len() / 2 && right < labels.len(), "{right}: the classes overlap");
}
