//! Drops equal images and splits the rest, the same way on every machine.
//!
//! Equality is that of the BLAKE3 hash; the split is decided by the CRC-32 of the bytes, the rule
//! of `scripts/make-bundled-data.py`.

use std::collections::{BTreeMap, HashMap};

use flate2::Crc;

use super::Dropped;

/// What [`distinct`] left.
pub(super) struct Distinct {
    /// Indices kept, ascending.
    pub(super) kept: Vec<usize>,
    /// How many were dropped and why.
    pub(super) dropped: Dropped,
}

/// Keeps the first of equal images, and none of equal images whose labels differ.
pub(super) fn distinct<'a>(images: impl IntoIterator<Item = (&'a [u8], u32)>) -> Distinct {
    struct Group {
        first: usize,
        label: u32,
        count: usize,
        conflict: bool,
    }
    let mut groups: HashMap<blake3::Hash, Group> = HashMap::new();
    for (index, (bytes, label)) in images.into_iter().enumerate() {
        let group = groups.entry(blake3::hash(bytes)).or_insert(Group {
            first: index,
            label,
            count: 0,
            conflict: false,
        });
        group.count += 1;
        group.conflict |= group.label != label;
    }
    let mut kept = Vec::with_capacity(groups.len());
    let mut dropped = Dropped::default();
    for group in groups.into_values() {
        if group.conflict {
            dropped.conflicts += group.count;
        } else {
            kept.push(group.first);
            dropped.duplicates += group.count - 1;
        }
    }
    kept.sort_unstable();
    Distinct { kept, dropped }
}

/// Train and test positions of an 80/20 split of each label.
///
/// The lowest fifth of a label by CRC-32 is its test set. In both lists the labels take turns, so
/// that a prefix is nearly balanced.
pub(super) fn stratified(images: &[(&[u8], u32)]) -> (Vec<usize>, Vec<usize>) {
    let mut by_label: BTreeMap<u32, Vec<(u32, usize)>> = BTreeMap::new();
    for (position, (bytes, label)) in images.iter().enumerate() {
        by_label.entry(*label).or_default().push((crc32(bytes), position));
    }
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for mut group in by_label.into_values() {
        group.sort_unstable();
        let rest = group.split_off((2 * group.len() + 5) / 10);
        test.push(group);
        train.push(rest);
    }
    (interleaved(&train), interleaved(&test))
}

/// The CRC-32 of gzip and PNG.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn interleaved(groups: &[Vec<(u32, usize)>]) -> Vec<usize> {
    let depth = groups.iter().map(Vec::len).max().unwrap_or(0);
    (0..depth)
        .flat_map(|turn| groups.iter().filter_map(move |group| group.get(turn)))
        .map(|&(_, position)| position)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_images_are_kept_once_and_conflicts_not_at_all() {
        let images: [(&[u8], u32); 6] =
            [(b"a", 0), (b"b", 0), (b"a", 0), (b"c", 1), (b"c", 2), (b"d", 1)];
        let found = distinct(images);
        assert_eq!(found.kept, [0, 1, 5]);
        assert_eq!(found.dropped, Dropped { duplicates: 1, conflicts: 2, damaged: 0 });
    }

    #[test]
    fn a_fifth_of_each_label_is_the_test_set() {
        let bytes: Vec<[u8; 4]> = (0..100u32).map(u32::to_le_bytes).collect();
        let images: Vec<(&[u8], u32)> =
            bytes.iter().enumerate().map(|(i, b)| (&b[..], u32::from(i >= 60))).collect();
        let (train, test) = stratified(&images);
        let of = |positions: &[usize], label| {
            positions.iter().filter(|&&position| images[position].1 == label).count()
        };
        assert_eq!([of(&test, 0), of(&test, 1), of(&train, 0), of(&train, 1)], [12, 8, 48, 32]);
        let mut all = [train, test].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn the_order_of_the_input_does_not_move_an_image_between_splits() {
        let bytes: Vec<[u8; 4]> = (0..50u32).map(u32::to_le_bytes).collect();
        let forward: Vec<(&[u8], u32)> = bytes.iter().map(|b| (&b[..], 0)).collect();
        let backward: Vec<(&[u8], u32)> = bytes.iter().rev().map(|b| (&b[..], 0)).collect();
        let chosen = |images: &[(&[u8], u32)]| -> Vec<Vec<u8>> {
            stratified(images).1.into_iter().map(|i| images[i].0.to_vec()).collect()
        };
        assert_eq!(chosen(&forward), chosen(&backward));
    }

    #[test]
    fn crc_is_that_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
