//! Where the time of a piece of work goes: the kernels that it calls, summed over all threads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static ON: AtomicBool = AtomicBool::new(false);
static TIMES: Mutex<BTreeMap<&'static str, Duration>> = Mutex::new(BTreeMap::new());
/// Held while a profile is taken.
static ONE: Mutex<()> = Mutex::new(());

/// What `work` gives, and the time in each kind of kernel meanwhile, by the path of its type
/// (`ufo_kernels::layer_norm::Apply`), summed over the process's threads. Threads that work on
/// something else are counted too.
///
/// # Panics
/// If a kernel panicked while its time was noted.
pub fn profile<T>(work: impl FnOnce() -> T) -> (T, Vec<(&'static str, Duration)>) {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    TIMES.lock().expect("no kernel panics while it notes its time").clear();
    ON.store(true, Ordering::Relaxed);
    let result = work();
    ON.store(false, Ordering::Relaxed);
    let times = std::mem::take(&mut *TIMES.lock().expect("as above"));
    (result, times.into_iter().collect())
}

/// Runs `work`, a kernel of type `K`, and notes its time while a profile is taken.
#[inline]
pub(crate) fn noted<K, T>(work: impl FnOnce() -> T) -> T {
    if !ON.load(Ordering::Relaxed) {
        return work();
    }
    let started = Instant::now();
    let result = work();
    let time = started.elapsed();
    // Without its parameters: `Compute<F32>` and `Compute<Bf16>` are one kind.
    let name = std::any::type_name::<K>();
    let name = &name[..name.find('<').unwrap_or(name.len())];
    if let Ok(mut times) = TIMES.lock() {
        *times.entry(name).or_default() += time;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;
    use crate::layer_norm::{LayerNorm, RowStats, forward};

    #[test]
    fn kernels_are_listed_by_their_type_and_only_while_asked() {
        let run = || {
            let (ones, mut y) = (vec![1.0; 64], vec![0.0; 128]);
            let norm = LayerNorm { weight: &ones, bias: &ones, eps: 1e-6 };
            forward(Level::detect(), &norm, &[0.5; 128], &mut y, &mut [RowStats::default(); 2]);
            y[0]
        };
        run();
        let (value, times) = profile(run);
        assert!((value - 1.0).abs() < 1e-6, "{value}");
        for kernel in ["ufo_kernels::layer_norm::Apply", "ufo_kernels::layer_norm::Measure"] {
            let found = times.iter().find(|(name, _)| *name == kernel);
            assert!(found.is_some_and(|(_, time)| !time.is_zero()), "{kernel}: {times:?}");
        }
    }
}
