//! Inner products of every query with every gallery row, in blocks, on all cores.
//!
//! A product is summed in one fixed order, so it does not depend on the number of threads or on
//! the place of a row in its block, and equal rows have equal products.

use std::{num::NonZero, panic, thread};

/// Lanes of a partial sum: the width of a vector register of the baseline target.
const LANES: usize = 4;
/// Queries and gallery rows multiplied at once; their partial sums fill the registers.
const TILE: [usize; 2] = [4, 2];
/// Queries whose products are held at once.
const QUERY_BLOCK: usize = 16;
/// Gallery rows that stay in the cache while a block of queries passes.
const GALLERY_BLOCK: usize = 64;

/// `each(query, products)` for every row of `queries`, in order; `products[g]` is the inner product
/// with row `g` of `gallery`. Both are whole rows of width `dim`.
pub(crate) fn map_queries<T: Send>(
    queries: &[f32],
    gallery: &[f32],
    dim: usize,
    each: impl Fn(usize, &[f32]) -> T + Sync,
) -> Vec<T> {
    let rows = queries.len() / dim;
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = rows.div_ceil(threads).next_multiple_of(TILE[0]);
    let each = &each;
    thread::scope(|scope| {
        let run = |(part, queries)| {
            scope.spawn(move || {
                map_part(queries, gallery, dim, |row, products| each(part * share + row, products))
            })
        };
        let workers: Vec<_> = queries.chunks(share * dim).enumerate().map(run).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Vec<T>>| {
            worker.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
        };
        workers.into_iter().flat_map(join).collect()
    })
}

fn map_part<T>(
    queries: &[f32],
    gallery: &[f32],
    dim: usize,
    each: impl Fn(usize, &[f32]) -> T,
) -> Vec<T> {
    let width = gallery.len() / dim;
    let mut products = vec![0.0; QUERY_BLOCK * width];
    let mut results = Vec::with_capacity(queries.len() / dim);
    for block in queries.chunks(QUERY_BLOCK * dim) {
        for first in (0..width).step_by(GALLERY_BLOCK) {
            let last = width.min(first + GALLERY_BLOCK);
            multiply(block, &gallery[first * dim..last * dim], dim, |query, row, product| {
                products[query * width + first + row] = product;
            });
        }
        for row in 0..block.len() / dim {
            let at = results.len();
            results.push(each(at, &products[row * width..(row + 1) * width]));
        }
    }
    results
}

/// Calls `put(query, row, product)` for every pair. A tile that overhangs repeats its last row.
fn multiply(a: &[f32], b: &[f32], dim: usize, mut put: impl FnMut(usize, usize, f32)) {
    let [rows_a, rows_b] = [a.len() / dim, b.len() / dim];
    for i in (0..rows_a).step_by(TILE[0]) {
        let in_a: [usize; TILE[0]] = std::array::from_fn(|r| (i + r).min(rows_a - 1));
        let tile_a = in_a.map(|row| &a[row * dim..(row + 1) * dim]);
        for j in (0..rows_b).step_by(TILE[1]) {
            let in_b: [usize; TILE[1]] = std::array::from_fn(|c| (j + c).min(rows_b - 1));
            let tile_b = in_b.map(|row| &b[row * dim..(row + 1) * dim]);
            let sums = multiply_tile(tile_a, tile_b);
            for (&row_a, sums) in in_a.iter().zip(sums) {
                for (&row_b, sum) in in_b.iter().zip(sums) {
                    put(row_a, row_b, sum);
                }
            }
        }
    }
}

fn multiply_tile(a: [&[f32]; TILE[0]], b: [&[f32]; TILE[1]]) -> [[f32; TILE[1]]; TILE[0]] {
    let a = a.map(<[f32]>::as_chunks::<LANES>);
    let b = b.map(<[f32]>::as_chunks::<LANES>);
    let steps = a[0].0.len();
    // Cut to one length, so that the loop needs no bounds checks.
    let whole_a = a.map(|(chunks, _)| &chunks[..steps]);
    let whole_b = b.map(|(chunks, _)| &chunks[..steps]);
    let mut sums = [[[0.0_f32; LANES]; TILE[1]]; TILE[0]];
    for step in 0..steps {
        for (sums, a) in sums.iter_mut().zip(whole_a) {
            for (sums, b) in sums.iter_mut().zip(whole_b) {
                for lane in 0..LANES {
                    sums[lane] += a[step][lane] * b[step][lane];
                }
            }
        }
    }
    for (sums, (_, a)) in sums.iter_mut().zip(a) {
        for (sums, (_, b)) in sums.iter_mut().zip(b) {
            for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                *sum += a * b;
            }
        }
    }
    sums.map(|sums| sums.map(|lanes| (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])))
}

/// Bound on the error of a product, relative to the lengths of its rows: a sum of `dim / LANES`
/// rounded terms in each lane, then the sum of the lanes (Higham, Accuracy and Stability, 3.5).
pub(crate) fn relative_error(dim: usize) -> f64 {
    let roundings = dim.div_ceil(LANES) as f64 + 4.0;
    1.01 * roundings * f64::from(f32::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_equal_plain_sums(
            dim in 1_usize..20,
            rows in 1_usize..40,
            columns in 1_usize..150,
            seed in 0_u32..1000,
        ) {
            // Small whole numbers: every partial sum is exact in f32, whatever the order.
            let value = |i: usize| ((i as u32 * 7919 + seed) % 17) as f32 - 8.0;
            let queries: Vec<f32> = (0..rows * dim).map(value).collect();
            let gallery: Vec<f32> = (0..columns * dim).map(|i| value(i + 5)).collect();
            let got = map_queries(&queries, &gallery, dim, |row, products| (row, products.to_vec()));
            prop_assert_eq!(got.len(), rows);
            for (index, (row, products)) in got.into_iter().enumerate() {
                prop_assert_eq!(index, row);
                let query = &queries[row * dim..(row + 1) * dim];
                let dot = |g: &[f32]| g.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
                let expected: Vec<f32> = gallery.chunks(dim).map(dot).collect();
                prop_assert_eq!(products, expected);
            }
        }
    }
}
