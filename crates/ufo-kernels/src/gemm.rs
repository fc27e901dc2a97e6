//! Matrix product `C = A B` with strides of any kind, packed operands and fused epilogues.
//!
//! The three products of a linear layer (`X W`, `dY W^T`, `X^T dY`) differ in strides alone. A tile of
//! C is kept in registers while a block of the inner dimension passes; the right operand is packed
//! into panels as wide as a tile (once for all calls as [`Packed`], or for each call, unless it is as well read where
//! it lies), the left one only where its rows are not contiguous. Goto and van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication" (ACM TOMS 34, 2008).
//!
//! Factors are f32, or rounded to bf16 in pairs where the [`Level`] says so, or 8-bit integers
//! ([`int8`](crate::int8)): the tiles multiply words of 32 bits, and all else is shared. Factors that are
//! not f32 are always packed.
//!
//! Every element of C is summed over the inner dimension in blocks of a size that depends on that
//! dimension only, so the bits do not depend on the number of threads.

mod epilogue;
mod finish;
mod order;
mod pack;
mod pass;
mod product;
mod tile;
mod word;

use crate::{
    level::{Factors as Held, Kernel, Level},
    mat::{Mat, MatMut},
    scratch::Scratch,
    simd::Simd,
    split::FORK_WORK,
};

pub use epilogue::Epilogue;
pub(crate) use order::{pack_right, packed_len, words};
pub(crate) use pack::{Integers, Lines, Panels, panels_len, words_len};
pub use pack::{Packed, Right};
pub(crate) use product::Product;
pub(crate) use tile::{Destination, Factors, Strided, tile};
pub(crate) use word::{Bf16, F32, INT8_STEPS, Int8, Pairs, Rounded, Tiles, Word, quantize};

/// Values of the largest right operand that is packed as a whole.
const SHARED_LEN: usize = 1 << 20;

/// `C = epilogue(A B)`.
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]` (a [`Mat`], or a [`Packed`] one made at the same level and precision), `c`
/// `[m, n]`.
///
/// # Panics
/// If shapes do not fit, or the level is not that of the packed operand or of this machine.
pub fn gemm<'a>(
    level: Level,
    (a, b): (Mat<'a>, impl Into<Right<'a>>),
    c: MatMut<'a>,
    epilogue: Epilogue<'a>,
    scratch: &mut Scratch,
) {
    let product = Product::new(level, (a, b.into()), c, epilogue);
    let parts = if product.work() < FORK_WORK { 1 } else { rayon::current_num_threads() };
    let shared = product.plain_right().filter(|mat| {
        parts > 1 && product.rows() > mat.cols() && mat.rows() * mat.cols() <= SHARED_LEN
    });
    let Some(mat) = shared else {
        let (_, scratches) = scratch.lend([], parts);
        return split(level, product, scratches);
    };
    // Parts of other rows need the same panels, so these are packed once for all.
    let ([panels], scratches) = scratch.lend([panels_len(level, mat)], parts);
    let panels = Panels::pack(level, mat, panels);
    split(level, product.with_right(panels.into()), scratches);
}

/// [`gemm`] in this thread alone, for callers that split their work themselves: the same bits.
pub fn gemm_alone<'a>(
    level: Level,
    (a, b): (Mat<'a>, impl Into<Right<'a>>),
    c: MatMut<'a>,
    epilogue: Epilogue<'a>,
    scratch: &mut Scratch,
) {
    compute(level, Product::new(level, (a, b.into()), c, epilogue), scratch);
}

/// Computes the product in as many parts as there are scratches, in the current pool.
fn split(level: Level, product: Product<'_>, scratches: &mut [Scratch]) {
    if let [scratch] = scratches {
        return compute(level, product, scratch);
    }
    let (left, right) = scratches.split_at_mut(scratches.len() / 2);
    let share = [left.len(), left.len() + right.len()];
    let size = tile_size(level, &product);
    let (first, second) = product.halve(size, share);
    rayon::join(|| split(level, first, left), || split(level, second, right));
}

/// Computes the product in this thread.
pub(crate) fn compute(level: Level, product: Product<'_>, scratch: &mut Scratch) {
    if let Some((Integers { scales, offsets, .. }, col)) = product.integers() {
        let ([row_scales, inverses], inner) = scratch.lend([product.rows(); 2], 1);
        let rows = [row_scales, inverses].map(<[f32]>::as_mut_ptr);
        let [cols, offsets] = [scales, offsets].map(|values| values[col..].as_ptr());
        let word = Int8 { rows, cols, offsets };
        return Int8::run(level, Compute { product, word, scratch: &mut inner[0] });
    }
    match level.factors() {
        Held::F32 => F32::run(level, Compute { product, word: F32, scratch }),
        Held::Pairs => Bf16::run(level, Compute { product, word: Pairs::<false>, scratch }),
        Held::Tiles => Tiles::run(level, Compute { product, word: Pairs::<true>, scratch }),
        Held::Rounded => Rounded::run(level, Compute { product, word: Rounded, scratch }),
    }
}

/// Rows and columns of the register tile that a product is computed with.
fn tile_size(level: Level, product: &Product<'_>) -> [usize; 2] {
    if product.integers().is_some() {
        return Int8::run(level, Tile);
    }
    match level.factors() {
        Held::F32 | Held::Pairs | Held::Rounded => level.run(Tile),
        Held::Tiles => level.run_tiles(Tile),
    }
}

struct Compute<'a, 'b, W> {
    product: Product<'a>,
    word: W,
    scratch: &'b mut Scratch,
}

impl<W: Word> Kernel for Compute<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.product.compute(s, self.word, self.scratch);
    }
}

/// Rows and columns of a level's register tile.
pub(crate) struct Tile;

impl Kernel for Tile {
    type Output = [usize; 2];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [usize; 2] {
        [S::TILE_ROWS, S::TILE_VECTORS * S::LANES]
    }
}

#[cfg(test)]
mod tests;
