//! How the C library's allocator treats large buffers.

/// Asks the allocator to keep freed memory for the next step instead of giving it back: a training step frees and
/// takes the same hundreds of megabytes each time, and the system clears every page that it hands out (41,000 page
/// faults a step of ViT-S on 64x64 pixels and 64 images, 10,000 with this). Does nothing where the allocator is not glibc's.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Largest buffer that is not mapped by itself, glibc's own bound.
        const MAPPED_FROM: libc::c_int = 32 << 20;
        /// Freed memory at the end of the heap that is kept.
        const KEPT: libc::c_int = libc::c_int::MAX;
        /// Growth of the heap at a time.
        const GROWTH: libc::c_int = 64 << 20;
        for (parameter, value) in [
            (libc::M_MMAP_THRESHOLD, MAPPED_FROM),
            (libc::M_TRIM_THRESHOLD, KEPT),
            (libc::M_TOP_PAD, GROWTH),
            (libc::M_ARENA_MAX, 1),
        ] {
            // SAFETY: sets a number of the allocator; an unknown one is refused, which changes nothing.
            #[allow(unsafe_code, reason = "the allocator's settings are a C function")]
            unsafe {
                libc::mallopt(parameter, value);
            }
        }
    }
}
