//! Pieces of work that each need working memory, of which there is one a thread.

use std::sync::Mutex;

use crate::{scratch::Scratch, split};

/// As [`split::for_each`] for `[pieces, work]`, with one of the scratches, one a thread of the pool,
/// lent to each piece; a piece itself must not fork.
pub(super) fn for_each_with(
    [pieces, work]: [usize; 2],
    scratches: &mut [Scratch],
    piece: impl Fn(usize, &mut Scratch) + Sync + Send,
) {
    let free = Mutex::new(scratches.iter_mut().collect::<Vec<_>>());
    let lock = || free.lock().expect("no piece panics while it holds the lock");
    split::for_each(pieces, work, |i| {
        let scratch = lock().pop().expect("as many scratches as threads");
        piece(i, scratch);
        lock().push(scratch);
    });
}
