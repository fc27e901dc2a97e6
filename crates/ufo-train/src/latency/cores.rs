//! The cores that what is timed stays on.

use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads of a measurement, and whether they stay on cores of their own.
pub(super) struct Threads {
    pub(super) pool: ThreadPool,
    /// Cores that are the measurement's, one a thread; none where there are fewer.
    cores: Vec<usize>,
    /// Whether each thread stays on its core.
    pub(super) pinned: bool,
}

impl Threads {
    /// Starts threads, each on a core of its own of those that this process may use, where the system lets them and
    /// the cores are enough.
    pub(super) fn start(threads: usize) -> Result<Self> {
        let mut cores = allowed();
        cores.truncate(threads);
        if cores.len() < threads {
            cores.clear();
        }
        let kept = Arc::new(AtomicUsize::new(0));
        let (own, count) = (cores.clone(), Arc::clone(&kept));
        let pool = ThreadPoolBuilder::new().num_threads(threads).start_handler(move |thread| {
            if own.get(thread).is_some_and(|core| stay(&[*core])) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let pool = pool.build().context("starting threads")?;
        // Until all have started.
        pool.broadcast(|_| ());
        let pinned = kept.load(Ordering::Relaxed) == threads;
        Ok(Self { pool, cores, pinned })
    }

    /// The result of `make` on a thread that stays on the measurement's cores; threads that it starts do, too.
    pub(super) fn make<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        let made = std::thread::scope(|scope| {
            let on_cores = || {
                // Where the cores are too few, or cannot be held, threads run where they like.
                let _ = !self.cores.is_empty() && stay(&self.cores);
                make()
            };
            scope.spawn(on_cores).join()
        });
        made.expect("a panic of what is made is a bug, told by its own message")
    }
}

/// Numbers of the cores that this process may use, ascending; none where the system does not tell.
#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    use nix::sched::{CpuSet, sched_getaffinity};
    let Ok(set) = sched_getaffinity(nix::unistd::Pid::from_raw(0)) else { return Vec::new() };
    (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect()
}

/// Keeps the calling thread on some cores; whether it could.
#[cfg(target_os = "linux")]
fn stay(cores: &[usize]) -> bool {
    use nix::sched::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    cores.iter().all(|&core| set.set(core).is_ok())
        && sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn stay(_: &[usize]) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn threads_stay_on_cores_of_the_process_and_what_they_make_does() {
        let all = allowed();
        let threads = Threads::start(1).unwrap();
        assert!(threads.pinned);
        assert_eq!(threads.pool.install(allowed), all[..1]);
        // A thread that is started while something is made stays there, the caller does not.
        let made = threads.make(|| std::thread::spawn(allowed).join().unwrap());
        assert_eq!(made, all[..1]);
        assert_eq!(allowed(), all);
        let most = Threads::start(all.len()).unwrap();
        assert!(most.pinned);
        assert_eq!(most.make(allowed), all);
        // One thread too many: none is pinned, and the file will say so.
        let more = Threads::start(all.len() + 1).unwrap();
        assert!(!more.pinned);
        assert_eq!(more.pool.install(allowed), all);
    }

    #[test]
    fn cores_are_those_of_the_processs_own_mask() {
        let all = allowed();
        let last = all[all.len() - 1];
        // A thread that may only use the last core.
        let inside = std::thread::spawn(move || {
            assert!(stay(&[last]));
            let threads = Threads::start(1).unwrap();
            (threads.pinned, threads.pool.install(allowed))
        });
        assert_eq!(inside.join().unwrap(), (true, vec![last]));
    }
}
