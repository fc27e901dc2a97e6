//! Splitting work over the current rayon pool.
//!
//! Work is cut into pieces by its sizes alone, never by the number of threads, and every piece writes
//! its own part of the output; so the result has the same bits for any number of threads.
#![allow(unsafe_code, reason = "pieces write disjoint parts of one buffer")]

use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Below this many operations a fork costs more than it saves: a thread that sleeps takes tens of microseconds to
/// wake. Tests fork early.
pub(crate) const FORK_WORK: usize = if cfg!(test) { 1 << 17 } else { 1 << 21 };

/// Calls `piece` with 0 to `pieces - 1`, in the current pool if there are threads to share with and
/// the `work`, in rough operations, is worth it.
pub(crate) fn for_each(pieces: usize, work: usize, piece: impl Fn(usize) + Sync + Send) {
    if pieces <= 1 || work < FORK_WORK || rayon::current_num_threads() == 1 {
        (0..pieces).for_each(piece);
    } else {
        (0..pieces).into_par_iter().for_each(piece);
    }
}

/// A mutable slice that pieces of work share, each writing its own part.
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    slice: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: parts are handed out by `part`, whose contract keeps them disjoint.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: std::marker::PhantomData }
    }

    /// The part of `len` elements from `start` on; panics unless it lies inside.
    ///
    /// # Safety
    /// No other part in use overlaps this one.
    #[expect(clippy::mut_from_ref, reason = "disjoint parts, by contract")]
    pub(crate) unsafe fn part(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start <= self.len && len <= self.len - start);
        // SAFETY: inside the slice as asserted, and unshared by contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}
