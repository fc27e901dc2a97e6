//! Which vector instructions a kernel runs with and how precise its products are, and the doors into
//! the instructions.
//!
//! A kernel is written once, generic over [`Simd`], and entered through [`Level::run`]: a function
//! compiled for the level's target features, into which the whole kernel is inlined. A vector loop
//! outside such a function compiles to calls and runs tens of times slower, so work that rayon
//! moves to another thread must enter again.
#![allow(unsafe_code, reason = "functions compiled for target features are entered here")]

use crate::profile::noted;
#[cfg(test)]
use crate::simd::Wide;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Amx, Avx2, Avx512, Avx512Bf16, Avx512Vnni, amx};
use crate::simd::{Portable, Simd};

/// The instructions of a kernel and the precision of its matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Level {
    vectors: Vectors,
    factors: Factors,
}

/// A set of vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vectors {
    /// Plain Rust, on every machine.
    Portable,
    /// 8 lanes: AVX2 and FMA (x86-64).
    Avx2,
    /// 16 lanes: AVX-512F (x86-64).
    Avx512,
    /// Those of AVX-512, and products of bf16 and of bytes in the tiles of AMX (x86-64).
    Amx,
    /// Plain Rust with the sizes of AVX-512, to test these on every machine.
    #[cfg(test)]
    Wide,
}

/// What the factors of a product are rounded to. Sums, and all else that kernels compute, are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Not at all.
    F32,
    /// To bf16, the nearest one, of two the even one; NaN stays NaN.
    Bf16,
}

/// What holds the factors of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Factors {
    /// A float each.
    F32,
    /// Two bf16 each, for vectors.
    Pairs,
    /// Two bf16 each, for the tiles of AMX.
    Tiles,
    /// A float each, rounded to bf16.
    Rounded,
}

/// A computation generic over the vector type, run by [`Level::run`].
pub(crate) trait Kernel {
    /// What the computation gives back.
    type Output;

    /// Computes; every implementation is `#[inline(always)]`, as is all that it calls.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

impl Level {
    /// The widest vectors that this machine has, with products in f32.
    pub fn detect() -> Self {
        let vectors = [Vectors::Amx, Vectors::Avx512, Vectors::Avx2]
            .into_iter()
            .find(|vectors| vectors.is_available())
            .unwrap_or(Vectors::Portable);
        vectors.into()
    }

    /// All vectors that this machine has, the narrowest first, with products in f32.
    pub fn available() -> Vec<Self> {
        let all = [
            Vectors::Portable,
            #[cfg(test)]
            Vectors::Wide,
            Vectors::Avx2,
            Vectors::Avx512,
            Vectors::Amx,
        ];
        all.into_iter().filter(|vectors| vectors.is_available()).map(Self::from).collect()
    }

    /// The same vectors with products in bf16: those of linear layers, the feed-forward, dense
    /// convolutions and attention, forward and backward. Its softmax and depthwise convolutions stay in f32.
    ///
    /// With AMX the sums are those of `tdpbf16ps`, on AMD's AVX-512-BF16 those of `vdpbf16ps`; both take subnormal
    /// numbers for zero (including subnormal sums), as does the rounding there. Elsewhere factors stay in f32 after they are rounded:
    /// products are exact and each is added with one rounding, as fast as in f32 (the rounding of AVX-512-BF16 takes
    /// subnormal numbers for zero there, too). Results differ in the last
    /// bits between the three.
    #[must_use]
    pub fn bf16(self) -> Self {
        let factors = match self.vectors {
            Vectors::Amx => Factors::Tiles,
            _ if self.has_fast_bf16() => Factors::Pairs,
            _ => Factors::Rounded,
        };
        Self { factors, ..self }
    }

    /// [`Self::bf16`] with factors in pairs, fast or not.
    #[cfg(test)]
    pub(crate) fn pairs(self) -> Self {
        Self { factors: Factors::Pairs, ..self }
    }

    /// The same vectors with products in f32.
    #[must_use]
    pub fn f32(self) -> Self {
        Self { factors: Factors::F32, ..self }
    }

    /// The vectors.
    pub fn vectors(self) -> Vectors {
        self.vectors
    }

    /// The precision of products.
    pub fn precision(self) -> Precision {
        match self.factors {
            Factors::F32 => Precision::F32,
            Factors::Pairs | Factors::Tiles | Factors::Rounded => Precision::Bf16,
        }
    }

    /// What holds the factors of products.
    pub(crate) fn factors(self) -> Factors {
        self.factors
    }

    /// Whether the level's machine multiplies pairs of bf16 faster than floats; otherwise [`Self::bf16`] is no
    /// faster than f32. Intel's processors need four times as long for `vdpbf16ps` (it is AMX that multiplies bf16
    /// there).
    pub fn has_fast_bf16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.vectors == Vectors::Amx || self.has_pairs() && !is_intel();
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Whether the level's machine multiplies pairs of bf16 in one instruction.
    fn has_pairs(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.has_avx512()
            && is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw");
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Whether the level's machine multiplies four 8-bit integers a lane in one instruction.
    #[cfg(target_arch = "x86_64")]
    fn has_vnni(self) -> bool {
        self.has_avx512() && is_x86_feature_detected!("avx512vnni")
    }

    /// Whether the vectors are those of AVX-512.
    #[cfg(target_arch = "x86_64")]
    fn has_avx512(self) -> bool {
        matches!(self.vectors, Vectors::Avx512 | Vectors::Amx)
    }

    /// Runs `kernel` with the level's vectors.
    ///
    /// # Panics
    /// If this machine lacks them.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        let vectors = self.vectors;
        assert!(vectors.is_available(), "level: this machine has no {vectors:?}");
        noted::<K, _>(|| match vectors {
            Vectors::Portable => kernel.run(Portable {}),
            #[cfg(test)]
            Vectors::Wide => kernel.run(Wide {}),
            // SAFETY: the assertion above found the features.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => unsafe { enter_avx2(kernel) },
            // SAFETY: the assertion above found the features.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 | Vectors::Amx => unsafe { enter_avx512(kernel) },
            #[cfg(not(target_arch = "x86_64"))]
            Vectors::Avx2 | Vectors::Avx512 | Vectors::Amx => {
                unreachable!("not available on this architecture")
            }
        })
    }

    /// As [`Self::run`] for a kernel that multiplies bf16, with the instruction for it if there is one.
    #[inline]
    pub(crate) fn run_bf16<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        if self.has_pairs() {
            assert!(self.vectors.is_available(), "level: this machine has no {:?}", self.vectors);
            // SAFETY: the features were found.
            return noted::<K, _>(|| unsafe { enter_avx512_bf16(kernel) });
        }
        self.run(kernel)
    }

    /// As [`Self::run`] for a kernel that multiplies in tiles of AMX, which are the level's.
    #[inline]
    pub(crate) fn run_tiles<K: Kernel>(self, kernel: K) -> K::Output {
        assert!(self.vectors == Vectors::Amx, "level: {:?} have no tiles", self.vectors);
        assert!(self.vectors.is_available(), "level: this machine has no {:?}", self.vectors);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the features were found.
        return noted::<K, _>(|| unsafe { enter_amx(kernel) });
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = kernel;
            unreachable!("not available on this architecture")
        }
    }

    /// As [`Self::run`] for a kernel that multiplies 8-bit integers, with the instruction for it if
    /// there is one. AVX-512 without it has none for integers of 16 bits either (they are AVX-512BW's),
    /// so the vectors are then those of AVX2.
    #[inline]
    pub(crate) fn run_int8<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        if self.has_avx512() {
            assert!(self.vectors.is_available(), "level: this machine has no {:?}", self.vectors);
            if self.has_vnni() {
                // SAFETY: the features were found.
                return noted::<K, _>(|| unsafe { enter_avx512_vnni(kernel) });
            }
            return Self::from(Vectors::Avx2).run(kernel);
        }
        self.run(kernel)
    }
}

impl From<Vectors> for Level {
    /// The vectors with products in f32.
    fn from(vectors: Vectors) -> Self {
        Self { vectors, factors: Factors::F32 }
    }
}

impl Vectors {
    /// Whether this machine has them.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(test)]
            Self::Wide => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f") && Self::Avx2.is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => amx::is_available() && Self::Avx512.is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 | Self::Amx => false,
        }
    }
}

/// Whether the processor says that Intel made it.
#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    let id = std::arch::x86_64::__cpuid(0);
    [id.ebx, id.edx, id.ecx] == [*b"Genu", *b"ineI", *b"ntel"].map(u32::from_le_bytes)
}

/// Functions into which a kernel is inlined, for the features of a vector type.
#[cfg(target_arch = "x86_64")]
macro_rules! doors {
    ($($name:ident: $vectors:ident, $features:literal;)+) => {$(
        #[target_feature(enable = $features)]
        fn $name<K: Kernel>(kernel: K) -> K::Output {
            // SAFETY: this function runs only where the features exist.
            kernel.run(unsafe { $vectors::new() })
        }
    )+};
}

#[cfg(target_arch = "x86_64")]
doors! {
    enter_avx2: Avx2, "avx2,fma";
    enter_avx512: Avx512, "avx512f";
    enter_avx512_bf16: Avx512Bf16, "avx512f,avx512bw,avx512bf16";
    enter_avx512_vnni: Avx512Vnni, "avx512f,avx512vnni";
    enter_amx: Amx, "avx512f,avx512bw,avx512bf16,avx512vnni";
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
        assert_eq!(available[0], Vectors::Portable.into());
        let widest = *available.last().expect("one level at least");
        let wide = Level::from(Vectors::Wide);
        let detected = if widest == wide { Vectors::Portable.into() } else { widest };
        assert_eq!(detected, Level::detect());
    }

    #[test]
    fn each_level_runs_with_its_own_vectors() {
        for level in Level::available() {
            let wide = matches!(level.vectors(), Vectors::Avx512 | Vectors::Amx | Vectors::Wide);
            let want = if wide { 16 } else { 8 };
            assert_eq!(level.run(Lanes), want, "{level:?}");
            assert_eq!(level.bf16().run_bf16(Lanes), want, "{level:?}");
        }
    }

    #[test]
    fn the_precision_changes_and_the_vectors_stay() {
        let level = Level::detect();
        assert_eq!(level.precision(), Precision::F32);
        assert_eq!(level.bf16().precision(), Precision::Bf16);
        assert_eq!(level.bf16().vectors(), level.vectors());
        assert_eq!(level.bf16().f32(), level);
    }
}
