//! Rows of channels as lines: several rows that are worked on at a time where they are short, and
//! pieces of lines that threads share.

use crate::split;
use std::ops::Range;

/// Values a piece of work, about; they stay in the second-level cache.
const PIECE: usize = 1 << 15;
/// Fewest values a line, and what it is a multiple of.
const LINE: [usize; 2] = [128, 16];

/// How values are cut, by their number and that of the channels alone.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    len: usize,
    /// Values a line.
    pub(super) line: usize,
    /// Values a piece but the last.
    piece: usize,
}

impl Cut {
    /// Of `len` values of rows of `channels`.
    pub(super) fn of(len: usize, channels: usize) -> Self {
        let [least, multiple] = LINE;
        let twos = (channels.trailing_zeros() as usize).min(multiple.ilog2() as usize);
        let unit = channels * (multiple >> twos);
        let line = unit * least.div_ceil(unit);
        Self { len, line, piece: line * (PIECE / line).max(1) }
    }

    pub(super) fn pieces(&self) -> usize {
        self.len.div_ceil(self.piece)
    }

    /// The values of piece `i`.
    pub(super) fn piece(&self, i: usize) -> Range<usize> {
        i * self.piece..self.len.min((i + 1) * self.piece)
    }

    /// Calls `work` with the number and the values of each piece.
    pub(super) fn for_each(&self, work: impl Fn(usize, Range<usize>) + Sync + Send) {
        split::for_each(self.pieces(), 4 * self.len, |i| work(i, self.piece(i)));
    }
}

/// Fills a line with a value a channel, again and again.
pub(super) fn tile(values: impl ExactSizeIterator<Item = f32>, line: &mut [f32]) {
    let channels = values.len();
    line.iter_mut().zip(values).for_each(|(to, value)| *to = value);
    let mut filled = channels;
    while filled < line.len() {
        line.copy_within(..channels, filled);
        filled += channels;
    }
}

/// Writes the sums of all rows of pieces of two lines each.
pub(super) fn add_pieces(pieces: &[f32], line: usize, sums: [&mut [f32]; 2]) {
    for (part, sums) in sums.into_iter().enumerate() {
        let mut totals = vec![0.0_f64; sums.len()];
        for piece in pieces.chunks_exact(2 * line) {
            for row in piece[part * line..][..line].chunks_exact(sums.len()) {
                totals.iter_mut().zip(row).for_each(|(total, v)| *total += f64::from(*v));
            }
        }
        sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum = total as f32);
    }
}
