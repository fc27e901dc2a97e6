use super::*;
use proptest::prelude::*;

/// Test vector A5 of the specification: relevance 1, 0, 1, 0, 0, 1 in sorted order.
#[test]
fn a_ranking_by_hand() {
    let relevance = [true, false, true, false, false, true];
    let seen = relevance.iter().enumerate().map(|(place, &hit)| (place as f64, hit)).collect();
    let ranking = Ranking::new(seen).unwrap();
    assert_eq!(ranking.first, 1);
    assert!((ranking.ap - (1.0 + 2.0 / 3.0 + 3.0 / 6.0) / 3.0).abs() < 1e-15);
    assert!((ranking.ap - 0.722_222).abs() < 1e-6);
    assert!((ranking.inp - 0.5).abs() < 1e-15);
    assert_eq!(Ranking::new(vec![(0.0, false)]), None);
}

#[test]
fn the_camera_filter_drops_the_query_s_own_view() {
    let query = Sightings { features: &[1.0, 0.0, 0.0, 1.0], ids: &[7, 8], cameras: &[1, 1] };
    let gallery = Sightings {
        // The nearest is the same person by the same camera; then a stranger; then the match.
        features: &[1.0, 0.0, 0.9, 0.1, 0.5, 0.5],
        ids: &[7, 3, 7],
        cameras: &[1, 1, 2],
    };
    let result = reid(&query, &gallery, 2, Distance::Cosine, 50).unwrap();
    assert_eq!((result.queries, result.skipped), (1, 1));
    assert!((result.mean_ap - 0.5).abs() < 1e-15);
    assert_eq!(result.cmc, [0.0, 1.0, 1.0]);
    assert!((result.rank(10) - 1.0).abs() < 1e-15);
    assert!((result.map_rank1() - 0.25).abs() < 1e-15);
}

#[test]
fn equal_distance_counts_against_the_match() {
    let query = Sightings { features: &[1.0], ids: &[1], cameras: &[0] };
    let gallery = Sightings { features: &[1.0, 1.0], ids: &[1, 2], cameras: &[1, 1] };
    for distance in [Distance::Cosine, Distance::Euclidean] {
        let result = reid(&query, &gallery, 1, distance, 1).unwrap();
        assert_eq!(result.cmc, [0.0]);
        assert!((result.mean_ap - 0.5).abs() < 1e-15);
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let good = Sightings { features: &[1.0, 0.0], ids: &[1], cameras: &[0] };
    let message = |query: &Sightings<'_>, gallery: &Sightings<'_>, most_rank| {
        reid(query, gallery, 2, Distance::Cosine, most_rank).unwrap_err().to_string()
    };
    let ids = message(&Sightings { ids: &[], ..good }, &good, 1);
    assert_eq!(ids, "query.ids: expected 1 values, got 0");
    let cameras = message(&good, &Sightings { cameras: &[1, 2], ..good }, 1);
    assert_eq!(cameras, "gallery.cameras: expected 1 values, got 2");
    assert_eq!(message(&good, &good, 0), "most_rank = 0: must be at least 1");
    let none = "mAP is undefined: no query has a match in the gallery after the camera filter";
    assert_eq!(message(&good, &good, 1), none);
}

type Image = ([i8; 3], u32, u32);

fn judge(query: &[Image], gallery: &[Image], distance: Distance) -> Result<ReId, Error> {
    let split = |images: &[Image]| {
        let features: Vec<f32> = images.iter().flat_map(|image| image.0).map(f32::from).collect();
        let ids: Vec<u32> = images.iter().map(|image| image.1).collect();
        let cameras: Vec<u32> = images.iter().map(|image| image.2).collect();
        (features, ids, cameras)
    };
    let (query, gallery) = (split(query), split(gallery));
    let query = Sightings { features: &query.0, ids: &query.1, cameras: &query.2 };
    let gallery = Sightings { features: &gallery.0, ids: &gallery.1, cameras: &gallery.2 };
    reid(&query, &gallery, 3, distance, 10)
}

fn images(most: usize) -> impl Strategy<Value = Vec<Image>> {
    prop::collection::vec((prop::array::uniform3(-3_i8..=3), 0_u32..4, 0_u32..3), 1..most)
}

proptest! {
    #[test]
    fn the_order_of_the_gallery_does_not_count(
        query in images(10),
        gallery in images(40),
        turn in any::<prop::sample::Index>(),
    ) {
        let mut turned = gallery.clone();
        turned.rotate_left(turn.index(gallery.len()));
        for distance in [Distance::Cosine, Distance::Euclidean] {
            let result = judge(&query, &gallery, distance);
            prop_assert_eq!(judge(&query, &turned, distance), result.clone());
            if let Ok(result) = result {
                prop_assert!(result.cmc.is_sorted());
                prop_assert!((0.0..=1.0).contains(&result.mean_inp));
                prop_assert!((0.0..=1.0).contains(&result.mean_ap));
                prop_assert_eq!(result.queries + result.skipped, query.len());
            }
        }
    }
}
