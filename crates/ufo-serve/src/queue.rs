//! What waits for a model, and how batches are taken from it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something that waits.
pub(crate) trait Waiting {
    /// Images it asks for.
    fn images(&self) -> usize;
    /// When it came.
    fn since(&self) -> Instant;
}

/// Jobs in the order in which they came. How many there may be is decided where they are admitted.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    max_images: usize,
    max_delay: Duration,
}

#[derive(Debug)]
struct State<T> {
    jobs: VecDeque<T>,
    images: usize,
    closed: bool,
}

impl<T: Waiting> Queue<T> {
    /// Batches have at most `max_images`, but always a job; one that is not full waits for more until its
    /// first job is `max_delay` old.
    pub(crate) fn new(max_images: usize, max_delay: Duration) -> Self {
        let state = State { jobs: VecDeque::new(), images: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), max_images, max_delay }
    }

    /// Puts a job at the end; gives it back when the queue is closed.
    pub(crate) fn push(&self, job: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(job);
        }
        state.images += job.images();
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for jobs and takes a batch; none when the queue is closed and empty.
    pub(crate) fn take(&self) -> Option<Vec<T>> {
        let mut state = self.lock();
        loop {
            let Some(first) = state.jobs.front() else {
                if state.closed {
                    return None;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = (first.since() + self.max_delay).saturating_duration_since(Instant::now());
            if state.images >= self.max_images || left.is_zero() || state.closed {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut batch = Vec::new();
        let mut images = 0;
        while let Some(job) = state.jobs.pop_front() {
            if !batch.is_empty() && images + job.images() > self.max_images {
                state.jobs.push_front(job);
                break;
            }
            images += job.images();
            batch.push(job);
        }
        state.images -= images;
        Some(batch)
    }

    /// Takes no more jobs; those that wait are still given out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Job(usize, Instant);

    impl Waiting for Job {
        fn images(&self) -> usize {
            self.0
        }
        fn since(&self) -> Instant {
            self.1
        }
    }

    fn sizes(batch: Option<Vec<Job>>) -> Vec<usize> {
        batch.unwrap().into_iter().map(|job| job.0).collect()
    }

    #[test]
    fn batches_are_full_in_order_and_hold_at_least_a_job() {
        let queue = Queue::new(4, Duration::ZERO);
        for images in [3, 1, 2, 9, 1] {
            assert!(queue.push(Job(images, Instant::now())).is_ok());
        }
        assert_eq!(sizes(queue.take()), [3, 1]);
        assert_eq!(sizes(queue.take()), [2]);
        assert_eq!(sizes(queue.take()), [9]);
        queue.close();
        assert!(queue.push(Job(1, Instant::now())).is_err());
        assert_eq!(sizes(queue.take()), [1]);
        assert!(queue.take().is_none());
    }

    #[test]
    fn a_batch_waits_for_more_until_it_is_full_or_old() {
        let queue = Queue::new(2, Duration::from_hours(1));
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| sizes(queue.take()));
            assert!(queue.push(Job(1, Instant::now())).is_ok());
            assert!(queue.push(Job(1, Instant::now())).is_ok());
            assert_eq!(taken.join().unwrap(), [1, 1]);
        });
        let queue = Queue::new(2, Duration::from_millis(20));
        let since = Instant::now();
        assert!(queue.push(Job(1, since)).is_ok());
        assert_eq!(sizes(queue.take()), [1]);
        assert!(since.elapsed() >= Duration::from_millis(20));
    }
}
