//! Matrices as borrowed slices with strides: a supernet's weight slice is the leading rows and
//! columns of a larger row-major matrix, a transpose swaps the strides, and nothing is copied.
#![allow(
    unsafe_code,
    reason = "column blocks of one matrix are disjoint but interleaved in memory"
)]

use std::marker::PhantomData;

/// A matrix in a slice: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// A matrix to write to, whose elements do not overlap.
#[derive(Debug)]
pub struct MatMut<'a> {
    start: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
    lender: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is an exclusive borrow of its elements.
unsafe impl Send for MatMut<'_> {}
// SAFETY: a shared reference to it gives no way to write.
unsafe impl Sync for MatMut<'_> {}

/// Panics unless the last element lies inside a slice of `len`.
fn check(len: usize, [rows, cols]: [usize; 2], [row_stride, col_stride]: [usize; 2]) {
    if rows == 0 || cols == 0 {
        return;
    }
    let last = (rows - 1)
        .checked_mul(row_stride)
        .and_then(|row| (cols - 1).checked_mul(col_stride).and_then(|col| row.checked_add(col)));
    assert!(
        last.is_some_and(|last| last < len),
        "data: a slice of {len} does not hold [{rows}, {cols}] with strides [{row_stride}, {col_stride}]",
    );
}

impl<'a> Mat<'a> {
    /// A matrix of `shape` `[rows, cols]` with `strides` `[row, column]`; panics unless its last
    /// element lies inside `data`.
    pub fn new(data: &'a [f32], shape: [usize; 2], strides: [usize; 2]) -> Self {
        check(data.len(), shape, strides);
        let ([rows, cols], [row_stride, col_stride]) = (shape, strides);
        Self { data, rows, cols, row_stride, col_stride }
    }

    /// All of `data` as row-major rows of `cols`; panics unless they fill it.
    pub fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "data: not [{rows}, {cols}]");
        Self::new(data, [rows, cols], [cols, 1])
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Distance of rows in elements.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Distance of columns in elements.
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// The slice that holds the elements.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }

    /// The transpose, of the same elements.
    #[must_use]
    pub fn transposed(&self) -> Mat<'a> {
        Mat {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// The block of `shape` whose first element is `(row, col)`; panics unless it lies inside.
    #[must_use]
    pub fn block(&self, [row, col]: [usize; 2], shape: [usize; 2]) -> Mat<'a> {
        assert!(row + shape[0] <= self.rows && col + shape[1] <= self.cols, "shape: no such block");
        let start = (row * self.row_stride + col * self.col_stride).min(self.data.len());
        Mat::new(&self.data[start..], shape, [self.row_stride, self.col_stride])
    }

    /// The first `row` rows and the others; panics if there are fewer.
    pub fn split_at_row(&self, row: usize) -> (Mat<'a>, Mat<'a>) {
        assert!(row <= self.rows, "row: {row} of a matrix of {} rows", self.rows);
        (self.block([0, 0], [row, self.cols]), self.block([row, 0], [self.rows - row, self.cols]))
    }

    /// The first `col` columns and the others; panics if there are fewer.
    pub fn split_at_col(&self, col: usize) -> (Mat<'a>, Mat<'a>) {
        let (left, right) = self.transposed().split_at_row(col);
        (left.transposed(), right.transposed())
    }

    /// Element `(row, col)`; panics unless it exists.
    pub fn at(&self, row: usize, col: usize) -> f32 {
        assert!(row < self.rows && col < self.cols, "no element ({row}, {col})");
        self.data[row * self.row_stride + col * self.col_stride]
    }
}

impl<'a> MatMut<'a> {
    /// A matrix of `shape` `[rows, cols]` with `strides` `[row, column]`; panics unless its last
    /// element lies inside `data` and no two elements share a place.
    pub fn new(data: &'a mut [f32], shape: [usize; 2], strides: [usize; 2]) -> Self {
        check(data.len(), shape, strides);
        let ([rows, cols], [row_stride, col_stride]) = (shape, strides);
        let apart = |count: usize, stride: usize, inner: usize, inner_stride: usize| {
            count <= 1 || (inner_stride > 0 || inner <= 1) && stride > (inner - 1) * inner_stride
        };
        assert!(
            rows == 0
                || cols == 0
                || apart(rows, row_stride, cols, col_stride) && (cols <= 1 || col_stride > 0)
                || apart(cols, col_stride, rows, row_stride) && (rows <= 1 || row_stride > 0),
            "strides: elements of [{rows}, {cols}] overlap with strides [{row_stride}, {col_stride}]",
        );
        let start = data.as_mut_ptr();
        Self { start, rows, cols, row_stride, col_stride, lender: PhantomData }
    }

    /// All of `data` as row-major rows of `cols`; panics unless they fill it.
    pub fn row_major(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "data: not [{rows}, {cols}]");
        Self::new(data, [rows, cols], [cols, 1])
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Distance of rows in elements.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Distance of columns in elements.
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// Where the first element lies (dangling if the matrix is empty).
    pub(crate) fn start(&mut self) -> *mut f32 {
        self.start
    }

    /// The same matrix, borrowed for a shorter time.
    pub fn reborrow(&mut self) -> MatMut<'_> {
        MatMut { lender: PhantomData, ..*self }
    }

    /// The transpose, of the same elements.
    #[must_use]
    pub fn transposed(self) -> Self {
        let Self { rows, cols, row_stride, col_stride, .. } = self;
        Self { rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride, ..self }
    }

    /// The first `col` columns and the others; panics if there are fewer.
    pub fn split_at_col(self, col: usize) -> (Self, Self) {
        assert!(col <= self.cols, "col: {col} of a matrix of {} columns", self.cols);
        // Where the right part is empty it starts at the first element, so no pointer leaves the slice.
        let offset = if col < self.cols && self.rows > 0 { col * self.col_stride } else { 0 };
        // SAFETY: the offset of an element, or 0.
        let start = unsafe { self.start.add(offset) };
        let right = Self { start, cols: self.cols - col, ..self };
        (Self { cols: col, ..self }, right)
    }

    /// The first `row` rows and the others; panics if there are fewer.
    pub fn split_at_row(self, row: usize) -> (Self, Self) {
        let (top, bottom) = self.transposed().split_at_col(row);
        (top.transposed(), bottom.transposed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_a_larger_matrix_is_used_where_it_lies() {
        let data: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let full = Mat::row_major(&data, 3, 4);
        let slice = full.block([1, 1], [2, 3]);
        assert_eq!((slice.at(0, 0), slice.at(1, 2)), (5.0, 11.0));
        assert_eq!(slice.transposed().at(2, 1).to_bits(), 11.0_f32.to_bits());
        assert_eq!(full.block([3, 4], [0, 0]).rows(), 0);
    }

    #[test]
    #[should_panic(expected = "data: a slice of 11")]
    fn the_last_element_must_lie_inside() {
        let _ = Mat::new(&[0.0; 11], [3, 4], [4, 1]);
    }

    #[test]
    #[should_panic(expected = "data: a slice of 4")]
    fn huge_strides_do_not_overflow() {
        let _ = Mat::new(&[0.0; 4], [3, 2], [usize::MAX / 2, usize::MAX / 2]);
    }

    #[test]
    #[should_panic(expected = "no such block")]
    fn a_block_must_lie_inside() {
        let _ = Mat::row_major(&[0.0; 6], 2, 3).block([1, 0], [2, 3]);
    }

    #[test]
    #[should_panic(expected = "strides: elements of [3, 4] overlap")]
    fn elements_to_write_must_not_overlap() {
        let _ = MatMut::new(&mut [0.0; 16], [3, 4], [3, 1]);
    }

    #[test]
    fn writable_matrices_may_lie_in_either_order() {
        assert_eq!(MatMut::new(&mut [0.0; 12], [3, 4], [4, 1]).cols(), 4);
        assert_eq!(MatMut::new(&mut [0.0; 12], [3, 4], [1, 3]).rows(), 3);
        assert_eq!(MatMut::new(&mut [0.0; 1], [1, 1], [0, 0]).rows(), 1);
    }

    #[test]
    fn split_parts_are_the_blocks() {
        let mut data: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let (left, right) = MatMut::row_major(&mut data, 3, 4).split_at_col(1);
        assert_eq!((left.cols(), right.cols(), right.rows()), (1, 3, 3));
        let (mut top, mut bottom) = right.split_at_row(2);
        // SAFETY: both matrices have an element.
        let firsts = unsafe { (*top.start(), *bottom.start()) };
        assert_eq!((firsts, top.rows(), bottom.rows()), ((1.0, 9.0), 2, 1));
        assert_eq!(bottom.split_at_row(1).1.rows(), 0);
    }
}
