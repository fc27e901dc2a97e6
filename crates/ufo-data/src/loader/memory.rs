//! Memory of batches.
//!
//! A batch of large images is many megabytes that the allocator takes from the system anew each time.
//! In pages of 4 kB the system would spend about as long on handing them out as the images take to
//! decode, so that huge pages are asked for.
#![allow(unsafe_code, reason = "the advice is a system call")]

/// Bytes of a huge page on the machines where there is one.
const HUGE: usize = 2 << 20;

/// `len` zeros; whether they are on huge pages changes nothing but the time.
pub(super) fn zeros(len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    advise(&mut values);
    values
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn advise(values: &mut [f32]) {
    let bytes = std::mem::size_of_val(values);
    let start: *mut u8 = values.as_mut_ptr().cast();
    let before = start.align_offset(HUGE);
    if bytes < before + HUGE {
        return;
    }
    let length = (bytes - before) / HUGE * HUGE;
    // SAFETY: the range is inside of the slice, and the advice leaves its contents alone. A system
    // without huge pages refuses, which does no harm.
    unsafe { libc::madvise(start.add(before).cast(), length, libc::MADV_HUGEPAGE) };
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn advise(_: &mut [f32]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_any_length_can_be_written() {
        for len in [0, 1, HUGE / 4, HUGE, 3 * HUGE + 5] {
            let mut values = zeros(len);
            assert_eq!(values, vec![0.0; len]);
            values.fill(1.0);
            assert_eq!(values, vec![1.0; len]);
        }
    }
}
