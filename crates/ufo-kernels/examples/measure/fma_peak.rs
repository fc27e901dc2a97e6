//! What the examples measure with: processor time, and the machine's peak of multiply-adds.

#![allow(
    unsafe_code,
    reason = "the clock is a system call, and the peak needs the level's instructions"
)]

use std::hint::black_box;
use ufo_kernels::{Level, Vectors};

/// Seconds of processor time of all threads, divided by their number.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(crate) fn now() -> f64 {
    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
    }
    const PROCESS: i32 = 2;
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the call fills in the struct, laid out as on all 64-bit Linux.
    assert_eq!(unsafe { clock_gettime(PROCESS, &raw mut time) }, 0, "clock_gettime");
    let seconds = time.seconds as f64 + 1e-9 * time.nanoseconds as f64;
    seconds / rayon::current_num_threads() as f64
}

/// Seconds since an arbitrary start.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(crate) fn now() -> f64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// GFLOP/s of multiply-adds on registers, in all threads of the pool.
pub(crate) fn peak(level: Level) -> f64 {
    const STEPS: usize = 500_000;
    let start = now();
    let flops: f64 = rayon::broadcast(|_| match level.vectors() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected.
        Vectors::Avx2 => unsafe { avx2_chains(STEPS) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was detected.
        Vectors::Avx512 | Vectors::Amx => unsafe { avx512_chains(STEPS) },
        _ => portable_chains(STEPS),
    })
    .into_iter()
    .sum();
    flops / (now() - start) / 1e9
}

/// Twelve independent chains, enough to hide the latency; returns floating-point operations.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2_chains(steps: usize) -> f64 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
    let mut sums = [_mm256_set1_ps(1.0); 12];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, a, b);
        }
    }
    black_box(sums);
    (steps * 12 * 8 * 2) as f64
}

/// As [`avx2_chains`], with 16 lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512_chains(steps: usize) -> f64 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
    let mut sums = [_mm512_set1_ps(1.0); 12];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, a, b);
        }
    }
    black_box(sums);
    (steps * 12 * 16 * 2) as f64
}

/// Multiplications and additions of plain arrays.
fn portable_chains(steps: usize) -> f64 {
    let (a, b) = (black_box(0.999_f32), black_box(0.001_f32));
    let mut sums = [[1.0_f32; 4]; 12];
    for _ in 0..steps {
        for sum in sums.iter_mut().flatten() {
            *sum = *sum * a + b;
        }
    }
    black_box(sums);
    (steps * 12 * 4 * 2) as f64
}
