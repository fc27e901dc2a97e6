//! Which vector instructions a kernel runs with, and the one door into them.
//!
//! A kernel is written once, generic over [`Simd`], and entered through [`Level::run`]: a function
//! compiled for the level's target features, into which the whole kernel is inlined. A vector loop
//! outside such a function compiles to calls and runs tens of times slower, so work that rayon
//! moves to another thread must enter again.
#![allow(unsafe_code, reason = "functions compiled for target features are entered here")]

#[cfg(test)]
use crate::simd::Wide;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};

/// A set of vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Plain Rust, on every machine.
    Portable,
    /// 8 lanes: AVX2 and FMA (x86-64).
    Avx2,
    /// 16 lanes: AVX-512F (x86-64).
    Avx512,
    /// Plain Rust with the sizes of AVX-512, to test these on every machine.
    #[cfg(test)]
    Wide,
}

/// A computation generic over the vector type, run by [`Level::run`].
pub(crate) trait Kernel {
    /// What the computation gives back.
    type Output;

    /// Computes; every implementation is `#[inline(always)]`, as is all that it calls.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

impl Level {
    /// The widest level that this machine has.
    pub fn detect() -> Self {
        [Self::Avx512, Self::Avx2]
            .into_iter()
            .find(|level| level.is_available())
            .unwrap_or(Self::Portable)
    }

    /// Every level that this machine has, the narrowest first.
    pub fn available() -> Vec<Self> {
        let all = [
            Self::Portable,
            #[cfg(test)]
            Self::Wide,
            Self::Avx2,
            Self::Avx512,
        ];
        all.into_iter().filter(|level| level.is_available()).collect()
    }

    /// Whether this machine has the level.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(test)]
            Self::Wide => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// Runs `kernel` with the level's vectors.
    ///
    /// # Panics
    /// If this machine lacks the level.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        assert!(self.is_available(), "level: this machine has no {self:?}");
        match self {
            Self::Portable => kernel.run(Portable {}),
            #[cfg(test)]
            Self::Wide => kernel.run(Wide {}),
            // SAFETY: the assertion above found the features.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { enter_avx2(kernel) },
            // SAFETY: the assertion above found the features.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { enter_avx512(kernel) },
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => unreachable!("not available on this architecture"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn enter_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function runs only where AVX2 and FMA exist.
    kernel.run(unsafe { Avx2::new() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn enter_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function runs only where AVX-512F exists.
    kernel.run(unsafe { Avx512::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lanes;

    impl Kernel for Lanes {
        type Output = usize;

        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> usize {
            S::LANES
        }
    }

    #[test]
    fn the_detected_level_is_the_widest_available_one() {
        let available = Level::available();
        assert_eq!(available[0], Level::Portable);
        let widest = *available.last().expect("one level at least");
        assert_eq!(if widest == Level::Wide { Level::Portable } else { widest }, Level::detect());
    }

    #[test]
    fn each_level_runs_with_its_own_vectors() {
        for level in Level::available() {
            let want = if matches!(level, Level::Avx512 | Level::Wide) { 16 } else { 8 };
            assert_eq!(level.run(Lanes), want, "{level:?}");
        }
    }
}
