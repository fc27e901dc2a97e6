//! The same work for every index, shared among the cores.

use crate::Error;
use std::num::NonZero;
use std::thread;

/// Results of `work` for `0..count` in that order, or the first error in it.
pub(crate) fn map<T: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(count);
    let share = |first| (first..count).step_by(threads).map(&work).collect::<Vec<_>>();
    let shares: Vec<_> = thread::scope(|scope| {
        let share = &share;
        let handles: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        let join = |handle: thread::ScopedJoinHandle<_>| {
            handle.join().expect("a panic of the work is a bug, told by its own message")
        };
        handles.into_iter().map(join).collect()
    });
    let mut shares: Vec<_> = shares.into_iter().map(Vec::into_iter).collect();
    (0..count).filter_map(|index| shares[index % threads].next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_the_first_error_wins() {
        let squares = map(9, |index| Ok(index * index)).unwrap();
        assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49, 64]);
        assert!(map(0, |_| Ok(())).unwrap().is_empty());
        let odd = |index: usize| match index % 2 {
            1 => Err(Error::value("index", index, "must be even")),
            _ => Ok(index),
        };
        assert_eq!(map(8, odd).unwrap_err().to_string(), "index = 1: must be even");
    }
}
