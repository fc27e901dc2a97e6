//! Threads that share the tasks of a step.
//!
//! Each slot is a pool of its own, so that what one task computes in parallel stays in its slot.

use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Slots for independent work; results do not depend on their number.
#[derive(Debug)]
pub struct Workers {
    slots: Vec<ThreadPool>,
}

impl Workers {
    /// `threads` threads (0 is one a core), shared out evenly when `items` are fewer.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(threads: usize, items: usize) -> Result<Self> {
        let cores = || thread::available_parallelism().map_or(1, NonZero::get);
        let threads = if threads == 0 { cores() } else { threads };
        let slots = threads.min(items).max(1);
        let pool = |_| {
            let pool = ThreadPoolBuilder::new().num_threads(threads / slots).build();
            pool.context("starting threads")
        };
        Ok(Self { slots: (0..slots).map(pool).collect::<Result<_>>()? })
    }

    /// `f` of `0..count`, in order.
    pub fn map<T: Send>(&self, count: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let mut results = Vec::with_capacity(count);
        self.each(count, f, |_, result| results.push(result));
        results
    }

    /// Hands `f` of `0..count` to `take` in order, as soon as the earlier ones are done: what is
    /// taken need not stay in memory.
    pub fn each<T: Send>(
        &self,
        count: usize,
        f: impl Fn(usize) -> T + Sync,
        mut take: impl FnMut(usize, T),
    ) {
        let next = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            for slot in &self.slots {
                let (sender, next, f) = (sender.clone(), &next, &f);
                scope.spawn(move || {
                    slot.install(|| {
                        loop {
                            let index = next.fetch_add(1, Ordering::Relaxed);
                            if index >= count || sender.send((index, f(index))).is_err() {
                                return;
                            }
                        }
                    });
                });
            }
            drop(sender);
            let mut early = BTreeMap::new();
            let mut due = 0;
            for (index, result) in receiver {
                early.insert(index, result);
                while let Some(result) = early.remove(&due) {
                    take(due, result);
                    due += 1;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_from_any_number_of_threads() {
        for threads in [1, 2, 5] {
            let workers = Workers::new(threads, 7).unwrap();
            assert_eq!(workers.map(7, |index| index * index), [0, 1, 4, 9, 16, 25, 36]);
        }
        assert_eq!(Workers::new(4, 1).unwrap().slots[0].current_num_threads(), 4);
    }
}
