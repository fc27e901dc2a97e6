//! How the C library's allocator treats large buffers.

/// Asks the allocator to keep freed memory for the next step instead of giving it back, and the system for pages of
/// 2 MB in the first 2 GB: a training step frees and takes the same hundreds of megabytes each time, and the system clears
/// every page that it hands out (41,000 page faults a step of ViT-S on 64x64 pixels and 64 images, 10,000 with kept
/// memory). Does nothing where the allocator is not glibc's, or where the addresses are not to be had. To be called once,
/// before much memory is taken.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "the allocator's settings and the heap's are C functions")]
    {
        /// Largest buffer that is not mapped by itself, glibc's own bound.
        const MAPPED_FROM: libc::c_int = 32 << 20;
        /// Freed memory at the end of the heap that is kept.
        const KEPT: libc::c_int = libc::c_int::MAX;
        /// Growth of the heap at a time, and at the start: addresses only, until they are used.
        const GROWTH: libc::c_int = 64 << 20;
        const FIRST: libc::c_int = 2047 << 20;
        let set = |parameter, value| {
            // SAFETY: sets a number of the allocator; an unknown one is refused, which changes nothing.
            unsafe { libc::mallopt(parameter, value) };
        };
        set(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        set(libc::M_TRIM_THRESHOLD, KEPT);
        set(libc::M_ARENA_MAX, 1);
        set(libc::M_TOP_PAD, FIRST);
        // SAFETY: 0 only asks where the heap ends; memory is taken and given back, if there is any; the advice is on
        // addresses of the heap, and changes no contents.
        unsafe {
            let start = libc::sbrk(0) as usize;
            // More than is free in the heap, so that it grows; the compiler would leave both calls out.
            libc::free(std::hint::black_box(libc::malloc(MAPPED_FROM as usize / 2)));
            let end = libc::sbrk(0) as usize;
            let page = start.next_multiple_of(1 << 21);
            if page < end {
                libc::madvise(page as *mut libc::c_void, end - page, libc::MADV_HUGEPAGE);
            }
        }
        set(libc::M_TOP_PAD, GROWTH);
    }
}
