use super::*;
use proptest::prelude::*;

/// Defect 27 of the original: with an image stored twice, dropping the first hit need not drop the
/// query.
#[test]
fn a_duplicate_is_found_and_the_query_itself_is_not() {
    let features = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
    let recall = |labels: &[u32]| {
        retrieval_within(&Labeled { features: &features, labels }, 2, &[1, 2]).unwrap()
    };
    // Two copies of one class: both find each other, the third has no partner.
    assert_eq!(recall(&[5, 5, 6]).recall, [2.0 / 3.0; 2]);
    // The copy is of another class: nothing of the query's class is left to be found.
    let result = recall(&[5, 6, 6]);
    assert_eq!(result.without_match, 1);
    assert_eq!(result.recall, [0.0, 2.0 / 3.0]);
}

#[test]
fn a_gallery_by_hand() {
    let query = Labeled { features: &[1.0, 0.0, 0.0, 1.0], labels: &[1, 2] };
    let gallery = Labeled { features: &[2.0, 0.1, 9.0, 9.0, 0.0, 3.0], labels: &[2, 1, 2] };
    let result = retrieval(&query, &gallery, 2, &[1, 2]).unwrap();
    assert_eq!((result.queries, result.without_match), (2, 0));
    assert_eq!(result.recall, [0.5, 1.0]);
    assert_eq!(result.metrics()[1], Metric::new("recall@2", 1.0));
}

/// Features that collapse to one point must not look good.
#[test]
fn equal_similarity_counts_against_the_match() {
    let set = Labeled { features: &[1.0; 4], labels: &[0, 0, 1, 1] };
    assert_eq!(retrieval_within(&set, 1, &[1, 2, 3]).unwrap().recall, [0.0, 0.0, 1.0]);
}

#[test]
fn errors_name_what_is_wrong() {
    let good = Labeled { features: &[1.0, 0.0], labels: &[1] };
    let message = |query: &Labeled<'_>, gallery: &Labeled<'_>, ks: &[usize]| {
        retrieval(query, gallery, 2, ks).unwrap_err().to_string()
    };
    let labels = message(&good, &Labeled { labels: &[], ..good }, &[1]);
    assert_eq!(labels, "gallery.labels: expected 1 values, got 0");
    let row = message(&Labeled { features: &[1.0], ..good }, &good, &[1]);
    assert_eq!(row, "query.features: expected 2 values, got 1");
    let nan = message(&Labeled { features: &[1.0, f32::INFINITY], ..good }, &good, &[1]);
    assert_eq!(nan, "query.features: row 0 holds inf, must be -1e12 to 1e12");
    let ks = message(&good, &good, &[]);
    assert_eq!(ks, "ks = []: must hold at least one K, each at least 1");
    let dim = retrieval_within(&good, 0, &[1]).unwrap_err().to_string();
    assert_eq!(dim, "dim = 0: must be at least 1");
}

type Image = ([i8; 3], u32);

fn split(images: &[Image]) -> (Vec<f32>, Vec<u32>) {
    let features = images.iter().flat_map(|image| image.0).map(f32::from).collect();
    (features, images.iter().map(|image| image.1).collect())
}

proptest! {
    #[test]
    fn order_does_not_count_and_recall_climbs(
        set in prop::collection::vec((prop::array::uniform3(-3_i8..=3), 0_u32..5), 1..60),
        turn in any::<prop::sample::Index>(),
    ) {
        let judge = |images: &[Image]| {
            let (features, labels) = split(images);
            let set = Labeled { features: &features, labels: &labels };
            retrieval_within(&set, 3, &[1, 2, 5, 60]).unwrap()
        };
        let result = judge(&set);
        prop_assert!(result.recall.is_sorted());
        let found = (result.queries - result.without_match) as f64 / result.queries as f64;
        prop_assert!((result.recall[3] - found).abs() < 1e-12);
        let mut turned = set.clone();
        turned.rotate_left(turn.index(set.len()));
        prop_assert_eq!(judge(&turned), result);
    }

    #[test]
    fn a_set_against_itself_less_one_is_the_set_within(
        set in prop::collection::vec((prop::array::uniform3(-3_i8..=3), 0_u32..3), 2..12),
    ) {
        let (features, labels) = split(&set);
        let within = retrieval_within(&Labeled { features: &features, labels: &labels }, 3, &[1, 3]);
        let mut hits = [0.0; 2];
        for (row, image) in set.iter().enumerate() {
            let mut others = set.clone();
            others.remove(row);
            let (query, gallery) = (split(&[*image]), split(&others));
            let query = Labeled { features: &query.0, labels: &query.1 };
            let gallery = Labeled { features: &gallery.0, labels: &gallery.1 };
            let alone = retrieval(&query, &gallery, 3, &[1, 3]).unwrap();
            hits = [hits[0] + alone.recall[0], hits[1] + alone.recall[1]];
        }
        let recall = within.unwrap().recall;
        for (hits, recall) in hits.iter().zip(recall) {
            prop_assert!((hits / set.len() as f64 - recall).abs() < 1e-12);
        }
    }
}
