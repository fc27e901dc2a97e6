//! Two vectors as one, so that two chains of dependent operations run at the same time.
#![allow(unsafe_code, reason = "vectors are read and written through pointers")]

use super::Simd;
use crate::level::Kernel;

/// The vectors of `S` in pairs.
#[derive(Clone, Copy)]
pub(crate) struct Twice<S>(pub(crate) S);

/// Lane-by-lane operations, done for both vectors.
macro_rules! both {
    ($($name:ident($($x:ident),+);)+) => {
        $(
            #[inline(always)]
            fn $name(self, $($x: Self::V),+) -> Self::V {
                [self.0.$name($($x[0]),+), self.0.$name($($x[1]),+)]
            }
        )+
    };
}

impl<S: Simd> Simd for Twice<S> {
    type V = [S::V; 2];
    const LANES: usize = 2 * S::LANES;
    const TILE_ROWS: usize = S::TILE_ROWS;
    const TILE_VECTORS: usize = S::TILE_VECTORS;
    const INT8_DEPTH: usize = S::INT8_DEPTH;

    both! {
        add(a, b);
        sub(a, b);
        mul(a, b);
        div(a, b);
        reciprocal(v);
        scale(v, n);
        fma(a, b, c);
        max(a, b);
        min(a, b);
        abs(v);
        copysign(magnitude, sign);
        positive(v);
        round(v);
        pow2(n);
        dot_bf16(a, b, sum);
        pair(low, high);
        dot_int8(a, b, sum);
        add_int(a, b);
        sub_int(a, b);
        float_of_int(v);
    }

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        self.0.call(Doubled(kernel))
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [self.0.splat(x); 2]
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        // SAFETY: the caller promised twice as many values.
        unsafe { [self.0.load(p), self.0.load(p.add(S::LANES))] }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        // SAFETY: the caller promised twice as many values.
        unsafe {
            self.0.store(p, v[0]);
            self.0.store(p.add(S::LANES), v[1]);
        }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V {
        let first = n.min(S::LANES);
        // SAFETY: the parts have n values together; nothing is read from an empty one.
        unsafe {
            [self.0.load_first(p, first), self.0.load_first(p.wrapping_add(S::LANES), n - first)]
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, v: Self::V) {
        let first = n.min(S::LANES);
        // SAFETY: the parts have n values together; nothing is written to an empty one.
        unsafe {
            self.0.store_first(p, first, v[0]);
            self.0.store_first(p.wrapping_add(S::LANES), n - first, v[1]);
        }
    }

    #[inline(always)]
    fn halves(self, v: Self::V) -> [Self::V; 2] {
        let ([low_0, high_0], [low_1, high_1]) = (self.0.halves(v[0]), self.0.halves(v[1]));
        [[low_0, low_1], [high_0, high_1]]
    }

    #[inline(always)]
    fn reduce_sum(self, v: Self::V) -> f32 {
        self.0.reduce_sum(self.0.add(v[0], v[1]))
    }

    #[inline(always)]
    fn reduce_max(self, v: Self::V) -> f32 {
        self.0.reduce_max(self.0.max(v[0], v[1]))
    }
}

/// A kernel that runs with pairs of the vectors it is given.
struct Doubled<K>(K);

impl<K: Kernel> Kernel for Doubled<K> {
    type Output = K::Output;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> K::Output {
        self.0.run(Twice(s))
    }
}
