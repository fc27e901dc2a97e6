//! Working memory that kernels reuse from call to call.

/// Floats a cache line.
const LINE: usize = 16;

/// Working memory: grows to the largest call and is then reused, so that kernels allocate nothing
/// in a steady state. Holds nothing that a later call may rely on.
#[derive(Debug, Default)]
pub struct Scratch {
    floats: Vec<f32>,
    children: Vec<Scratch>,
}

impl Scratch {
    /// Empty working memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Buffers of the given lengths, each at the start of a cache line and with unspecified (but
    /// initialized) contents, and `children` further scratches, one a task or callee.
    pub fn lend<const N: usize>(
        &mut self,
        lens: [usize; N],
        children: usize,
    ) -> ([&mut [f32]; N], &mut [Scratch]) {
        let total: usize = lens.iter().map(|len| len.next_multiple_of(LINE)).sum();
        if self.floats.len() < total + LINE {
            self.floats = vec![0.0; total + LINE];
        }
        if self.children.len() < children {
            self.children.resize_with(children, Scratch::default);
        }
        let misaligned = (self.floats.as_ptr() as usize / size_of::<f32>()) % LINE;
        let mut rest = &mut self.floats[(LINE - misaligned) % LINE..];
        let buffers = lens.map(|len| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(len.next_multiple_of(LINE));
            rest = tail;
            &mut head[..len]
        });
        (buffers, &mut self.children[..children])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_have_their_lengths_start_at_cache_lines_and_do_not_move_when_lent_again() {
        let mut scratch = Scratch::new();
        let ([a, b, c], children) = scratch.lend([3, 0, 100], 2);
        assert_eq!([a.len(), b.len(), c.len()], [3, 0, 100]);
        assert_eq!(children.len(), 2);
        for buffer in [&*a, &*c] {
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
        }
        a.fill(1.0);
        c.fill(2.0);
        assert_eq!(a, [1.0; 3]);
        let first = a.as_ptr();
        let ([again], _) = scratch.lend([50], 0);
        assert_eq!(again.as_ptr(), first);
    }
}
