//! Pairs of images for verification where a set brings none of its own.

use crate::Error;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use std::collections::{BTreeMap, HashSet};
use ufo_data::{Purpose, stream};

/// A matched and a mismatched pair in turn, as many of each, at most `most`; no pair occurs twice,
/// and the same labels give the same pairs.
///
/// # Errors
/// When no label has two images, or there is one label only.
pub fn draw_pairs(labels: &[u32], most: usize) -> Result<Vec<[usize; 2]>, Error> {
    let mut images: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (image, &label) in labels.iter().enumerate() {
        images.entry(label).or_default().push(image);
    }
    let of_two = |images: usize| images * (images.saturating_sub(1)) / 2;
    let matched: usize = images.values().map(|images| of_two(images.len())).sum();
    let mismatched = of_two(labels.len()) - matched;
    let count = most.min(matched).min(mismatched);
    if count == 0 {
        let allowed = "must hold a label of two images, and two labels";
        return Err(Error::value("labels", format!("{} images", labels.len()), allowed));
    }
    let mut rng = stream(0, Purpose::Subset, &[2]);
    let all = (0..labels.len()).collect::<Vec<_>>();
    let partners = |image: usize, same: bool| if same { &images[&labels[image]] } else { &all };
    let mut of_kind = |same: bool, existing: usize| {
        let fits = |a: usize, b: usize| a < b && (labels[a] == labels[b]) == same;
        if existing <= 4 * count {
            let firsts = all.iter().flat_map(|&a| partners(a, same).iter().map(move |&b| [a, b]));
            let mut pairs: Vec<_> = firsts.filter(|[a, b]| fits(*a, *b)).collect();
            pairs.shuffle(&mut rng);
            pairs.truncate(count);
            return pairs;
        }
        distinct(count, &mut rng, |rng| {
            let a = rng.random_range(0..all.len());
            let others = partners(a, same);
            let b = others[rng.random_range(0..others.len())];
            fits(a.min(b), a.max(b)).then_some([a.min(b), a.max(b)])
        })
    };
    let (matches, others) = (of_kind(true, matched), of_kind(false, mismatched));
    Ok(matches.into_iter().zip(others).flat_map(|(same, other)| [same, other]).collect())
}

/// The first `count` different pairs that `propose` gives.
fn distinct<R: Rng>(
    count: usize,
    rng: &mut R,
    propose: impl Fn(&mut R) -> Option<[usize; 2]>,
) -> Vec<[usize; 2]> {
    let (mut pairs, mut seen) = (Vec::with_capacity(count), HashSet::new());
    while pairs.len() < count {
        pairs.extend(propose(rng).filter(|pair| seen.insert(*pair)));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pairs_differ_and_alternate(
            labels in prop::collection::vec(0_u32..8, 2..300),
            most in 1_usize..200,
        ) {
            let Ok(pairs) = draw_pairs(&labels, most) else {
                let first_twice = labels.iter().collect::<HashSet<_>>().len() < labels.len();
                prop_assert!(!first_twice || labels.iter().all(|label| *label == labels[0]));
                return Ok(());
            };
            prop_assert!(pairs.len() <= 2 * most && !pairs.is_empty());
            prop_assert_eq!(pairs.iter().collect::<HashSet<_>>().len(), pairs.len());
            for (position, [a, b]) in pairs.iter().enumerate() {
                prop_assert!(a < b);
                prop_assert_eq!(labels[*a] == labels[*b], position % 2 == 0);
            }
            prop_assert_eq!(draw_pairs(&labels, most).unwrap(), pairs);
        }
    }
}
