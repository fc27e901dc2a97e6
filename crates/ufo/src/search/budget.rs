//! The time that a search may measure for.

use std::time::{Duration, Instant};
use ufo_train::Workers;

/// When measuring ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    started: Instant,
    most: Option<Duration>,
}

impl Budget {
    /// From now on.
    pub(super) fn new(most: Option<Duration>) -> Self {
        Self { started: Instant::now(), most }
    }

    /// Whether nothing more may begin.
    pub(super) fn over(&self) -> bool {
        self.most.is_some_and(|most| self.started.elapsed() >= most)
    }
}

/// A duration, or `0s` for no measurement.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    if text == "0s" { Ok(Duration::ZERO) } else { crate::demo::duration(text) }
}

/// Hands `f` of `0..count` to `take` in order; what has not begun when `over` says so is left out.
pub(super) fn each_in_time<T: Send>(
    workers: &Workers,
    over: impl Fn() -> bool + Sync,
    count: usize,
    f: impl Fn(usize) -> T + Sync,
    mut take: impl FnMut(usize, T),
) {
    let begin = |index| (!over()).then(|| f(index));
    workers.each(count, begin, |index, done| {
        if let Some(done) = done {
            take(index, done);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn what_has_not_begun_in_time_is_left_out() {
        let asked = AtomicUsize::new(0);
        let over = || asked.fetch_add(1, Ordering::Relaxed) >= 3;
        let mut taken = Vec::new();
        let workers = Workers::new(1, 9).unwrap();
        each_in_time(&workers, over, 9, |index| 2 * index, |index, v| taken.push((index, v)));
        assert_eq!(taken, [(0, 0), (1, 2), (2, 4)]);
    }

    #[test]
    fn no_time_is_over_and_no_budget_never() {
        assert_eq!((parse("0s"), parse("9s")), (Ok(Duration::ZERO), Ok(Duration::from_secs(9))));
        assert!(parse("0m").is_err() && parse("soon").unwrap_err().contains("90s"));
        assert!(Budget::new(Some(Duration::ZERO)).over());
        assert!(!Budget::new(None).over() && !Budget::new(Some(Duration::MAX)).over());
    }
}
